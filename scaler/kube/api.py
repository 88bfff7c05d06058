"""JSON calls to the API server over the `kubernetes` client; it never raises a library's exception.

The generated models of the client are left out on purpose: reading 1,000 pods through them costs 0.3 s, as plain JSON
0.01 s. What can go wrong, and what it becomes:

    404                          NotFound
    409                          Conflict            for the caller: read again, then write
    403, 401                     Forbidden
    410                          Gone                a watch must list anew
    400, 422                     Invalid
    429, 5xx                     ServerBusy          retried
    refused, reset, timed out    Unreachable         retried, unless the call is no read and no precondition guards it
    not JSON                     Unreachable
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes import client, config
from kubernetes.config import ConfigException
from tenacity import nap, wait_random_exponential

from scaler.domain import TargetUnavailable
from scaler.kube.resources import Resource
from scaler.retries import retry_after_seconds, retrying

Json: TypeAlias = dict[str, Any]

FIELD_MANAGER: Final = "ai-hpa"
USER_AGENT: Final = "ai-hpa"
MERGE_PATCH: Final = "application/merge-patch+json"
METADATA_OF_ONE: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_OF_MANY: Final = METADATA_OF_ONE.replace("PartialObjectMetadata", "PartialObjectMetadataList")
LIST_CHUNK: Final = 500
CONNECT_TIMEOUT_SECONDS: Final = 3.0
READ_TIMEOUT_SECONDS: Final = 5.0
BUDGET_SECONDS: Final = 4.0  # for all tries of one call: well under a third of a tick
TOKEN_SECONDS: Final = 10.0  # a token is renewed minutes before the old one ends

_JSON: Final = {"Accept": "application/json", "Content-Type": "application/json"}
_WAIT: Final = wait_random_exponential(multiplier=0.2, max=2)

logger = logging.getLogger(__name__)


class KubeError(TargetUnavailable):
    """The API server did not do what it was asked; carries the status (0 where there was no answer) and its reason."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFound(KubeError):
    """There is no such object, or no such kind."""


class Conflict(KubeError):
    """The object changed since it was read, or stands already."""


class Forbidden(KubeError):
    """The service account may not do this."""


class Gone(KubeError):
    """The resource version is too old to watch from."""


class Invalid(KubeError):
    """The API server, or a webhook, refuses the content."""


class ServerBusy(KubeError):
    """429 or 5xx."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class Unreachable(KubeError):
    """No answer, or none that can be read."""


class NoCluster(KubeError):
    """Neither a kubeconfig nor a pod's service account was found."""


_BY_STATUS: Final[Mapping[int, type[KubeError]]] = {
    400: Invalid, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 422: Invalid,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """One consistent list.

    Attributes:
        items: As the API server gave them; `kind` and `apiVersion` are usually missing on each.
        resource_version: To watch from.
    """

    items: tuple[Json, ...]
    resource_version: str


class KubeApi:
    """One API server. Safe to use from several threads."""

    def __init__(
        self,
        api_client: client.ApiClient,
        *,
        user_agent: str = USER_AGENT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = nap.sleep,
    ) -> None:
        """Take a configured client; `connect` makes one."""
        api_client.user_agent = user_agent
        self._client = api_client
        self._clock = clock
        self._sleep = sleep
        self._authorized: Mapping[str, str] = {}
        self._authorized_until = -math.inf

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object.

        Raises:
            KubeError: See the table of this module.
        """
        return self._call("GET", resource.path(namespace, name, subresource))

    def get_path(self, path: str) -> Json:
        """Read any path: `/version`, `/apis`.

        Raises:
            KubeError: See the table of this module.
        """
        return self._call("GET", path)

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> Listing:
        """Read all objects of a kind; without a namespace those of all namespaces.

        Raises:
            Gone: A later chunk came too late; list anew.
            KubeError: See the table of this module.
        """
        pages = tuple(self.pages(resource, namespace, label_selector=label_selector, metadata_only=metadata_only))
        return Listing(tuple(item for page in pages for item in page.items), pages[-1].resource_version)

    def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> Iterator[Listing]:
        """Read all objects of a kind chunk by chunk: the JSON of 5,000 pods takes over 200 MB, which never come back.

        Raises:
            Gone: A later chunk came too late; list anew.
            KubeError: See the table of this module.
        """
        query: list[tuple[str, str]] = [("limit", str(LIST_CHUNK))]
        if label_selector:
            query.append(("labelSelector", label_selector))
        headers = {"Accept": METADATA_OF_MANY} if metadata_only else {}
        following = ""
        while True:
            more = [*query, ("continue", following)] if following else query
            page = self._call("GET", resource.path(namespace), query=more, headers=headers)
            metadata = page.get("metadata") or {}
            yield Listing(tuple(page.get("items") or ()), str(metadata.get("resourceVersion") or ""))
            following = metadata.get("continue") or ""
            if not following:
                return

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        timeout_seconds: int,
        metadata_only: bool = False,
    ) -> Iterator[Json]:
        """Follow changes: `{"type": ADDED | MODIFIED | DELETED | BOOKMARK, "object": {...}}`, until the server ends it.

        Raises:
            Gone: `resource_version` is too old; list anew.
            KubeError: See the table of this module. Nothing is retried: the caller resumes from the last version seen.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(timeout_seconds)),
        ]
        # The server ends the watch after timeout_seconds and sends bookmarks once a minute; longer silence is a loss.
        response = self._send(
            "GET",
            resource.path(namespace),
            query=query,
            headers={"Accept": METADATA_OF_ONE} if metadata_only else {},
            timeout=(CONNECT_TIMEOUT_SECONDS, timeout_seconds + 15.0),
        )
        try:
            for line in _lines(response):
                event: Json = _decoded(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise _error(int(status.get("code") or 0), status, {})
                yield event
        finally:
            response.close()

    def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        metadata_only: bool = False,
    ) -> Json:
        """Change fields of one object as field manager `ai-hpa`; null removes one.

        A `metadata.resourceVersion` in `body` is a precondition, and makes the call safe to repeat.

        Args:
            resource: Kind of the object.
            namespace: Of the object; None where it has none.
            name: Of the object.
            body: What to change.
            subresource: `status`, `scale`, or empty for the object itself.
            metadata_only: The server answers with no more than the metadata.

        Raises:
            Conflict: The object is no longer at that resource version.
            KubeError: See the table of this module.
        """
        guarded = bool((body.get("metadata") or {}).get("resourceVersion"))
        return self._call(
            "PATCH",
            resource.path(namespace, name, subresource),
            query=[("fieldManager", FIELD_MANAGER)],
            headers={"Content-Type": MERGE_PATCH, **({"Accept": METADATA_OF_ONE} if metadata_only else {})},
            body=body,
            repeatable=guarded,
        )

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Create one object.

        Raises:
            Conflict: It stands already.
            KubeError: See the table of this module.
        """
        return self._call(
            "POST", resource.path(namespace), query=[("fieldManager", FIELD_MANAGER)], body=body, repeatable=False
        )

    def replace(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        """Put one object in place of the one that `metadata.resourceVersion` names; tried once, for leases.

        Raises:
            Conflict: It is no longer at that resource version.
            KubeError: See the table of this module.
        """
        return self._once("PUT", resource.path(namespace, name), query=[("fieldManager", FIELD_MANAGER)], body=body)

    def delete(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Delete one object; one that is not there is fine.

        Raises:
            KubeError: See the table of this module.
        """
        try:
            self._call("DELETE", resource.path(namespace, name))
        except NotFound:
            return

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
        repeatable: bool = True,
    ) -> Json:
        """Call, and again while the budget lasts, where that can do no harm."""

        def log(attempt: int, error: BaseException | None, seconds: float) -> None:
            logger.info("kube_retry", extra={"call": f"{method} {path}", "error": str(error)})

        # 429 is refused before anything was done, so even what may not be repeated is tried again after it.
        kinds = (ServerBusy, Unreachable) if repeatable else (_NotAdmitted,)
        deadline = self._clock() + BUDGET_SECONDS
        again = retrying(kinds, deadline=deadline, wait=_WAIT, clock=self._clock, sleep=self._sleep, log=log)
        return again(self._once, method, path, query=query, headers=headers, body=body)

    def _once(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        response = self._send(method, path, query=query, headers=headers, body=body)
        try:
            return _decoded(response.data)
        except urllib3.exceptions.HTTPError as exc:
            raise Unreachable(f"{method} {path}: the answer broke off ({exc})") from exc

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
    ) -> urllib3.BaseHTTPResponse:
        """Send one request and check its status.

        Raises:
            KubeError: See the table of this module.
        """
        # Past the client's own call, which looks for its models in all that it sends: a fifth of what a call costs.
        url = f"{self._client.configuration.host}{path}"
        try:
            response = self._client.rest_client.pool_manager.urlopen(
                method,
                f"{url}?{urlencode(query)}" if query else url,
                body=orjson.dumps(body) if body is not None else None,
                headers={**_JSON, **self._client.default_headers, **self._authorization(), **(headers or {})},
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
                preload_content=False,
            )
            if response.status >= 400:
                raise _error(response.status, _status_of(response), response.headers)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise Unreachable(f"{method} {path}: {exc}") from exc
        return response

    def _authorization(self) -> Mapping[str, str]:
        """Give the header with the bearer token; empty where there is none, as with a client certificate."""
        # The client sets itself up anew whenever it is asked, which costs a tenth of a call.
        if self._clock() >= self._authorized_until:
            setting = self._client.configuration.auth_settings().get("BearerToken")
            self._authorized = {setting["key"]: setting["value"]} if setting is not None else {}
            self._authorized_until = self._clock() + TOKEN_SECONDS
        return self._authorized


class _NotAdmitted(ServerBusy):
    """429: refused before anything was done."""


def connect(
    *,
    context: str | None = None,
    kubeconfig: str | None = None,
    pool_size: int = 32,
    user_agent: str = USER_AGENT,
) -> KubeApi:
    """Find the cluster: the pod's service account, else the kubeconfig (KUBECONFIG, then ~/.kube/config).

    Args:
        context: Of the kubeconfig; given, the service account is not looked for.
        kubeconfig: Path to read in place of the usual ones; given, the service account is not looked for either.
        pool_size: Connections kept; every watch holds one.
        user_agent: Names the caller in the API server's audit log.

    Raises:
        NoCluster: Nothing was found, or it could not be read.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = pool_size
    configuration.retries = False  # retried here, under one budget
    try:
        if context is None and kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                return KubeApi(client.ApiClient(configuration), user_agent=user_agent)
            except ConfigException:
                pass
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, context=context, client_configuration=configuration
        )
    except (ConfigException, OSError) as exc:
        raise NoCluster(f"no cluster: {exc}; set KUBECONFIG, or run inside a pod with a service account") from exc
    return KubeApi(client.ApiClient(configuration), user_agent=user_agent)


def json_map(value: Any) -> Json:
    """Take a JSON object for what it is, and anything else for an empty one."""
    return value if isinstance(value, dict) else {}


def json_maps(value: Any) -> list[Json]:
    """Take the objects of a JSON list; anything else holds none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Split a stream into its lines."""
    rest = b""
    try:
        for chunk in response.stream(65536, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line.strip())
    except urllib3.exceptions.HTTPError as exc:
        raise Unreachable(f"the watch broke off: {exc}") from exc


def _decoded(body: bytes) -> Json:
    try:
        value = orjson.loads(body) if body else {}
    except ValueError as exc:
        raise Unreachable(f"the API server answered no JSON: {exc}") from exc
    return json_map(value)


def _status_of(response: urllib3.BaseHTTPResponse) -> Json:
    try:
        return _decoded(response.data)
    except Unreachable:
        return {}


def _error(status: int, body: Json, headers: Mapping[str, str]) -> KubeError:
    message = str(body.get("message") or f"the API server answered {status}")
    reason = str(body.get("reason") or "")
    if status == 429 or status >= 500:
        kind = _NotAdmitted if status == 429 else ServerBusy
        return kind(message, status=status, reason=reason, retry_after_seconds=retry_after_seconds(headers))
    return _BY_STATUS.get(status, KubeError)(message, status=status, reason=reason)
