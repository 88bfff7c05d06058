from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.replay.hpa import DEFAULT_SCALE_DOWN
from scaler.replay.physics import Physics
from tests.unit.replay.simulated import lane, lanes, run, under_hpa


def test_the_hpa_sees_the_delayed_load_and_orders_pods_for_its_target() -> None:
    # 70 of load / 7 per pod = 10 pods; the jump at minute 3 is visible at minute 5, tick 20
    (ordered,) = run(under_hpa(lanes([[35.0] * 3 + [70.0] * 7])), range(8, 24))
    assert ordered == [5] * 12 + [10] * 4


def test_pods_that_still_start_are_not_ordered_again() -> None:
    hpas = under_hpa(lanes([[35.0] * 3 + [70.0] * 7]))
    run(hpas, range(8, 26))
    assert hpas.pods.ready.tolist() == [5]
    (ordered,) = run(hpas, range(26, 40))  # ordered at tick 20, six ticks to start
    assert hpas.pods.ready.tolist() == [10]
    assert ordered == [10] * 14


def test_new_pods_are_missing_at_first_and_then_unready() -> None:
    at_once = replace(DEFAULT_SCALE_DOWN, stabilization_window=timedelta(0))
    hpas = under_hpa(lanes([[42.0] * 10]), ready=10, down=at_once)
    for floor, ticks in ((10, range(8, 12)), (20, range(12, 20))):
        hpas.floor[:] = floor
        run(hpas, ticks)
    assert hpas.pods.ready.tolist() == [20]  # ordered at tick 12, six ticks to start
    hpas.floor[:] = 1
    (ordered,) = run(hpas, range(20, 25))
    # Until tick 24 the newest window ends at tick 16, with ten pods at 0.6 of the target. The new ones are missing and
    # count as at the target: 6 + 10, 6 + 6, 6 + 2; then 0.6 x 8. The next window ends at tick 20: the load over 10,
    # 10, 20 and 20 pods is 0.4 of the target, 0.4 x 5.
    assert ordered == [16, 12, 8, 5, 2]


def test_a_pod_without_a_whole_window_is_unready_to_the_hpa() -> None:
    at_once = replace(DEFAULT_SCALE_DOWN, stabilization_window=timedelta(0))
    hpas = under_hpa(lanes([[42.0] * 10]), ready=10, down=at_once)
    for floor, ticks in ((10, range(8, 12)), (20, range(12, 24))):
        hpas.floor[:] = floor
        run(hpas, ticks)
    hpas.floor[:] = 1
    # The window that ends at tick 20 saw 10, 10, 20 and 20 pods: 0.4 of the target. Ten of them count, the new do not.
    assert run(hpas, range(24, 25)) == [[4]]


def test_a_pod_that_came_and_went_since_the_window_is_not_taken_for_one_that_stayed() -> None:
    hpas = under_hpa(lanes([[70.0] * 10], [lane(start_seconds=15.0)]), ready=10)
    run(hpas, range(16, 21))  # the newest window ends at tick 16 until tick 24
    hpas.pods.scale(20, np.array([4]))
    hpas.advance(21)
    assert hpas.pods.ordered.tolist() == [4]  # to the HPA all is well: the window saw ten pods at their target
    hpas.pods.scale(21, np.array([10]))
    hpas.pods.advance(22)
    seen = hpas._api.read(22)
    assert (seen.measured.tolist(), seen.unready.tolist(), seen.missing.tolist()) == ([4], [0], [6])


def test_pods_are_told_apart_by_what_the_metrics_can_say_of_them() -> None:
    hpas = under_hpa(lanes([[14.0] * 10], [lane(start_seconds=30.0)]), ready=2)
    for tick in range(12, 24):
        hpas.floor[:] = {16: 5, 20: 9, 23: 10}.get(tick, hpas.floor[0])
        hpas.advance(tick)
    hpas.pods.advance(24)
    seen = hpas._api.read(24)
    # The newest window lasts from tick 16 to 20. Two pods were ready all the while, three became so at tick 18, four
    # at tick 22, and one still starts.
    assert (seen.measured.tolist(), seen.unready.tolist(), seen.missing.tolist()) == ([2], [4], [4])


def test_without_metrics_the_hpa_holds() -> None:
    (ordered,) = run(under_hpa(lanes([[35.0] * 3 + [np.nan] * 7])), range(8, 40))
    assert set(ordered) == {5}


def test_before_anything_is_known_the_hpa_holds() -> None:
    (ordered,) = run(under_hpa(lanes([[35.0] * 3]), ready=9), range(8))
    assert set(ordered) == {9}


def test_a_raised_floor_takes_effect_at_the_next_sync_and_in_its_lane_alone() -> None:
    hpas = under_hpa(lanes([[35.0] * 10], [lane(), lane()]))
    run(hpas, range(8, 10))
    hpas.floor[1] = 9
    assert hpas.pods.ordered.tolist() == [5, 5]
    assert run(hpas, range(10, 12)) == [[5, 5], [9, 9]]


def test_the_noise_of_pods_is_seen_by_the_hpa_and_shrinks_with_their_number() -> None:
    noisy = lanes([[35.0] * 400], physics=Physics(noise_ratio=0.0, pod_noise_ratio=0.2))
    one, hundred = (
        np.array([noisy.pod_noise(tick, np.array([pods]))[0] for tick in range(1600)]) for pods in (1.0, 100.0)
    )
    assert one.mean() == pytest.approx(1.0, abs=0.02)
    assert one.std() == pytest.approx(0.2, rel=0.1)
    assert hundred.std() == pytest.approx(0.02, rel=0.1)
    (ordered,) = run(under_hpa(noisy), range(8, 1600))
    assert len(set(ordered)) > 1  # a steady load, and still it moves


def test_pods_begin_as_a_patient_autoscaler_would_have_left_them() -> None:
    simulated = lanes([[35.0, 70.0, np.nan], [1.0, 900.0, 5.0]], [lane(0), lane(1), lane(1, least=4)])
    pods = simulated.settled_pods(12, np.full(3, 7.0))
    # the newest known load: 70 / 7; 5 / 7; and the minimum of four
    assert pods.ready.tolist() == [10, 1, 4]
    assert lanes([[900.0]]).settled_pods(4, np.full(1, 7.0)).ready.tolist() == [50]  # the maximum


def test_pods_cannot_begin_where_nothing_was_seen() -> None:
    with pytest.raises(ValueError, match="no load is known before"):
        lanes([[np.nan, 3.0]]).settled_pods(4, np.full(1, 7.0))


@settings(max_examples=25, deadline=None)  # four simulations each
@given(
    loads=st.lists(
        st.lists(st.floats(0, 400) | st.just(float("nan")), min_size=20, max_size=20), min_size=2, max_size=2
    ),
    starts=st.lists(st.sampled_from([5.0, 60.0, 300.0]), min_size=3, max_size=3),
    floors=st.lists(st.integers(0, 30), min_size=40, max_size=40),
)
def test_a_lane_alone_is_the_lane_in_the_batch(
    loads: list[list[float]], starts: list[float], floors: list[int]
) -> None:
    rows = [lane(load, start, seed=seed) for load, start, seed in zip((0, 1, 0), starts, (3, 3, 4), strict=True)]
    physics = Physics(metric_delay=timedelta(seconds=45))
    batch = under_hpa(lanes(loads, rows, physics))
    alone = [under_hpa(lanes(loads, [row], physics)) for row in rows]
    for tick, floor in enumerate(floors, start=12):
        for hpas in (batch, *alone):
            hpas.floor[:] = floor
            hpas.advance(tick)
        for number, one in enumerate(alone):
            for name in ("ready", "ordered", "starting", "terminating", "serving"):
                assert getattr(batch.pods, name)[number] == getattr(one.pods, name)[0]


@given(
    past=st.lists(st.floats(0, 100) | st.just(np.nan), min_size=3, max_size=9),
    futures=st.tuples(*[st.lists(st.floats(0, 100), min_size=6, max_size=6)] * 2),
)
def test_changing_the_future_changes_nothing_that_is_done_earlier(
    past: list[float], futures: tuple[list[float], list[float]]
) -> None:
    first_unlike = 4 * (len(past) + 2)  # a step after the past, and the metric delay
    done = [run(under_hpa(lanes([past + future])), range(8, first_unlike)) for future in futures]
    assert done[0] == done[1]
