"""The API client against a small API server over a socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client

from scaler.kube.api import KubeApi
from tests.unit.kube.server import FakeKube, serving


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    """A running API server."""
    with serving() as server:
        yield server


class SteppedClock:
    """Seconds that pass only when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def api(kube: FakeKube, clock: SteppedClock) -> Iterator[KubeApi]:
    """A client of `kube` whose waits between two tries take no time."""
    configuration = client.Configuration(host=kube.address)
    configuration.retries = False
    configuration.connection_pool_maxsize = 8
    api_client = client.ApiClient(configuration)
    yield KubeApi(api_client, clock=clock, sleep=clock.sleep)
    api_client.rest_client.pool_manager.clear()
