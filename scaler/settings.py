"""The environment in, the controller's configuration out; `python -m scaler.settings` prints its documentation.

Every default, range and reason stands at its field in the core, and nothing is said twice here.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final

from pydantic import Field, ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from scaler.absence import AbsenceConfig
from scaler.bounded import BoundedField, DescribedField, bounded_fields, described_fields
from scaler.calibration import CalibrationConfig
from scaler.champion import ChampionConfig
from scaler.controller import ControllerConfig
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.lead_time import LeadTimeConfig
from scaler.live_config import LiveConfig
from scaler.policy import PolicyConfig

PREFIX: Final = "AI_HPA_"

# Fields of ControllerConfig that are configurations themselves; what is left of it is told directly.
_SECTIONS: Final = {
    "policy": ("The decision", PolicyConfig),
    "forecast_cycle": ("Forecasts", ForecastCycleConfig),
    "lead_time": ("Lead time", LeadTimeConfig),
    "calibration": ("Calibration", CalibrationConfig),
    "champion": ("Champion", ChampionConfig),
    "absence": ("Load that stays away", AbsenceConfig),
}
_ALL: Final = (
    *_SECTIONS.values(),
    ("Metrics and limits", ControllerConfig),
    ("On a live cluster", LiveConfig),
)


class SettingsError(ValueError):
    """The environment cannot be used; the message lists every problem, one a line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable.

    Attributes:
        name: In lower case and without the prefix; a duration ends in `_seconds`.
        field: Where its value goes.
    """

    name: str
    field: BoundedField | DescribedField

    @property
    def variable(self) -> str:
        """Name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def accepted(self) -> str:
        """What may stand there, in words."""
        if isinstance(self.field, DescribedField):
            return self.field.described.accepted
        return f"{_number(self.field.bounds.minimum):g} to {_number(self.field.bounds.maximum):g}"

    @property
    def default(self) -> str:
        """Default, as one would write it into the environment."""
        if isinstance(self.field, DescribedField):
            value = self.field.default
            return str(value).lower() if self.field.type is bool else value
        return f"{_number(self.field.default):g}"

    @property
    def doc(self) -> str:
        """What it is and why this default."""
        return self.field.described.doc if isinstance(self.field, DescribedField) else self.field.bounds.doc

    def definition(self) -> tuple[type[Any], Any]:
        """Type and field for pydantic: durations are numbers of seconds there."""
        entry = self.field
        if isinstance(entry, DescribedField):
            return entry.type, Field(default=entry.default)
        field = Field(
            default=_number(entry.default),
            ge=_number(entry.bounds.minimum),
            le=_number(entry.bounds.maximum),
            allow_inf_nan=False if entry.type is not int else None,
        )
        return (int if entry.type is int else float), field

    def value(self, given: Any) -> Any:
        """Give a value of the environment as the core has it."""
        return timedelta(seconds=given) if self.field.type is timedelta else given


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the environment says."""

    controller: ControllerConfig
    live: LiveConfig


class _Environment(BaseSettings):
    """Read from the environment; the fields are added from the core's configuration."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)


def settings_of(config: type[Any]) -> tuple[Setting, ...]:
    """List the settings of one configuration dataclass."""
    marked: dict[str, BoundedField | DescribedField] = {entry.name: entry for entry in bounded_fields(config)}
    marked |= {entry.name: entry for entry in described_fields(config)}
    ordered = (marked[entry.name] for entry in fields(config) if entry.name in marked)
    return tuple(Setting(f"{e.name}_seconds" if e.type is timedelta else e.name, e) for e in ordered)


def load_settings() -> Settings:
    """Read the process environment.

    Raises:
        SettingsError: Lists every name that does not exist and every value that is not accepted.
    """
    problems = list(_unknown_names())
    values: dict[str, Any] = {}
    controller, live = ControllerConfig(), LiveConfig()
    try:
        values = _model()().model_dump()
    except ValidationError as error:
        problems += [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
    else:
        sections = {name: _build(config, values, problems) for name, (_, config) in _SECTIONS.items()}
        live = _build(LiveConfig, values, problems)
        if not problems:
            controller = ControllerConfig(**sections, **_values(ControllerConfig, values))
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(controller, live)


def to_markdown() -> str:
    """Write `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "Generated by `python -m scaler.settings`; a test fails where this file differs from the code.",
        "The scaler reads these from its environment at start.",
        f"An unknown name that starts with `{PREFIX}`, or a value out of range, stops it there and is listed.",
        "A duration is a number of seconds.",
    ]
    for title, config in _ALL:
        lines += ["", f"## {title}", "", "| variable | default | accepted | meaning |", "|---|---|---|---|"]
        lines += [_row(setting) for setting in settings_of(config)]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    default = (
        f"`{setting.default}`" if isinstance(setting.field, DescribedField) and setting.default else setting.default
    )
    return f"| `{setting.variable}` | {default} | {setting.accepted} | {setting.doc} |"


def _number(value: float | timedelta) -> float:
    """Give a value of the core as the environment has it."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def _all_settings() -> Iterator[Setting]:
    for _, config in _ALL:
        yield from settings_of(config)


def _model() -> type[_Environment]:
    definitions: dict[str, Any] = {setting.name: setting.definition() for setting in _all_settings()}
    return create_model("Environment", __base__=_Environment, **definitions)


def _values(config: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    return {setting.field.name: setting.value(values[setting.name]) for setting in settings_of(config)}


def _build(config: type[Any], values: dict[str, Any], problems: list[str]) -> Any:
    """Build one section; what it finds wrong between its fields joins the other problems."""
    try:
        return config(**_values(config, values))
    except ValueError as error:
        problems.append(str(error))
        return None


def _unknown_names() -> Iterator[str]:
    """Name what pydantic-settings would silently ignore: a mistyped variable."""
    known = [setting.variable for setting in _all_settings()]
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"{name}: there is no such setting{hint}"


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
