from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scaler.kube.api import Forbidden, Json, KubeApi, NotFound, Unreachable
from scaler.kube.events import LONGEST_NOTE, OBJECT_BURST, SINK_BURST, EventSink, EventType
from scaler.kube.objects import ObjectRef
from scaler.kube.resources import Resource
from tests.unit.kube.server import FakeKube, Fault

T0 = datetime(2026, 11, 24, 9, tzinfo=UTC)
WEB = ObjectRef("apps/v1", "Deployment", "a", "web")


@dataclass
class Book:
    """Keeps what was written; errors on order."""

    created: list[Json] = field(default_factory=list)
    patched: list[tuple[str, Json]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        self._fail()
        assert body["metadata"]["namespace"] == namespace
        self.created.append(body)
        return body

    def merge_patch(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        self._fail()
        self.patched.append((name, body["series"]))
        return body

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@dataclass
class Desk:
    """A sink that writes when it is told to, at times that are named in seconds."""

    book: Book
    held: bool = True
    sink: EventSink = field(init=False)

    def __post_init__(self) -> None:
        self.sink = EventSink(self.book, instance="pod-1", held=lambda: self.held)

    def say(self, message: str, at: float = 0.0, *, about: ObjectRef = WEB, reason: str = "FloorRaised") -> None:
        now = T0 + timedelta(seconds=at)
        self.sink.emit(about, "uid-1", type=EventType.NORMAL, reason=reason, message=message, now=now)
        self.sink.drain()


@pytest.fixture
def desk() -> Desk:
    return Desk(Book())


def test_an_event_has_all_that_the_api_asks_for(desk: Desk) -> None:
    desk.say("Floor raised from 1 to 3.")
    (event,) = desk.book.created
    name = event["metadata"].pop("name")
    assert name.startswith("web.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "a"},
        "eventTime": "2026-11-24T09:00:00.000000Z",
        "reportingController": "ai-hpa",
        "reportingInstance": "pod-1",
        "action": "FloorRaised",
        "reason": "FloorRaised",
        "type": "Normal",
        "note": "Floor raised from 1 to 3.",
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "a", "name": "web", "uid": "uid-1"},
    }


def test_the_same_said_again_becomes_a_count(desk: Desk) -> None:
    desk.say("Floor raised from 1 to 3.")
    desk.say("Floor raised from 3 to 5.", 30.0)
    desk.say("Floor raised from 5 to 12.", 40.0)
    desk.say("Floor raised from 12 to 1.", 100.0)
    assert len(desk.book.created) == 1
    name = desk.book.created[0]["metadata"]["name"]
    assert desk.book.patched == [
        (name, {"count": 2, "lastObservedTime": "2026-11-24T09:00:30.000000Z"}),
        (name, {"count": 4, "lastObservedTime": "2026-11-24T09:01:40.000000Z"}),  # the third waited for its minute
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"message": "Something else."}, id="message"),
        pytest.param({"message": "Floor 1.", "reason": "FloorLowered"}, id="reason"),
        pytest.param({"message": "Floor 1.", "about": ObjectRef("apps/v1", "Deployment", "a", "db")}, id="object"),
        pytest.param({"message": "Floor 1.", "at": 601.0}, id="later"),
    ],
)
def test_anything_else_is_another_event(desk: Desk, other: dict[str, Any]) -> None:
    desk.say("Floor 1.")
    desk.say(**other)
    assert len(desk.book.created) == 2


def test_a_series_goes_on_while_it_is_repeated(desk: Desk) -> None:
    for minutes in range(0, 60, 9):
        desk.say("Floor 1.", 60.0 * minutes)
    assert len(desk.book.created) == 1
    assert desk.book.patched[-1][1]["count"] == 7


def test_an_event_that_the_server_forgot_is_written_anew(desk: Desk) -> None:
    desk.say("Floor 1.")
    desk.book.errors = [NotFound("forgotten", status=404)]
    desk.say("Floor 2.", 30.0)
    assert [event["note"] for event in desk.book.created] == ["Floor 1.", "Floor 2."]


def test_one_object_has_a_budget_that_comes_back(desk: Desk) -> None:
    for number in range(20):
        desk.say("x" * (number + 1))
    assert len(desk.book.created) == OBJECT_BURST
    assert desk.sink.dropped == 10
    desk.say("again", 60.0)
    assert len(desk.book.created) == OBJECT_BURST + 1


def test_all_objects_together_have_a_budget(desk: Desk) -> None:
    for number in range(200):
        desk.say("x", about=ObjectRef("apps/v1", "Deployment", "a", f"w{number}"))
    assert len(desk.book.created) == SINK_BURST
    assert desk.sink.dropped == 100


def test_a_process_that_may_not_write_writes_no_events(desk: Desk) -> None:
    desk.held = False
    desk.say("Floor 1.")
    desk.held = True
    desk.say("Floor 2.")
    assert [event["note"] for event in desk.book.created] == ["Floor 2."]


@pytest.mark.parametrize(
    "error",
    [Forbidden("not you", status=403), Unreachable("away"), ZeroDivisionError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_a_write_that_fails_stops_nothing(desk: Desk, error: Exception) -> None:
    desk.book.errors = [error]
    desk.say("Floor 1.")
    desk.say("Other.", 1.0)
    assert desk.sink.failed == 1
    assert [event["note"] for event in desk.book.created] == ["Other."]


def test_a_full_queue_drops_and_counts() -> None:
    sink = EventSink(Book(), instance="pod-1", held=lambda: True, queue_size=2)
    for _ in range(5):
        sink.emit(WEB, "uid", type=EventType.WARNING, reason="R", message="m", now=T0)
    assert sink.dropped == 3


def test_a_long_message_is_cut_to_what_the_api_takes(desk: Desk) -> None:
    desk.say("ä" * LONGEST_NOTE)
    note = desk.book.created[0]["note"]
    assert LONGEST_NOTE - 3 <= len(note.encode()) <= LONGEST_NOTE
    assert note.endswith("ä...")


def test_what_is_remembered_is_forgotten(desk: Desk) -> None:
    for number in range(50):
        desk.say("x", about=ObjectRef("apps/v1", "Deployment", "a", f"w{number}"))
    desk.say("x", 3600.0)
    assert len(desk.sink._series) == len(desk.sink._objects) == 1


def test_an_object_of_no_namespace_has_its_events_in_default(desk: Desk) -> None:
    desk.say("x", about=ObjectRef("v1", "Node", "", "n1"))
    assert desk.book.created[0]["metadata"]["namespace"] == "default"


def test_it_ends_also_where_the_queue_has_no_room_left(kube: FakeKube, api: KubeApi) -> None:
    sink = EventSink(api, instance="pod-1", held=lambda: True, queue_size=1)
    sink.emit(WEB, "uid", type=EventType.NORMAL, reason="R", message="m", now=T0)
    sink.end()
    thread = sink.start()
    thread.join(5.0)
    assert not thread.is_alive()
    assert len(kube.objects) == 1


def test_it_writes_in_the_background_and_what_waits_at_the_end(kube: FakeKube, api: KubeApi) -> None:
    sink = EventSink(api, instance="pod-1", held=lambda: True)
    kube.fail(Fault(500))  # of the first, which is not repeated: it may stand already
    thread = sink.start()
    for number in range(3):
        sink.emit(WEB, "uid", type=EventType.NORMAL, reason=f"R{number}", message="m", now=T0)
    sink.end()
    thread.join(5.0)
    assert not thread.is_alive()
    assert [event["reason"] for event in kube.objects.values()] == ["R1", "R2"]
    assert sink.failed == 1
