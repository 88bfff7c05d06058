"""How decisions and log records look outside: one row format for logs, golden files and replay; it decides nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO, TypeAlias, get_type_hints

import orjson

from scaler.domain import Champion, Decision

JsonValue: TypeAlias = str | int | float | bool | list[str] | dict[str, Any] | None

ROWS: Final = "rows"  # the `extra` of a record that stands for several lines, one for each of these mappings

# What `logging` itself puts on every record; all else came in by `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Found once: a large cluster makes a thousand rows each tick.
_DURATIONS: Final = tuple(name for name, kind in get_type_hints(Decision).items() if kind == timedelta | None)
_COLUMNS: Final = tuple(f"{name}_seconds" if name in _DURATIONS else name for name in Decision._fields)


def decision_row(decision: Decision) -> dict[str, JsonValue]:
    """Flatten a decision into what JSON can hold.

    Durations are seconds under a name that says so, times are ISO 8601, and the key is `namespace/kind/name`.
    """
    row: dict[str, Any] = dict(zip(_COLUMNS, decision, strict=True))
    row |= {"key": str(decision.key), "at": decision.at.isoformat(), "reasons": list(decision.reasons)}
    for name in _DURATIONS:
        duration: timedelta | None = getattr(decision, name)
        row[f"{name}_seconds"] = duration.total_seconds() if duration is not None else None
    if decision.champion is not None:
        row["champion"] = _champion(decision.champion)
    return row


def _champion(champion: Champion) -> dict[str, JsonValue]:
    since = champion.since.isoformat() if champion.since is not None else None
    return champion._asdict() | {"since": since}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, severity, logger, event, then what came in by `extra`.

    `severity` and not `level`, which is what a decision calls its quantile. A record with `ROWS` is a line for each.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        row: dict[str, Any] = {
            "time": _time_of(record).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        extra = _extra(record)
        if record.exc_info:
            extra["exception"] = self.formatException(record.exc_info)
        return "\n".join(_encode(row | more) for more in extra.pop(ROWS, (extra,)))


class TextFormatter(logging.Formatter):
    """One line to read: time, level, event, then `name=value` for all that is not None."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        start = f"{_time_of(record):%H:%M:%S} {record.levelname} {record.getMessage()}"
        extra = _extra(record)
        lines = [" ".join((start, *_pairs(more))) for more in extra.pop(ROWS, (extra,))]
        return "\n".join((*lines, self.formatException(record.exc_info)) if record.exc_info else lines)


def configure_logging(stream: TextIO, level: int = logging.INFO) -> None:
    """Send every record to `stream`: text where a person reads along, JSON elsewhere; called once, in `__main__`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("httpx", "urllib3"):  # they tell of every request
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _encode(row: Mapping[str, object]) -> str:
    try:
        return orjson.dumps(row, default=str).decode()
    except TypeError:  # a name of a file that is no UTF-8, a number of more than 64 bits: no line is lost to them
        return json.dumps(row, default=str)


def _time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, tz=UTC)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _pairs(row: Mapping[str, object]) -> Iterator[str]:
    return (f"{name}={_short(value)}" for name, value in row.items() if value is not None)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ",".join(f"{name}:{_short(entry)}" for name, entry in value.items() if entry is not None)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
