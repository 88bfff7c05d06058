"""The scenarios: what each is called and what happens in it, and its load, its faults and its bounds for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from bench.scenarios.loads import (
    STEP,
    as_it_was,
    daily,
    flash_crowds,
    level_shift,
    moments,
    office_hours,
    upstream_outage,
    wall_clock,
)
from scaler.backtest.case import KNOWN, PODS_AT_P99, Case
from scaler.domain import FloatArray
from scaler.replay.plan import averaged
from scaler.replay.start_up import StartUp
from scaler.replay.traces import Trace, read_csv

SCORED: Final = timedelta(days=1)
MOST_PODS: Final = 1000  # so many that no scenario comes near: what is missing is missing for want of time
PODS_OF_A_SMALL_ONE: Final = 5  # at the p99 of the load before: what sleeps at zero is small
PATIENCE: Final = timedelta(seconds=300)  # of a request at zero: what a Knative revision gives by default
MONDAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
BERLIN: Final = ZoneInfo("Europe/Berlin")
AUTUMN: Final = datetime(2026, 10, 25, 1, tzinfo=UTC)  # 03:00 there becomes 02:00
SPRING: Final = datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:00 there becomes 03:00


class Stretch(NamedTuple):
    """A stretch of time after the begin of the scored part."""

    start: timedelta
    end: timedelta


RAMP: Final = Stretch(timedelta(hours=7, minutes=45), timedelta(hours=8, minutes=45))
TEN_MINUTES: Final = Stretch(timedelta(hours=8, minutes=10), timedelta(hours=8, minutes=20))


class Fault(StrEnum):
    """What is broken while the load goes on."""

    METRICS = "metrics"  # nothing is recorded
    SOURCE = "source"  # and AI-HPA's source raises as well
    FORECASTER = "forecaster"  # nobody answers


class Kind(StrEnum):
    """Which policies a scenario is for."""

    PODS = "pods"
    ZERO = "zero"  # those that may take the last pod away


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario, whatever the seed.

    Attributes:
        key: Names it in the JSON.
        what: What happens, in sentences.
        group: Scenarios of one group are simulated together.
        fault: What is broken for some time; None where only the load does something.
    """

    key: str
    title: str
    what: str
    group: str = "days"
    kind: Kind = Kind.PODS
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """One scenario under one seed.

    Attributes:
        broken: When what the scenario names as its fault is broken; None where nothing is.
        request_time: How long a pod takes over one request.
    """

    scenario: Scenario
    case: Case
    broken: Stretch | None = None
    request_time: timedelta = timedelta(seconds=1)


SCENARIOS: Final = (
    Scenario(
        "ordinary",
        "An ordinary day",
        "Nothing happens. Scenarios on this day have its load, noise and luck with pods, but for what they add.",
    ),
    Scenario(
        "crowd-3",
        "Flash crowds, three times the load",
        "Three times between 7:00 and 22:00, in minutes that nobody can know, the load of this day trebles from one "
        "minute to the next, stays so for 20 minutes and fades.",
    ),
    Scenario(
        "crowd-10",
        "Flash crowds, ten times the load",
        "In the same minutes, ten times the load of the day.",
    ),
    Scenario(
        "shift-up",
        "Level shift up",
        "From a minute between 10:00 and 16:00 on, the load of the day is 1.6 times what it was, for good.",
    ),
    Scenario("shift-down", "Level shift down", "From the same minute on, it is half of what it was, for good."),
    Scenario(
        "upstream",
        "Upstream outage",
        "Between 10:00 and 16:00, whoever sends the load is away: 1 % is left of it for 40 minutes, then all of it is "
        "back at once.",
    ),
    Scenario(
        "metrics-10",
        "No metrics for 10 minutes of the morning ramp",
        "From 8:10 to 8:20 nothing is recorded of the load, and never will be. The HPA sees nothing either and holds. "
        "The KPA asks the pods themselves.",
        fault=Fault.METRICS,
    ),
    Scenario(
        "metrics-60",
        "No metrics for an hour of the morning ramp",
        "The same from 7:45 to 8:45.",
        fault=Fault.METRICS,
    ),
    Scenario(
        "source-60",
        "Metrics source that raises for an hour of the morning ramp",
        "The same hour; AI-HPA's metrics source also fails as a whole, so that it sees no pods either.",
        group="source",
        fault=Fault.SOURCE,
    ),
    Scenario(
        "forecaster-60",
        "Forecaster down for an hour of the morning ramp",
        "From 7:45 to 8:45 nobody answers AI-HPA; it has its own forecasts without the model.",
        group="forecaster",
        fault=Fault.FORECASTER,
    ),
    Scenario(
        "autumn",
        "The clock is put back",
        "Load follows the clock in Berlin. The 24 hours from the change of 25 October 2026 on come an hour later than "
        "those before them, by UTC.",
    ),
    Scenario(
        "autumn-without",
        "The same days, had the clock not been put back",
        "Load, noise and luck are the same otherwise.",
    ),
    Scenario(
        "spring",
        "The clock is put forward",
        "The 24 hours from the change of 29 March 2026 on come an hour earlier than those before them.",
    ),
    Scenario(
        "spring-without",
        "The same days, had the clock not been put forward",
        "Load, noise and luck are the same otherwise.",
    ),
    Scenario(
        "office",
        "Zero at night and between sessions",
        "A tool that people use in sessions of half an hour from eight to six, and twice for three minutes at night. A "
        "pod takes 10 s over a request.",
        group="office",
        kind=Kind.ZERO,
    ),
    Scenario(
        "lora",
        "Image generation (alibaba_genai_lora)",
        "Requests in 5 minutes, none for more than half of the time. Two days are scored, Friday evening to Sunday. "
        "A pod is taken to need 45 s for a request.",
        group="lora",
        kind=Kind.ZERO,
    ),
    Scenario(
        "azure-code",
        "Code completion, an hour old (azure_llm_2023)",
        "Requests per 10 s, averaged to a minute. All there is of it is an hour, of which 15 minutes are "
        "known before. A pod is taken to need 5 s for a request.",
        group="azure-code",
        kind=Kind.ZERO,
    ),
    Scenario(
        "azure-conv",
        "Conversation, an hour old (azure_llm_2023)",
        "The same of another service, which is never idle.",
        group="azure-conv",
        kind=Kind.ZERO,
    ),
    Scenario(
        "twitter",
        "Bursts of a collector (twitter_stream_202108)",
        "Tweets and deletes, averaged to a minute: a daily cycle, and some ten times a day a burst of five times as "
        "much for minutes, which are artefacts and no users.",
        group="twitter",
    ),
)
"""In the order of the page."""

STRESS_GROUPS: Final = ("lora", "azure-code", "azure-conv", "twitter")
LEFT_OUT: Final = {"appserver_hourly": "one value an hour tells nothing of the minutes that pods take to start"}


def groups(stress: Path | None) -> tuple[str, ...]:
    """Name the groups that can be run, with or without the folder of recorded traces."""
    all_of_them = dict.fromkeys(scenario.group for scenario in SCENARIOS)
    return tuple(name for name in all_of_them if stress is not None or name not in STRESS_GROUPS)


def setups(group: str, seed: int, stress: Path | None) -> list[Setup]:
    """Make the scenarios of a group.

    Args:
        group: One of `groups`.
        seed: Of synthetic load; recorded load is what it is.
        stress: Folder of the recorded traces.

    Raises:
        TraceError: A trace is not what it should be.
        OSError: A trace cannot be read.
    """
    if group in STRESS_GROUPS:
        if stress is None:
            raise ValueError(f"{group} needs the folder of recorded traces")
        return [_recorded(group, stress)]
    if group == "office":
        clock = wall_clock(MONDAY, (KNOWN + SCORED) // STEP, UTC)
        values = office_hours(clock, np.random.default_rng([seed, 2]))
        case = _case("office", values, MONDAY, pods=PODS_OF_A_SMALL_ONE, min_replicas=0)
        return [Setup(_of("office"), case, request_time=timedelta(seconds=10))]
    return [setup for setup in (*_of_a_day(seed), *_of_a_clock(seed)) if setup.scenario.group == group]


def _of(key: str) -> Scenario:
    (found,) = (scenario for scenario in SCENARIOS if scenario.key == key)
    return found


def _of_a_day(seed: int) -> list[Setup]:
    """Make everything that happens on one and the same day."""
    known, rng = KNOWN // STEP, np.random.default_rng([seed, 1])
    usual = daily(wall_clock(MONDAY, known + SCORED // STEP, UTC), np.random.default_rng([seed, 0]))
    crowds = moments(rng, range(known + 7 * 60, known + 22 * 60), 3, apart=60)
    (shift,) = moments(rng, range(known + 10 * 60, known + 16 * 60), 1, apart=0).tolist()
    (outage,) = moments(rng, range(known + 10 * 60, known + 16 * 60), 1, apart=0).tolist()
    loads: dict[str, tuple[FloatArray, Stretch | None]] = {
        "ordinary": (usual, None),
        "crowd-3": (flash_crowds(usual, crowds, 3.0), None),
        "crowd-10": (flash_crowds(usual, crowds, 10.0), None),
        "shift-up": (level_shift(usual, shift, 1.6), None),
        "shift-down": (level_shift(usual, shift, 0.5), None),
        "upstream": (upstream_outage(usual, outage, 40), None),
        "metrics-10": (usual, TEN_MINUTES),
        "metrics-60": (usual, RAMP),
        "source-60": (usual, RAMP),
        "forecaster-60": (usual, RAMP),
    }
    return [Setup(_of(key), _case(key, values, MONDAY), broken) for key, (values, broken) in loads.items()]


def _of_a_clock(seed: int) -> list[Setup]:
    found = []
    for key, change in (("autumn", AUTUMN), ("spring", SPRING)):
        start, steps = change - KNOWN, (KNOWN + SCORED) // STEP
        for name, zone in ((key, BERLIN), (f"{key}-without", as_it_was(start, BERLIN))):
            values = daily(wall_clock(start, steps, zone), np.random.default_rng([seed, 3]))
            found.append(Setup(_of(name), _case(name, values, start)))
    return found


class _Cut(NamedTuple):
    """Which part of a recorded trace is simulated: its end, or all of it.

    Attributes:
        known, scored: None takes what is left.
        request_time: Taken to be so; the traces do not say.
    """

    file: str
    series: str | None
    known: timedelta
    scored: timedelta | None
    pods: int
    min_replicas: int
    request_time: timedelta = timedelta(seconds=1)


_IMAGE, _ANSWER = timedelta(seconds=45), timedelta(seconds=5)
_CUTS: Final = {
    "lora": _Cut("alibaba_genai_lora", None, KNOWN, timedelta(days=2), PODS_OF_A_SMALL_ONE, 0, _IMAGE),
    "azure-code": _Cut("azure_llm_2023", "code", timedelta(minutes=15), None, PODS_OF_A_SMALL_ONE, 0, _ANSWER),
    "azure-conv": _Cut("azure_llm_2023", "conv", timedelta(minutes=15), None, PODS_OF_A_SMALL_ONE, 0, _ANSWER),
    "twitter": _Cut("twitter_stream_202108", None, KNOWN, SCORED, PODS_AT_P99, 1),
}


def _recorded(key: str, stress: Path) -> Setup:
    cut = _CUTS[key]
    (trace,) = read_csv(stress / f"{cut.file}.csv.gz", series=cut.series)
    shown = averaged(trace)
    known = cut.known // shown.step
    steps = len(shown.values) if cut.scored is None else known + cut.scored // shown.step
    first = len(shown.values) - steps
    values, start = shown.values[first:], shown.start + first * shown.step
    case = _case(key, values, start, pods=cut.pods, min_replicas=cut.min_replicas, of=shown, known=known)
    return Setup(_of(key), case, request_time=cut.request_time)


def _case(  # noqa: PLR0913 - a case has as many parts
    name: str,
    values: FloatArray,
    start: datetime,
    *,
    pods: int = PODS_AT_P99,
    min_replicas: int = 1,
    of: Trace | None = None,
    known: int = KNOWN // STEP,
) -> Case:
    """Make a case whose scored part begins after `known` steps; a pod carries a share of the p99 of what is known."""
    step = of.step if of is not None else STEP
    scored = start + known * step
    return Case(
        name=name,
        has_clock=of.has_clock if of is not None else True,
        step=step,
        values=values,
        start=start,
        decided=scored,
        checked=scored,
        capacity=float(np.nanpercentile(values[:known], 99)) / pods,
        min_replicas=min_replicas,
        max_replicas=MOST_PODS,
        start_up=StartUp(),
        notes=(),
    )
