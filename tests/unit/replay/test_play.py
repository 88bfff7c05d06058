from datetime import timedelta

import numpy as np
import pytest

from scaler.replay.demand import TICK
from scaler.replay.fixed_lanes import FixedLanes
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.kpa import SUB_TICK, KpaConfig
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.lanes import Lanes
from scaler.replay.play import nothing, play, play_kpa
from tests.unit.replay.simulated import BARE, lane, lanes, under_hpa

HOUR = timedelta(hours=1)


class Told(HpaLanes):
    """HPAs that say when they act."""

    story: list[tuple[str, int]]

    def advance(self, tick: int) -> None:
        self.story.append(("act", tick))
        super().advance(tick)


def told(simulated: Lanes) -> Told:
    hpas = under_hpa(simulated)
    hpas.__class__ = Told
    assert isinstance(hpas, Told)
    hpas.story = []
    return hpas


def test_in_each_tick_comes_what_is_before_then_the_autoscaler_then_what_is_after() -> None:
    hpas = told(lanes([[35.0] * 5]))
    play(
        hpas,
        range(8, 11),
        before=lambda tick: hpas.story.append(("before", tick)),
        after=lambda tick: hpas.story.append(("after", tick)),
    )
    assert hpas.story == [(what, tick) for tick in range(8, 11) for what in ("before", "act", "after")]


def test_what_is_set_before_a_tick_acts_in_it_and_what_is_set_after_in_the_next() -> None:
    for name, first in (("before", 10), ("after", 11)):
        hpas = under_hpa(lanes([[35.0] * 5]))

        def raise_at_ten(tick: int, hpas: HpaLanes = hpas) -> None:
            if tick == 10:
                hpas.floor[:] = 9

        hooks = {"before": nothing, "after": nothing} | {name: raise_at_ten}
        ordered = play(hpas, range(8, 13), before=hooks["before"], after=hooks["after"], watched=[0]).ordered
        assert ordered[:, 0].tolist() == [5 if tick < first else 9 for tick in range(8, 13)]


def test_a_tick_is_scored_with_the_pods_it_had_when_it_was_served() -> None:
    # five pods of ten carry fifty; the load is sixty in the second minute alone, and the window ends with it
    fixed = FixedLanes(lanes([[50.0, 60.0, 60.0]], [lane(), lane()]), np.array([5, 6]))
    short, enough = play(fixed, range(8)).scores
    assert (short.under_time, enough.under_time) == (0.5, 0.0)
    assert short.scored_hours == pytest.approx(2 / 60)
    assert [short.pod_hours, enough.pod_hours] == pytest.approx([10 / 60, 12 / 60])
    # all of the second minute's requests that do not fit wait or are dropped
    assert short.late_requests > 0.08
    assert enough.late_requests == 0.0


def test_watched_lanes_are_kept_tick_by_tick_and_in_the_order_asked_for() -> None:
    fixed = FixedLanes(lanes([[10.0] * 5], [lane(), lane(), lane()]), np.array([1, 2, 3]))
    played = play(fixed, range(4, 9), watched=[2, 0])
    assert played.ready.tolist() == played.ordered.tolist() == [[3, 1]] * 5
    assert play(fixed, range(9, 12)).ready.shape == (3, 0)


def test_what_was_ordered_is_ready_once_it_has_started() -> None:
    hpas = under_hpa(lanes([[35.0] * 5], [lane(start_seconds=30.0)]))
    hpas.floor[:] = 9
    played = play(hpas, range(8, 12), watched=[0])
    assert played.ordered[:, 0].tolist() == [9] * 4
    assert played.ready[:, 0].tolist() == [5, 5, 9, 9]


def test_a_window_of_unknown_load_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="at least one observed value"):
        play(FixedLanes(lanes([[10.0, np.nan]]), np.array([1])), range(4, 8))


def kpas(simulated: Lanes, start: int) -> KpaLanes:
    pods = simulated.settled_pods(start, simulated.capacity * 0.7, SUB_TICK)
    clock = simulated.metrics.clock
    return KpaLanes(simulated, KpaConfig(), pods, began=sub_ticks(clock, clock.time_of(start)).start)


@pytest.mark.parametrize("window", [pytest.param(range(8, 16), id="even"), pytest.param(range(9, 14), id="odd")])
def test_the_kpa_passes_a_window_in_sub_ticks_and_is_watched_once_a_tick(window: range) -> None:
    simulated = lanes([[35.0] * 10], [lane(), lane()])
    seen: list[int] = []
    scaled = kpas(simulated, window.start)
    played = play_kpa(scaled, window, after=seen.append, watched=[1])
    assert seen == list(window)
    assert played.ready.tolist() == played.ordered.tolist() == [[5]] * len(window)
    # sub-ticks that begin within the window, each once: eight or seven to a tick
    count = len([n for n in range(0, 400) if window.start <= n * SUB_TICK // TICK < window.stop])
    assert played.scores[0].scored_hours == pytest.approx(count * SUB_TICK / HOUR)
    assert played.scores[0].pod_hours == pytest.approx(5 * count * SUB_TICK / HOUR)


def test_the_window_of_the_kpa_ends_with_the_load() -> None:
    simulated = lanes([[35.0] * 3])
    seen: list[int] = []
    play_kpa(kpas(simulated, 8), range(8, 12), after=seen.append)
    assert seen == [8, 9, 10, 11]


def test_what_is_set_after_the_first_sub_tick_of_a_tick_acts_in_its_next() -> None:
    simulated = lanes([[35.0] * 5])
    scaled, at = kpas(simulated, 8), []

    def raise_at_ten(tick: int) -> None:
        at.append((tick, int(scaled.pods.ordered[0])))
        if tick == 10:
            scaled.floor[:] = 9

    ordered = play_kpa(scaled, range(8, 13), after=raise_at_ten, watched=[0]).ordered[:, 0]
    assert at == [(8, 5), (9, 5), (10, 5), (11, 9), (12, 9)]
    assert ordered.tolist() == [5, 5, 5, 9, 9]


def test_what_waits_at_the_activator_reaches_the_kpa() -> None:
    # Sixty of load on five pods: ten wait in each second, and ask for pods beyond what the load itself needs.
    patient = lanes([[35.0] * 4 + [60.0] * 4], physics=BARE)
    ordered = play_kpa(kpas(patient, 8), range(8, 24), watched=[0]).ordered[:, 0]
    assert ordered[-1] > 9  # 60 / 7


def test_the_first_requests_of_a_service_at_zero_are_held_until_its_pod_is_there() -> None:
    simulated = lanes([[0.0, 5.0, 5.0, 5.0]], [lane(start_seconds=10.0, least=0)])
    played = play_kpa(kpas(simulated, 3), range(3, 16), watched=[0])
    assert played.ready[0, 0] == 0
    assert played.ready[-1, 0] >= 1
    assert played.scores[0].late_requests > 0
    assert played.scores[0].dropped_requests == 0


def test_every_sub_tick_is_told_once_its_kpa_has_acted() -> None:
    scaled = kpas(lanes([[35.0] * 3 + [140.0] * 2], [lane(start_seconds=20.0)]), 8)
    told: list[tuple[int, int]] = []
    play_kpa(scaled, range(8, 16), after_each=lambda n: told.append((n, int(scaled.pods.ordered[0]))))
    assert [n for n, _ in told] == list(range(60, 120))
    raised = next(n for n, ordered in told if ordered > 5)
    assert 0 < raised - timedelta(minutes=3) // SUB_TICK <= 3  # within the panic window, not at the next tick
