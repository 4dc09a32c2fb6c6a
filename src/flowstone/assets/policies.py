"""How often and when a failed attempt is tried again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowstone.foundation.errors import FlowStoneError, GiveUp, ResourceError, ValidationError


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _invalid(name: str, value: object, wanted: str) -> ValidationError:
    return ValidationError(f"Retry({name}={value!r}): not {wanted}", hint=f"pass {wanted}")


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries at most *attempts* times; waits *delay* seconds, then *factor* times longer each time, never over *max_delay*.

    *jitter* is the fraction of a delay that chance may take off (0 none, 1 all of it). Only exceptions of the types *on* are
    retried. *later_limit* caps how often one materialization may ask for ``RetryLater``. Raises ``ValidationError``.
    """

    attempts: int = 1
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.0
    on: tuple[type[BaseException], ...] = (Exception,)
    later_limit: int = 100

    def __post_init__(self) -> None:
        if isinstance(self.on, type):
            object.__setattr__(self, "on", (self.on,))
        for name, least in (("attempts", 1), ("later_limit", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise _invalid(name, value, f"a whole number of at least {least}")
        for name, least, most in (("delay", 0, math.inf), ("factor", 1, math.inf), ("max_delay", 0, math.inf), ("jitter", 0, 1)):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not least <= value <= most:
                wanted = f"a number from {least} to {most}" if most != math.inf else f"a finite number of at least {least}"
                raise _invalid(name, value, wanted)
        if self.delay > self.max_delay:
            raise _invalid("delay", self.delay, f"at most max_delay ({self.max_delay:g} s); give max_delay= as well")
        if not isinstance(self.on, tuple) or not self.on or not all(_is_exception(kind) for kind in self.on):
            raise _invalid("on", self.on, "exception classes, for example (TimeoutError, ConnectionError)")

    def delay_before(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait before *attempt* (1 is the first, which waits 0); *random* gives numbers from 0 to 1."""
        if attempt <= 1 or not self.delay:
            return 0.0
        try:
            delay = min(self.delay * float(self.factor) ** (attempt - 2), self.max_delay)
        except OverflowError:
            delay = float(self.max_delay)
        return delay * (1.0 - self.jitter * random()) if self.jitter else delay

    def should_retry(self, error: BaseException) -> bool:
        """Tell whether *error* is worth another attempt; never ``GiveUp``, nor a FlowStone error that says it is final."""
        if isinstance(error, GiveUp) or (isinstance(error, FlowStoneError) and not error.retryable):
            return False
        cause = error.__cause__ if isinstance(error, ResourceError) else None
        return isinstance(error, self.on) or isinstance(cause, self.on)

    def describe(self) -> dict[str, Any]:
        """Return the policy as plain values for the stored definition."""
        return {
            "attempts": self.attempts,
            "delay": self.delay,
            "factor": self.factor,
            "max_delay": self.max_delay,
            "jitter": self.jitter,
            "on": [f"{kind.__module__}.{kind.__qualname__}" for kind in self.on],
            "later_limit": self.later_limit,
        }


NO_RETRY = Retry()


def retry_policy(value: Retry | int | None) -> Retry:
    """Return *value* as a policy: ``None`` is one attempt, ``3`` is ``Retry(attempts=3)``."""
    if value is None:
        return NO_RETRY
    return value if isinstance(value, Retry) else Retry(attempts=value)
