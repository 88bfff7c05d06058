from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.api import Forbidden, Gone, Json, KubeApi, KubeError, Listing, NotFound, ServerBusy, Unreachable
from scaler.kube.resources import PODS, SCALED_OBJECTS, Resource
from scaler.kube.watch import (
    ABSENT_WAIT_SECONDS,
    FORBIDDEN_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    STALE_AFTER_SECONDS,
    Cache,
    FullName,
    Index,
    Reflector,
)
from tests.unit.kube.conftest import SteppedClock
from tests.unit.kube.server import FakeKube, Fault

PODS_PATH = "/api/v1/namespaces/a/pods"


def item(name: str, value: object = 0, *, namespace: str = "a", version: str = "1") -> Json:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": version}, "value": value}


def value_of(read: Json) -> int:
    return int(read["value"])


@dataclass
class ScriptedApi:
    """Answers lists and watches in turn; a watch is a list of events, an error may stand anywhere."""

    lists: list[tuple[Json, ...] | Exception] = field(default_factory=list)
    watches: list[list[Json | Exception] | Exception] = field(default_factory=list)
    watched_from: list[str] = field(default_factory=list)
    listed: list[str | None] = field(default_factory=list)
    on_watch: Callable[[], None] = lambda: None

    def pages(
        self, resource: Resource, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Iterator[Listing]:
        self.listed.append(namespace)
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for read in (answer[:1], answer[1:]):
            yield Listing(read, f"list-{len(self.listed)}")

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        timeout_seconds: int,
        metadata_only: bool = False,
    ) -> Iterator[Json]:
        self.watched_from.append(resource_version)
        self.on_watch()
        answer = self.watches.pop(0) if self.watches else []
        if isinstance(answer, Exception):
            raise answer
        for event in answer:
            if isinstance(event, Exception):
                raise event
            yield event


def event(kind: str, read: Json) -> Json:
    return {"type": kind, "object": read}


def bookmark(version: str) -> Json:
    return event("BOOKMARK", {"metadata": {"resourceVersion": version}})


def reflector_of(api: Any, clock: SteppedClock, **options: Any) -> Reflector[int]:
    """A reflector whose random numbers are the largest that they may be."""
    return Reflector(api=api, resource=PODS, read=value_of, clock=clock, uniform=lambda low, high: high, **options)


NEVER = threading.Event()


def test_a_list_fills_the_cache_and_a_watch_changes_it(clock: SteppedClock) -> None:
    api = ScriptedApi(
        lists=[(item("kept", 1), item("changed", 2), item("deleted", 3))],
        watches=[
            [
                event("MODIFIED", item("changed", 20)),
                event("DELETED", item("deleted")),
                event("ADDED", item("added", 4)),
                event("NEWFANGLED", item("kept", 9)),
            ]
        ],
    )
    reflector = reflector_of(api, clock)
    assert not reflector.synced
    assert reflector.turn(NEVER) == 0.0
    assert reflector.synced
    assert {name: reflector.cache.get("a", name) for name in ("kept", "changed", "deleted", "added")} == {
        "kept": 1,
        "changed": 20,
        "deleted": None,
        "added": 4,
    }


def test_a_watch_that_ends_is_resumed_where_it_was(clock: SteppedClock) -> None:
    api = ScriptedApi(
        lists=[()],
        watches=[
            [event("ADDED", item("x", 1, version="7")), Unreachable("broke off")],
            [bookmark("9")],
            ServerBusy("busy", status=503),
            [bookmark("11")],
        ],
    )
    reflector = reflector_of(api, clock)
    for _ in range(4):
        reflector.turn(NEVER)
    assert api.watched_from == ["list-1", "7", "9", "9"]
    assert len(api.listed) == 1


@pytest.mark.parametrize("at_once", [True, False], ids=["status", "in the stream"])
def test_a_version_that_is_gone_is_listed_anew_after_a_while(clock: SteppedClock, at_once: bool) -> None:
    gone = Gone("too old", status=410)
    api = ScriptedApi(lists=[(item("x", 1),), (item("y", 2),)], watches=[gone if at_once else [gone], [bookmark("5")]])
    reflector = reflector_of(api, clock)
    assert reflector.turn(NEVER) > 0.0
    reflector.turn(NEVER)
    assert api.watched_from == ["list-1", "list-2"]
    assert reflector.cache.values() == (2,)


@pytest.mark.parametrize(
    "failure",
    [Unreachable("nobody there"), ServerBusy("busy", status=500), Gone("too old", status=410), KubeError("odd")],
    ids=lambda error: type(error).__name__,
)
def test_waits_grow_while_it_fails_and_start_over_once_it_is_well(clock: SteppedClock, failure: KubeError) -> None:
    api = ScriptedApi(lists=[*[failure] * 8, ()], watches=[[bookmark("3")], failure])
    reflector = reflector_of(api, clock)
    waits = [reflector.turn(NEVER) for _ in range(8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]
    assert reflector.error == str(failure)
    assert reflector.turn(NEVER) == 0.0
    assert reflector.error == ""
    assert reflector.turn(NEVER) == 1.0


def test_waits_are_spread(clock: SteppedClock) -> None:
    reflector = Reflector(
        api=ScriptedApi(lists=[Unreachable("x")]), resource=PODS, read=value_of, uniform=lambda low, high: low
    )
    assert reflector.turn(NEVER) == 0.5


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[ServerBusy("busy", status=429, retry_after_seconds=40.0)])
    assert reflector_of(api, clock).turn(NEVER) == 40.0


def test_lists_that_work_before_watches_that_fail_do_not_make_it_hammer(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[()] * 5, watches=[Gone("too old", status=410)] * 5)
    reflector = reflector_of(api, clock)
    assert [reflector.turn(NEVER) for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_watches_that_end_at_once_do_not_make_it_hammer(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[()])
    reflector = reflector_of(api, clock)
    assert [reflector.turn(NEVER) for _ in range(3)] == [1.0, 2.0, 4.0]


def test_a_watch_that_ends_in_silence_when_its_time_is_up_is_well(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[()], on_watch=lambda: clock.sleep(240.0))
    reflector = reflector_of(api, clock)
    assert reflector.turn(NEVER) == 0.0
    assert reflector.last_contact == clock.now


def test_an_optional_kind_that_is_absent_is_synced_and_looked_for_again(clock: SteppedClock) -> None:
    absent = NotFound("no such kind", status=404)
    api = ScriptedApi(lists=[absent, (item("x", 1),), absent], watches=[[bookmark("3"), absent]])
    reflector = reflector_of(api, clock, optional=True)
    assert reflector.turn(NEVER) == pytest.approx(ABSENT_WAIT_SECONDS * 1.2)
    assert (reflector.synced, reflector.absent, reflector.error) == (True, True, "")
    assert reflector.problem(clock.now) == ""
    reflector.turn(NEVER)  # it is installed, then taken away
    assert reflector.cache.values() == ()
    assert reflector.absent


def test_a_needed_kind_that_is_absent_says_what_may_be_missing(clock: SteppedClock) -> None:
    reflector = reflector_of(ScriptedApi(lists=[NotFound("no such kind", status=404)]), clock)
    assert reflector.turn(NEVER) == 1.0
    assert not reflector.synced
    assert "CustomResourceDefinition" in reflector.problem(clock.now)


def test_a_forbidden_kind_is_said_and_asked_for_slowly(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[Forbidden("not you", status=403), (item("x", 1),)], watches=[[bookmark("3")]])
    reflector = reflector_of(api, clock)
    assert reflector.turn(NEVER) == pytest.approx(FORBIDDEN_WAIT_SECONDS * 1.2)
    assert not reflector.synced
    assert reflector.error == "not you"
    assert "grant" in reflector.problem(clock.now)
    reflector.turn(NEVER)
    assert (reflector.synced, reflector.error, reflector.problem(clock.now)) == (True, "", "")


def test_a_permission_that_is_taken_away_leaves_what_was_seen(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[(item("x", 1),)], watches=[Forbidden("no more", status=403)])
    reflector = reflector_of(api, clock)
    reflector.turn(NEVER)
    assert reflector.cache.values() == (1,)
    assert reflector.synced
    assert "no more" in reflector.problem(clock.now)


def test_an_optional_kind_that_is_forbidden_stops_nobody_and_is_said(clock: SteppedClock) -> None:
    reflector = reflector_of(ScriptedApi(lists=[Forbidden("not you", status=403)]), clock, optional=True)
    reflector.turn(NEVER)
    assert reflector.synced
    assert "not you" in reflector.problem(clock.now)


def test_a_token_that_ran_out_is_tried_again_soon(clock: SteppedClock) -> None:
    reflector = reflector_of(ScriptedApi(lists=[Forbidden("who are you", status=401)]), clock)
    assert reflector.turn(NEVER) == 1.0


def test_silence_makes_it_stale(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[()], watches=[[bookmark("3")]])
    reflector = reflector_of(api, clock)
    assert not reflector.stale(clock.now)
    reflector.turn(NEVER)
    assert not reflector.stale(clock.now + STALE_AFTER_SECONDS)
    assert reflector.stale(clock.now + STALE_AFTER_SECONDS + 1)
    assert "nothing heard" in reflector.problem(clock.now + STALE_AFTER_SECONDS + 1)


def test_one_object_that_cannot_be_read_leaves_the_others_and_its_own_past(clock: SteppedClock) -> None:
    api = ScriptedApi(
        lists=[(item("a", 1), item("b", 2)), (item("a", "nonsense"), item("b", 4), item("c", "nonsense"))],
        watches=[[event("MODIFIED", item("b", "nonsense", version="6")), Gone("too old", status=410)]],
    )
    reflector = reflector_of(api, clock)
    reflector.turn(NEVER)
    assert reflector.cache.values() == (1, 2)
    reflector.turn(NEVER)
    assert reflector.cache.values() == (1, 4)


def test_each_namespace_is_listed_by_itself(clock: SteppedClock) -> None:
    api = ScriptedApi(
        lists=[(item("x", 1, namespace="a"),), (item("x", 2, namespace="b"),), (item("y", 3, namespace="b"),)],
        watches=[[bookmark("3")], Gone("too old", status=410), [bookmark("4")]],
    )
    reflector = reflector_of(api, clock, namespaces=("a", "b"))
    reflector.turn(NEVER, 0)
    assert not reflector.synced
    reflector.turn(NEVER, 1)
    assert reflector.synced
    reflector.turn(NEVER, 1)
    assert api.listed == ["a", "b", "b"]
    assert reflector.cache.values() == (1, 3)


def test_the_namespace_that_is_silent_for_longest_counts(clock: SteppedClock) -> None:
    api = ScriptedApi(lists=[(), ()], watches=[[bookmark("3")], [bookmark("3")]])
    reflector = reflector_of(api, clock, namespaces=("a", "b"))
    reflector.turn(NEVER, 0)
    assert reflector.last_contact is None
    first = clock.now
    clock.sleep(10.0)
    reflector.turn(NEVER, 1)
    assert reflector.last_contact == first


def test_a_stop_ends_the_watch_at_its_next_event(clock: SteppedClock) -> None:
    stop = threading.Event()
    stop.set()
    api = ScriptedApi(lists=[()], watches=[[event("ADDED", item("x", 1)), event("ADDED", item("y", 2))]])
    reflector = reflector_of(api, clock)
    reflector.turn(stop)
    assert reflector.cache.values() == (1,)


def test_listeners_hear_of_changes_only() -> None:
    cache: Cache[int] = Cache()
    heard: list[tuple[int | None, int | None]] = []
    cache.listen(lambda old, new: heard.append((old, new)))
    cache.put(("a", "x"), 1)
    cache.replace({("a", "x"): 1, ("a", "y"): 2})
    cache.replace({("a", "x"): 3})
    cache.delete(("a", "x"))
    cache.delete(("a", "x"))
    assert heard == [(None, 1), (None, 2), (2, None), (1, 3), (3, None)]
    assert len(cache) == 0


NAMES = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"))
CHANGES = st.lists(st.tuples(NAMES, st.none() | st.frozensets(st.integers(0, 3))), max_size=30)


@given(CHANGES, st.booleans())
def test_an_index_says_what_a_search_would(
    changes: list[tuple[FullName, frozenset[int] | None]], at_once: bool
) -> None:
    cache: Cache[tuple[FullName, frozenset[int]]] = Cache()
    index = Index(cache, lambda value: value[0], lambda value: value[1])
    wanted: dict[FullName, tuple[FullName, frozenset[int]]] = {}
    for name, keys in changes:
        if keys is None:
            wanted.pop(name, None)
        else:
            wanted[name] = (name, keys)
        if at_once:
            cache.replace(dict(wanted))
        elif keys is None:
            cache.delete(name)
        else:
            cache.put(name, (name, keys))
    for key in range(4):
        found = {value[0] for value in index.get(key)}
        assert found == {name for name, (_, keys) in wanted.items() if key in keys}
        assert index.count(key) == len(found)


def test_it_follows_a_real_server_through_what_may_happen(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PODS_PATH, {"metadata": {"name": "x"}, "value": 1})
    stop = threading.Event()
    reflector = Reflector(api=api, resource=PODS, read=value_of, uniform=lambda low, high: 0.01)
    kube.fail(Fault(500, watching=False))
    threads = reflector.start(stop)

    def shows(**values: int) -> bool:
        return (
            kube.wait(lambda: True)
            and {name: value for name in "xyz" if (value := reflector.cache.get("a", name)) is not None} == values
        )

    changed = threading.Event()
    reflector.cache.listen(lambda old, new: changed.set())

    def soon(**values: int) -> bool:
        for _ in range(50):
            if shows(**values):
                return True
            changed.wait(0.1)
            changed.clear()
        return False

    assert soon(x=1)
    kube.put(PODS_PATH, {"metadata": {"name": "y"}, "value": 2})
    assert soon(x=1, y=2)
    kube.remove(f"{PODS_PATH}/x")
    assert soon(y=2)
    lists = kube.count(watching=False)
    kube.compact()  # the watch that runs is told nothing, the next one that its version is gone
    kube.put(PODS_PATH, {"metadata": {"name": "z"}, "value": 3})
    assert soon(y=2, z=3)
    assert kube.count(watching=False) == lists
    stop.set()
    kube.bookmark()
    for thread in threads:
        thread.join(5.0)
        assert not thread.is_alive()


def test_an_absent_kind_of_a_real_server_is_synced(kube: FakeKube, api: KubeApi) -> None:
    kube.absent.add("scaledobjects")
    reflector = Reflector(api=api, resource=SCALED_OBJECTS, read=value_of, optional=True)
    assert reflector.turn(NEVER) > 100.0
    assert reflector.synced


def test_whatever_goes_wrong_the_thread_lives(clock: SteppedClock) -> None:
    stop, seen = threading.Event(), threading.Event()
    api = ScriptedApi(lists=[ZeroDivisionError("a bug"), (item("x", 1),)], watches=[[bookmark("2")]], on_watch=stop.set)
    reflector = Reflector(api=api, resource=PODS, read=value_of, uniform=lambda low, high: 0.0)
    reflector.cache.listen(lambda old, new: seen.set())
    (thread,) = reflector.start(stop)
    assert seen.wait(5.0)
    thread.join(5.0)
    assert reflector.cache.values() == (1,)
