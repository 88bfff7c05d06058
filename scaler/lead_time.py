"""How long a workload takes from a raised number of replicas to ready pods, learned; it reads no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

from scaler.bounded import Bounded, check_bounds

# Upper quantile rather than the mean: half of all raises would otherwise come too late.
_LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class LeadTimeConfig:
    """How the lead time is learned."""

    lead_time_prior: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=3600),
            "Lead time before anything is learned. Pods with a cached image take 10 to 90 s to serve; the upper end, "
            "because a lead time that is too long costs a few spare pods and one too short misses load.",
        ),
    ] = timedelta(seconds=90)
    lead_time_episodes: Annotated[
        int,
        Bounded(
            1,
            64,
            "Until this many raises have been seen, the prior stands in for each one missing, so that one lucky "
            "start does not shorten it. A longer duration counts from the first: below ten the 90 % quantile is "
            "the maximum.",
        ),
    ] = 5
    lead_time_memory: Annotated[
        int,
        Bounded(
            1,
            1024,
            "Raises that are remembered. Enough for a 90 % quantile that six of them exceed, few enough to forget "
            "an old image.",
        ),
    ] = 64
    lead_time_cap: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=60),
            timedelta(hours=6),
            "A raise that takes longer is forgotten: its pods wait for something no forecast brings (quota, a full "
            "cluster, a broken image). Longer than any start with a new node.",
        ),
    ] = timedelta(seconds=1800)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)
        if self.lead_time_memory < self.lead_time_episodes:
            sizes = f"{self.lead_time_memory} < {self.lead_time_episodes}"
            raise ValueError(f"lead_time_memory must be at least lead_time_episodes, got {sizes}")


@dataclass(frozen=True, slots=True)
class Episode:
    """One raise whose pods are not all ready yet.

    Attributes:
        added: Pods that were not ready when it was raised.
    """

    raised_at: datetime
    desired: int
    added: int


@dataclass(frozen=True, slots=True)
class LeadTimeState:
    """What is known of one workload's lead time.

    Attributes:
        lead_time: 90 % quantile of the durations, the prior standing in for those missing.
        durations: From a raise to that many ready pods, oldest first.
        episodes: Raises still under way, oldest first.
        desired: Replicas wanted when last seen; None where there is nothing yet that a raise could be told from.
    """

    lead_time: timedelta
    durations: tuple[timedelta, ...] = ()
    episodes: tuple[Episode, ...] = ()
    desired: int | None = None


def start(config: LeadTimeConfig, durations: tuple[timedelta, ...] = ()) -> LeadTimeState:
    """Begin with what was measured before, oldest first; without any, with the prior alone."""
    state = LeadTimeState(lead_time=config.lead_time_prior)
    known = tuple(duration for duration in durations if timedelta(0) <= duration < config.lead_time_cap)
    return learn(state, known, config) if known else state


def observe(
    state: LeadTimeState, *, ready: int, desired: int, config: LeadTimeConfig, now: datetime, ordered: bool = False
) -> LeadTimeState:
    """Look once at how far a workload is.

    A raise ends when as many pods are ready as it asked for. One that a lower `desired` cuts short, or that outlasts
    the cap, measured nothing and is dropped; one that asks for no more than is ready adds no pod and does not count.

    Args:
        state: From the last look.
        ready: Pods that serve now.
        desired: Replicas wanted from now on: after this tick's own write, if there was one.
        config: How to learn.
        now: Time of this look.
        ordered: Pods start one after another; what is learned is the time of one pod.
    """
    if desired == state.desired and not state.episodes:
        return state
    open_episodes = [e for e in state.episodes if e.desired <= desired]
    done = tuple((now - e.raised_at) / (e.added if ordered else 1) for e in open_episodes if e.desired <= ready)
    episodes = [e for e in open_episodes if e.desired > ready and now - e.raised_at < config.lead_time_cap]
    if state.desired is not None and desired > max(state.desired, ready):
        episodes.append(Episode(now, desired, added=desired - ready))
    state = replace(state, episodes=tuple(episodes), desired=desired)
    return learn(state, done, config) if done else state


def lose_sight(state: LeadTimeState) -> LeadTimeState:
    """Drop the raises under way: of a workload that cannot be seen, nobody can say when its pods got ready."""
    return state if state.desired is None else replace(state, episodes=(), desired=None)


def learn(state: LeadTimeState, done: tuple[timedelta, ...], config: LeadTimeConfig) -> LeadTimeState:
    """Take in durations that were measured, oldest first."""
    durations = (*state.durations, *done)[-config.lead_time_memory :]
    missing = max(0, config.lead_time_episodes - len(durations))
    lead_time = _quantile((*durations, *(config.lead_time_prior,) * missing), _LEVEL)
    return replace(state, durations=durations, lead_time=lead_time)


def median(state: LeadTimeState) -> timedelta:
    """Give the median of what was measured; the lead time itself where nothing was."""
    return _quantile(state.durations, 0.5) if state.durations else state.lead_time


def _quantile(durations: tuple[timedelta, ...], level: float) -> timedelta:
    # Nearest rank. Guarded, because 0.9 * 10 must be rank 9 and not 10.
    rank = math.ceil(level * len(durations) - 1e-9)
    return sorted(durations)[rank - 1]
