"""How decisions and log records look outside: one row format for logs, golden files and replay; it decides nothing."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, TextIO, TypeAlias

from scaler.domain import Decision, TargetKey

JsonValue: TypeAlias = str | int | float | bool | list[str] | None

# What `logging` itself puts on every record; all else came in by `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def decision_row(decision: Decision) -> dict[str, JsonValue]:
    """Flatten a decision into what JSON can hold.

    Durations are seconds under a name that says so, times are ISO 8601, and the key is `namespace/kind/name`.
    """
    row: dict[str, JsonValue] = {}
    for entry in fields(decision):
        name, value = entry.name, getattr(decision, entry.name)
        if entry.type == "timedelta | None":
            name, value = f"{name}_seconds", value.total_seconds() if value is not None else None
        elif isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, TargetKey):
            value = str(value)
        elif isinstance(value, tuple):
            value = [str(item) for item in value]
        row[name] = value
    return row


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, severity, logger, event, then what came in by `extra`.

    `severity` and not `level`, which is what a decision calls its quantile.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        row: dict[str, Any] = {
            "time": _time_of(record).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        row |= _extra(record)
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


class TextFormatter(logging.Formatter):
    """One line to read: time, level, event, then `name=value` for all that is not None."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        values = (f"{name}={_short(value)}" for name, value in _extra(record).items() if value is not None)
        line = " ".join((f"{_time_of(record):%H:%M:%S}", record.levelname, record.getMessage(), *values))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(stream: TextIO, level: int = logging.INFO) -> None:
    """Send every record to `stream`: text where a person reads along, JSON elsewhere; called once, in `__main__`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(max(level, logging.WARNING))  # it tells of every request


def _time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, tz=UTC)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
