"""What one check found, and the command that mends it; it knows no cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: a problem keeps something from working, a warning makes it work worse than it could."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: What was looked at, in a few words.
        message: What was found, and what follows from it.
        mend: The command that mends it, ready to be pasted; empty where there is none or nothing to mend.
    """

    check: str
    level: Level
    message: str
    mend: str = ""


def ok(check: str, message: str) -> Finding:
    """Give a finding that needs nothing."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, mend: str = "") -> Finding:
    """Give a finding that makes AI-HPA work worse than it could."""
    return Finding(check, Level.WARNING, message, mend)


def problem(check: str, message: str, mend: str = "") -> Finding:
    """Give a finding that keeps something from working."""
    return Finding(check, Level.PROBLEM, message, mend)


def config_map_patch(namespace: str, name: str, data: Mapping[str, str]) -> str:
    """Write the kubectl command that sets entries of a ConfigMap and leaves the others."""
    body = shlex.quote(json.dumps({"data": dict(data)}))
    return f"kubectl patch configmap {name} --namespace {namespace} --type merge --patch {body}"
