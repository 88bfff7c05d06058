"""How a benchmark's rows look; apart from what measures them, so that a test can hold the docs against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Row: TypeAlias = tuple[str, float, str, str]
"""What, value, unit, and the bar it is held to."""


def markdown_table(rows: Sequence[Row]) -> str:
    """The table as docs/benchmarks.md shows it."""
    digits = {"": 2, "s": 2, "ms": 1, "windows/s": 0}
    lines = ["| what | value | unit | bar |", "| --- | --- | --- | --- |"]
    for name, value, unit, bar in rows:
        lines.append(f"| {name} | {value:,.{digits[unit]}f} | {unit or 'ratio'} | {bar.replace('<=', 'at most')} |")
    return "\n".join(lines)


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
