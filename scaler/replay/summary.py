"""A replay in words and as data: what it means in one sentence, and the scores as JSON; no layout."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from scaler.domain import SOURCE_NAMES
from scaler.replay.result import Policy, ReplayResult
from scaler.replay.traces import EPOCH


def verdict(result: ReplayResult) -> str:
    """Say in one sentence what AI-HPA changed, for better or worse, and at what price."""
    hpa, ai_hpa = result.runs[Policy.HPA].scores, result.runs[Policy.AI_HPA].scores
    price = ai_hpa.pod_hours / hpa.pod_hours - 1
    cost = f"{abs(price):.1%} {'more' if price >= 0 else 'fewer'} pod-hours"
    before, after = short_time(hpa.short_time), short_time(ai_hpa.short_time)
    if hpa.under_time == ai_hpa.under_time == 0:
        return f"Neither was ever short of pods; AI-HPA took {cost} and gained nothing here."
    if ai_hpa.under_time < hpa.under_time:
        gain = 1 - ai_hpa.under_time / hpa.under_time
        return f"AI-HPA cut the time short of pods by {gain:.1%}, from {before} to {after}, for {cost}."
    if ai_hpa.under_time == hpa.under_time:
        return f"Both were short of pods for {before}; AI-HPA took {cost} and gained nothing here."
    return f"AI-HPA was short of pods for longer than the HPA alone, {after} against {before}, with {cost}."


def sources(result: ReplayResult) -> str:
    """Say which share of the decisions stood on which forecasts."""
    shares = result.forecast_sources()
    named = {source.value: name for source, name in SOURCE_NAMES.items()}
    return ", ".join(f"{share:.1%} on {named.get(source, 'no forecast')}" for source, share in shares.items())


def fallback_warning(result: ReplayResult) -> str | None:
    """Warn where the forecaster failed at least once; None where it never did."""
    failed = [decision for decision in result.decisions if decision.forecast_failure is not None]
    if not failed:
        return None
    causes = ", ".join(sorted({str(decision.forecast_failure) for decision in failed}))
    return (
        f"The forecaster failed ({causes}) for {len(failed) / len(result.decisions):.1%} of the decisions. "
        f"They stand on {sources(result)}: this is not what the model can do."
    )


def to_json(result: ReplayResult) -> dict[str, Any]:
    """Give scores and settings in the shape that every replay shares; shares are fractions from 0 to 1."""
    policies = {
        str(policy): asdict(run.scores) | {"pod_hours_over_oracle": result.pod_hours_over_oracle(policy)}
        for policy, run in result.runs.items()
    }
    settings, start_up, physics = result.settings, result.settings.start_up, result.settings.physics
    return {
        "series": [
            {
                "name": result.series,
                "policies": policies,
                "forecast_sources": dict(result.forecast_sources()),
                "why": verdict(result),
            }
        ],
        "settings": {
            "start": result.start.isoformat(),
            "days": result.duration / timedelta(days=1),
            "capacity": settings.capacity,
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "hpa_target": settings.hpa_target_ratio,
            "start_seconds": start_up.median.total_seconds(),
            "start_spread_ratio": start_up.spread_ratio,
            "cache_miss_ratio": start_up.cache_miss_ratio,
            "cache_miss_factor": start_up.cache_miss_factor,
            "warm_up_seconds": physics.warm_up.total_seconds(),
            "termination_grace_seconds": physics.termination_grace.total_seconds(),
            "metric_delay_seconds": physics.metric_delay.total_seconds(),
            "forecast_latency_seconds": settings.forecast_latency.total_seconds(),
            "noise_ratio": physics.noise_ratio,
            "pod_noise_ratio": physics.pod_noise_ratio,
            "queue_timeout_seconds": physics.queue_timeout.total_seconds(),
            "seed": settings.seed,
            "preprocessing": list(result.preprocessing),
        },
    }


def short_time(duration: timedelta) -> str:
    """Render a duration in seconds or minutes."""
    seconds = round(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:,.0f} min"


def in_days(duration: timedelta) -> str:
    """Render a duration as days."""
    return f"{duration / timedelta(days=1):.3g} days"


def time_label(at: datetime, *, has_clock: bool) -> str:
    """Render a time; without a clock as the day of the trace, the first being day 1."""
    if has_clock:
        return f"{at:%d %b %Y %H:%M:%S} UTC"
    return f"day {(at - EPOCH).days + 1} {at:%H:%M:%S}"
