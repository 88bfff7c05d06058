"""What a user says of one workload, by annotation or in a PredictiveScaler, as values; it never guesses a wrong one.

`python -m scaler.targets.annotations` prints docs/annotations.md.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, TypeVar

from scaler.domain import Mode
from scaler.kube.api import Json
from scaler.kube.objects import ANNOTATION_PREFIX, quantity
from scaler.kube.predictive_scaler import CREATED_BY, CREATED_BY_SCALER, RESTORE, RESTORE_FIELDS

MAX_REPLICAS: Final = 100_000
MIN_LEAD_TIME: Final = timedelta(seconds=1)
MAX_LEAD_TIME: Final = timedelta(hours=6)
MIN_MISS_BUDGET_RATIO: Final = 0.0001
MAX_MISS_BUDGET_RATIO: Final = 0.5

_TARGET_REF: Final = "targetRef"  # the one field of a PredictiveScaler's spec that overrides nothing
_DURATION: Final = re.compile(r"(?=\d)(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7}(?:\.\d+)?)s?)?", re.ASCII)
_PERCENT: Final = re.compile(r"(\d{1,4}(?:\.\d+)?) ?%(?: of (?:the )?(request|limit))?", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d+)?", re.ASCII)
_METRIC: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)

_T = TypeVar("_T")


class TargetKind(StrEnum):
    """What a `target` is counted in."""

    AMOUNT = "amount"
    SHARE_OF_REQUEST = "request"
    SHARE_OF_LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class TargetAmount:
    """Load of one pod, as its user gave it.

    Attributes:
        value: Base units for `AMOUNT`, else a ratio: 0.7 for `70%`.
        text: As it was written.
    """

    kind: TargetKind
    value: float
    text: str

    @property
    def plain(self) -> bool:
        """Whether it is a number without a unit."""
        return _NUMBER.fullmatch(self.text) is not None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user said of one workload; None where nothing was said.

    Attributes:
        lead_time: None also for `auto`.
        miss_budget_ratio: From the miss budget, or from the cost ratio Cu:Co as Co / (Cu + Co).
    """

    mode: Mode | None = None
    paused: bool = False
    scale_down_paused: bool = False
    min_replicas: int | None = None
    max_replicas: int | None = None
    metric: str | None = None
    target: TargetAmount | None = None
    lead_time: timedelta | None = None
    miss_budget_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as documented and as named in errors.

    Attributes:
        key: Of the annotation, after the prefix.
        field: In the `spec` of a PredictiveScaler.
    """

    key: str
    field: str
    accepted: str
    default: str
    meaning: str

    @property
    def annotation(self) -> str:
        """Full key of the annotation."""
        return ANNOTATION_PREFIX + self.key


_BOOLEAN: Final = '`"true"` or `"false"`'

MODE: Final = Setting(
    "mode",
    "mode",
    '`"off"`, `"shadow"` or `"on"` (in quotes: YAML takes a bare on or off for a boolean)',
    "`shadow` where any other setting stands, else not opted in",
    "`shadow` decides and records, and writes nothing to the workload; `on` moves its floor; `off` leaves it alone.",
)
PAUSE: Final = Setting("pause", "paused", _BOOLEAN, "false", "Holds the floor where it stands.")
PAUSE_SCALE_DOWN: Final = Setting(
    "pause-scale-down", "scaleDownPaused", _BOOLEAN, "false", "Lets the floor rise and never lowers it."
)
MIN_REPLICAS_SETTING: Final = Setting(
    "min-replicas",
    "minReplicas",
    f"a whole number from 0 to {MAX_REPLICAS}",
    "the workload's own minimum",
    "The floor never goes below it.",
)
MAX_REPLICAS_SETTING: Final = Setting(
    "max-replicas",
    "maxReplicas",
    f"a whole number from 1 to {MAX_REPLICAS}",
    "the workload's own maximum; without any, 3 times its peak replicas of 7 days",
    "The floor never goes above it, nor above the maximum of the workload's own autoscaler.",
)
METRIC: Final = Setting(
    "metric",
    "metric",
    "`cpu`, `memory`, `concurrency` or `rps` (both on Knative only), or the name of one of the cluster's presets",
    "what the workload's own autoscaler acts on where it can be collected, else `cpu`",
    "What the workload's load is measured and forecast in.",
)
TARGET: Final = Setting(
    "target",
    "target",
    "`350m` or `2Gi`, `70%` (of the request), `70% of limit`, above 0; for concurrency, rps and presets a plain number",
    "containerConcurrency, else the soft target, for concurrency; 90 % of the limit, else of the request, for cpu and "
    "memory",
    "Load of one pod beyond which its service level fails.",
)
LEAD_TIME: Final = Setting(
    "lead-time",
    "leadTime",
    "`auto`, or a duration from 1s to 6h: `90s`, `5m`, `1h30m`, or a number of seconds",
    "`auto`: learned",
    "Time from raising the floor to ready pods.",
)
MISS_BUDGET: Final = Setting(
    "miss-budget",
    "missBudget",
    "a share from 0.01% to 50%: `1%` or `0.01`",
    "`1%`",
    "Share of time that may be short of pods.",
)
COST_RATIO: Final = Setting(
    "cost-ratio",
    "costRatio",
    "two numbers above 0 with a colon between, from 1:1 to 9999:1: `19:1`",
    "none",
    "In place of the miss budget: what a missing pod costs against a spare one. `19:1` is a miss budget of 5 %.",
)
SETTINGS: Final = (
    MODE,
    MIN_REPLICAS_SETTING,
    MAX_REPLICAS_SETTING,
    METRIC,
    TARGET,
    LEAD_TIME,
    MISS_BUDGET,
    COST_RATIO,
    PAUSE,
    PAUSE_SCALE_DOWN,
)


@dataclass(frozen=True, slots=True)
class _Raw:
    """One value as it stands, and where."""

    source: str
    text: str


class _Reader:
    """Reads settings out of raw values and keeps every problem that it meets."""

    def __init__(self, raw: Mapping[str, _Raw], problems: list[str]) -> None:
        self._raw = raw
        self._problems = problems

    def read(self, setting: Setting, parse: Callable[[str], _T | None]) -> _T | None:
        """Give the value, or None where none stands or `parse` gives None for it."""
        raw = self._raw.get(setting.key)
        if raw is None:
            return None
        value = parse(raw.text)
        if value is None:
            self._problems.append(f"{raw.source}: {raw.text!r} is not accepted; accepted is {_plain(setting.accepted)}")
        return value

    def miss_budget_ratio(self) -> float | None:
        """Give the miss budget, said directly or as a cost ratio."""
        budget, ratio = self.read(MISS_BUDGET, _miss_budget), self.read(COST_RATIO, _cost_ratio)
        if MISS_BUDGET.key in self._raw and COST_RATIO.key in self._raw:
            first, second = self._raw[MISS_BUDGET.key].source, self._raw[COST_RATIO.key].source
            self._problems.append(f"{first} and {second} say the same thing twice; keep one of them")
        return ratio if budget is None else budget


def read_settings(annotations: Mapping[str, str], spec: Json | None = None) -> tuple[Settings, tuple[str, ...]]:
    """Read what stands on a workload, overridden field by field by the `spec` of its PredictiveScaler.

    Args:
        annotations: Of the workload; keys without our prefix are passed over.
        spec: As the user wrote it.

    Returns:
        The settings, and every problem as a sentence that names the value, where it stands and what is accepted. Where
        there is a problem, the settings are not to be used. Mode `off` is read before all else, and has no problems.
    """
    problems: list[str] = []
    raw = _merged(_from_annotations(annotations, problems), _from_spec(spec or {}, problems))
    reader = _Reader(raw, problems)
    mode = reader.read(MODE, _mode)
    if mode is Mode.OFF:
        return Settings(mode=mode), ()
    lead_time = reader.read(LEAD_TIME, _lead_time)
    low, high = reader.read(MIN_REPLICAS_SETTING, _replicas), reader.read(MAX_REPLICAS_SETTING, _positive_replicas)
    if low is not None and high is not None and low > high:
        where = f"{raw[MIN_REPLICAS_SETTING.key].source}: {low}"
        problems.append(f"{where} is above {raw[MAX_REPLICAS_SETTING.key].source}, {high}; accepted is at most that")
    settings = Settings(
        mode=mode,
        paused=reader.read(PAUSE, _boolean) or False,
        scale_down_paused=reader.read(PAUSE_SCALE_DOWN, _boolean) or False,
        min_replicas=low,
        max_replicas=high,
        metric=reader.read(METRIC, _metric),
        target=reader.read(TARGET, _target),
        lead_time=lead_time or None,
        miss_budget_ratio=reader.miss_budget_ratio(),
    )
    return settings, tuple(problems)


def overrides(spec: Json) -> bool:
    """Whether a PredictiveScaler says anything of its own."""
    return any(value is not None for name, value in spec.items() if name != _TARGET_REF)


def misplaced_settings(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Name settings that stand as annotations on a PredictiveScaler, where nobody reads them."""
    return tuple(
        f"{s.annotation} has no effect on a PredictiveScaler; write spec.{s.field}"
        for s in SETTINGS
        if s.annotation in annotations
    )


def earlier_values(annotations: Mapping[str, str]) -> Mapping[str, int | None] | None:
    """Read what stood before our floors: by `FloorField.id`, None where nothing stood.

    Returns:
        Empty where nothing was kept; None where what stands there cannot be read.
    """
    text = annotations.get(RESTORE)
    if text is None:
        return {}
    try:
        record = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or not all(v is None or type(v) is int for v in record.values()):
        return None
    return record


def _from_annotations(annotations: Mapping[str, str], problems: list[str]) -> dict[str, _Raw]:
    known = {s.annotation: s for s in SETTINGS}
    found = {}
    for name, text in annotations.items():
        if not name.startswith(ANNOTATION_PREFIX):
            continue
        if name in known:
            found[known[name].key] = _Raw(name, text)
        elif name in {RESTORE, RESTORE_FIELDS, CREATED_BY}:
            problems.append(f"{name} is the scaler's own and stands on a PredictiveScaler only; remove it")
        else:
            problems.append(_unknown(ANNOTATION_PREFIX, name, [s.key for s in SETTINGS]))
    return found


def _from_spec(spec: Json, problems: list[str]) -> dict[str, _Raw]:
    known = {s.field: s for s in SETTINGS}
    found = {}
    for name, value in spec.items():
        if name == _TARGET_REF or value is None:
            continue
        if name not in known:
            problems.append(_unknown("spec.", f"spec.{name}", list(known)))
        elif isinstance(value, bool | int | float | str):
            found[known[name].key] = _Raw(f"spec.{name}", str(value).lower() if isinstance(value, bool) else str(value))
        else:
            accepted = _plain(known[name].accepted)
            problems.append(f"spec.{name}: {json.dumps(value)} is not accepted; accepted is {accepted}")
    return found


def _merged(annotations: dict[str, _Raw], spec: dict[str, _Raw]) -> dict[str, _Raw]:
    """Let the spec override, field by field; miss budget and cost ratio are one field with two names."""
    merged = annotations | spec
    for key, other in ((MISS_BUDGET.key, COST_RATIO.key), (COST_RATIO.key, MISS_BUDGET.key)):
        if key in spec and other not in spec:
            merged.pop(other, None)
    return merged


def _unknown(prefix: str, name: str, known: list[str]) -> str:
    # Compared without what all of them begin with, which would make any two look alike.
    close = difflib.get_close_matches(name.removeprefix(prefix), known, n=1)
    hint = f"did you mean {prefix}{close[0]}?" if close else f"there are {', '.join(prefix + key for key in known)}"
    return f"{name}: there is no such setting; {hint}"


def _plain(text: str) -> str:
    return text.replace("`", "")


def _mode(text: str) -> Mode | None:
    return Mode(text) if text in set(Mode) else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _replicas(text: str) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_REPLICAS)):
        return None
    return int(text) if int(text) <= MAX_REPLICAS else None


def _positive_replicas(text: str) -> int | None:
    return _replicas(text) or None


def _metric(text: str) -> str | None:
    return text if _METRIC.fullmatch(text) else None


def _target(text: str) -> TargetAmount | None:
    percent = _PERCENT.fullmatch(text)
    if percent is not None:
        kind = TargetKind.SHARE_OF_LIMIT if percent[2] == "limit" else TargetKind.SHARE_OF_REQUEST
        value: float | None = float(percent[1]) / 100
    else:
        kind, value = TargetKind.AMOUNT, quantity(text)
    if value is None or not (math.isfinite(value) and value > 0):
        return None
    return TargetAmount(kind, value, text)


def _lead_time(text: str) -> timedelta | None:
    """Give a duration, 0 for `auto`."""
    if text == "auto":
        return timedelta(0)
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return duration if MIN_LEAD_TIME <= duration <= MAX_LEAD_TIME else None


def _miss_budget(text: str) -> float | None:
    number = text[:-1].rstrip() if text.endswith("%") else text
    if not _NUMBER.fullmatch(number):
        return None
    return _within_budget(float(number) / 100 if text.endswith("%") else float(number))


def _cost_ratio(text: str) -> float | None:
    """Critical ratio of the newsvendor: a level of Cu / (Cu + Co) leaves a miss budget of Co / (Cu + Co)."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    short, spare = (float(part) for part in parts)
    return _within_budget(spare / (short + spare)) if short > 0 and spare > 0 else None


def _within_budget(ratio: float) -> float | None:
    # 0.01 % as a float ratio of 1 / 10000 may fall a hair below.
    return ratio if MIN_MISS_BUDGET_RATIO - 1e-12 <= ratio <= MAX_MISS_BUDGET_RATIO else None


def to_markdown() -> str:
    """Write `docs/annotations.md`."""
    lines = [
        "# Annotations",
        "",
        "Generated by `python -m scaler.targets.annotations`; a test fails where this file differs from the code.",
        "",
        f"A Deployment, StatefulSet, InferenceService, HorizontalPodAutoscaler or ScaledObject with any"
        f" `{ANNOTATION_PREFIX}` annotation is opted in.",
        "So is whatever a PredictiveScaler names in `spec.targetRef`, which is also the way for other kinds with"
        " `/scale`.",
        "Both at once are one workload: a field of `spec` that is set overrides the annotation of the same row.",
        "",
        "| annotation | field of `spec` | accepted | default | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{s.annotation}` | `{s.field}` | {s.accepted} | {s.default} | {s.meaning} |" for s in SETTINGS]
    lines += [
        "",
        "A key or a value that is not accepted leaves the workload alone, with every problem in its condition"
        " `InvalidSetting`; other workloads go on.",
        "In `spec` whole numbers and booleans are written as such, all else as a string.",
        "",
        "## On an InferenceService, use a PredictiveScaler",
        "",
        "KServe copies an InferenceService's annotations into its pods, so that adding or changing one makes a new"
        " revision or a rollout,",
        "unless its exact key stands in `serviceAnnotationDisallowedList` of the ConfigMap `inferenceservice-config`.",
        "A PredictiveScaler never touches the service:",
        "",
        "```yaml",
        "apiVersion: ai-hpa.dev/v1alpha1",
        "kind: PredictiveScaler",
        "metadata:",
        "  name: llama",
        "spec:",
        "  targetRef: {apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, name: llama}",
        '  mode: "shadow"',
        "  maxReplicas: 20",
        "```",
        "",
        "All components of a service (predictor, transformer, explainer) share one PredictiveScaler, and its settings"
        " hold for each of them.",
        "",
        "## Which PredictiveScaler counts",
        "",
        f"The scaler makes one for each opted-in workload that has none, marked `{CREATED_BY}: {CREATED_BY_SCALER}`;"
        " what it learned is kept there.",
        "Such a one opts nothing in by itself while its `spec` holds `targetRef` alone: removing the annotations from"
        " the workload is enough to let it go.",
        "Once its `spec` says anything (`ai-hpa enable`, say), it stands by itself, like one made by hand.",
        "Of two that name one workload the older counts, and the other is refused.",
        "",
        f"`{RESTORE}` and `{RESTORE_FIELDS}` on it hold what stood before AI-HPA's floors. Leave them alone.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
