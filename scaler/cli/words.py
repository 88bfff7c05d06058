"""How numbers, times and rules are said to a person; it knows no cluster."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

UNKNOWN: Final = "-"
_MEBIBYTE: Final = 1024.0**2
_UNITS: Final = {
    "cpu": ("core", "cores"),
    "concurrency": ("request at once", "requests at once"),
    "rps": ("rps", "rps"),
}


def count(number: int, noun: str) -> str:
    """Give `1 pod`, `2 pods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def amount(value: float | None, metric: str) -> str:
    """Give a load with its unit; memory in MiB or GiB."""
    if value is None:
        return "unknown"
    if metric == "memory":
        mebibytes = value / _MEBIBYTE
        return f"{mebibytes / 1024:.3g} GiB" if mebibytes >= 1024 else f"{mebibytes:.3g} MiB"
    one, many = _UNITS.get(metric, ("", ""))
    return f"{_short(value)} {one if value == 1 else many}".strip()


def number(value: float | None, metric: str = "") -> str:
    """Give a load for a table, without its unit except for memory."""
    if value is None:
        return UNKNOWN
    return amount(value, metric).replace(" ", "") if metric == "memory" else _short(value)


def whole(value: int | None) -> str:
    """Give a count for a table."""
    return UNKNOWN if value is None else str(value)


def duration(seconds: float | None) -> str:
    """Give `45 s`, `4 min`, `3 h`, `2 d`, as kubectl rounds it: seconds below two minutes, minutes below two hours."""
    if seconds is None:
        return UNKNOWN
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 120:
        return (
            f"{minutes:.0f} min"
            if seconds % 60 < 1 or minutes >= 10
            else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
        )
    hours = minutes / 60
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"


def age(moment: datetime | None, now: datetime) -> str:
    """Give how long ago something was, for a table."""
    return UNKNOWN if moment is None else duration(float(max(0, (now - moment) // timedelta(seconds=1))))


def percent(ratio: float | None) -> str:
    """Give `99 %`, `99.5 %`."""
    return "unknown" if ratio is None else f"{100 * ratio:.4g} %"


def _short(value: float) -> str:
    """Three significant digits, and all digits before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
