"""What stands in a PredictiveScaler, and the values of the scaler that it keeps; it makes no call and never raises.

Two annotations hold what `off` gives back. `ai-hpa.dev/restore` is `{field id: earlier value, or null where nothing
stood}`; `ai-hpa.dev/restore-fields` says where each of these fields is, so that they can be restored without discovery.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import numpy as np

from scaler.calibration import SOURCES, CalibrationState
from scaler.champion import Scores
from scaler.controller import Memory
from scaler.domain import Champion, ChampionReason, Forecast, Source, TargetKey
from scaler.history import PREDICTION_LENGTH
from scaler.kube.api import Json, json_map, json_maps
from scaler.kube.objects import ObjectRef, PredictiveScalerObject, time_of
from scaler.kube.resources import PREDICTIVE_SCALERS, Resource
from scaler.policy import Trajectory

RESTORE: Final = "ai-hpa.dev/restore"
RESTORE_FIELDS: Final = "ai-hpa.dev/restore-fields"
CREATED_BY: Final = "ai-hpa.dev/created-by"
CREATED_BY_SCALER: Final = "scaler"
SIGNIFICANT_DIGITS: Final = 4
# Numbers of steps whose learned offsets are kept; those between lie on the line.
OFFSET_KNOTS: Final = (1, 2, 5, 10, 20, PREDICTION_LENGTH)
# Fields that were given back and may be taken again; enough for a rollback among the newest revisions.
RELEASED_KEPT: Final = 8
# Every record is looked at in every tick, and hardly any changes.
RECORDS_KEPT: Final = 4096

_LONGEST: Final = timedelta(days=1)
# Anyone who may edit a PredictiveScaler writes these words; they become part of a path below the API server's root.
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")

_Value = TypeVar("_Value")


class _Broken(ValueError):
    """A part of the status is not what the scaler writes."""


@dataclass(frozen=True, slots=True)
class RestoreEntry:
    """One field that the scaler wrote, and what stood there before.

    Attributes:
        earlier: What goes back; None removes what stands there.
        uid: Of the object that was written; another one under its name is another object.
        released: It was given back; `earlier` then tells a value that the scaler restored from one that it forgot.
    """

    field_id: str
    earlier: int | None
    resource: Resource
    name: str
    path: tuple[str, ...]
    uid: str
    subresource: str = ""
    text: bool = False
    released: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, as of now.

    Attributes:
        status: `True`, `False` or `Unknown`.
        reason: One word in CamelCase.
    """

    type: str
    status: str
    reason: str
    message: str = ""


def new_scaler(name: str, reference: ObjectRef, uid: str) -> Json:
    """Build the object for one workload; it goes when the workload goes."""
    owner = {"apiVersion": reference.api_version, "kind": reference.kind, "name": reference.name, "uid": uid}
    return {
        "apiVersion": PREDICTIVE_SCALERS.api_version,
        "kind": PREDICTIVE_SCALERS.kind,
        "metadata": {
            "name": name,
            "namespace": reference.namespace,
            "annotations": {CREATED_BY: CREATED_BY_SCALER},
            "ownerReferences": [{**owner, "blockOwnerDeletion": False}],
        },
        "spec": {
            "targetRef": {"apiVersion": reference.api_version, "kind": reference.kind, "name": reference.name},
        },
    }


def restore_record(annotations: Mapping[str, str]) -> dict[str, RestoreEntry]:
    """Read both restore annotations, oldest entry first; an entry that is broken in either is left out."""
    return dict(_restore_entries(annotations.get(RESTORE), annotations.get(RESTORE_FIELDS)))


@functools.lru_cache(maxsize=RECORDS_KEPT)
def _restore_entries(earlier_text: str | None, places_text: str | None) -> Mapping[str, RestoreEntry]:
    earlier, places = _json_map(earlier_text), _json_map(places_text)
    entries: dict[str, RestoreEntry] = {}
    for field_id, place in places.items():
        with suppress(_Broken):
            entries[field_id] = _entry(field_id, place, earlier)
    return entries


def restore_annotations(entries: Iterable[RestoreEntry]) -> dict[str, str | None]:
    """Write both restore annotations, for a merge patch: None removes one that has become empty."""
    kept = tuple(entries)
    released = [entry for entry in kept if entry.released][-RELEASED_KEPT:]
    standing = {entry.field_id: entry.earlier for entry in kept if not entry.released}
    places = {entry.field_id: _place(entry) for entry in kept if not entry.released or entry in released}
    return {
        RESTORE: json.dumps(standing) if standing else None,
        RESTORE_FIELDS: json.dumps(places) if places else None,
    }


def memory_to_json(memory: Memory) -> Json:
    """Write what was learned; numbers keep four digits, and forecasts still to come true are left out."""
    written: Json = {"durationsSeconds": [_rounded(d.total_seconds()) for d in memory.durations]}
    if memory.calibration is not None:
        written["calibration"] = _calibration_to_json(memory.calibration)
        written["scores"] = _scores_to_json(memory.scores)
    if memory.trajectory is not None:
        trajectory, forecast = memory.trajectory, memory.trajectory.forecast
        written["trajectory"] = {
            "origin": rfc3339(forecast.origin),
            "stepSeconds": forecast.step.total_seconds(),
            "level": trajectory.level,
            "source": forecast.source.value,
            "modelVersion": forecast.model_version,
            "peaks": [_rounded(value) for value in trajectory.peaks],
            "offsets": [_rounded(value) for value in trajectory.offsets],
        }
    return written


def memory_from_json(value: object) -> Memory | None:
    """Read what was learned; a part that is broken or foreign is missing, and None means that nothing is left."""
    written = json_map(value)
    durations = _part(_durations, written.get("durationsSeconds"))
    memory = Memory(
        durations=durations if durations is not None else (),
        calibration=_part(_calibration, written.get("calibration")),
        scores=_part(_scores, written.get("scores")) or Scores(),
        trajectory=_part(_trajectory, written.get("trajectory")),
    )
    nothing = not memory.durations and memory.calibration is None and memory.trajectory is None
    return None if nothing else memory


def champion_to_json(champion: Champion) -> Json:
    """Write whose forecasts serve, and what each source's have cost."""
    written: Json = {
        "source": champion.source.value,
        "reason": champion.reason.value,
        "scoredDays": rounded(champion.scored_days),
        "costRatios": {source: rounded(ratio) for source, ratio in champion.cost_ratios.items()},
    }
    return written if champion.since is None else written | {"since": rfc3339(champion.since)}


def champion_from_json(value: object) -> Champion | None:
    """Read whose forecasts serve; None where it is missing, or not what the scaler writes."""
    return _part(_champion, value)


def component_of(key: TargetKey, reference: ObjectRef) -> str:
    """Name the component that a key stands for: what its name says beyond the object's own; empty for the whole."""
    return key.name.removeprefix(reference.name).lstrip("/.-") if key.name.startswith(reference.name) else ""


def component_statuses(status: Json) -> dict[str, Json]:
    """Give `status.components` by name; empty for a workload of one part."""
    return {str(component.get("name") or ""): component for component in json_maps(status.get("components"))}


def component_status(scaler: PredictiveScalerObject | None, key: TargetKey, reference: ObjectRef) -> Json:
    """Give what the status says of the component that a key stands for; empty where it says nothing."""
    return component_statuses(scaler.status).get(component_of(key, reference), {}) if scaler is not None else {}


def conditions_to_json(earlier: object, current: Sequence[Condition], *, generation: int, now: datetime) -> list[Json]:
    """Write conditions; the time of the last transition moves only where a status changed.

    Args:
        earlier: `status.conditions` as it stands. Conditions of other types are kept.
        current: Those to set.
        generation: Of the object that they speak of.
        now: Time of a transition.
    """
    standing = {str(condition.get("type")): condition for condition in json_maps(earlier)}
    for condition in current:
        before = standing.get(condition.type, {})
        changed = before.get("status") != condition.status or time_of(before.get("lastTransitionTime")) is None
        standing[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": generation,
            "lastTransitionTime": rfc3339(now) if changed else before["lastTransitionTime"],
        }
    return list(standing.values())


def rounded(value: float | None) -> float | None:
    """Keep four significant digits; None stays None."""
    return None if value is None else _rounded(value)


def rfc3339(moment: datetime) -> str:
    """Write a time as the API does: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _place(entry: RestoreEntry) -> Json:
    place: Json = {
        "group": entry.resource.group,
        "version": entry.resource.version,
        "plural": entry.resource.plural,
        "kind": entry.resource.kind,
        "name": entry.name,
        "path": list(entry.path),
        "uid": entry.uid,
    }
    if entry.subresource:
        place["subresource"] = entry.subresource
    if entry.text:
        place["text"] = True
    if entry.released:
        place["released"] = entry.earlier
    return place


def _entry(field_id: str, place: object, earlier: Json) -> RestoreEntry:
    written = json_map(place)
    path = written.get("path")
    if not isinstance(path, list) or not path or not all(isinstance(step, str) and step for step in path):
        raise _Broken("no path")
    released = field_id not in earlier
    if released and "released" not in written:
        raise _Broken("no earlier value")
    value = written["released"] if released else earlier[field_id]
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise _Broken("no number of replicas")
    version, plural, kind, name = (_path_part(written.get(key)) for key in ("version", "plural", "kind", "name"))
    return RestoreEntry(
        field_id=field_id,
        earlier=value,
        resource=Resource(_path_part(written.get("group")), version, plural, kind),
        name=name,
        path=tuple(path),
        uid=_word(written.get("uid")),
        subresource="scale" if written.get("subresource") == "scale" else "",
        text=written.get("text") is True,
        released=released,
    )


def _path_part(value: object) -> str:
    word = _word(value)
    if not _NAME.fullmatch(word):
        raise _Broken("no name")
    return word


def _durations(value: object) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=seconds) for seconds in _numbers(value, most=_LONGEST.total_seconds()) if seconds)


def _calibration_to_json(state: CalibrationState) -> Json:
    at = [knot - 1 for knot in OFFSET_KNOTS]
    return {
        # In full: learning starts anew at any other level.
        "level": state.level,
        "scale": _rounded(state.scale),
        "offsets": {
            source.value: [_rounded(value) for value in row[at].tolist()]
            for source, row in zip(SOURCES, state.offsets, strict=True)
            if math.isfinite(row[0])
        },
    }


def _calibration(value: object) -> CalibrationState:
    written = json_map(value)
    kept = json_map(written.get("offsets"))
    if not kept:
        raise _Broken("offsets")
    offsets = np.full((len(SOURCES), PREDICTION_LENGTH), np.nan)
    for source, row in kept.items():
        values = _numbers(row, least=-math.inf)
        if len(values) != len(OFFSET_KNOTS):
            raise _Broken("offsets")
        steps = np.arange(1, PREDICTION_LENGTH + 1)
        offsets[SOURCES.index(Source(source))] = np.interp(steps, OFFSET_KNOTS, values)
    return CalibrationState(level=_level(written.get("level")), offsets=offsets, scale=_number(written.get("scale")))


def _scores_to_json(scores: Scores) -> Json:
    written: Json = {
        "champion": scores.champion.value,
        "sources": {
            source.value: {"cost": _rounded(cost), "reference": _rounded(reference), "seconds": round(seconds)}
            for source, cost, reference, seconds in zip(
                SOURCES, scores.costs.tolist(), scores.references.tolist(), scores.seconds.tolist(), strict=True
            )
            if seconds
        },
    }
    times = (("since", scores.since), ("scoredAt", scores.scored_at))
    return written | {name: rfc3339(moment) for name, moment in times if moment is not None}


def _scores(value: object) -> Scores:
    written = json_map(value)
    table = np.zeros((3, len(SOURCES)))
    for source, entry in json_map(written.get("sources")).items():
        numbers = json_map(entry)
        table[:, SOURCES.index(Source(source))] = [_number(numbers.get(n)) for n in ("cost", "reference", "seconds")]
    return Scores(
        costs=table[0],
        references=table[1],
        seconds=table[2],
        scored_at=time_of(written.get("scoredAt")),
        champion=Source(_word(written.get("champion"))),
        since=time_of(written.get("since")),
    )


def _champion(value: object) -> Champion:
    written = json_map(value)
    ratios = {name: _number(ratio) for name, ratio in json_map(written.get("costRatios")).items()}
    return Champion(
        source=Source(_word(written.get("source"))),
        reason=ChampionReason(_word(written.get("reason"))),
        since=time_of(written.get("since")),
        cost_ratios=ratios,
        scored_days=_number(written.get("scoredDays")),
    )


def _trajectory(value: object) -> Trajectory:
    """Build the forecast that a new leader goes on with: all that is known of it is its peaks at one level."""
    written = json_map(value)
    level, origin = _level(written.get("level")), time_of(written.get("origin"))
    peaks, offsets = _numbers(written.get("peaks")), _numbers(written.get("offsets"), least=-math.inf)
    step = timedelta(seconds=_number(written.get("stepSeconds"), most=_LONGEST.total_seconds()))
    if origin is None or not peaks or len(peaks) != len(offsets) or list(peaks) != sorted(peaks):
        raise _Broken("peaks")
    forecast = Forecast(
        origin=origin,
        step=step,
        quantile_levels=(level,),
        quantiles=np.array(peaks)[:, np.newaxis],  # (H, 1)
        window_max=np.array(peaks)[:, np.newaxis],  # (H, 1)
        source=Source(_word(written.get("source"))),
        model_version=str(written.get("modelVersion") or ""),
    )
    return Trajectory(forecast=forecast, level=level, peaks=peaks, offsets=offsets)


def _part(read: Callable[[object], _Value], value: object) -> _Value | None:
    """Read one part; None where it is missing, or not what the scaler writes."""
    if value is None:
        return None
    try:
        return read(value)
    except ValueError:
        return None


def _numbers(value: object, *, least: float = 0.0, most: float = math.inf) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise _Broken("no list")
    return tuple(_number(entry, least=least, most=most) for entry in value)


def _number(value: object, *, least: float = 0.0, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Broken("no number")
    try:
        number = float(value)
    except OverflowError as exc:
        raise _Broken("no float") from exc
    if not (math.isfinite(number) and least <= number <= most):
        raise _Broken("out of range")
    return number


def _level(value: object) -> float:
    level = _number(value)
    if not 0 < level < 1:
        raise _Broken("no level")
    return level


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _Broken("no word")
    return value


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _json_map(text: str | None) -> Json:
    try:
        return json_map(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return {}
