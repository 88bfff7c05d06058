"""One part of some cases as lanes: case x setting x seed, all under the same load, metrics and luck whoever scales."""

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
        metrics: A column for each case and seed, cases first.
    """

    cases: tuple[Case, ...]
    settings: BacktestSettings
    metrics: Metrics

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
        """How far the true time of each load is ahead of the common clock; 0 where a trace has no time of day."""
        nothing = timedelta(0)
        return [case.start - EPOCH if case.has_clock else nothing for case in self.cases for _ in self.settings.seeds]

    def plan(self, settings: Sequence[Sequence[S]]) -> LanePlan[S]:
        """Make a lane for every seed of every setting.

        Args:
            settings: Of each case; as many for every one of them.
        """
        seeds = self.settings.seeds
        rows, of = [], []
        for number, (case, own) in enumerate(zip(self.cases, settings, strict=True)):
            for setting in own:
                for place, seed in enumerate(seeds):
                    rows.append(
                        Lane(
                            load=number * len(seeds) + place,
                            capacity=case.capacity,
                            min_replicas=case.min_replicas,
                            max_replicas=case.max_replicas,
                            start_up=self.settings.start_up,
                            seed=seed,
                        )
                    )
                    of.append(setting)
        return LanePlan(lanes_of(rows, self.metrics, self.settings.physics), tuple(of), len(seeds))

    def load(self, case: int, window: range) -> FloatArray:
        """Load of a case in a window, first seed. Shape (n,)."""
        load: FloatArray = self.metrics.load[window.start : window.stop, case * len(self.settings.seeds)]
        return load

    def needed_pod_hours(self, case: int, window: range) -> float:
        """Sum of d_t over a window, mean over seeds."""
        seeds, capacity = len(self.settings.seeds), self.cases[case].capacity
        load = self.metrics.load[window.start : window.stop, case * seeds : (case + 1) * seeds]
        return float(np.nansum(pods_needed(load, capacity)) / seeds) * (TICK / timedelta(hours=1))

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
    demands = [case.demand(seed, settings.physics, start=EPOCH) for case in cases for seed in settings.seeds]
    return Stage(tuple(cases), settings, Metrics(demands, settings.physics.metric_delay))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average every score over seeds."""
    return Scores(**{f.name: float(np.mean([getattr(one, f.name) for one in scores])) for f in fields(Scores)})
