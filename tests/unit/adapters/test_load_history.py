"""History is fetched once, in bounded parts, and what cannot be known stays missing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.adapters.load_history import CELL, Columns, Fetched, LoadHistory, Sample, SeenHistory
from scaler.adapters.promql import SeriesName, series_of
from scaler.domain import FloatArray, MetricsUnavailable, Target, TargetKey
from scaler.kube.objects import ObjectRef
from scaler.targets.workload import Lever, LeverKind, PodGroup, Workload

T0 = datetime(2026, 1, 5, 12, tzinfo=UTC)
STEP = timedelta(minutes=1)


def workload(name: str, *, min_replicas: int = 1, metric: str = "cpu") -> Workload:
    return Workload(
        target=Target(TargetKey("shop", "Deployment", name), min_replicas=min_replicas, max_replicas=9, capacity=1.0),
        lever=Lever(LeverKind.SCALE, ()),
        pods=PodGroup("shop", {}, (), "Deployment", name),
        reference=ObjectRef("apps/v1", "Deployment", "shop", name),
        reference_uid="u",
        scaler_name=name,
        metric=metric,
        capacity_source="",
        current_replicas=1,
        ready_replicas=1,
    )


API, WEB = workload("api"), workload("web")


def minute_of(at: datetime) -> float:
    return (at - T0) / STEP


@dataclass
class FakeFetcher:
    """The load of each workload at minute m is m, plus 1000 for `web`; remembers what was asked."""

    newest: datetime | None = T0 + timedelta(days=99)
    dead: set[float] = field(default_factory=set)  # minutes in which nothing was sampled
    absent: set[float] = field(default_factory=set)  # minutes in which `api` had no pod
    broken: bool = False
    asked: list[tuple[set[str], float, int]] = field(default_factory=list)

    def frontier(self, metric: str, now: datetime) -> datetime | None:
        return min(self.newest, now) if self.newest is not None else None

    def fetch(self, metric: str, groups: Sequence[PodGroup], columns: Columns) -> Fetched:
        self.asked.append(({group.history_name for group in groups}, minute_of(columns.first), columns.count))
        if self.broken:
            raise MetricsUnavailable("gone")
        minutes = minute_of(columns.first) + np.arange(columns.count) * (columns.step / STEP)
        loads: dict[SeriesName, FloatArray] = {}
        for group in groups:
            load = minutes + (1000 if group.history_name == "web" else 0)
            if group.history_name == "api":
                load[np.isin(minutes, list(self.absent))] = np.nan
            load[np.isin(minutes, list(self.dead))] = np.nan
            loads[series_of(group)] = load.astype(np.float64)
        return Fetched(loads, np.where(np.isin(minutes, list(self.dead)), 0.0, 8.0))

    def taken(self) -> list[tuple[set[str], float, int]]:
        taken, self.asked = self.asked, []
        return taken


@pytest.fixture
def fetcher() -> FakeFetcher:
    return FakeFetcher()


def load(
    history: LoadHistory, at: float, *members: Workload, ago: float = 0, length: int = 10, step: timedelta = STEP
) -> dict[str, list[float]]:
    """The window of `length` steps that ends `ago` minutes before minute `at`."""
    end = T0 + (at - ago) * STEP
    answer = history.load_between(members, start=end - length * step, end=end, step=step, now=T0 + at * STEP)
    return {key.name: values.tolist() for key, values in answer.items()}


def test_columns_are_the_ends_of_the_steps(fetcher: FakeFetcher) -> None:
    loads = load(LoadHistory(fetcher), 100, API, WEB)

    assert loads == {"api": [*range(91, 101)], "web": [*range(1091, 1101)]}
    assert fetcher.taken() == [({"api", "web"}, 91, 10)]


def test_only_what_is_new_or_not_settled_is_fetched_again(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)
    load(history, 100, API)
    fetcher.taken()

    assert load(history, 105, API) == {"api": [*range(96, 106)]}
    # Settled are the steps up to minute 97, three minutes before the first call.
    assert fetcher.taken() == [({"api"}, 98, 8)]


def test_a_past_window_is_fetched_once(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)
    load(history, 2000, API, ago=1440)
    fetcher.taken()

    load(history, 2005, API, ago=1440)
    load(history, 2005, API, ago=1440)

    assert fetcher.taken() == [({"api"}, 561, 5)]


def test_a_new_workload_is_fetched_alone(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)
    load(history, 2000, API, ago=1440)
    fetcher.taken()

    assert load(history, 2000, API, WEB, ago=1440)["web"] == [*range(1551, 1561)]
    assert fetcher.taken() == [({"web"}, 551, 10)]


def test_windows_of_other_steps_and_distances_do_not_mix(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)

    for _ in range(2):
        assert load(history, 2000, API, ago=1440)["api"][-1] == 560
        assert load(history, 2000, API, step=5 * STEP)["api"] == [*range(1955, 2001, 5)]
        assert load(history, 2000, API, length=4)["api"] == [1997, 1998, 1999, 2000]


def test_queries_are_bounded_in_points_and_say_how_far_they_are(
    fetcher: FakeFetcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        loads = load(LoadHistory(fetcher, max_points=8), 2000, API, WEB, ago=1440)

    assert [(first, count) for _, first, count in fetcher.taken()] == [(551, 4), (555, 4), (559, 2)]
    assert loads["api"] == [*range(551, 561)]
    assert [vars(record)["points"] for record in caplog.records] == [8, 16, 20]


def test_a_step_that_is_not_over_for_the_newest_sample_is_left_out(fetcher: FakeFetcher) -> None:
    fetcher.newest = T0 + 98.5 * STEP
    history = LoadHistory(fetcher)

    assert load(history, 100, API)["api"] == pytest.approx([*range(91, 99), np.nan, np.nan], nan_ok=True)
    fetcher.newest = T0 + 100 * STEP
    assert load(history, 100, API)["api"] == [*range(91, 101)]


def test_without_any_sample_nothing_new_is_asked_for(fetcher: FakeFetcher) -> None:
    fetcher.newest = None

    assert np.isnan(load(LoadHistory(fetcher), 100, API)["api"]).all()
    assert fetcher.taken() == []


@pytest.mark.parametrize(
    ("count", "counts"),
    [pytest.param(6, True, id="three quarters"), pytest.param(5, False, id="less"), pytest.param(0, False, id="none")],
)
def test_a_step_counts_when_it_was_sampled_often_enough(fetcher: FakeFetcher, count: float, counts: bool) -> None:
    class Sparse(FakeFetcher):
        def fetch(self, metric: str, groups: Sequence[PodGroup], columns: Columns) -> Fetched:
            answer = super().fetch(metric, groups, columns)
            answer.coverage[4] = count
            return answer

    loads = load(LoadHistory(Sparse()), 2000, API, ago=1440)["api"]

    assert bool(np.isfinite(loads[4])) is counts
    assert np.isfinite([*loads[:4], *loads[5:]]).all()


def test_a_workload_that_may_be_at_zero_had_no_load_without_pods_from_its_first_on(fetcher: FakeFetcher) -> None:
    fetcher.absent, fetcher.dead = {91, 92, 95, 96, 97}, {96}
    sleeper = replace(API, target=replace(API.target, min_replicas=0))

    at_zero = load(LoadHistory(fetcher), 2000, sleeper, ago=1900)["api"]
    always = load(LoadHistory(fetcher), 2000, API, ago=1900)["api"]

    nan = np.nan
    assert at_zero == pytest.approx([nan, nan, 93, 94, 0, nan, 0, 98, 99, 100], nan_ok=True)
    assert always == pytest.approx([nan, nan, 93, 94, nan, nan, nan, 98, 99, 100], nan_ok=True)


def test_a_failure_keeps_what_is_known_and_is_made_good_next_time(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)
    load(history, 100, API)
    fetcher.broken = True

    assert load(history, 102, API)["api"] == pytest.approx([*range(93, 101), np.nan, np.nan], nan_ok=True)
    fetcher.broken = False
    assert load(history, 102, API)["api"] == [*range(93, 103)]


def test_what_was_loaded_before_a_failure_is_not_loaded_twice() -> None:
    class FailsOnce(FakeFetcher):
        def fetch(self, metric: str, groups: Sequence[PodGroup], columns: Columns) -> Fetched:
            self.broken = len(self.asked) == 1
            return super().fetch(metric, groups, columns)

    fetcher = FailsOnce()
    history = LoadHistory(fetcher, max_points=4)
    load(history, 2000, API, ago=1440)
    load(history, 2000, API, ago=1440)

    assert [(first, count) for _, first, count in fetcher.asked] == [(551, 4), (555, 4), (555, 4), (559, 2)]


def test_without_anything_known_a_failure_is_raised(fetcher: FakeFetcher) -> None:
    fetcher.broken = True

    with pytest.raises(MetricsUnavailable, match="gone"):
        load(LoadHistory(fetcher), 100, API)


def test_a_metric_that_fails_leaves_the_others_alone() -> None:
    class NoRps(FakeFetcher):
        def frontier(self, metric: str, now: datetime) -> datetime | None:
            if metric == "rps":
                raise MetricsUnavailable("no rps here")
            return super().frontier(metric, now)

    loads = load(LoadHistory(NoRps()), 100, API, workload("shop", metric="rps"))

    assert loads.keys() == {"api"}


def test_a_workload_that_is_gone_is_forgotten(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher)
    load(history, 2000, API, WEB, ago=1440)
    load(history, 2061, API, ago=1440)
    fetcher.taken()

    load(history, 2061, API, WEB, ago=1440)

    assert fetcher.taken() == [({"web"}, 612, 10)]


@given(ats=st.lists(st.integers(100, 180), min_size=1, max_size=6), points=st.integers(1, 40))
def test_however_it_was_called_before_the_answer_is_the_same(ats: list[int], points: int) -> None:
    fetcher = FakeFetcher(dead={120, 121, 133}, absent={110, 111})
    kept = LoadHistory(fetcher, max_points=points)

    for at in ats:
        kept_loads, fresh = load(kept, at, API, WEB, length=30), load(LoadHistory(fetcher), at, API, WEB, length=30)
        assert np.array_equal(kept_loads["api"], fresh["api"], equal_nan=True)
        assert np.array_equal(kept_loads["web"], fresh["web"], equal_nan=True)


def test_several_threads_get_whole_answers(fetcher: FakeFetcher) -> None:
    history = LoadHistory(fetcher, max_points=20)
    barrier, answers = threading.Barrier(4, timeout=10), []

    def ask(at: int) -> None:
        barrier.wait()
        answers.append((at, load(history, at, API, WEB, length=200)))

    threads = [threading.Thread(target=ask, args=(1000 + index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(answers) == 4
    assert all(loads["api"] == [*range(at - 199, at + 1)] for at, loads in answers)


class TestSeenHistory:
    def test_a_step_is_the_mean_over_what_was_seen_of_it(self) -> None:
        seen = SeenHistory()
        for start, value in ((0, 1.0), (15, 2.0), (30, 3.0), (45, 6.0)):
            seen.record({API.key: sample(start, start + 15, value)})

        assert self.load(seen, 2) == pytest.approx([3.0, np.nan], nan_ok=True)

    @pytest.mark.parametrize(
        ("seconds", "counts"), [pytest.param(30, True, id="half"), pytest.param(29, False, id="less than half")]
    )
    def test_a_step_counts_when_half_of_it_was_seen(self, seconds: int, counts: bool) -> None:
        seen = SeenHistory()
        seen.record({API.key: sample(0, seconds, 1.0)})

        assert bool(np.isfinite(self.load(seen, 1)[0])) is counts

    def test_what_was_seen_twice_counts_once(self) -> None:
        seen = SeenHistory()
        seen.record({API.key: sample(0, 30, 1.0)})
        seen.record({API.key: sample(0, 30, 1.0)})
        seen.record({API.key: sample(15, 60, 4.0)})

        assert self.load(seen, 1) == [2.5]  # 30 s of 1 and 30 s of 4

    def test_steps_of_several_minutes_are_means_too(self) -> None:
        seen = SeenHistory()
        seen.record({API.key: sample(0, 60, 1.0)})
        seen.record({API.key: sample(60, 240, 2.0)})

        assert self.load(seen, 2, step=2 * STEP) == [1.5, 2.0]

    @pytest.mark.parametrize("longest", [1, 64, 100, 300])
    def test_the_oldest_is_dropped_and_the_newest_kept(self, longest: int) -> None:
        seen = SeenHistory(longest=longest * CELL)
        for minute in range(1000):
            seen.record({API.key: sample(60 * minute, 60 * minute + 60, float(minute))})

        loads = self.load(seen, 1000)
        kept = np.flatnonzero(np.isfinite(loads))

        assert kept[-1] == 999
        assert max(1, longest * 7 // 8 - 1) <= len(kept) <= max(64, longest)
        assert loads[kept[0] :] == [float(minute) for minute in range(kept[0], 1000)]

    def test_a_long_silence_is_a_gap(self) -> None:
        seen = SeenHistory(longest=100 * CELL)
        seen.record({API.key: sample(0, 60, 1.0)})
        seen.record({API.key: sample(60 * 5000, 60 * 5001, 2.0)})

        loads = self.load(seen, 5001)

        assert loads[-1] == 2.0
        assert np.isnan(loads[1:-1]).all()

    def test_others_are_forgotten_and_the_unknown_is_left_out(self) -> None:
        seen = SeenHistory()
        seen.record({API.key: sample(0, 60, 1.0), WEB.key: sample(0, 60, 1.0)})
        seen.keep_only({WEB.key})

        answer = seen.load_between([API, WEB], start=T0, end=T0 + STEP, step=STEP, now=T0 + STEP)

        assert answer.keys() == {WEB.key}

    @staticmethod
    def load(seen: SeenHistory, count: int, step: timedelta = STEP) -> list[float]:
        end = T0 + count * step
        values: list[float] = seen.load_between([API], start=T0, end=end, step=step, now=end)[API.key].tolist()
        return values


def sample(start: float, end: float, value: float) -> Sample:
    return Sample(value, T0 + timedelta(seconds=start), T0 + timedelta(seconds=end))
