"""Trying a call again until a deadline; the three clients differ in what they try again and in how long they wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential


def retrying(
    kinds: type[Exception] | tuple[type[Exception], ...],
    *,
    deadline: float,
    wait: wait_random_exponential,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    log: Callable[[int, BaseException | None, float], None],
) -> Retrying:
    """Call again after an error of one of `kinds`; the last error is raised.

    Args:
        kinds: The errors after which the same call may well succeed.
        deadline: On `clock`, in seconds; a wait that would reach it is not begun.
        wait: The usual wait. A server that asks for more, by `retry_after_seconds` of the error, gets it.
        clock: Monotonic seconds.
        sleep: Waits that many seconds.
        log: Called before each wait with the number of the try, its error and the seconds to wait.
    """

    def out_of_time(state: RetryCallState) -> bool:
        return clock() + state.upcoming_sleep >= deadline

    def longer(state: RetryCallState) -> float:
        return max(wait(state), asked_seconds(_error(state)))

    def before_sleep(state: RetryCallState) -> None:
        log(state.attempt_number, _error(state), state.upcoming_sleep)

    return Retrying(
        retry=retry_if_exception_type(kinds),
        stop=out_of_time,
        wait=longer,
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )


def asked_seconds(error: BaseException | None) -> float:
    """Seconds that the server asked to be left alone for; 0 where it did not ask."""
    return float(getattr(error, "retry_after_seconds", 0.0))


def retry_after_seconds(headers: Mapping[str, str]) -> float:
    """Read the header `Retry-After` where it holds seconds; 0 where it is absent or a date."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
