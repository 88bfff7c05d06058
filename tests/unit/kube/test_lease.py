from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler.kube.api import Conflict, Json, KubeApi, NotFound, Unreachable
from scaler.kube.lease import Leadership, LeaseConfig, boot_clock, identity_of
from scaler.kube.resources import Resource
from tests.unit.kube.conftest import SteppedClock
from tests.unit.kube.server import FakeKube

T0 = datetime(2026, 11, 24, 9, tzinfo=UTC)
PATH = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/ai-hpa"


@dataclass
class Shelf:
    """The one lease, as the API server keeps it."""

    lease: Json | None = None
    version: int = 0

    def get(self) -> Json:
        if self.lease is None:
            raise NotFound("no lease", status=404)
        return copy.deepcopy(self.lease)

    def put(self, body: Json, *, new: bool) -> Json:
        if new != (self.lease is None):
            raise Conflict("stands already", status=409) if new else NotFound("no lease", status=404)
        if self.lease is not None and body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed", status=409)
        self.version += 1
        uid = f"uid-{self.version}" if self.lease is None else self.lease["metadata"]["uid"]
        self.lease = copy.deepcopy(body)
        self.lease["metadata"] |= {"resourceVersion": str(self.version), "uid": uid}
        return self.get()


def free() -> Shelf:
    """A shelf with a lease that was given back."""
    shelf = Shelf()
    shelf.put({"metadata": {}, "spec": {"holderIdentity": "", "leaseTransitions": 3}}, new=True)
    return shelf


@dataclass
class Line:
    """One candidate's way to the shelf. What is on order befalls its next calls, one each.

    Attributes:
        orders: `ok`, `lost` (nothing is done), `unanswered` (it is done, and nobody says so).
        before, after: What happens while a call is on its way there, and back.
    """

    shelf: Shelf
    orders: list[str] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        return self._call("get", self.shelf.get)

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        return self._call("create", lambda: self.shelf.put(body, new=True))

    def replace(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        return self._call("replace", lambda: self.shelf.put(body, new=False))

    def _call(self, name: str, act: Callable[[], Json]) -> Json:
        order = self.orders.pop(0) if self.orders else "ok"
        self.calls.append(name)
        self.before()
        if order == "lost":
            raise Unreachable("lost")
        answer = act()
        self.after()
        if order == "unanswered":
            raise Unreachable("unanswered")
        return answer


def candidate(line: Line, identity: str, clock: Callable[[], float]) -> Leadership:
    return Leadership(
        line, LeaseConfig("ns", "ai-hpa", identity), wall_clock=lambda: T0, clock=clock, uniform=lambda low, high: high
    )


@dataclass
class Pair:
    """Two candidates for one lease, each with a clock of its own that shows another time."""

    clock: SteppedClock
    shelf: Shelf
    lines: tuple[Line, Line]
    a: Leadership
    b: Leadership

    def holders(self) -> str:
        return "a" * self.a.held() + "b" * self.b.held()

    def run(self, seconds: float, *, alive: str = "ab", step: float = 0.25) -> str:
        """Let the living take their turns; who held the lease, in order."""
        seen = ""
        due = {"a": self.clock.now, "b": self.clock.now}
        end = self.clock.now + seconds
        while self.clock.now < end:
            for name in alive:
                if self.clock.now >= due[name]:
                    due[name] = self.clock.now + (self.a if name == "a" else self.b).step()
            assert len(self.holders()) <= 1
            if self.holders() and not seen.endswith(self.holders()):
                seen += self.holders()
            self.clock.sleep(step)
        return seen


@pytest.fixture
def pair(clock: SteppedClock) -> Pair:
    shelf = Shelf()
    lines = Line(shelf), Line(shelf)
    return Pair(
        clock, shelf, lines, candidate(lines[0], "a", clock), candidate(lines[1], "b", lambda: clock.now - 900.0)
    )


def test_the_first_candidate_holds_it_and_keeps_it(pair: Pair) -> None:
    assert pair.run(10.0) == ""  # there may have been a lease, and be a holder that does not know yet
    assert pair.run(60.0) == "a"
    assert pair.b.holder == "a"
    assert pair.shelf.lease is not None
    assert pair.shelf.lease["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 10,
        "acquireTime": "2026-11-24T09:00:00.000000Z",
        "renewTime": "2026-11-24T09:00:00.000000Z",
        "leaseTransitions": 0,
    }


def test_a_holder_that_is_killed_is_replaced_within_15_s_and_not_sooner_than_its_lease(pair: Pair) -> None:
    pair.run(20.0)
    died = pair.clock.now
    while not pair.b.held():
        pair.run(0.25, alive="b")
    assert 8.0 <= pair.clock.now - died <= 13.0
    assert pair.shelf.lease is not None
    assert pair.shelf.lease["spec"]["leaseTransitions"] == 1


def test_a_holder_whose_calls_are_lost_stops_before_another_starts(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost"] * 1000
    assert pair.run(30.0) == "ab"  # `run` asserts that they never hold it together
    pair.lines[0].orders = []
    assert pair.run(30.0) == "b"


def test_a_holder_is_not_replaced_while_nobody_reaches_the_server(pair: Pair) -> None:
    pair.run(20.0)
    for line in pair.lines:
        line.orders = ["lost"] * 1000
    pair.run(30.0)
    assert pair.holders() == ""
    for line in pair.lines:
        line.orders = []
    assert pair.run(20.0) in {"a", "b"}


def test_a_renewal_that_fails_once_is_tried_again_in_time(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost", "ok", "unanswered"]
    assert pair.run(30.0) == "a"


def test_it_counts_from_when_the_renewal_began(clock: SteppedClock) -> None:
    line = Line(free(), before=lambda: clock.sleep(3.0))
    leader = candidate(line, "a", clock)
    leader.step()  # 3 s to read, 3 s to write
    clock.sleep(8.0 - 3.0 - 0.1)
    assert leader.held()
    clock.sleep(0.2)
    assert not leader.held()


def test_a_lease_that_was_given_back_is_taken_at_once(pair: Pair) -> None:
    pair.run(20.0)
    pair.a.release()
    assert not pair.a.held()
    assert pair.run(2.5, alive="b") == "b"
    assert pair.a.step() > 0.0  # it stands no more
    assert not pair.a.held()


def test_giving_back_what_another_took_changes_nothing(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost"] * 1000
    pair.run(20.0)
    pair.lines[0].orders = []
    pair.a.release()
    assert pair.shelf.lease is not None
    assert pair.shelf.lease["spec"]["holderIdentity"] == "b"


def test_giving_back_after_a_lost_renewal_reads_first(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost"]
    pair.a.step()
    pair.a.release()
    assert pair.shelf.lease is not None
    assert pair.shelf.lease["spec"]["holderIdentity"] == ""
    assert pair.lines[0].calls[-2:] == ["get", "replace"]


def test_what_another_took_by_force_is_not_given_back(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost"]
    pair.a.step()
    assert pair.shelf.lease is not None
    pair.shelf.lease["spec"]["holderIdentity"] = "c"
    pair.a.release()
    assert pair.shelf.lease["spec"]["holderIdentity"] == "c"


def test_giving_back_in_vain_raises_nothing(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[0].orders = ["lost"] * 5
    pair.a.release()
    assert not pair.a.held()


def test_of_two_that_create_it_one_holds(pair: Pair) -> None:
    pair.a.step()
    pair.b.step()
    pair.clock.sleep(11.0)
    done: list[float] = []

    def meanwhile() -> None:
        pair.lines[0].before = lambda: None
        done.append(pair.b.step())

    pair.lines[0].before = meanwhile
    pair.a.step()
    assert done
    assert pair.holders() == "b"
    assert pair.run(10.0) == "b"


def test_a_holder_that_finds_another_in_its_place_waits_like_anybody(pair: Pair) -> None:
    pair.run(20.0)
    assert pair.shelf.lease is not None
    taken = copy.deepcopy(pair.shelf.lease)
    taken["spec"] |= {"holderIdentity": "c", "leaseDurationSeconds": 15}
    pair.shelf.put(taken, new=False)
    began = pair.clock.now
    pair.run(14.0)
    assert pair.holders() == ""
    pair.run(6.0)
    assert pair.holders() in {"a", "b"}
    assert pair.clock.now - began > 15.0  # the other said 15 s, so 15 s it is


def test_a_lease_that_is_deleted_is_not_free_at_once(pair: Pair) -> None:
    pair.run(20.0)
    pair.shelf.lease = None
    assert pair.run(30.0)  # never two, which `run` asserts
    assert pair.holders() in {"a", "b"}


def test_the_holder_renews_in_one_call(pair: Pair) -> None:
    pair.run(20.0, alive="a")
    pair.lines[0].calls.clear()
    pair.run(20.0, alive="a")
    assert pair.lines[0].calls == ["replace"] * 10


def test_waiting_costs_two_calls_in_three_seconds(pair: Pair) -> None:
    pair.run(20.0)
    pair.lines[1].calls.clear()
    pair.run(20.0)
    assert 12 <= len(pair.lines[1].calls) <= 15


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"identity": ""}, "identity", id="no identity"),
        pytest.param({"renew_every": 8.0}, "renew_every", id="renewed too late"),
        pytest.param({"safety_margin": 0.0}, "safety_margin|margin", id="no margin"),
        pytest.param({"retry_every": 3.0}, "retry_every", id="retried later than renewed"),
    ],
)
def test_times_with_which_nobody_could_hold_it_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LeaseConfig(**{"namespace": "ns", "name": "l", "identity": "a", **changes})  # type: ignore[arg-type]


def test_no_two_processes_are_the_same() -> None:
    assert identity_of("pod") != identity_of("pod")
    assert identity_of("pod").startswith("pod_")
    assert boot_clock() <= boot_clock()


def test_with_a_real_server_it_is_held_told_and_given_back(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PATH.rpartition("/")[0], {"metadata": {"name": "ai-hpa"}, "spec": {"holderIdentity": ""}})
    stop, started, stopped = threading.Event(), threading.Event(), threading.Event()
    leader = Leadership(api, LeaseConfig("ns", "ai-hpa", "a"), wall_clock=lambda: T0)
    leader.on_started, leader.on_stopped = started.set, stopped.set
    thread = leader.start(stop)
    assert started.wait(5.0)
    assert leader.held()
    assert kube.objects[PATH]["spec"]["holderIdentity"] == "a"
    stop.set()
    thread.join(5.0)
    assert stopped.is_set()
    assert not leader.held()
    assert kube.objects[PATH]["spec"]["holderIdentity"] == ""


def test_a_bug_leaves_the_candidate_standing(clock: SteppedClock) -> None:
    stop, started = threading.Event(), threading.Event()
    line = Line(free())
    calls = iter([ZeroDivisionError("a bug")])

    def fail_once() -> None:
        error = next(calls, None)
        if error is not None:
            raise error

    line.before = fail_once
    leader = Leadership(line, LeaseConfig("ns", "l", "a", retry_every=0.01), wall_clock=lambda: T0)
    leader.on_started = started.set
    thread = leader.start(stop)
    assert started.wait(5.0)
    stop.set()
    thread.join(5.0)


NAMES = st.sampled_from("abc")
SECONDS = st.floats(0.0, 15.0)


class TwoNeverHold(RuleBasedStateMachine):
    """Three candidates whose clocks differ in time and speed; calls are lost, late, unanswered, and cross."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SteppedClock()
        self.shelf = Shelf()
        self.lines = {name: Line(self.shelf) for name in "abc"}
        speeds = {"a": 1.0, "b": 1.1, "c": 0.95}

        def clock_of(name: str) -> Callable[[], float]:
            return lambda: 7.0 * ord(name) + speeds[name] * self.clock.now

        self.candidates = {name: candidate(self.lines[name], name, clock_of(name)) for name in "abc"}

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(name=NAMES, order=st.sampled_from(["ok", "ok", "lost", "unanswered"]))
    def steps(self, name: str, order: str) -> None:
        self.lines[name].orders = [order, "ok"] if order == "ok" else ["ok", order]
        self.candidates[name].step()
        self.lines[name].orders = []

    @rule(name=NAMES, other=NAMES, there=SECONDS, back=SECONDS, number=st.integers(0, 1))
    def is_paused_in_a_call(self, name: str, other: str, there: float, back: float, number: int) -> None:
        """A call takes long on either way, and another candidate steps at each of them."""
        line, count = self.lines[name], 0

        def pause(seconds: float) -> None:
            if count == number + 1:
                self.clock.sleep(seconds)
                if other != name:
                    self.candidates[other].step()
                self.at_most_one_holds()

        def before() -> None:
            nonlocal count
            count += 1
            pause(there)

        line.before, line.after = before, lambda: pause(back)
        self.candidates[name].step()
        line.before = line.after = lambda: None

    @rule(name=NAMES)
    def starts_again(self, name: str) -> None:
        """The process is killed, and its successor has another identity and remembers nothing."""
        old = self.candidates[name]
        self.candidates[name] = candidate(self.lines[name], f"{old.identity}'", old._clock)

    @rule(name=NAMES)
    def gives_back(self, name: str) -> None:
        self.candidates[name].release()
        self.starts_again(name)

    @precondition(lambda self: all(each._known for each in self.candidates.values()))
    @rule(name=NAMES)
    def finds_no_lease(self, name: str) -> None:
        """Somebody deletes the lease, which all have seen."""
        self.shelf.lease = None
        self.candidates[name].step()

    @invariant()
    def at_most_one_holds(self) -> None:
        holders = [name for name, each in self.candidates.items() if each.held()]
        assert len(holders) <= 1, holders


TwoNeverHold.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestTwoNeverHold = TwoNeverHold.TestCase
