"""A backtest as one HTML file that loads nothing from anywhere; it adds no judgement that the numbers do not carry."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import plotly.graph_objects as go

from scaler.backtest import figures
from scaler.backtest.equal import GRID, geometric_mean
from scaler.backtest.policies import POLICY_NAMES, Policy
from scaler.backtest.result import SeriesResult, WorstHour
from scaler.backtest.simulate import REACTIVE_TARGET
from scaler.backtest.summary import (
    ANSWERS,
    LABELS,
    ROWS,
    Change,
    a_day,
    as_told,
    best_rival,
    change,
    in_words,
    knob_text,
    missing,
    most_interesting_first,
    total,
)
from scaler.backtest.verdict import Answer
from scaler.replay.page import asset, bullets, card, facts, figure_json, fill, percent, row, table
from scaler.replay.summary import in_days, short_time

_NOTHING: Final = "&ndash;"
_EQUAL_HEAD: Final = (
    "policy",
    *(f"short<br>at {price:.2f}&nbsp;x" for price in GRID),
    *(f"AI-HPA over it<br>at {price:.2f}&nbsp;x" for price in GRID),
)
_ORDER: Final = "Series on which AI-HPA loses come first, then those on which the later part disagreed."


def render(series: Sequence[SeriesResult], settings: Mapping[str, Any], *, command: str, price: float | None) -> str:
    """Build the page.

    Args:
        series: In any order; one without policies is listed with its reason.
        settings: What they were run with, by name; plain values as JSON has them.
        command: How to repeat it, as typed.
        price: Of a pod-hour, in whatever money; None leaves money out.
    """
    ordered = most_interesting_first(series)
    charts: dict[str, Any] = {}
    body = "".join(_series(one, number, charts, alone=len(series) == 1) for number, one in enumerate(ordered))
    drawn = [one for one in ordered if _can_be_drawn(one)]
    together = _together(drawn, charts) if len(drawn) > 1 else ""
    return fill(
        asset("scaler.backtest", "report.html"),
        css=asset("scaler.replay", "report.css") + asset("scaler.backtest", "report.css"),
        script=asset("scaler.backtest", "report.js"),
        data={"template": _template(), "figures": charts},
        title=html.escape(series[0].name if len(series) == 1 else f"{len(series)} series"),
        span=html.escape(_span(ordered)),
        cards=_cards(ordered),
        verdict=html.escape(in_words(ordered, price=price)),
        overview=_overview(ordered, price),
        comparison_target=f"{REACTIVE_TARGET:.0%}",
        order=_ORDER if len(series) > 1 else "",
        together=together,
        series=body,
        settings=_settings(settings),
        command=html.escape(command),
    )


def _can_be_drawn(one: SeriesResult) -> bool:
    return bool(one.policies) and one.needed_pod_hours > 0


def _span(series: Sequence[SeriesResult]) -> str:
    run = [one for one in series if one.policies]
    if not run:
        return "Nothing could be simulated."
    scored, decided = _reach([one.days for one in run]), _reach([one.decided_days for one in run])
    begin = f", from {run[0].start}" if len(run) == 1 else " of each"
    return f"{scored}{begin}, scored; {decided} before that for the verdict"


def _reach(days: Sequence[float]) -> str:
    shortest, longest = in_days(timedelta(days=min(days))), in_days(timedelta(days=max(days)))
    return longest if shortest == longest else f"{shortest.removesuffix(' days')} to {longest}"


def _cards(series: Sequence[SeriesResult]) -> str:
    verdicts = [
        (answer.value, name, str(sum(one.verdict.answer is answer for one in series)))
        for answer, name in ANSWERS.items()
    ]
    checked = [one.verdict.held for one in series if one.verdict.held is not None]
    choices: tuple[tuple[str, str, Callable[[SeriesResult], Policy]], ...] = (
        ("hpa", "HPA alone", lambda _: Policy.HPA),
        ("ai-hpa", "A: the same HPA", lambda _: Policy.AI_HPA),
        ("ai-hpa-tuned", "B: its own target", lambda _: Policy.AI_HPA_TUNED),
        ("", "verdicts followed", as_told),
    )
    totals = [(kind, name, total(series, chosen)) for kind, name, chosen in choices]
    drawn = [one for one in series if _can_be_drawn(one)]
    return "\n".join(
        (
            card("Verdicts", [*verdicts, ("", "later part agreed", f"{sum(checked)} of {len(checked)}")]),
            card("Short of pods, a day", [(k, name, short_time(t.short) if t else _NOTHING) for k, name, t in totals]),
            card(
                "Pod-hours in 30 days", [(k, name, f"{t.pod_hours:,.0f}" if t else _NOTHING) for k, name, t in totals]
            ),
            card("Time short, equal pod-hours", _equal_lines(drawn)),
        )
    )


def _equal_lines(series: Sequence[SeriesResult]) -> list[tuple[str, str, str]]:
    lines = [("small", "AI-HPA's over", "HPA's, best rival's")]
    for at, price in enumerate(GRID):
        both = (_ratio(geometric_mean([one.ratios(rival)[at] for one in series])) for rival in (Policy.HPA, None))
        lines.append(("", f"at {price:.2f} x", "&emsp;".join(both)))
    return lines


def _overview(series: Sequence[SeriesResult], price: float | None) -> str:
    money = "" if price is None else f", money at {price:g} each"
    head = (
        '<thead><tr><th></th><th></th><th colspan="3" class="group">short of pods, a day</th>'
        '<th colspan="2" class="group">pod-hours</th>'
        f'<th colspan="2" class="group">in 30 days{money}</th></tr><tr><th class="left">series</th>'
        '<th class="left">verdict, later part</th><th class="hpa">HPA</th><th class="ai-hpa">A</th>'
        '<th class="ai-hpa-tuned">B</th>'
        + 2 * '<th class="ai-hpa">A</th><th class="ai-hpa-tuned">B</th>'
        + "</tr></thead>"
    )
    rows = "".join(_overview_row(one, number, price, told=len(series) > 1) for number, one in enumerate(series))
    return f'<table class="overview">{head}{rows}</table>'


def _overview_row(one: SeriesResult, number: int, price: float | None, *, told: bool) -> str:
    """Show one series; with its reason beneath where `told`."""
    verdict, name = one.verdict, html.escape(one.name)
    linked = f'<a href="#series-{number}">{name}</a>' if one.policies else name
    judged = f'<span class="badge {verdict.answer.value}">{ANSWERS[verdict.answer]}</span>'
    if verdict.held is not None:
        judged += ' <span class="gain">agreed</span>' if verdict.held else ' <span class="loss">disagreed</span>'
    changes = [change(one, policy) for policy in ROWS]
    hpa = one.policies.get(Policy.HPA)
    cells = (
        short_time(a_day(hpa.main.scores)) if hpa else _NOTHING,
        *_cells(one, changes, lambda it: _signed(it.after - it.before, short_time(it.after))),
        *_cells(one, changes, lambda it: _signed(it.pod_hours_ratio, f"{it.pod_hours_ratio:+.1%}")),
        *_cells(one, changes, lambda it: _hours(it, price)),
    )
    why = html.escape(verdict.why)
    if verdict.answer is Answer.ENABLE and Policy.AI_HPA_TUNED in one.policies:
        why = f"<b>With {knob_text(Policy.AI_HPA_TUNED, one.policies[Policy.AI_HPA_TUNED].main)}.</b> {why}"
    beneath = f'<tr><td class="why" colspan="{2 + len(cells)}">{why}</td></tr>' if told else ""
    return (
        f'<tbody><tr><td class="name">{linked}</td><td class="left">{judged}</td>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>{beneath}</tbody>"
    )


def _cells(one: SeriesResult, changes: Sequence[Change | None], shown: Callable[[Change], str]) -> Iterator[str]:
    """Show row A, and row B greyed where it is nobody's advice."""
    for policy, found in zip(ROWS, changes, strict=True):
        if found is None:
            yield _NOTHING
        elif policy is Policy.AI_HPA_TUNED and one.verdict.answer is not Answer.ENABLE:
            yield f'<span class="aside">{shown(found)}</span>'
        else:
            yield shown(found)


def _hours(changed: Change, price: float | None) -> str:
    hours = _signed(changed.pod_hours, f"{changed.pod_hours:+,.0f}")
    return hours if price is None else f'{hours}<span class="under">{changed.pod_hours * price:+,.2f}</span>'


def _signed(change_of: float | timedelta, shown: str) -> str:
    """Mark what got worse and what got better alike; less is better, of time short as of pod-hours."""
    nothing = timedelta(0) if isinstance(change_of, timedelta) else 0.0
    if change_of == nothing:
        return shown
    worse = change_of > nothing  # type: ignore[operator] # both are of one type
    return f'<span class="{"loss" if worse else "gain"}">{"▲" if worse else "▼"} {shown}</span>'


def _together(series: Sequence[SeriesResult], charts: dict[str, Any]) -> str:
    """Compare the policies over all series at equal pod-hours."""
    chart = _chart("together", figures.equal_pod_hours(series), charts, wide=True)
    return (
        f"<section><h2>All {len(series)} series at equal pod-hours</h2>{_equal_table(series)}"
        f'<p class="note">{_equal_note(len(series))}</p><h3 class="next">Every series</h3>{chart}</section>'
    )


def _equal_table(series: Sequence[SeriesResult]) -> str:
    """Tabulate each policy's time short at each price, and AI-HPA's over it; a mean where there are several series."""
    reached = [one.at_equal_pod_hours() for one in series]
    swept = [policy for policy in Policy if any(policy.value in at for own in reached for at in own.values())]
    rows = []
    for policy in swept:
        shares = [[own[f"{price:g}"].get(policy.value) for own in reached] for price in GRID]
        compared = policy is not Policy.AI_HPA_TUNED
        ratios = [
            _mean_ratio(series, policy, at) if compared and any(had) else _NOTHING for at, had in enumerate(shares)
        ]
        rows.append(row(LABELS[policy], [*map(_mean_share, shares), *ratios], kind=_kind(policy)))
    cells = [*[""] * len(GRID), *(_mean_ratio(series, None, at) for at in range(len(GRID)))]
    rows.append(row("the best rival" if len(series) == 1 else "the best rival of each", cells, kind="sum"))
    return f'<div class="scroll">{table(_EQUAL_HEAD, rows, kind="equal")}</div>'


def _mean_ratio(series: Sequence[SeriesResult], rival: Policy | None, at: int) -> str:
    return _ratio(geometric_mean([one.ratios(rival)[at] for one in series]))


def _equal_note(count: int) -> str:
    mean = (
        " Geometric means over the series. Where a policy can be had for that price on some of them only, their number "
        "stands in brackets, and a ratio counts the others as 1."
    )
    return (
        "Share of time short of pods that each policy's knob reaches for so many times the pod-hours needed, between "
        "neighbouring settings; a dash where even its cheapest setting costs more. AI-HPA is B under its own knob. "
        f"A ratio below 1 is in its favour.{mean if count > 1 else ''}"
    )


def _mean_share(shares: Sequence[float | None]) -> str:
    known = [share for share in shares if share is not None]
    if not known:
        return _NOTHING
    count = f' <span class="aside">({len(known)})</span>' if len(known) < len(shares) else ""
    return f"{percent(geometric_mean(known))}{count}"


def _ratio(value: float) -> str:
    if math.isnan(value):
        return _NOTHING
    shown = f"{value:.2f}"
    return shown if shown == "1.00" else f'<span class="{"loss" if value > 1 else "gain"}">{shown}</span>'


def _series(one: SeriesResult, number: int, charts: dict[str, Any], *, alone: bool) -> str:
    """Show one series in full, folded where there are several; nothing where nothing was simulated."""
    if not one.policies:
        return ""
    parts = []
    if _can_be_drawn(one):
        parts += [
            "<h3>What each policy cost and missed</h3>",
            f'<div class="scroll">{_chart(f"pareto-{number}", figures.pareto(one), charts, wide=True)}</div>',
            f'<p class="note">{_pareto_note(one)}</p>',
            f"<h3>At equal pod-hours</h3>{_equal_table([one])}",
            f'<p class="note">{_equal_note(1)}</p>',
            f"<h3>The worst hours</h3>{_worst_hours(one, number, charts)}",
        ]
    else:
        parts.append("<p>The load needed no pod in the whole scored part, so there is nothing to compare.</p>")
    parts += [f"<h3>All scores</h3>{_scores(one)}", f"<h3>What was done to the load</h3>{bullets(_notes(one))}"]
    unfolded = " open" if alone else ""
    return (
        f'<details class="series" id="series-{number}"{unfolded}><summary><h2>{html.escape(one.name)}</h2>'
        f'<span class="brief">{ANSWERS[one.verdict.answer]}</span></summary>'
        f'<div class="inside">{"".join(parts)}</div></details>'
    )


def _pareto_note(one: SeriesResult) -> str:
    return (
        "A line joins the settings of a knob that no other one beats on both counts; small markers are all, the large "
        "one is the policy as one would run it. Left and down is better, and the upright lines are the prices "
        f"compared below. Both axes are logarithmic: what is below one tick's share, {percent(one.least)}, is drawn "
        "there, hollow. Double-click for what lies outside; click a name to hide it."
    )


def _worst_hours(one: SeriesResult, number: int, charts: dict[str, Any]) -> str:
    """Show the hour that was worst for the HPA, for AI-HPA and for the best rival; once where it is the same."""
    rival = best_rival(one)
    watched = [policy for policy in (Policy.HPA, *ROWS, rival) if policy is not None and policy in one.policies]
    hours: dict[str, tuple[WorstHour, list[Policy]]] = {}
    for policy in watched:
        if policy in one.worst_hours:
            hour = one.worst_hours[policy]
            hours.setdefault(hour.start, (hour, []))[1].append(policy)
    if not hours:
        return '<p class="note">None of them was ever short of pods.</p>'
    shown = []
    for index, (start, (hour, owners)) in enumerate(hours.items()):
        there = [policy for policy in watched if policy in hour.ready]
        titles = [f"<b>{_short_label(policy)}</b><br>{_missing(missing(hour, policy))}" for policy in there]
        chart = _chart(f"hour-{number}-{index}", figures.worst_hour(hour, there, titles), charts)
        whose = ", ".join(_short_label(policy) for policy in owners)
        shown.append(
            f'<div class="scroll"><figure><figcaption><b>{html.escape(start)}</b> &ndash; the worst hour of {whose}'
            f"</figcaption>{chart}</figure></div>"
        )
    best = f" The rival is the best one besides the HPA at equal pod-hours, {POLICY_NAMES[rival]}." if rival else ""
    return (
        '<p class="key"><span>needed</span><span class="ready">ready</span><span class="lacking">missing</span></p>'
        f"{''.join(shown)}"
        '<p class="note">Each policy as one would run it, first seed. Every minute shows the most pods needed and the '
        f"fewest ready in it, so what is missing is an upper bound.{best}</p>"
    )


def _short_label(policy: Policy) -> str:
    return {Policy.AI_HPA: "A: AI-HPA, same HPA", Policy.AI_HPA_TUNED: "B: AI-HPA, its HPA target"}.get(
        policy, POLICY_NAMES[policy]
    )


def _missing(minutes: int) -> str:
    if not minutes:
        return "none missing"
    return f"{minutes:,} pod-minute{'' if minutes == 1 else 's'} missing"


def _scores(one: SeriesResult) -> str:
    oracle = one.policies.get(Policy.ORACLE)
    head = (
        "policy",
        "time short",
        "pods short",
        "time with spare",
        "requests late",
        "pod-hours",
        "ratio to the oracle's",
        "ratio to those needed",
        "scale actions",
        "reversals",
    )
    rows = []
    for policy in (policy for policy in Policy if policy in one.policies):
        scores = one.policies[policy].main.scores
        cells = (
            percent(scores.under_time),
            percent(scores.under_volume),
            percent(scores.over_time),
            percent(scores.late_requests),
            f"{scores.pod_hours:,.0f}",
            f"{scores.pod_hours / oracle.main.scores.pod_hours:.2f}" if oracle else _NOTHING,
            f"{scores.pod_hours / one.needed_pod_hours:.2f}" if one.needed_pod_hours > 0 else _NOTHING,
            f"{scores.scale_actions:,.0f}",
            f"{scores.reversals:,.0f}",
        )
        name = f'{LABELS[policy]}<span class="knob">{knob_text(policy, one.policies[policy].main)}</span>'
        rows.append(row(name, cells, kind=_kind(policy)))
    return f'<div class="scroll">{table(head, rows, kind="scores")}</div>'


def _notes(one: SeriesResult) -> list[str]:
    scored, before = in_days(timedelta(days=one.days)), in_days(timedelta(days=one.decided_days))
    capacity = f"{one.capacity:,.0f}" if one.capacity >= 1000 else f"{one.capacity:.4g}"
    return [
        *one.notes,
        f"Scored: {scored}, from {one.start}; the {before} before that are what the verdict stands on.",
        f"One pod carries {capacity} of the load's unit; {one.min_replicas} to {one.max_replicas} pods.",
        f"The load needed {one.needed_pod_hours:,.0f} pod-hours.",
    ]


def _settings(settings: Mapping[str, Any]) -> str:
    return facts({html.escape(name.replace("_", " ")): _plain(value) for name, value in settings.items()})


def _plain(value: object) -> str:
    """Render a value as JSON has them for readers."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{str(name).replace('_', ' ')}: {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


def _kind(policy: Policy) -> str:
    return policy.value.replace("+", "-")


def _chart(name: str, figure: go.Figure, charts: dict[str, Any], *, wide: bool = False) -> str:
    """Keep a figure for the script, without its template, which all share, and give its place."""
    kept = _rounded(figure_json(figure))
    kept["layout"].pop("template", None)
    charts[name] = kept
    return f'<div class="chart{" wide" if wide else ""}" data-figure="{name}"></div>'


def _template() -> Any:
    return figure_json(go.Figure(layout={"template": "plotly_white"}))["layout"]["template"]


def _rounded(value: Any) -> Any:
    """Drop digits that no chart shows: they are half of the page."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return {name: _rounded(inner) for name, inner in value.items()} if isinstance(value, dict) else value
