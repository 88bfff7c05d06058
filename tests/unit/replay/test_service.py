import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaler.replay.service import Queue


def test_what_exceeds_the_pods_waits_and_what_exceeds_the_queue_is_dropped() -> None:
    # 1 pod serves 10 per tick; the queue holds what it serves in two ticks, so 20
    queue = Queue(1, room_steps=2.0)
    seen = []
    for load in (10.0, 15.0, 40.0, 0.0, 0.0, 5.0):
        late, dropped, served = queue.serve(np.array([load]), np.array([10.0]))
        seen.append([served[0], queue.waiting[0], dropped[0], late[0]])
    # tick 2: 5 wait already, so only 5 of the 40 are served at once
    assert seen == [
        [10, 0, 0, 0],
        [10, 5, 0, 5],
        [10, 20, 15, 35],
        [10, 10, 0, 0],
        [10, 0, 0, 0],
        [5, 0, 0, 0],
    ]


def test_without_pods_everything_is_dropped_unless_somebody_holds_it() -> None:
    nobody, activator = Queue(1, room_steps=2.0), Queue(1, room_steps=2.0, held=10.0)
    assert nobody.serve(np.array([30.0]), np.zeros(1)).dropped.tolist() == [30.0]
    late, dropped, served = activator.serve(np.array([30.0]), np.zeros(1))
    assert (late[0], dropped[0], served[0], activator.waiting[0]) == (30.0, 10.0, 0.0, 20.0)


loads = arrays(np.float64, (60, 2), elements=st.floats(0, 1e4))
pods = arrays(np.int64, (60, 2), elements=st.integers(0, 40))


@given(load=loads, ready=pods, room=st.sampled_from([0.0, 1.0, 2.0, 20.0]))
def test_no_request_is_lost_or_invented(load: np.ndarray, ready: np.ndarray, room: float) -> None:
    queue = Queue(2, room_steps=room)
    arrived, gone = np.zeros(2), np.zeros(2)
    for arriving, can_serve in zip(load, ready * 10.0, strict=True):
        late, dropped, served = queue.serve(arriving, can_serve)
        arrived += arriving
        gone += served + dropped
        assert np.abs(arrived - gone - queue.waiting).max() <= 1e-6
        assert (served <= can_serve).all()
        assert (queue.waiting <= can_serve * room).all()
        assert ((late >= 0) & (late <= arriving)).all()
        assert (dropped >= 0).all()
