"""Numbers that move with progress."""

from __future__ import annotations

import math
from collections.abc import Callable

from latentloom.checks import UserError, check_choice
from latentloom.config import Number, Schedule

# p is the share of the epochs that are done; see `Schedule` for the formulas.
_SHAPES: dict[str, Callable[[Schedule, float], float]] = {
    "linear": lambda s, p: s.start + (s.stop - s.start) * min(p / s.until, 1.0),
    "exponential": lambda s, p: s.stop + (s.start - s.stop) * math.exp(-p / s.until),
    "step": lambda s, p: s.start if p < s.until else s.stop,
    "warmup": lambda s, p: s.start + (s.stop - s.start) * (1 - math.cos(math.pi * min(p / s.until, 1.0))) / 2,
}


def at(number: Number, progress: float) -> Number:
    """The value of a number, or of a schedule at `progress` in [0, 1].

    >>> at(Schedule("linear", start=1.0, stop=0.0, until=0.5), 0.25)
    0.5
    """
    if not isinstance(number, Schedule):
        return number
    check_choice("schedule", number.kind, _SHAPES)
    if not number.until > 0:
        raise UserError(f"a schedule's `until` must be > 0, got {number.until}")
    value = _SHAPES[number.kind](number, progress)
    return value if number.minimum is None else max(value, number.minimum)


def alpha_schedule(alpha0: float = 1.0) -> Schedule:
    """alpha(p) = 1 + alpha0 exp(-p / 1.05). Paper: Latent Boost, arXiv:2412.08515."""
    return Schedule("exponential", start=1.0 + alpha0, stop=1.0, until=1.05)


def beta_schedule(beta0: float = 1.0, minimum: float = 1e-8) -> Schedule:
    """beta(p) = max(beta0 (1 - p / 0.2), minimum). Paper: Latent Boost, arXiv:2412.08515."""
    return Schedule("linear", start=beta0, stop=0.0, until=0.2, minimum=minimum)
