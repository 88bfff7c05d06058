"""What a configuration field accepts and why, beside its default; code, environment and docs all read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Bounded:
    """Annotation of a field: `name: Annotated[int, Bounded(minimum, maximum, doc)] = default`.

    Attributes:
        minimum: Smallest value accepted.
        maximum: Largest value accepted.
        doc: What it is and why this default.
    """

    minimum: float | timedelta
    maximum: float | timedelta
    doc: str


@dataclass(frozen=True, slots=True)
class Described:
    """Annotation of a field that is text or a switch: `name: Annotated[str, Described(accepted, doc)] = default`.

    Attributes:
        accepted: In words, for errors and docs.
        doc: What it is and why this default.
        pattern: A text has to match all of it; switches ignore it.
    """

    accepted: str
    doc: str
    pattern: str = r"[\s\S]*"


@dataclass(frozen=True, slots=True)
class BoundedField:
    """One field of a configuration dataclass, as settings and docs need it."""

    name: str
    type: type[int] | type[float] | type[timedelta]
    default: Any
    bounds: Bounded


@dataclass(frozen=True, slots=True)
class DescribedField:
    """One text or switch of a configuration dataclass, as settings and docs need it."""

    name: str
    type: type[str] | type[bool]
    default: Any
    described: Described


def bounded_fields(config: type[DataclassInstance]) -> tuple[BoundedField, ...]:
    """List the fields of `config` that are annotated with `Bounded`, in their order."""
    return tuple(
        BoundedField(name, kind, default, mark)
        for name, kind, default, mark in _marked_fields(config)
        if isinstance(mark, Bounded)
    )


def described_fields(config: type[DataclassInstance]) -> tuple[DescribedField, ...]:
    """List the fields of `config` that are annotated with `Described`, in their order."""
    return tuple(
        DescribedField(name, kind, default, mark)
        for name, kind, default, mark in _marked_fields(config)
        if isinstance(mark, Described)
    )


def _marked_fields(config: type[DataclassInstance]) -> Iterator[tuple[str, Any, Any, object]]:
    """Name, type, default and mark of every annotated field."""
    hints = get_type_hints(config, include_extras=True)
    for entry in fields(config):
        for mark in getattr(hints[entry.name], "__metadata__", ()):
            yield entry.name, hints[entry.name].__origin__, entry.default, mark


def check_bounds(config: DataclassInstance) -> None:
    """Check every bounded field of `config` against its range; called in its `__post_init__`.

    Raises:
        ValueError: Names each field out of range, its value and what is accepted.
    """
    problems = []
    for entry in bounded_fields(type(config)):
        value = getattr(config, entry.name)
        if not entry.bounds.minimum <= value <= entry.bounds.maximum:
            accepted = f"{entry.bounds.minimum} to {entry.bounds.maximum}"
            problems.append(f"{entry.name} must lie from {accepted}, got {value}")
    for text in described_fields(type(config)):
        value = getattr(config, text.name)
        if text.type is str and not re.fullmatch(text.described.pattern, value):
            problems.append(f"{text.name} must be {text.described.accepted}, got {value!r}")
    if problems:
        raise ValueError("; ".join(problems))
