"""A replay as one HTML file that loads nothing from anywhere; it adds no judgement that the numbers do not carry."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from scaler.domain import Decision
from scaler.replay import figures
from scaler.replay.moments import Moment, moments
from scaler.replay.page import asset, bullets, card, facts, figure_json, fill, percent, row, table
from scaler.replay.result import POLICY_NAMES, IssuedForecast, Policy, ReplayResult
from scaler.replay.scores import Scores
from scaler.replay.summary import fallback_warning, in_days, short_time, time_label, verdict

MOMENTS: Final = 8  # of each kind
MAX_FANS: Final = 1500  # forecasts that can be picked one by one; more are thinned out evenly
_FAN_LEVELS: Final = (0.05, 0.95, 0.5)
_PEAK_LEVEL: Final = 0.99
_FAN_RESOLUTION: Final = 65535


def render(result: ReplayResult, *, command: str) -> str:
    """Build the page.

    Args:
        result: What happened.
        command: How to repeat it, as typed.
    """
    warning = fallback_warning(result)
    package = "scaler.replay"
    return fill(
        asset(package, "report.html"),
        css=asset(package, "report.css"),
        script=asset(package, "report.js"),
        data=_data(result),
        series=html.escape(result.series),
        span=html.escape(_span(result)),
        warnings=f'<p class="warning">{html.escape(warning)}</p>' if warning else "",
        cards=_cards(result),
        verdict=html.escape(verdict(result)),
        scores=_scores(result),
        ahead=html.escape(_ahead(result.forecasts)),
        better_count=_count_note(result, Policy.HPA, Policy.AI_HPA),
        worse_count=_count_note(result, Policy.AI_HPA, Policy.HPA),
        settings=_settings(result),
        preprocessing=bullets([*result.preprocessing, *_simulation_notes(result)]),
        command=html.escape(command),
    )


def _data(result: ReplayResult) -> dict[str, Any]:
    timeline = figures.timeline(result)
    kinds = {"better": (Policy.HPA, Policy.AI_HPA), "worse": (Policy.AI_HPA, Policy.HPA)}
    found = {kind: moments(result, *policies, limit=MOMENTS) for kind, policies in kinds.items()}
    return {
        "has_clock": result.has_clock,
        "start": figures.milliseconds(result.start),
        "end": figures.milliseconds(result.start + result.duration),
        "timeline": figure_json(timeline),
        "cost": figure_json(figures.cost_against_misses(result)),
        "fans": _fans(result.forecasts, _first_single_fan(timeline)),
        **{kind: [_moment(result, moment) for moment in listed] for kind, listed in found.items()},
    }


def _first_single_fan(timeline: go.Figure) -> int:
    return next(index for index, trace in enumerate(timeline.data) if trace.meta == figures.SINGLE_FAN)


def _fans(forecasts: Sequence[IssuedForecast], first_trace: int) -> dict[str, Any]:
    """Pack the forecasts as issued into 16-bit integers, shape (fans, curves, steps), times a common scale."""
    shown = forecasts[:: -(-len(forecasts) // MAX_FANS) or 1]
    curves = np.array([_curves(issued) for issued in shown])
    scale = float(curves.max(initial=0.0)) / _FAN_RESOLUTION or 1.0
    first = shown[0].forecast if shown else None
    return {
        "origins": [figures.milliseconds(issued.forecast.origin) for issued in shown],
        "steps": first.prediction_length if first else 0,
        "step_ms": first.step / timedelta(milliseconds=1) if first else 0,
        "curves": len(figures.FAN_CURVES),
        "first_trace": first_trace,
        "scale": scale,
        "values": base64.b64encode(np.rint(curves / scale).astype("<u2").tobytes()).decode(),
    }


def _curves(issued: IssuedForecast) -> list[list[float]]:
    forecast = issued.forecast
    at = forecast.quantile_levels.index
    rows = [forecast.quantiles[:, at(level)].tolist() for level in _FAN_LEVELS]
    return [*rows, forecast.window_max[:, at(_PEAK_LEVEL)].tolist()]


def _moment(result: ReplayResult, moment: Moment) -> dict[str, Any]:
    decision = moment.decision
    origin = decision.at - decision.forecast_age if decision.forecast_age is not None else decision.at
    short, covered = POLICY_NAMES[moment.short], POLICY_NAMES[moment.covered]
    worst = time_label(result.time_of(moment.worst_tick), has_clock=result.has_clock)
    return {
        "from": figures.milliseconds(result.time_of(moment.first_tick)),
        "to": figures.milliseconds(result.time_of(moment.last_tick + 1)),
        "forecast_origin": figures.milliseconds(origin),
        "short_for": short_time(moment.short_time),
        "missing": _pods(moment.missing_pods) + " missing",
        "title": f"{worst}: {short} short by {_pods(moment.missing_pods)}",
        "story": (
            f"The load needed {_pods(moment.needed)}. {short} had {moment.pods[0]} ready, {covered} had "
            f"{moment.pods[1]}. {_decision_sentence(result, moment)}"
        ),
        "chain": [[name, value] for name, value in _chain(decision)],
    }


def _decision_sentence(result: ReplayResult, moment: Moment) -> str:
    at = time_label(moment.decision.at, has_clock=result.has_clock)
    if moment.short is Policy.AI_HPA:
        return f"This is what AI-HPA decided at {at}, a lead time before, the last moment that could have helped:"
    return f"The floor that stood a lead time before was set by AI-HPA at {at}:"


def _chain(decision: Decision) -> Iterable[tuple[str, str]]:
    """Give each step of a decision in its order."""
    yield "load seen", _number(decision.load)
    yield "forecast from", decision.forecast_source or "none"
    yield "its age", _seconds(decision.forecast_age)
    yield "lead time", _seconds(decision.lead_time)
    yield "steps that matter", _number(decision.forecast_steps)
    yield "level", _number(decision.level)
    yield "peak forecast", _number(decision.forecast_peak)
    yield "of it learned offset", _number(decision.offset)
    yield "peak to cover", _number(decision.peak)
    yield "capacity of a pod", _number(decision.capacity)
    yield "pods for it", _number(decision.n_predicted)
    yield "stabilized", _number(decision.n_stabilized)
    yield "rate-limited", _number(decision.n_limited)
    yield "floor", f"{decision.previous_floor} → {decision.floor}"
    yield "reasons", ", ".join(decision.reasons) or str(decision.reason)


def _cards(result: ReplayResult) -> str:
    shown: dict[str, Callable[[Scores], str]] = {
        "Time short of pods": lambda scores: short_time(scores.short_time),
        "Late or dropped requests": lambda scores: percent(scores.late_requests),
        "Pod-hours": lambda scores: f"{scores.pod_hours:,.0f}",
        "Scale actions": lambda scores: f"{scores.scale_actions:,}",
    }
    return "\n".join(
        card(title, [(policy, POLICY_NAMES[policy], value_of(run.scores)) for policy, run in result.runs.items()])
        for title, value_of in shown.items()
    )


def _scores(result: ReplayResult) -> str:
    head = (
        "policy",
        "time short",
        "pods short",
        "requests late",
        "requests dropped",
        "pod-hours",
        "ratio to the oracle's",
        "spare pods",
        "scale actions",
        "reversals",
    )
    rows = []
    for policy, run in result.runs.items():
        scores = run.scores
        cells = (
            percent(scores.under_time),
            percent(scores.under_volume),
            percent(scores.late_requests),
            percent(scores.dropped_requests),
            f"{scores.pod_hours:,.0f}",
            f"{result.pod_hours_over_oracle(policy):.2f}",
            f"{scores.over_volume:.0%}",
            f"{scores.scale_actions:,}",
            f"{scores.reversals:,}",
        )
        rows.append(row(POLICY_NAMES[policy], cells, kind=policy))
    return table(head, rows)


def _settings(result: ReplayResult) -> str:
    settings, start_up, physics = result.settings, result.settings.start_up, result.settings.physics
    cycle = result.config.forecast_cycle
    told = {
        "capacity of one pod": f"{settings.capacity:.4g} of the load's unit",
        "bounds": f"{settings.min_replicas} to {settings.max_replicas} pods",
        "HPA target": f"{settings.hpa_target_ratio:.0%} of capacity, 15 s sync, Kubernetes defaults otherwise",
        "start of a pod": (
            f"log-normal, median {start_up.median.total_seconds():g} s, spread {start_up.spread_ratio:g}; "
            f"{start_up.cache_miss_ratio:.0%} pull their image and take {start_up.cache_miss_factor:g} times as long"
        ),
        "warm-up of a pod": f"{physics.warm_up.total_seconds():g} s from Ready to full speed",
        "end of a pod": f"paid for {physics.termination_grace.total_seconds():g} s longer, serving nothing",
        "metric delay": f"{physics.metric_delay.total_seconds():g} s after the end of a step",
        "AI-HPA asks for a forecast": (
            f"every {cycle.forecast_period.total_seconds():g} s; while the fewest pods are enough, every "
            f"{cycle.longest_period.total_seconds():g} s"
        ),
        "AI-HPA expects metrics": (
            f"at most {result.config.metric_delay.total_seconds():g} s old; "
            f"blind after {result.config.policy.metric_freshness.total_seconds():g} s"
        ),
        "forecast latency": f"{settings.forecast_latency.total_seconds():g} s",
        "noise": (
            f"of the load log-normal, {physics.noise_ratio:.0%}, every 15 s; of what one pod's metric says "
            f"{physics.pod_noise_ratio:.0%}"
        ),
        "queue": f"what the ready pods serve within {physics.queue_timeout.total_seconds():g} s",
        "seed": str(settings.seed),
        "forecasts behind the decisions": ", ".join(
            f"{share:.1%} {source}" for source, share in result.forecast_sources().items()
        ),
    }
    return facts(told)


def _simulation_notes(result: ReplayResult) -> tuple[str, ...]:
    return (
        "A value holds for its whole step, times the noise; nothing is interpolated towards the next one.",
        "Every policy sees the load offered to the service, late by the metric delay, and gets the same start-up "
        "delay for a pod ordered at the same time.",
        "AI-HPA sets the minimum of an HPA with the same target. It begins with the load history before the window "
        "and nothing learned.",
        f"{result.runs[Policy.HPA].scores.scored_hours:,.1f} hours are scored.",
    )


def _span(result: ReplayResult) -> str:
    ends = (result.start, result.start + result.duration)
    first, last = (time_label(at, has_clock=result.has_clock) for at in ends)
    return f"{in_days(result.duration)} of recorded load, {first} to {last}"


def _ahead(forecasts: Sequence[IssuedForecast]) -> str:
    """Say how far ahead the joined fan looks: from one forecast to the next, counted from what it was made from."""
    for issued, successor in pairwise(forecasts):
        nearest = successor.asked_at - issued.forecast.origin
        furthest = nearest + (successor.asked_at - issued.asked_at)
        return f"{math.ceil(nearest / timedelta(minutes=1))} to {math.ceil(furthest / timedelta(minutes=1))} minutes"
    return "no time"


def _count_note(result: ReplayResult, short: Policy, covered: Policy) -> str:
    missing = result.needed - result.runs[short].ready
    only = (missing > 0) & (result.runs[covered].ready >= result.needed)
    return f"{short_time(timedelta(seconds=15 * int(only.sum())))} in all"


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _seconds(duration: timedelta | None) -> str:
    return "none" if duration is None else f"{duration.total_seconds():.0f} s"
