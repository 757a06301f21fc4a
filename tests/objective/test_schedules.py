"""Numbers that move with progress, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from latentloom.checks import UserError
from latentloom.config import Schedule
from latentloom.objective import alpha_schedule, at, beta_schedule
from latentloom.recipes import load_recipe

# Schedule, and progress -> value.
BY_HAND: dict[str, tuple[Schedule, dict[float, float]]] = {
    "linear": (Schedule("linear", 2.0, 6.0, until=0.5), {0: 2, 0.125: 3, 0.25: 4, 0.5: 6, 1: 6}),
    "linear down": (Schedule("linear", 1.0, 0.0, until=1.0), {0: 1, 0.3: 0.7, 1: 0}),
    "linear past the end": (Schedule("linear", 0.0, 1.0, until=2.0), {0: 0, 1: 0.5}),
    "exponential": (
        Schedule("exponential", 5.0, 1.0, until=0.5),
        {0: 5, 0.5: 1 + 4 / math.e, 1: 1 + 4 / math.e**2},
    ),
    "step": (Schedule("step", 0.1, 0.9, until=0.5), {0: 0.1, 0.499: 0.1, 0.5: 0.9, 1: 0.9}),
    "warmup": (
        Schedule("warmup", 0.0, 2.0, until=0.6),
        {0: 0, 0.1: 1 - math.sqrt(3) / 2, 0.2: 0.5, 0.3: 1, 0.4: 1.5, 0.6: 2, 1: 2},
    ),
    "minimum": (Schedule("linear", 1.0, -1.0, minimum=0.25), {0: 1, 0.25: 0.5, 0.375: 0.25, 0.9: 0.25}),
}


def test_every_kind_is_worked_out() -> None:
    kinds = Schedule.__doc__ or ""
    assert {schedule.kind for schedule, _ in BY_HAND.values()} == {
        line.split()[0] for line in kinds.splitlines()[2:] if line.strip()
    }


@pytest.mark.parametrize("name", BY_HAND)
def test_kind_by_hand(name: str) -> None:
    schedule, values = BY_HAND[name]
    for progress, value in values.items():
        assert at(schedule, progress) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("number", [True, 3, 0.5, "paper", None])
def test_what_is_no_schedule_stays_as_it_is(number: Any) -> None:
    assert at(number, 0.7) is number


@pytest.mark.parametrize("alpha0", [1.0, 2.5])
def test_alpha_of_latent_boost(alpha0: float) -> None:
    alpha = alpha_schedule(alpha0)
    assert at(alpha, 0.0) == pytest.approx(1 + alpha0)
    assert at(alpha, 1.0) == pytest.approx(1 + 0.38582 * alpha0, abs=1e-5 * alpha0)
    assert at(alpha, 1.0) == pytest.approx(1 + alpha0 * math.exp(-1 / 1.05), rel=1e-12)


def test_alpha_of_the_example_in_the_paper() -> None:
    alpha = [at(alpha_schedule(), progress) for progress in (0.0, 0.2, 0.5, 1.0)]
    assert alpha == pytest.approx([2.0, 1.83, 1.62, 1.39], abs=5e-3)


@pytest.mark.parametrize("beta0", [1.0, 3.0])
def test_beta_of_latent_boost(beta0: float) -> None:
    beta = beta_schedule(beta0, minimum=1e-6)
    assert at(beta, 0.0) == beta0
    assert at(beta, 0.1) == pytest.approx(beta0 / 2)
    # The earlier version of the paper goes on falling: -1.5 at half of the epochs, -4 at their end.
    assert [at(beta, progress) for progress in (0.2, 0.3, 0.5, 1.0)] == [1e-6] * 4
    assert min(at(beta, step / 1000) for step in range(1001)) == 1e-6


def test_recipe_of_the_paper_has_its_schedules() -> None:
    options = load_recipe("latent-boost-paper").objective.terms["latent_boost"].options
    assert options["alpha"] == alpha_schedule()
    assert options["beta"] == beta_schedule()


def test_misspelt_kind() -> None:
    with pytest.raises(UserError, match=r"no schedule 'linaer'; did you mean 'linear'\?"):
        at(Schedule("linaer"), 0.0)


@pytest.mark.parametrize("until", [0.0, -0.5, math.nan])
@pytest.mark.parametrize("kind", ["linear", "exponential", "step", "warmup"])
def test_until_is_positive(kind: Any, until: float) -> None:
    with pytest.raises(UserError, match="`until` must be > 0, got"):
        at(Schedule(kind, until=until), 0.5)
