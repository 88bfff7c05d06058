"""One part of some cases as lanes: case x setting x seed, under the same load, metrics and luck whoever scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from scaler.backtest.case import BacktestSettings, Case, ticks_of
from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray, pods_needed
from scaler.replay.lanes import Lane, Lanes, lanes_of
from scaler.replay.metrics import Metrics
from scaler.replay.play import Played
from scaler.replay.scores import Scores
from scaler.replay.traces import EPOCH

S = TypeVar("S")


class Outcome(NamedTuple):
    """What one setting did for one case.

    Attributes:
        scores: Means over seeds.
        ready: Pods of the first seed at each tick; empty where they were not watched. Shape (n,).
    """

    scores: Scores
    ready: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Cases of one shape and their loads.

    Attributes:
        cases: What is simulated together; of one shape.
        metrics: A column for each load and seed, loads first.
        load_of: Which load each case has: cases that differ in all else share one, and what is forecast of it.
    """

    cases: tuple[Case, ...]
    settings: BacktestSettings
    metrics: Metrics
    load_of: tuple[int, ...]

    @property
    def begin(self) -> int:
        """The first tick before which every case has a value: nothing can begin sooner."""
        return int((~np.isnan(self.metrics.load)).argmax(axis=0).max()) + 1

    @property
    def deciding(self) -> range:
        """Ticks of the part that the verdict is decided on."""
        return self._part(self.cases[0].decided - self.cases[0].start, self.cases[0].checked - self.cases[0].start)

    @property
    def checking(self) -> range:
        """Ticks of the part that is scored."""
        return self._part(self.cases[0].checked - self.cases[0].start, self.cases[0].end - self.cases[0].start)

    @property
    def ahead(self) -> list[timedelta]:
        """How far the true time of each column is ahead of the common clock; 0 where a trace has no time of day."""
        nothing = timedelta(0)
        return [
            case.start - EPOCH if case.has_clock else nothing
            for case in one_of_each_load(self.cases, self.load_of)
            for _ in self.settings.seeds
        ]

    def plan(self, settings: Sequence[Sequence[S]]) -> LanePlan[S]:
        """Make a lane for every seed of every setting.

        Args:
            settings: Of each case; as many for every one of them.
        """
        seeds = self.settings.seeds
        rows, of = [], []
        for load, case, own in zip(self.load_of, self.cases, settings, strict=True):
            for setting in own:
                for place, seed in enumerate(seeds):
                    rows.append(
                        Lane(
                            load=load * len(seeds) + place,
                            capacity=case.capacity,
                            min_replicas=case.min_replicas,
                            max_replicas=case.max_replicas,
                            start_up=case.start_up,
                            seed=seed,
                        )
                    )
                    of.append(setting)
        return LanePlan(lanes_of(rows, self.metrics, self.settings.physics), tuple(of), len(seeds))

    def load(self, case: int, window: range) -> FloatArray:
        """Load of a case in a window, first seed. Shape (n,)."""
        load: FloatArray = self.metrics.load[window.start : window.stop, self._columns(case).start]
        return load

    def needed_pod_hours(self, case: int, window: range) -> float:
        """Sum of d_t over a window, mean over seeds."""
        columns = self._columns(case)
        load = self.metrics.load[window.start : window.stop, columns.start : columns.stop]
        needed = pods_needed(load, self.cases[case].capacity)
        return float(np.nansum(needed) / len(columns)) * (TICK / timedelta(hours=1))

    def _columns(self, case: int) -> range:
        """Give the columns of a case, one for each seed."""
        seeds = len(self.settings.seeds)
        return range(self.load_of[case] * seeds, (self.load_of[case] + 1) * seeds)

    def _part(self, start: timedelta, end: timedelta) -> range:
        clock = self.metrics.clock
        return ticks_of(clock, clock.start + start, clock.start + end)


@dataclass(frozen=True, slots=True, eq=False)
class LanePlan(Generic[S]):
    """Lanes and what each of them is set to.

    Attributes:
        of: Setting of each lane; the seeds of one setting follow each other.
    """

    lanes: Lanes
    of: tuple[S, ...]
    seeds: int

    @property
    def first_seeds(self) -> range:
        """The lanes of the first seed."""
        return range(0, len(self.of), self.seeds)

    def outcomes(self, played: Played) -> list[Outcome]:
        """Average over seeds; one for each setting of each case, in order.

        Args:
            played: With the lanes of the first seed watched, or none.
        """
        watched = played.ready.shape[1] > 0
        return [
            Outcome(
                mean_scores(played.scores[first : first + self.seeds]),
                played.ready[:, row] if watched else np.zeros(0, dtype=np.int64),
            )
            for row, first in enumerate(self.first_seeds)
        ]


def stage_of(cases: Sequence[Case], settings: BacktestSettings) -> Stage:
    """Put the loads of cases of one shape side by side, on a common clock that begins at 0."""
    place: dict[tuple[object, ...], int] = {}
    load_of = tuple(place.setdefault(case.load_key, len(place)) for case in cases)
    demands = [
        case.demand(seed, settings.physics, start=EPOCH)
        for case in one_of_each_load(cases, load_of)
        for seed in settings.seeds
    ]
    return Stage(tuple(cases), settings, Metrics(demands, settings.physics.metric_delay), load_of)


def one_of_each_load(of: Sequence[S], load_of: Sequence[int]) -> list[S]:
    """Give one of those that share each load, in the order of loads."""
    one = dict(zip(load_of, of, strict=True))
    return [one[load] for load in range(len(one))]


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average every score over seeds."""
    return Scores(**{f.name: float(np.mean([getattr(one, f.name) for one in scores])) for f in fields(Scores)})
