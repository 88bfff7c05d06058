import numpy as np

from scaler.replay.fixed_lanes import FixedLanes
from tests.unit.replay.simulated import lane, lanes


def test_a_fixed_count_is_there_from_the_start_and_stays_within_the_bounds() -> None:
    simulated = lanes([[35.0, 900.0, np.nan, 0.0]], [lane(), lane(least=3), lane(most=8)])
    fixed = FixedLanes(simulated, np.array([7, 1, 9]))
    for tick in range(16):
        fixed.advance(tick)
        assert fixed.pods.ready.tolist() == [7, 3, 8]
        assert fixed.pods.counts.paid.tolist() == [7, 3, 8]
