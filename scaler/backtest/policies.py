"""The policies that are compared, the knob that each has, and the points that its knob is swept over."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from scaler.replay.scores import Scores


class Policy(StrEnum):
    """Who decides about the pods."""

    HPA = "hpa"
    KPA = "kpa"
    PHPA_LINEAR = "phpa-linear"
    PHPA_HOLT_WINTERS = "phpa-holt-winters"
    LAST_WEEK = "last-week"
    FIXED = "fixed"
    AI_HPA = "ai-hpa"
    AI_HPA_TUNED = "ai-hpa-tuned"
    AI_HPA_KPA = "ai-hpa+kpa"
    ORACLE = "oracle"


POLICY_NAMES: Final = {
    Policy.HPA: "HPA alone",
    Policy.KPA: "KPA alone",
    Policy.PHPA_LINEAR: "PHPA, linear regression",
    Policy.PHPA_HOLT_WINTERS: "PHPA, Holt-Winters",
    Policy.LAST_WEEK: "Last week, 30 min early",
    Policy.FIXED: "Fixed count",
    Policy.AI_HPA: "AI-HPA over the same HPA",
    Policy.AI_HPA_TUNED: "AI-HPA over the HPA it recommends",
    Policy.AI_HPA_KPA: "AI-HPA over KPA",
    Policy.ORACLE: "Oracle",
}
KNOBS: Final = {
    Policy.HPA: "target utilization",
    Policy.KPA: "target utilization",
    Policy.PHPA_LINEAR: "target utilization of its HPA",
    Policy.PHPA_HOLT_WINTERS: "target utilization of its HPA",
    Policy.LAST_WEEK: "multiplier of last week's load",
    Policy.FIXED: "pods",
    Policy.AI_HPA: "target utilization of its HPA",
    Policy.AI_HPA_TUNED: "level",
    Policy.AI_HPA_KPA: "level",
}
RIVALS: Final = (
    Policy.HPA,
    Policy.KPA,
    Policy.PHPA_LINEAR,
    Policy.PHPA_HOLT_WINTERS,
    Policy.LAST_WEEK,
    Policy.FIXED,
)
"""Whom `Policy.AI_HPA_TUNED` is held against at equal pod-hours."""

TARGETS: Final = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
FLOORS: Final = (
    (0.2, 0.95),
    (0.5, 0.95),
    (0.8, 0.95),
    (0.93, 0.95),
    (0.93, 0.9),
    (0.93, 0.8),
    (0.93, 0.75),
    (0.97, 0.95),
    (0.99, 0.7),
    (0.999, 0.95),
    (0.999, 0.8),
)
"""Levels of AI-HPA's floor and targets of the HPA under it: a band through a grid of both that loses little of what the
whole grid reaches on training traces."""
MULTIPLIERS: Final = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5)
FIXED_RATIOS: Final = (0.8, 0.9, 1.0, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2.0)
"""Fixed counts, as ratios to the mean need of the scored part."""


class Point(NamedTuple):
    """A policy under one setting of its knob.

    Attributes:
        knob: None for a policy without one.
        scores: Means over seeds.
        hpa_target: Of the HPA under a floor, where it goes with the knob.
    """

    knob: float | None
    scores: Scores
    hpa_target: float | None = None
