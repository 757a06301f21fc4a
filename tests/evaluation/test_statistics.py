"""Intervals against formulas and simulation; differences and what they decide."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from latentloom.checks import UserError
from latentloom.evaluation import bootstrap_interval, bootstrap_interval_of, mean_interval, paired_difference


def values(n: int = 400) -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, size=n)


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval_and_to_no_mistake() -> None:
    x = values()
    low, high = bootstrap_interval(x, 4000, seed=1)
    error = x.std() / math.sqrt(len(x))
    assert (low, high) == pytest.approx((x.mean() - 1.96 * error, x.mean() + 1.96 * error), abs=0.1 * error)
    for mistake, width in {"90 %": 1.645, "one standard error": 1.0, "sd, not error": 1.96 * 20}.items():
        assert high - low != pytest.approx(2 * width * error, rel=0.1), mistake


def test_bootstrap_is_the_same_for_a_seed_and_narrower_at_a_lower_level() -> None:
    x = values()
    assert bootstrap_interval(x, 200, seed=1) == bootstrap_interval(x, 200, seed=1)
    assert bootstrap_interval(x, 200, seed=1) != bootstrap_interval(x, 200, seed=2)
    low, high = bootstrap_interval(x, 200, seed=1)
    inner = bootstrap_interval(x, 200, seed=1, level=0.5)
    assert low < inner[0] < x.mean() < inner[1] < high


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    g = np.random.default_rng(0)
    samples = (g.random((200, 100)) < 0.7).astype(float)
    covered = [low <= 0.7 <= high for low, high in (bootstrap_interval(x, 200, seed=0) for x in samples)]
    assert 0.9 <= statistics.fmean(covered) <= 0.99


def test_bootstrap_draws_the_same_images_from_all_arrays() -> None:
    x = values()

    def slope(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return (a * b).sum(axis) / (a * a).sum(axis)

    assert bootstrap_interval_of(slope, x, 3 * x, resamples=50, seed=0) == pytest.approx((3.0, 3.0))


def test_bootstrap_of_less_than_two_values_is_nan() -> None:
    assert all(math.isnan(end) for end in bootstrap_interval(np.ones(1), 10, seed=0))


def test_mean_over_seeds_has_a_student_interval() -> None:
    x = [0.90, 0.92, 0.91, 0.95]
    assert mean_interval(x) == pytest.approx(stats.t.interval(0.95, 3, np.mean(x), stats.sem(x)))
    assert mean_interval(x, level=0.5) == pytest.approx(stats.t.interval(0.5, 3, np.mean(x), stats.sem(x)))
    assert mean_interval(x) != pytest.approx(stats.norm.interval(0.95, np.mean(x), stats.sem(x)), rel=1e-3)
    assert mean_interval([0.9]) is None


def test_paired_difference_is_the_paired_t_test_and_not_the_unpaired() -> None:
    ours, theirs = [0.84, 0.85, 0.89, 0.87], [0.80, 0.82, 0.84, 0.85]
    found, test = paired_difference(ours, theirs), stats.ttest_rel(ours, theirs)
    ends = test.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((ends.low, ends.high, test.pvalue))
    assert found.interval == (found.low, found.high)
    assert (found.mean, found.n) == (pytest.approx(0.035), 4)
    assert found.p != pytest.approx(stats.ttest_ind(ours, theirs).pvalue, rel=0.1)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.04, 0.03, 0.05], "better"),
        ([-0.04, -0.03, -0.05], "worse"),
        ([0.04, -0.01, 0.05], "not decided"),
        ([0.04], "not decided"),
        ([0.0, 0.0, 0.0], "not decided"),
        ([0.1, 0.1, 0.1], "not decided"),
        ([0.04, math.nan, 0.05], "not decided"),
    ],
)
def test_verdict_follows_the_direction(differences: list[float], verdict: str) -> None:
    theirs = [0.7, 0.75, 0.8][: len(differences)]
    found = paired_difference([a + b for a, b in zip(theirs, differences, strict=True)], theirs)
    assert found.verdict("higher") == verdict
    assert found.verdict("lower") == {"better": "worse", "worse": "better"}.get(verdict, verdict)


def test_without_spread_there_is_no_interval() -> None:
    for found in (paired_difference([0.9], [0.8]), paired_difference([0.9, 0.8], [0.8, 0.7])):
        assert found.mean == pytest.approx(0.1)
        assert found.interval is None
        assert math.isnan(found.p)


@pytest.mark.parametrize(("ours", "theirs"), [([0.9, 0.8], [0.7]), ([], [])])
def test_runs_that_do_not_pair_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(UserError, match="one of each for every seed"):
        paired_difference(ours, theirs)
