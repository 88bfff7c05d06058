import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from scaler.backtest import figures
from scaler.backtest.equal import Spot, front
from scaler.backtest.policies import Point, Policy
from scaler.backtest.report import render
from scaler.backtest.result import PolicyResult, SeriesResult, WorstHour
from scaler.backtest.summary import (
    as_told,
    best_rival,
    change,
    in_words,
    knob_text,
    missing,
    most_interesting_first,
    total,
)
from scaler.backtest.verdict import Answer, Verdict
from scaler.replay.scores import Scores

NEEDED = 1000.0  # pod-hours
SETTINGS: dict[str, Any] = {"hpa_target": 0.7, "seeds": [0, 1], "start_up": {"median_seconds": 30.0}, "capacity": None}


def point(knob: float | None, ratio: float, under_time: float, late: float = 0.001) -> Point:
    """One setting; two days are scored, so a tick is a share of 1 / 11520."""
    scores = Scores(
        under_time=under_time,
        under_volume=under_time / 2,
        over_time=0.9,
        over_volume=0.3,
        late_requests=late,
        dropped_requests=0.0,
        pod_hours=ratio * NEEDED,
        scale_actions=12,
        reversals=3,
        scored_hours=48.0,
    )
    return Point(knob, scores)


def run(main: Point, *sweep: Point) -> PolicyResult:
    return PolicyResult(main, sweep or (main,))


def policies() -> dict[Policy, PolicyResult]:
    """Every policy, the HPA alone short for a hundredth of the time at 1.4 times the need."""
    swept = (point(0.5, 1.1, 0.04), point(0.7, 1.4, 0.01), point(0.9, 1.6, 0.005))
    found = {policy: run(swept[1], *swept) for policy in Policy}
    found[Policy.HPA] = run(point(0.7, 1.4, 0.01), point(0.6, 1.6, 0.008), point(0.7, 1.4, 0.01), point(0.9, 1.1, 0.04))
    found[Policy.KPA] = run(point(0.7, 1.4, 0.004), point(0.9, 1.1, 0.02), point(0.7, 1.4, 0.004))
    found[Policy.AI_HPA] = run(point(0.7, 1.47, 0.002))
    found[Policy.AI_HPA_TUNED] = run(
        point(0.95, 1.19, 0.005)._replace(hpa_target=0.85), point(0.8, 1.1, 0.01), point(0.999, 1.4, 0.0025)
    )
    found[Policy.ORACLE] = run(point(None, 1.05, 0.0))
    return found


def hour(start: str, needed: Sequence[int | None], **lacking: int) -> WorstHour:
    """An hour in which everybody has what the first minute needs, but for those who lack some pods in it."""
    whole = [*needed, *[needed[-1]] * (60 - len(needed))]
    first = needed[0] or 0
    ready = {policy: (max(first - lacking.get(policy.name, 0), 0), *[99] * 59) for policy in Policy}
    return WorstHour(start, tuple(whole), ready)


def series(
    name: str = "web/api", answer: Answer = Answer.ENABLE, *, held: bool | None = True, **parts: Any
) -> SeriesResult:
    target = 0.85 if answer is Answer.ENABLE else None
    made = SeriesResult(
        name=name,
        start="01 May 2026 00:00:00 UTC",
        days=2.0,
        decided_days=3.0,
        capacity=12.5,
        min_replicas=1,
        max_replicas=90,
        needed_pod_hours=NEEDED,
        policies=policies(),
        verdict=Verdict(answer, f"Because of {name}.", target, held),
        worst_hours={Policy.HPA: hour("01 May 2026 07:00:00 UTC", [9], HPA=5, AI_HPA=2)},
        notes=("Averaged from 15 s to 60 s.",),
    )
    return replace(made, **parts)


def without_history(name: str = "batch/nightly") -> SeriesResult:
    verdict = Verdict(Answer.NOT_ENOUGH_HISTORY, "1.5 days of load; at least 2 days are needed")
    return series(name, policies={}, worst_hours={}, verdict=verdict, days=0.0, decided_days=0.0, needed_pod_hours=0.0)


def with_main(one: SeriesResult, changed: Mapping[Policy, Point]) -> SeriesResult:
    runs = {**one.policies, **{policy: replace(one.policies[policy], main=main) for policy, main in changed.items()}}
    return replace(one, policies=runs)


def loser(name: str, under_time: float = 0.03) -> SeriesResult:
    """AI-HPA over the same HPA is short for longer than the HPA alone."""
    return with_main(series(name, Answer.KEEP_REACTIVE), {Policy.AI_HPA: point(0.7, 1.5, under_time)})


def page(*all_series: SeriesResult, price: float | None = None, settings: Mapping[str, Any] = SETTINGS) -> str:
    """The page without the library in it."""
    rendered = render(all_series, settings, command="ai-hpa backtest --csv '<i>'", price=price)
    assert str(get_plotlyjs()) in rendered
    return rendered.replace(str(get_plotlyjs()), "")


@cache
def plain_page() -> str:
    """The page of one series, which takes a while to draw."""
    return page(series())


def data_of(own: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', own, flags=re.DOTALL)
    loaded: dict[str, Any] = json.loads(data)
    return loaded


def text_of(own: str) -> str:
    """What a reader reads, tables included, with single blanks."""
    body = re.sub(r"<(script|style).*?</\1>", " ", own, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


class TestPage:
    def test_it_loads_nothing_from_anywhere(self) -> None:
        own = page(series(), loser("web/b"))
        assert not re.search(r"https?://|@import|url\(", own)
        assert not re.search(r"<(link|img|iframe|script[^>]+src)", own)
        assert "default-src 'none'" in own

    def test_nothing_is_left_to_fill_in(self) -> None:
        assert not re.search(r"\$[a-z]", page(series(), without_history()))

    def test_thirty_series_stay_small_enough_to_open(self) -> None:
        one = len(page(series(worst_hours=_four_worst_hours())).encode())  # drawing thirty takes seconds
        assert len(str(get_plotlyjs())) + 30 * one < 8_000_000

    def test_whatever_others_wrote_is_escaped(self) -> None:
        evil = "<script>alert(1)</script>"
        one = series(evil, notes=(evil,), start=evil, worst_hours={Policy.HPA: hour(evil, [9], HPA=5)})
        settings = {evil: evil, "nested": {evil: [evil]}}
        own = page(one, replace(without_history(), name=evil), settings=settings)
        assert evil not in own
        assert "--csv &#x27;&lt;i&gt;&#x27;" in own
        assert f"<h1>{html.escape(evil)}</h1>" in page(replace(without_history(), name=evil))

    def test_the_charts_show_html_in_a_name_as_it_is_written(self) -> None:
        data = figures.equal_pod_hours([series("<b>web</b>"), series("web/b")])
        assert data.layout.yaxis.ticktext == ("&lt;b&gt;web&lt;/b&gt;", "web/b")

    def test_one_series_is_shown_at_once_and_many_are_folded(self) -> None:
        assert re.findall(r"<details[^>]* open>", plain_page())
        assert not re.findall(r"<details[^>]* open>", page(series(), loser("web/b")))

    def test_only_several_series_are_compared_together(self) -> None:
        assert "together" not in data_of(page(series(), without_history()))["figures"]
        assert "together" in data_of(page(series(), series("web/b")))["figures"]

    def test_each_link_and_each_chart_leads_somewhere(self) -> None:
        own = page(series(), loser("web/b"), without_history())
        assert set(re.findall(r'href="#([^"]+)"', own)) == set(re.findall(r'<details[^>]* id="([^"]+)"', own))
        assert set(re.findall(r'data-figure="([^"]+)"', own)) == set(data_of(own)["figures"])

    def test_settings_notes_and_command_are_told(self) -> None:
        text = text_of(plain_page())
        for told in (
            "hpa target 0.7",
            "seeds 0, 1",
            "median seconds: 30",
            "capacity none",
            "Averaged from 15 s to 60 s.",
        ):
            assert told in text
        assert "ai-hpa backtest" in text


class TestOverview:
    def test_it_gives_time_short_and_pod_hours_of_both_rows(self) -> None:
        # 0.01, 0.002 and 0.005 of a day; 1470 and 1190 pod-hours against 1400 in 2 of 30 days
        text = text_of(plain_page())
        assert "14 min ▼ 2.9 min ▼ 7.2 min ▲ +5.0% ▼ -15.0% ▲ +1,050 ▼ -3,150" in text

    def test_money_stands_beside_pod_hours_where_there_is_a_price(self) -> None:
        assert "▲ +1,050 +105.00 ▼ -3,150 -315.00" in text_of(page(series(), price=0.1))
        assert "money" not in text_of(plain_page())

    def test_a_loss_is_shown_like_a_gain(self) -> None:
        own = page(loser("web/b"))
        assert '<span class="loss">▲ 43 min</span>' in own
        assert '<span class="gain">▼ 2.9 min</span>' in plain_page()

    def test_a_row_that_nobody_advises_is_set_apart(self) -> None:
        assert '<span class="aside"><span class="gain">▼ 7.2 min' in page(series(answer=Answer.KEEP_REACTIVE))
        assert '<span class="aside"><span class="gain">▼ 7.2 min' not in plain_page()

    def test_the_verdict_names_its_settings_reason_and_whether_it_held(self) -> None:
        text = text_of(page(series("web/a"), series("web/b", Answer.KEEP_REACTIVE, held=False)))
        assert "enable agreed" in text
        assert "With level 0.95 over an HPA at 85%. Because of web/a." in text
        assert "keep reactive disagreed" in text
        assert "Because of web/b." in text

    def test_too_short_a_history_is_a_reason_and_nothing_else(self) -> None:
        own = page(without_history(), series())
        assert (
            "batch/nightly not enough history &ndash; &ndash; &ndash; &ndash; &ndash; &ndash; &ndash; 1.5 days of load"
            in text_of(own)
        )
        assert len(re.findall("<details", own)) == 1

    def test_a_page_of_nothing_but_short_histories(self) -> None:
        own = page(without_history("a"), without_history("b"))
        assert data_of(own)["figures"] == {}
        assert "enabling AI-HPA pays on 0 of 2 series, 0 should stay reactive, 2 have not enough history" in text_of(
            own
        )
        assert "1.5 days of load" in text_of(page(without_history()))


class TestWords:
    def test_series_on_which_it_loses_come_first_then_those_that_disagreed(self) -> None:
        advised = with_main(series("advised"), {Policy.AI_HPA_TUNED: point(0.95, 1.1, 0.02)})
        smaller = with_main(
            series("smaller"), {Policy.AI_HPA: point(0.7, 1.4, 0.009), Policy.AI_HPA_TUNED: point(0.95, 1.1, 0.009)}
        )
        given = [
            without_history("short"),
            smaller,
            series("gains"),
            series("wrong", held=False),
            advised,
            loser("worst"),
        ]
        assert [one.name for one in most_interesting_first(given)] == [
            "worst",
            "advised",
            "wrong",
            "gains",
            "smaller",
            "short",
        ]

    def test_a_loss_of_a_row_that_is_not_advised_is_none(self) -> None:
        harmless = with_main(series("b", Answer.KEEP_REACTIVE), {Policy.AI_HPA_TUNED: point(0.95, 1.1, 0.5)})
        assert [one.name for one in most_interesting_first([harmless, loser("a")])] == ["a", "b"]
        assert [one.name for one in most_interesting_first([harmless, series("c", held=False)])] == ["c", "b"]

    def test_the_hit_rate_counts_what_could_be_checked(self) -> None:
        said = in_words([series("a"), series("b"), series("c", held=False), series("d", held=None)], price=None)
        assert "The later part agreed with 2 of 3 verdicts (67%)." in said
        assert "Nothing could be checked" in in_words([without_history()], price=None)

    def test_following_the_advice_leaves_the_others_to_the_hpa(self) -> None:
        both = [series("a"), series("b", Answer.KEEP_REACTIVE)]
        before, after = total(both, lambda _: Policy.HPA), total(both, as_told)
        assert before is not None
        assert after is not None
        assert before.pod_hours == pytest.approx(2 * 1400 * 15)
        assert after.pod_hours == pytest.approx((1190 + 1400) * 15)
        assert after.short == timedelta(days=(0.005 + 0.01) / 2)
        said = in_words(both, price=0.1)
        assert "3,150 pod-hours fewer in 30 days (-7.5%), 315.00 saved at 0.1 a pod-hour, and 11 min short" in said

    def test_what_it_costs_is_said_as_plainly(self) -> None:
        dear = with_main(series(), {Policy.AI_HPA_TUNED: point(0.95, 1.5, 0.005)})
        assert "1,500 pod-hours more in 30 days (+7.1%), 150.00 spent" in in_words([dear], price=0.1)

    def test_advice_that_changes_nothing_is_said_to(self) -> None:
        assert "Following the advice changes nothing." in in_words([series(answer=Answer.KEEP_REACTIVE)], price=None)

    def test_time_that_is_unknown_costs_as_much_as_the_rest(self) -> None:
        main = point(0.7, 1.4, 0.01)
        half = Point(0.7, replace(main.scores, pod_hours=700.0, scored_hours=24.0))
        one = with_main(series(), {Policy.HPA: half})
        found = change(one, Policy.AI_HPA)
        assert found is not None
        assert found.pod_hours == pytest.approx((1470 - 1400) * 15)

    def test_row_b_says_over_which_hpa_it_stands(self) -> None:
        floored = point(0.95, 1.2, 0.01)._replace(hpa_target=0.85)
        assert knob_text(Policy.AI_HPA_TUNED, floored) == "level 0.95 over an HPA at 85%"
        assert knob_text(Policy.AI_HPA_KPA, point(0.95, 1.2, 0.01)) == "level 0.95"
        assert knob_text(Policy.HPA, point(0.7, 1.2, 0.01)) == "target utilization 70%"
        assert knob_text(Policy.ORACLE, point(None, 1.2, 0.01)) == ""

    def test_the_best_rival_is_another_than_the_hpa(self) -> None:
        assert best_rival(series()) is Policy.KPA
        runs = {policy: found for policy, found in policies().items() if policy in (Policy.HPA, Policy.AI_HPA)}
        assert best_rival(series(policies=runs)) is None

    def test_a_rival_that_is_dear_is_compared_where_it_can_be_had(self) -> None:
        dear = {
            Policy.HPA: policies()[Policy.HPA],
            Policy.FIXED: run(point(9, 1.3, 0.1), point(9, 1.3, 0.1), point(10, 1.5, 0.05)),
        }
        assert best_rival(series(policies=dear)) is Policy.FIXED

    def test_missing_pods_are_counted_by_minute_and_unknown_load_needs_none(self) -> None:
        one = WorstHour("x", (5, None, 3, 9), {Policy.HPA: (2, 0, 7, 8)})
        assert missing(one, Policy.HPA) == 3 + 1


def traces(figure: go.Figure, policy: Policy) -> list[Any]:
    return [trace for trace in figure.data if trace.legendgroup == policy.value]


class TestFigures:
    @pytest.mark.parametrize("gone", Policy)
    def test_a_policy_may_be_missing(self, gone: Policy) -> None:
        kept = {policy: found for policy, found in policies().items() if policy is not gone}
        drawn = data_of(page(series(policies=kept)))["figures"]["pareto-0"]["data"]
        assert {trace["legendgroup"] for trace in drawn} == {policy.value for policy in kept}

    def test_sweeps_may_all_be_empty(self) -> None:
        bare = {policy: replace(found, sweep=()) for policy, found in policies().items()}
        assert "web/api" in page(series(policies=bare), series("web/b", policies=bare))

    @pytest.mark.parametrize("emptied", Policy)
    def test_a_sweep_may_be_empty(self, emptied: Policy) -> None:
        runs = {**policies(), emptied: replace(policies()[emptied], sweep=())}
        drawn = traces(figures.pareto(series(policies=runs)), emptied)
        assert [len(trace.x) for trace in drawn] == [1, 1]  # its main point in both views

    def test_a_load_that_needs_nothing_is_said_to(self) -> None:
        idle = series(needed_pod_hours=0.0)
        assert "The load needed no pod" in text_of(page(idle))
        assert "together" not in data_of(page(idle, series("web/b")))["figures"]

    def test_nothing_and_less_than_a_tick_are_drawn_at_one_tick_hollow(self) -> None:
        one = series()
        drawn = figures.pareto(one)
        (time_short, _) = traces(drawn, Policy.ORACLE)
        assert time_short.y == pytest.approx((15 / (2 * 86_400),))
        assert time_short.marker.symbol == ("star-open",)
        assert one.least in [shape.y0 for shape in drawn.layout.shapes]
        assert "0.009%, is drawn there, hollow" in text_of(plain_page())
        assert all(min(trace.y) >= one.least for trace in drawn.data)

    def test_a_line_joins_only_what_no_other_setting_beats(self) -> None:
        beaten = (point(0.9, 1.1, 0.04), point(0.8, 1.2, 0.05), point(0.7, 1.4, 0.01))
        runs = {**policies(), Policy.HPA: run(beaten[2], *beaten)}
        line, others, _ = traces(figures.pareto(series(policies=runs)), Policy.HPA)[:3]
        assert line.x == pytest.approx((1.1, 1.4))
        assert others.x == pytest.approx((1.1, 1.2))  # the last is the main point, drawn large

    def test_the_front_needs_no_order(self) -> None:
        spots = [Spot(1.4, 0.01), Spot(1.1, 0.04), Spot(1.2, 0.05), Spot(1.5, 0.01)]
        assert front(spots) == [Spot(1.1, 0.04), Spot(1.4, 0.01)]

    def test_the_second_view_shows_requests(self) -> None:
        late = run(point(0.7, 1.4, 0.01, late=0.3))
        drawn = traces(figures.pareto(series(policies={**policies(), Policy.KPA: late})), Policy.KPA)
        assert [trace.y[0] for trace in drawn if trace.xaxis == "x2"] == [0.3]

    def test_the_prices_that_are_compared_are_marked(self) -> None:
        upright = {shape.x0 for shape in figures.pareto(series()).layout.shapes if shape.x0 == shape.x1}
        assert upright == {1.15, 1.25, 1.40}

    def test_a_hover_tells_the_knob_and_what_it_is(self) -> None:
        told = [text for trace in traces(figures.pareto(series()), Policy.HPA) for text in _texts(trace)]
        assert "target utilization 60%" in told
        assert "as one would run it: target utilization 70%" in told

    def test_policies_differ_in_more_than_colour(self) -> None:
        assert set(figures.LOOKS) == set(Policy)
        shapes = [(look.symbol, look.dash, look.width > 2.5) for look in figures.LOOKS.values()]
        colours = [look.colour for look in figures.LOOKS.values()]
        assert len(set(colours)) == len(colours)
        drawn_alike = [shape for shape in shapes if shapes.count(shape) > 1]
        assert drawn_alike == []

    def test_ours_stands_out(self) -> None:
        rivals = [look.width for policy, look in figures.LOOKS.items() if not policy.value.startswith("ai-hpa")]
        assert figures.LOOKS[Policy.AI_HPA_TUNED].width > max(rivals)


def _texts(trace: Any) -> Iterable[str]:
    return [row[0] for row in trace.customdata] if trace.customdata is not None else []


class TestEqualPodHours:
    def test_a_table_gives_time_short_and_the_ratio(self) -> None:
        # at 1.40 the HPA reaches 0.01 and AI-HPA 0.0025; the best rival is KPA with 0.004
        own = plain_page()
        cells = _cells(own, "HPA alone", "equal")
        assert cells[2] == "1.00%"
        assert cells[5] == "0.25"
        assert _cells(own, "the best rival", "equal")[5] == "0.62"

    def test_ratios_of_several_series_are_averaged_so_that_twice_and_half_cancel_out(self) -> None:
        better, worse = series("a"), series("b")
        runs = {
            **worse.policies,
            Policy.HPA: run(point(0.7, 1.4, 0.000625), point(0.7, 1.1, 0.01), point(0.7, 1.4, 0.000625)),
        }
        own = page(better, replace(worse, policies=runs))
        assert _cells(own, "HPA alone", "equal")[5] == "1.00"  # of 0.25 and 4

    def test_who_can_be_had_on_some_series_only_is_counted(self) -> None:
        dear = {**policies(), Policy.KPA: run(point(0.7, 2.0, 0.001), point(0.7, 2.0, 0.001), point(0.8, 1.9, 0.002))}
        own = page(series("a"), series("b", policies=dear))
        assert _cells(own, "KPA alone", "equal")[2] == "0.40% (1)"
        assert _cells(page(series(policies=dear)), "KPA alone", "equal") == ["&ndash;"] * 6

    def test_every_series_has_its_line(self) -> None:
        drawn = figures.equal_pod_hours([series("a"), series("b")])
        over_hpa = [trace for trace in drawn.data if trace.name == "over the HPA alone"]
        assert [len(trace.x) for trace in over_hpa] == [2, 2, 2]
        assert over_hpa[2].x == pytest.approx((0.25, 0.25))


def _cells(own: str, name: str, kind: str) -> list[str]:
    """The cells of a policy's row in the first table of a kind."""
    (body, *_) = re.findall(rf'<table class="{kind}">(.*?)</table>', own, flags=re.DOTALL)
    (found,) = re.findall(rf'<td class="name [^"]*">{re.escape(name)}[^/]*(?:</span>)?</td>(.*?)</tr>', body)
    return [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", found)]


def _four_worst_hours() -> dict[Policy, WorstHour]:
    owners = (Policy.HPA, Policy.AI_HPA, Policy.AI_HPA_TUNED, Policy.KPA)
    return {owner: hour(f"day {at}", [9], **{owner.name: 4}) for at, owner in enumerate(owners)}


class TestWorstHours:
    def test_an_hour_that_is_the_worst_of_several_is_shown_once(self) -> None:
        same = hour("day 1", [9], HPA=5, AI_HPA=2)
        own = page(series(worst_hours={Policy.HPA: same, Policy.AI_HPA: same}))
        assert [name for name in data_of(own)["figures"] if name.startswith("hour")] == ["hour-0-0"]
        assert "day 1 &ndash; the worst hour of HPA alone, A: AI-HPA, same HPA" in text_of(own)

    def test_the_hours_of_the_hpa_of_ours_and_of_the_best_rival_are_shown(self) -> None:
        hours = {**_four_worst_hours(), Policy.LAST_WEEK: hour("day 9", [9], LAST_WEEK=3)}
        own = page(series(worst_hours=hours))
        assert re.findall(r"<figcaption><b>([^<]*)", own) == ["day 0", "day 1", "day 2", "day 3"]

    def test_each_panel_says_what_its_policy_lacked(self) -> None:
        chart = data_of(plain_page())["figures"]["hour-0-0"]
        titles = [note["text"].split("<br>")[1] for note in chart["layout"]["annotations"]]
        assert titles == ["5 pod-minutes missing", "2 pod-minutes missing", "none missing", "none missing"]

    def test_no_hour_of_ours_is_cut_off(self) -> None:
        one = hour("x", [3], HPA=2)
        drawn = figures.worst_hour(one, [Policy.HPA, Policy.AI_HPA], ["", ""])
        assert drawn.layout.yaxis.range[1] > 99

    def test_a_rival_that_orders_far_too_much_does_not_flatten_the_others(self) -> None:
        one = WorstHour("x", (5,) * 60, {Policy.HPA: (4,) * 60, Policy.PHPA_LINEAR: (500,) * 60})
        drawn = figures.worst_hour(one, [Policy.HPA, Policy.PHPA_LINEAR], ["", ""])
        assert drawn.layout.yaxis.range[1] < 10

    def test_unknown_load_lacks_nothing(self) -> None:
        one = WorstHour("x", (None,) * 60, {Policy.HPA: (4,) * 60})
        (bars, *_) = figures.worst_hour(one, [Policy.HPA], [""]).data
        assert set(bars.y) == {0}

    def test_who_was_never_short_has_no_hour(self) -> None:
        assert "None of them was ever short of pods." in text_of(page(series(worst_hours={})))


class TestScores:
    def test_every_policy_has_its_row(self) -> None:
        text = text_of(plain_page())
        # time and pods short, time with spare, late; pod-hours, over the oracle's and needed; actions, reversals
        assert "level 0.95 over an HPA at 85% 0.50% 0.25% 90.00% 0.10% 1,190 1.13 1.19 12 3" in text
        assert "Oracle 0 0 90.00% 0.10% 1,050 1.00 1.05 12 3" in text
