"""The range and the reason of a configuration field, beside its default; code, environment and docs all read them."""

from __future__ import annotations

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
class BoundedField:
    """One field of a configuration dataclass, as settings and docs need it."""

    name: str
    type: type[int] | type[float] | type[timedelta]
    default: Any
    bounds: Bounded


def bounded_fields(config: type[DataclassInstance]) -> tuple[BoundedField, ...]:
    """List the fields of `config` that are annotated with `Bounded`, in their order."""
    hints = get_type_hints(config, include_extras=True)
    found = []
    for entry in fields(config):
        bounds = next((m for m in getattr(hints[entry.name], "__metadata__", ()) if isinstance(m, Bounded)), None)
        if bounds is not None:
            found.append(BoundedField(entry.name, hints[entry.name].__origin__, entry.default, bounds))
    return tuple(found)


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
    if problems:
        raise ValueError("; ".join(problems))
