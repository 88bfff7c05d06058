"""Knative's pod autoscaler (KPA) as Knative Serving documents and runs it, for many workloads at once.

Source: knative.dev/docs, "About autoscaling" and "Configuring scale to zero"; Knative Serving's own
pkg/autoscaler/scaling/autoscaler.go (windows to pods), pkg/autoscaler/aggregation (averages) and
pkg/reconciler/autoscaling/kpa/scaler.go (bounds, scale to zero). Left out, because a replay has no such thing: a
revision that is not reachable, an activator that cannot be probed, an activation that fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import BoolArray, IntArray

SUB_TICK = timedelta(seconds=2)  # how often the KPA decides

_DIGITS = 6  # to which it rounds an average, so that a running sum cannot ask for one pod more
_CALM = -1  # no panic
_INACTIVE, _ACTIVATING, _ACTIVE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class KpaConfig:
    """Knative's `config-autoscaler`, and what a revision's annotations may change; the defaults are Knative's.

    Attributes:
        target_utilization: Share of a pod's target that is aimed at; of all lanes, or of each. Shape (L,).
        stable_window: Time that the usual average covers, and that a panic lasts at least.
        panic_window_ratio: The panic average's time, as a share of the stable window.
        panic_threshold_ratio: Pods that the panic average asks for, as a ratio to those ready, that start a panic.
        max_scale_up_rate, max_scale_down_rate: Largest ratio of desired and ready pods, either way.
        scale_to_zero_grace: From inactive to no pod; the time that the activator must have been in the path.
        activator_in_path: Whether it is there all along, as it is where all pods together take fewer requests than the
            target burst capacity (211): then that time is over before a revision is inactive, and nothing waits for it.
        initial_scale: Least pods until that many were ready once.
        activation_scale: Least pods while there is any demand.
    """

    target_utilization: FloatArray | float = 0.7
    stable_window: timedelta = timedelta(seconds=60)
    panic_window_ratio: float = 0.1
    panic_threshold_ratio: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    enable_scale_to_zero: bool = True
    scale_to_zero_grace: timedelta = timedelta(seconds=30)
    activator_in_path: bool = False
    initial_scale: int = 1
    activation_scale: int = 1

    @property
    def stable_sub_ticks(self) -> int:
        """Length of the stable window."""
        return -(-self.stable_window // SUB_TICK)

    @property
    def panic_sub_ticks(self) -> int:
        """Length of the panic window."""
        return -(-self.stable_window * self.panic_window_ratio // SUB_TICK)


class Average:
    """A moving average per lane; a window that is not full yet averages what it has."""

    def __init__(self, lanes: int, width: int) -> None:
        """Begin with an empty window of `width` values."""
        self._values = np.zeros((width, lanes))
        self._sum = np.zeros(lanes)
        self._count = 0

    def add(self, values: FloatArray) -> FloatArray:
        """Take in the newest values and give the averages. Shape (L,) each."""
        row = self._values[self._count % len(self._values)]
        self._sum += values - row
        row[:] = values
        self._count += 1
        return np.round(self._sum / min(self._count, len(self._values)), _DIGITS)


class PodAutoscalers:
    """Many KPAs in step: the decision from averages to pods, with its panic, and the way to zero.

    Attributes:
        panic_since: Sub-tick at which each panic was last called for; -1 without one. Shape (L,).
    """

    def __init__(self, config: KpaConfig, ready: IntArray, began: int = 0) -> None:
        """Begin in panic where there is more than one pod: what was before is unknown, and must not be lost.

        Args:
            config: Of all lanes.
            ready: Pods found. Shape (L,).
            began: Sub-tick of the beginning.
        """
        self._config = config
        self.panic_since = np.where(ready > 1, began, _CALM).astype(np.int64)
        self._panic_pods = ready.astype(np.int64)
        self._initialized = ready >= config.initial_scale
        self._state = np.where(ready > 0, _ACTIVE, _INACTIVE).astype(np.int64)
        self._state_since = np.full(ready.shape, began, dtype=np.int64)

    def desire(self, sub_tick: int, *, ready: IntArray, stable_pods: FloatArray, panic_pods: FloatArray) -> IntArray:
        """Pods that the averages ask for, before any bound.

        Args:
            sub_tick: Now; none is left out.
            ready: Pods that serve. Shape (L,).
            stable_pods: Average over the stable window, as a ratio to what one pod should carry. Shape (L,).
            panic_pods: The same over the panic window. Shape (L,).
        """
        config = self._config
        there = np.maximum(ready, 1)
        most = np.ceil(config.max_scale_up_rate * there)
        least = np.floor(there / config.max_scale_down_rate)
        stable, panic = np.ceil(stable_pods), np.ceil(panic_pods)
        desired_stable = np.minimum(np.maximum(stable, least), most)
        desired_panic = np.minimum(np.maximum(panic, least), most)
        if config.activation_scale > 1:
            activated = float(config.activation_scale)
            desired_stable = np.where(stable > 0, np.maximum(desired_stable, activated), desired_stable)
            desired_panic = np.where(panic > 0, np.maximum(desired_panic, activated), desired_panic)
        self._panic(sub_tick, over=panic >= config.panic_threshold_ratio * there)
        panicking = self.panic_since != _CALM
        # In a panic nothing goes down: the most pods asked for since it began stand.
        highest = np.maximum(np.maximum(desired_stable, desired_panic).astype(np.int64), self._panic_pods)
        self._panic_pods = np.where(panicking, highest, self._panic_pods)
        return np.where(panicking, highest, desired_stable.astype(np.int64))

    def bound(
        self,
        sub_tick: int,
        desired: IntArray,
        *,
        ready: IntArray,
        ordered: IntArray,
        bounds: tuple[IntArray, IntArray],
    ) -> IntArray:
        """Pods to order: what is desired within the bounds, and to zero only by the way there.

        A workload without demand keeps one pod until it has been active for a stable window; then it is inactive, and
        its last pods go once the grace is over.

        Args:
            sub_tick: Now.
            desired: From `desire`. Shape (L,).
            ready: Pods that serve. Shape (L,).
            ordered: Pods that are asked for now. Shape (L,).
            bounds: Minimum and maximum scale. Shape (L,) each.
        """
        lower, upper = bounds
        initial = self._config.initial_scale
        if initial > 1:
            self._initialized |= ready >= initial
            lower = np.where(self._initialized, lower, np.maximum(lower, initial))
        wanted = np.maximum(np.minimum(desired, upper), np.minimum(lower, upper))
        idle = wanted == 0
        if not idle.any() and (self._state == _ACTIVE).all():
            return wanted
        return self._to_or_from_zero(sub_tick, wanted, idle, ready=ready, ordered=ordered)

    def _panic(self, sub_tick: int, over: BoolArray) -> None:
        """Begin, prolong and end panics."""
        ended = (self.panic_since != _CALM) & ~over
        ended &= sub_tick - self.panic_since > self._config.stable_window / SUB_TICK
        self._panic_pods[ended] = 0
        self.panic_since = np.where(over, sub_tick, np.where(ended, _CALM, self.panic_since))

    def _to_or_from_zero(
        self,
        sub_tick: int,
        wanted: IntArray,
        idle: BoolArray,
        *,
        ready: IntArray,
        ordered: IntArray,
    ) -> IntArray:
        config, state = self._config, self._state
        if not config.enable_scale_to_zero:
            return np.maximum(wanted, 1)
        elapsed = (sub_tick - self._state_since) * SUB_TICK.total_seconds()
        active_for_long = elapsed >= config.stable_window.total_seconds()
        grace_over = (elapsed >= config.scale_to_zero_grace.total_seconds()) | config.activator_in_path
        replicas = np.where(
            idle & (state == _ACTIVE) & ~active_for_long,
            1,
            np.where(idle & ~((state == _INACTIVE) & grace_over), ordered, wanted),
        )
        after = np.where(idle & (state == _ACTIVE) & active_for_long, _INACTIVE, state)
        after = np.where(~idle & (state == _INACTIVE), _ACTIVATING, after)
        after = np.where(~idle & (after == _ACTIVATING) & (ready > 0), _ACTIVE, after)
        self._state_since = np.where(after != state, sub_tick, self._state_since)
        self._state = after
        return replicas
