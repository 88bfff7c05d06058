"""Decisions and log records as others see them."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from scaler.domain import Action, Decision, ForecastFailure, Mode, Reason, TargetKey
from scaler.telemetry import JsonFormatter, TextFormatter, configure_logging, decision_row

DECISION = Decision(
    key=TargetKey("shop", "Deployment", "web"),
    at=datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
    mode=Mode.SHADOW,
    previous_floor=2,
    floor=5,
    action=Action.SCALE_UP,
    reason=Reason.SCALE_UP_LIMIT,
    reasons=(Reason.NO_METRICS, Reason.SCALE_UP_LIMIT),
    current_replicas=3,
    ready_replicas=2,
    peak=61.25,
    lead_time=timedelta(seconds=90),
    forecast_age=timedelta(seconds=12.5),
    forecast_failure=ForecastFailure.TIMEOUT,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "scaler", "levelno": 20, "levelname": "INFO", "msg": "tick", "created": 0.0})
    vars(made).update(extra)
    return made


def test_a_decision_becomes_a_flat_row_that_json_can_hold() -> None:
    row = decision_row(DECISION)
    assert json.loads(json.dumps(row)) == row
    assert row["key"] == "shop/Deployment/web"
    assert row["at"] == "2026-01-05T12:00:00+00:00"
    assert (row["mode"], row["action"], row["reason"]) == ("shadow", "scale_up", "ScaleUpLimit")
    assert row["reasons"] == ["NoMetrics", "ScaleUpLimit"]
    assert (row["lead_time_seconds"], row["forecast_age_seconds"]) == (90.0, 12.5)
    assert (row["load"], row["peak"], row["floor"]) == (None, 61.25, 5)


def test_no_field_of_a_decision_is_lost() -> None:
    durations = {"lead_time", "forecast_age"}
    names = [f"{name}_seconds" if name in durations else name for name in DECISION._fields]
    assert list(decision_row(DECISION)) == names


def test_a_missing_duration_keeps_its_name() -> None:
    bare = Decision(DECISION.key, DECISION.at, Mode.ON, 1, 1, Action.NONE, Reason.PAUSED, (), 1, 1)
    assert decision_row(bare)["forecast_age_seconds"] is None


def test_a_record_is_one_json_object_on_one_line() -> None:
    line = JsonFormatter().format(record(load=1.5, key="a"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00+00:00",
        "severity": "INFO",
        "logger": "scaler",
        "event": "tick",
        "load": 1.5,
        "key": "a",
    }


def test_a_record_with_rows_is_a_line_for_each() -> None:
    made = record(rows=[{"key": "a", "load": 1.5}, {"key": "b", "load": None}])
    lines = [json.loads(line) for line in JsonFormatter().format(made).splitlines()]
    assert [(line["event"], line["key"], line["load"]) for line in lines] == [("tick", "a", 1.5), ("tick", "b", None)]
    assert TextFormatter().format(made) == "00:00:00 INFO tick key=a load=1.5\n00:00:00 INFO tick key=b"


def test_a_record_with_an_exception_carries_its_traceback() -> None:
    error = KeyError("tensor")
    failed = record(exc_info=(KeyError, error, None))
    assert "KeyError: 'tensor'" in json.loads(JsonFormatter().format(failed))["exception"]
    assert "KeyError: 'tensor'" in TextFormatter().format(failed)


def test_a_record_reads_as_text_without_what_is_missing() -> None:
    made = record(load=1.23456, reasons=["a", "b"], peak=None, floor=5)
    assert TextFormatter().format(made) == "00:00:00 INFO tick load=1.235 reasons=a,b floor=5"


@pytest.mark.parametrize(
    ("stream", "starts"),
    [pytest.param(Terminal(), "2", id="text on a terminal"), pytest.param(io.StringIO(), "{", id="json elsewhere")],
)
def test_decisions_are_logged_where_logging_goes(stream: io.StringIO, starts: str) -> None:
    configure_logging(stream)
    logging.getLogger("scaler").info("decision", extra=decision_row(DECISION))
    line = stream.getvalue()
    assert "decision" in line
    assert "shop/Deployment/web" in line
    assert line.startswith("{") is (starts == "{")
