"""Mean, spread and correlation of a batch: against loops, NumPy, mistakes, and what follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from cases import Case, each
from torch import Tensor
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.losses import TERMS, centering, decorrelation, unit_variance

Points = list[list[float]]


def scene() -> Tensor:
    """Seven points in four dimensions that are correlated, of unequal spread, off the origin."""
    g = torch.Generator().manual_seed(3)
    mix = torch.randn(4, 4, generator=g, dtype=torch.float64)
    z = torch.randn(7, 4, generator=g, dtype=torch.float64) @ mix + torch.tensor([0.5, -1, 0, 2])
    return z.requires_grad_()


# References: plain loops over plain numbers


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def columns(z: Points) -> list[list[float]]:
    return [list(column) for column in zip(*z, strict=True)]


def naive_centering(
    z: Points, *, over: float = 1, power: int = 2, summed: bool = False, first: bool = True
) -> float:
    """`first`: the mean before the square."""
    if not first:
        return sum(mean([x**power for x in column]) for column in columns(z)) / over
    return sum((len(z) if summed else 1) * abs(mean(column)) ** power for column in columns(z)) / over


def deviation(
    values: list[float], *, unbiased: bool = False, eps: float = 1e-5, outside: bool = False
) -> float:
    m = mean(values)
    variance = math.fsum((x - m) ** 2 for x in values) / (len(values) - unbiased)
    return math.sqrt(variance) + eps if outside else math.sqrt(variance + eps)


def naive_variance(
    z: Points,
    *,
    over: float = 1,
    unbiased: bool = False,
    eps: float = 1e-5,
    rooted: bool = True,
    hinge: bool = False,
    power: int = 2,
) -> float:
    spreads = [deviation(column, unbiased=unbiased, eps=eps) for column in columns(z)]
    gaps = [(s if rooted else s * s) - 1 for s in spreads]
    return math.fsum((min(0.0, gap) if hinge else abs(gap)) ** power for gap in gaps) / over


def naive_decorrelation(
    z: Points,
    *,
    scaled: bool = True,
    squared: bool = True,
    centred: bool = True,
    diagonal: bool = False,
    eps: float = 1e-5,
    unbiased: bool = False,
    over: int | None = None,
) -> float:
    """`over`: what the sum over pairs is divided by; `diagonal`: each dimension with itself too."""
    values = []
    for a, b in [*combinations(columns(z), 2), *([(c, c) for c in columns(z)] if diagonal else [])]:
        p, q = (mean(a), mean(b)) if centred else (0.0, 0.0)
        r = math.fsum((x - p) * (y - q) for x, y in zip(a, b, strict=True)) / (len(z) - unbiased)
        if scaled:
            r /= deviation(a, eps=eps) * deviation(b, eps=eps)
        values.append(r * r if squared else abs(r))
    return math.fsum(values) / (over or len(values))


CASES: dict[str, Case] = {
    "centering": Case(
        "centering",
        naive_centering,
        {
            "length, not its square": partial(naive_centering, power=1),
            "mean of the squares": partial(naive_centering, first=False),
            "mean over dimensions": partial(naive_centering, over=4),
            "sum of the points": partial(naive_centering, summed=True),
            "normalised points": lambda z: naive_centering([[x / math.hypot(*p) for x in p] for p in z]),
        },
    ),
    "centering mean": Case(
        "centering", partial(naive_centering, over=4), {"summed": naive_centering}, {"reduction": "mean"}
    ),
    "unit_variance": Case(
        "unit_variance",
        naive_variance,
        {
            "unbiased": partial(naive_variance, unbiased=True),
            "variance, not deviation": partial(naive_variance, rooted=False),
            "no eps": partial(naive_variance, eps=0),
            "another eps": partial(naive_variance, eps=1e-4),
            "small spread alone": partial(naive_variance, hinge=True),
            "not squared": partial(naive_variance, power=1),
            "mean over dimensions": partial(naive_variance, over=4),
            "over the rows": partial(naive_variance, over=7),
        },
    ),
    "unit_variance mean": Case(
        "unit_variance", partial(naive_variance, over=4), {"summed": naive_variance}, {"reduction": "mean"}
    ),
    "decorrelation": Case(
        "decorrelation",
        naive_decorrelation,
        {
            "covariance": partial(naive_decorrelation, scaled=False),
            "not squared": partial(naive_decorrelation, squared=False),
            "not centred": partial(naive_decorrelation, centred=False),
            "the diagonal too": partial(naive_decorrelation, diagonal=True),
            "summed over i < j": partial(naive_decorrelation, over=1),
            "mean over all d x d": partial(naive_decorrelation, over=8),
            "over d, as VICReg": partial(naive_decorrelation, over=2),
            "n - 1 above, n below": partial(naive_decorrelation, unbiased=True),
            "no eps": partial(naive_decorrelation, eps=0),
        },
    ),
}

every_case, every_mistake = each(CASES)


def evaluate(name: str, z: Tensor) -> Tensor:
    return TERMS[CASES[name].term].fn(z, **CASES[name].options)


def value_agrees(name: str, naive: Callable[..., float]) -> None:
    assert_close(evaluate(name, scene()).item(), naive(scene().tolist()), rtol=1e-9, atol=1e-12)


@every_case
def test_value_is_that_of_the_loop(name: str) -> None:
    value_agrees(name, CASES[name].naive)


@every_mistake
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        value_agrees(name, CASES[name].mistakes[mistake])


@every_case
def test_gradient_is_true(name: str) -> None:
    assert torch.autograd.gradcheck(lambda z: evaluate(name, z), scene())


def test_every_regulariser_has_a_case_with_mistakes() -> None:
    own = {name for name, info in TERMS.items() if info.fn.__module__ == "latentloom.losses.regularisers"}
    assert {case.term for case in CASES.values()} == own
    assert all(case.mistakes for case in CASES.values())


# What follows from the formulas


def test_correlations_are_those_of_numpy() -> None:
    z = 100 * scene().detach()  # so that the eps is nothing
    r = np.corrcoef(z.numpy(), rowvar=False)
    expected = (np.square(r).sum() - 4) / 12
    assert decorrelation(z).item() == pytest.approx(expected, rel=1e-7)


def test_standardised_points_cost_nothing() -> None:
    z = scene().detach()
    z = (z - z.mean(0)) / (z.var(0, unbiased=False) / (1 - 1e-5)).sqrt()
    assert [centering(z).item(), unit_variance(z).item()] == pytest.approx([0, 0], abs=1e-12)
    white = torch.linalg.qr(z).Q
    assert decorrelation(100 * (white - white.mean(0))).item() < decorrelation(z).item()


def test_decorrelation_is_1_where_a_dimension_repeats_and_0_at_right_angles() -> None:
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    repeated = torch.stack([x, -3 * x, 2 * x + 5], 1)
    assert decorrelation(100 * repeated).item() == pytest.approx(1, abs=1e-6)
    assert decorrelation(torch.stack([x, x.square()], 1)).item() == pytest.approx(0, abs=1e-12)
    assert decorrelation(x[:, None]) == 0


def test_decorrelation_sees_no_length_and_no_place() -> None:
    z = scene().detach()
    assert_close(decorrelation(1e3 * z + 7), decorrelation(1e2 * z), rtol=1e-5, atol=0)


@pytest.mark.parametrize("n", [5, 20, 100])
def test_independent_dimensions_give_what_the_docstring_says(n: int) -> None:
    z = torch.randn(n, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert decorrelation(z).item() == pytest.approx(1 / (n - 1), rel=0.03)


def test_a_constant_dimension_has_no_correlation() -> None:
    z = scene().detach().float()
    z[:, 1] = 0.1
    value = decorrelation(z.requires_grad_())
    rest = decorrelation(scene().detach().float()[:, [0, 2, 3]])
    assert_close(value, rest * 3 / 6, rtol=1e-4, atol=0)
    assert torch.autograd.grad(value, z)[0].isfinite().all()


def test_a_mean_over_dimensions_does_not_grow_with_them() -> None:
    z = scene().detach()
    wide = z.repeat(1, 96)
    for term in (centering, unit_variance):
        assert_close(term(wide, reduction="mean"), term(z, reduction="mean"))
        assert_close(term(wide), 96 * term(z))


def test_equal_points_cost_a_unit_per_dimension_and_have_no_slope() -> None:
    z = torch.full((5, 384), 0.3, dtype=torch.float64, requires_grad=True)
    value = unit_variance(z)
    assert value.item() == pytest.approx(384 * (1 - math.sqrt(1e-5)) ** 2)
    assert torch.autograd.grad(value, z)[0].abs().max() < 1e-9


# At the edges


@pytest.mark.parametrize("n", [0, 1])
@every_case
def test_too_few_rows_are_zero_with_the_graph_kept(name: str, n: int) -> None:
    z = scene()[:n].detach().requires_grad_()
    value = evaluate(name, z)
    (slope,) = torch.autograd.grad(value, z)
    if n == 1 and CASES[name].term == "centering":
        assert_close(value, z[0].square().sum() / (4 if name == "centering mean" else 1))
    else:
        assert value == 0
        assert (slope == 0).all()


@every_case
def test_half_types_and_autocast_are_computed_in_float32(name: str) -> None:
    z = scene().detach().half()
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(evaluate(name, z), evaluate(name, z.float()), rtol=0, atol=0)


@every_case
def test_mistakes_of_the_caller(name: str) -> None:
    with pytest.raises(
        UserError, match=r"z must be floating \(n, d\), got torch.int64 \(7, 4\); flatten maps"
    ):
        evaluate(name, scene().long())
    with pytest.raises(UserError, match=r"got torch.float64 \(7, 2, 2\)"):
        evaluate(name, scene().reshape(7, 2, 2))


@pytest.mark.parametrize("term", [centering, unit_variance])
def test_misspelt_reduction(term: Callable[..., Tensor]) -> None:
    with pytest.raises(UserError, match=r"no reduction 'men'; did you mean 'mean'"):
        term(scene(), reduction="men")
