"""Load as a Prometheus, or what speaks its HTTP API, has it; it never raises a library's exception.

What can go wrong, and what it becomes (`MetricsUnavailable`, with what to do about it):

    refused, reset, no such host, TLS            unreachable     retried, but for TLS
    slower than the time-out                     too slow        retried while the budget lasts
    429, 5xx                                     busy            retried
    401, 403                                     token or tenant refused
    other 4xx                                    the query, or the path of the URL, refused
    not JSON, status=error, another shape        no answer of a Prometheus
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from tenacity import nap, wait_random_exponential
from urllib3.util import Retry

from scaler.adapters import promql
from scaler.adapters.load_history import Columns, Fetched
from scaler.adapters.observer import PodName, PodSamples
from scaler.adapters.promql import Preset, SeriesName, Signal
from scaler.domain import FloatArray, MetricsUnavailable
from scaler.live_config import LiveConfig
from scaler.retries import retrying
from scaler.targets.workload import Metric, PodGroup

CONNECT_TIMEOUT_SECONDS: Final = 2.0
ERROR_TEXT_LENGTH: Final = 300
# A sample may be this share of the rate window older than the newest of all; two scrapes of the four it should hold.
STALE_RATIO: Final = 0.5

SCRAPES_IN_WINDOW: Final = 4  # two for a rate, one to lose, one for how far apart targets are scraped
SCRAPES_COUNTED_OVER: Final = timedelta(minutes=10)

_WAIT: Final = wait_random_exponential(multiplier=0.2, max=1)
_STATUS: Final = re.compile(r"HTTP Status Code (\d{3})")
_ADVICE: Final[Mapping[int, str]] = {
    400: "the query was refused",
    401: "check the bearer token",
    403: "check the bearer token's rights and the tenant header (X-Scope-OrgID)",
    404: "check the path of the URL; Mimir and Cortex serve the API below /prometheus",
    422: "the query could not be run",
}

Labels: TypeAlias = Mapping[str, str]

logger = logging.getLogger(__name__)


class QueryRefused(MetricsUnavailable):
    """The server answers, and does not take this query."""


class _Retryable(MetricsUnavailable):
    """The same query may well succeed in a moment."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one server.

    Attributes:
        url: Base URL, with the path below which `/api/v1` lies.
        bearer_token_file: Read anew for each query, because tokens of service accounts are replaced every hour.
        headers: Sent with each query: `X-Scope-OrgID` names a tenant of Mimir.
        ca_file: Certificates to trust instead of the system's.
        insecure: Do not verify the server's certificate.
        timeout_seconds: For one try.
        budget_seconds: For all tries of one query; below a third of a tick.
    """

    url: str
    bearer_token_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    insecure: bool = False
    timeout_seconds: float = 3.0
    budget_seconds: float = 4.5

    def __post_init__(self) -> None:
        """Refuse what could never connect."""
        url = urllib3.util.parse_url(self.url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"prometheus url must be an http:// or https:// URL with a host, got {self.url!r}")
        if not 0 < self.timeout_seconds <= self.budget_seconds:
            times = f"timeout_seconds={self.timeout_seconds}, budget_seconds={self.budget_seconds}"
            raise ValueError(f"{times}; accepted is 0 < timeout_seconds <= budget_seconds")
        if self.ca_file is not None and self.insecure:
            raise ValueError("ca_file and insecure exclude each other; leave one out")


def connection_of(live: LiveConfig, url: str) -> Connection:
    """Reach the server at `url` the way that a scaler is told to.

    Raises:
        ValueError: Nothing could ever be reached that way.
    """
    return Connection(
        url,
        bearer_token_file=Path(live.prometheus_token_file) if live.prometheus_token_file else None,
        headers=live.headers(),
        ca_file=Path(live.prometheus_ca_file) if live.prometheus_ca_file else None,
        insecure=live.prometheus_insecure,
    )


@dataclass(frozen=True, slots=True)
class PrometheusReport:
    """What a server has of what the scaler needs; `problems` are sentences that say what to do.

    Attributes:
        scrape_interval: Between two CPU samples of a usual container; None where there are none.
    """

    version: str
    has_container_cpu: bool
    has_owner_metric: bool
    scrape_interval: timedelta | None
    problems: tuple[str, ...]


class PrometheusClient:
    """One server. Safe to use from several threads; proxies named by the environment are not used."""

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = nap.sleep,
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            connection: Where to, and how.
            clock: Monotonic seconds; the budget is on this clock.
            sleep: Waits that many seconds between two tries.
        """
        self._connection = connection
        self._clock = clock
        self._sleep = sleep
        self._local = threading.local()  # a requests.Session is not made for several threads

    def vector(self, query: str, at: datetime | None = None) -> list[tuple[Labels, float]]:
        """Evaluate at one time, the server's own where none is given.

        Raises:
            MetricsUnavailable: No usable answer within the budget.
        """
        rows = self._instant(query, at)
        with _well_formed(query):
            return [(row["metric"], float(row["value"][1])) for row in rows]

    def by_pod(self, query: str, at: datetime) -> dict[PodName, float]:
        """Evaluate at one time, by namespace and pod; a value that is no number, or below zero, is no measurement.

        Raises:
            MetricsUnavailable: No usable answer within the budget.
        """
        rows = self._instant(query, at)
        with _well_formed(query):
            # In one go: a large cluster has a row for each of 5,000 pods.
            return {
                ((labels := row["metric"]).get("namespace", ""), labels.get("pod", "")): value
                for row in rows
                if 0 <= (value := float(row["value"][1])) < math.inf
            }

    def matrix(self, query: str, columns: Columns) -> list[tuple[Labels, FloatArray]]:
        """Evaluate at each time of `columns`; NaN where a series has no value.

        Raises:
            MetricsUnavailable: No usable answer within the budget.
        """
        step = columns.step.total_seconds()
        params = {"partial_response": "false", "timeout": f"{self._connection.timeout_seconds:g}s"}
        rows = self._asked(
            lambda server, seconds: server.custom_query_range(
                query, columns.first, columns.last, f"{step:g}", params=params, timeout=seconds
            )
        )
        first = columns.first.timestamp()
        with _well_formed(query):
            return [(row["metric"], _spread(row["values"], first, step, columns.count)) for row in rows]

    def check(self, now: datetime) -> PrometheusReport:
        """Look for what the scaler needs.

        Raises:
            MetricsUnavailable: The server could not be asked at all.
        """
        seen = promql.signal_of(Metric.CPU, {}).seen or ""
        interval = self.scrape_interval(seen, now)
        builds = self.vector("prometheus_build_info")
        owners = bool(self.vector(f"count({promql.OWNER_METRIC})", now))
        return PrometheusReport(
            version=next((labels.get("version", "") for labels, _ in builds), ""),
            has_container_cpu=interval is not None,
            has_owner_metric=owners,
            scrape_interval=interval,
            problems=tuple(_problems(interval, owners=owners)),
        )

    def scrape_interval(self, seen: str, now: datetime) -> timedelta | None:
        """Give the time between two samples of a usual series of this selector; None where there are none.

        Raises:
            MetricsUnavailable: No usable answer within the budget.
        """
        rows = self.vector(promql.scrape_count(seen, SCRAPES_COUNTED_OVER), now)
        count = next((value for _, value in rows if value > 0), 0.0)
        return timedelta(seconds=max(1, round(SCRAPES_COUNTED_OVER.total_seconds() / count))) if count else None

    def close(self) -> None:
        """Give this thread's connections back."""
        server = getattr(self._local, "server", None)
        if server is not None:
            server.close()
            del self._local.server

    def _instant(self, query: str, at: datetime | None) -> list[dict[str, Any]]:
        # Thanos: rather no answer than one that leaves out a part; a Prometheus ignores it.
        params = {"partial_response": "false", "timeout": f"{self._connection.timeout_seconds:g}s"}
        if at is not None:
            params["time"] = f"{at.timestamp():.3f}"
        return self._asked(lambda server, seconds: server.custom_query(query, params=params, timeout=seconds))

    def _asked(self, ask: Callable[[PrometheusConnect, Any], Any]) -> list[dict[str, Any]]:
        """Ask, and again while the budget lasts.

        A server that let one query's budget run out is left alone for as long again by this thread: a tick that asks
        for several metrics must not wait for each of them.
        """
        rest = getattr(self._local, "rest_until", 0.0) - self._clock()
        if rest > 0:
            raise MetricsUnavailable(f"{self._connection.url}: no answer a moment ago; asked again in {rest:.1f} s")
        deadline = self._clock() + self._connection.budget_seconds

        def attempt() -> list[dict[str, Any]]:
            left = max(0.05, min(self._connection.timeout_seconds, deadline - self._clock()))
            server = self._server()
            with _translated(self._connection.url):
                rows = ask(server, (min(CONNECT_TIMEOUT_SECONDS, left), left))
            if not isinstance(rows, list):
                raise MetricsUnavailable(
                    f"{self._connection.url}: the answer holds no list of series; {_NO_PROMETHEUS}"
                )
            return rows

        again = retrying(
            _Retryable, deadline=deadline, wait=_WAIT, clock=self._clock, sleep=self._sleep, log=_log_retry
        )
        try:
            return again(attempt)
        except _Retryable:
            self._local.rest_until = self._clock() + self._connection.budget_seconds
            raise

    def _server(self) -> PrometheusConnect:
        """Give this thread's connection, with the token as the file has it now."""
        server: PrometheusConnect | None = getattr(self._local, "server", None)
        if server is None:
            server = self._local.server = self._connected()
        server.headers = {**self._connection.headers, **self._authorization()}
        return server

    def _connected(self) -> PrometheusConnect:
        connection = self._connection
        session = requests.Session()
        session.trust_env = False
        session.hooks["response"].append(_read_by_orjson)
        session.verify = not connection.insecure
        if connection.ca_file is not None:
            session.verify = str(connection.ca_file)
        if connection.insecure:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        # Its own retries have no deadline: they are done here. read=False: a time-out is raised as one.
        return PrometheusConnect(url=connection.url.rstrip("/"), session=session, retry=Retry(total=0, read=False))

    def _authorization(self) -> dict[str, str]:
        file = self._connection.bearer_token_file
        if file is None:
            return {}
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise MetricsUnavailable(f"bearer_token_file {file}: {exc}; it must hold a token, and be readable") from exc
        return {"Authorization": f"Bearer {token}"}


class PrometheusLoads:
    """The newest load of pods, and the past load of workloads, from one server: `PodLoads` and `LoadFetcher`."""

    def __init__(
        self,
        client: PrometheusClient,
        *,
        rate_window: timedelta = timedelta(seconds=120),
        presets: Sequence[Preset] = (),
    ) -> None:
        """Take a client.

        Args:
            client: The server.
            rate_window: Range of rates; widened to four times the scrape interval where samples are that rare.
            presets: Queries offered as metrics.
        """
        self._client = client
        self._rate_window = rate_window
        self._presets = {preset.name: preset for preset in presets}
        self._windows: dict[str, tuple[datetime, timedelta]] = {}

    def newest(self, metric: str, namespaces: Collection[str], now: datetime) -> PodSamples:
        """Two queries: how old the samples are, and the values as of the newest of them.

        Evaluated at the time of the newest sample and not at `now`: where a whole pipeline lags or has stopped, a rate
        up to `now` would fall towards zero while nothing was measured.

        Raises:
            MetricsUnavailable: No answer, or a metric that is not known.
        """
        signal = promql.signal_of(metric, self._presets)
        scope = promql.scope_of(namespaces)
        window = self._window(signal, now, renewed=True)
        times: dict[PodName, float] = {}
        newest = now.timestamp()
        if signal.seen is not None:
            times = self._client.by_pod(promql.newest_times(signal.seen, scope), now)
            if not times:
                return PodSamples(windowed=signal.windowed)
            newest = min(newest, max(times.values()))  # a node's clock may run ahead
        at = datetime.fromtimestamp(newest, tz=UTC)
        values = self._client.by_pod(promql.newest_values(signal, window, scope), at)
        return PodSamples(
            values=values,
            times=times if signal.seen is not None else dict.fromkeys(values, newest),
            newest=newest,
            fresh_since=newest - STALE_RATIO * window.total_seconds(),
            windowed=signal.windowed,
            span=window if signal.windowed else timedelta(0),
        )

    def throttled(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        """Share of its CFS periods in which a pod was throttled, of pods above 5 %.

        Raises:
            MetricsUnavailable: No answer.
        """
        return self._client.by_pod(promql.throttled(self._rate_window, promql.scope_of(namespaces)), now)

    def held(self, namespaces: Collection[str], now: datetime) -> Mapping[tuple[str, str], float]:
        """Requests that Knative's activator holds or passes on, by namespace and Configuration.

        Raises:
            MetricsUnavailable: No answer.
        """
        rows = self._client.vector(promql.held_requests(promql.scope_of(namespaces)), now)
        return {
            (labels.get("k8s_namespace_name", ""), labels.get("kn_configuration_name", "")): value
            for labels, value in rows
        }

    def frontier(self, metric: str, now: datetime) -> datetime | None:
        """Time up to which samples are there; None where there are none.

        Raises:
            MetricsUnavailable: No answer, or a metric that is not known.
        """
        signal = promql.signal_of(metric, self._presets)
        if signal.seen is None:
            return now
        rows = self._client.vector(promql.newest_time(signal), now)
        return next((min(now, datetime.fromtimestamp(value, tz=UTC)) for _, value in rows), None)

    def fetch(self, metric: str, groups: Sequence[PodGroup], columns: Columns) -> Fetched:
        """One range query for all these workloads together.

        Raises:
            MetricsUnavailable: No answer, or a metric that is not known.
        """
        signal = promql.signal_of(metric, self._presets)
        window = columns.step
        if signal.smoothed:
            window = max(window, self._window(signal, columns.last, renewed=False))
        scope = promql.scope_of({group.namespace for group in groups}, promql.names_of(groups))
        owners = bool(self._client.vector(f"count({promql.OWNER_METRIC})", columns.last))
        rows = self._client.matrix(promql.history(signal, window, scope=scope, owners=owners), columns)
        loads: dict[SeriesName, FloatArray] = {}
        coverage = np.zeros(columns.count)
        for labels, values in rows:
            if labels.get("stem") == promql.COVERAGE and "namespace" not in labels:
                coverage = np.nan_to_num(values)
                continue
            for name in promql.series_names(labels):
                loads[name] = _added(loads[name], values) if name in loads else values
        return Fetched(loads, coverage)

    def _window(self, signal: Signal, now: datetime, *, renewed: bool) -> timedelta:
        """Give the range of rates, wide enough for how often the metric is sampled.

        Args:
            signal: Of the metric.
            now: When to look.
            renewed: Look again after a while; history takes what is known, so that all of it has one range.
        """
        if signal.seen is None:
            return self._rate_window
        at, window = self._windows.get(signal.name, (None, self._rate_window))
        if at is None or (renewed and now - at >= SCRAPES_COUNTED_OVER):
            interval = self._client.scrape_interval(signal.seen, now)
            if interval is not None:
                window = max(self._rate_window, SCRAPES_IN_WINDOW * interval)
                self._windows[signal.name] = (now, window)
        return window


_NO_PROMETHEUS: Final = "check that the URL is that of a Prometheus, and not of a login page or a proxy"


class _Response(requests.Response):
    """What 5,000 pods show takes a fifth of the time that requests' own way takes."""

    def json(self, **_: Any) -> Any:
        return orjson.loads(self.content)


def _read_by_orjson(response: requests.Response, *_: Any, **__: Any) -> None:
    response.__class__ = _Response  # the client reads its answers by this method, and offers no other way in


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn the four families of errors into ours."""
    try:
        yield
    except PrometheusApiClientException as exc:
        raise _refusal(url, str(exc)) from exc
    except requests.exceptions.SSLError as exc:
        raise MetricsUnavailable(f"{url}: TLS failed ({exc}); set the CA file that signed its certificate") from exc
    except requests.exceptions.Timeout as exc:
        raise _Retryable(f"{url}: no answer in time ({exc}); the server is overloaded, or the query too wide") from exc
    except orjson.JSONDecodeError as exc:
        raise MetricsUnavailable(f"{url}: the answer is no JSON; {_NO_PROMETHEUS}") from exc
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as exc:
        raise _Retryable(f"{url}: not reachable ({exc}); check the URL, and that the server runs") from exc
    except requests.RequestException as exc:
        raise MetricsUnavailable(f"{url}: {exc}; check the URL") from exc
    except (KeyError, TypeError) as exc:
        raise MetricsUnavailable(f"{url}: the answer has no result ({exc!r}); {_NO_PROMETHEUS}") from exc


@contextmanager
def _well_formed(query: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise MetricsUnavailable(
            f"a series of another shape than asked for ({exc!r}) in the answer to {query}"
        ) from exc


def _refusal(url: str, text: str) -> MetricsUnavailable:
    """The library keeps the status in its text only."""
    match = _STATUS.search(text)
    status = int(match[1]) if match else 0
    words = text[:ERROR_TEXT_LENGTH]
    if status in {408, 429} or status >= 500:
        return _Retryable(f"{url}: {words}; the server is busy or failing")
    kind = QueryRefused if status in {400, 422} else MetricsUnavailable
    return kind(f"{url}: {words}; {_ADVICE.get(status, _NO_PROMETHEUS)}")


def _spread(points: Sequence[Any], first: float, step: float, count: int) -> FloatArray:
    """Put the points of one series into their columns."""
    values = np.full(count, np.nan)
    if points:
        times, numbers = zip(*points, strict=True)
        values[np.rint((np.array(times, dtype=float) - first) / step).astype(int)] = np.array(numbers, dtype=float)
    return values


def _added(left: FloatArray, right: FloatArray) -> FloatArray:
    """Sum where both are, else whichever is: two ReplicaSets of one Deployment, the older one gone."""
    total: FloatArray = np.where(np.isnan(left), right, np.where(np.isnan(right), left, left + right))
    return total


def _problems(interval: timedelta | None, *, owners: bool) -> Iterator[str]:
    if interval is None:
        yield (
            "there is no container_cpu_usage_seconds_total with labels namespace, pod and container; "
            "have the kubelets' /metrics/cadvisor scraped"
        )
    elif interval > timedelta(seconds=60):
        yield (
            f"containers are scraped every {interval.total_seconds():.0f} s, so load is seen as a mean over four times "
            "that; scrape them every 60 s or less"
        )
    if not owners:
        yield (
            f"there is no {promql.OWNER_METRIC}; past load is found by the names of pods, which fails for Deployments "
            "whose name has more than 57 characters: install kube-state-metrics if there are any"
        )


def _log_retry(attempt: int, error: BaseException | None, seconds: float) -> None:
    logger.info("prometheus_retry", extra={"attempt": attempt, "error": str(error)})
