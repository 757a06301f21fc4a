"""Intervals and differences: how far a figure can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from latentloom.checks import UserError
from latentloom.values import Direction

Interval = tuple[float, float]
Values = NDArray[np.float64]
Verdict = Literal["better", "worse", "not decided"]

AT_A_TIME = 200_000  # resampled values; a few resamples that stay in the cache are the fastest
SAME = 1e-12  # of their size; differences that vary less vary by rounding alone


def bootstrap_interval(per_image: Values, resamples: int, seed: int, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean of per-image values (n,)."""
    return bootstrap_interval_of(np.mean, per_image, resamples=resamples, seed=seed, level=level)


def bootstrap_interval_of(
    statistic: Callable[..., Values],
    *arrays: np.ndarray,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a statistic of images.

    Args:
        statistic: called as statistic(*resampled, axis=-1), with arrays (resamples, n); gives (resamples,).
        arrays: one value per image each, (n,); the same images are drawn from all of them.
        resamples: how often n of the n images are drawn with replacement.
        seed: of the draws; the interval is the same every time.
        level: share of the resampled statistics between the ends.
    """
    from scipy import stats

    images = len(arrays[0])
    if images < 2:
        return (math.nan, math.nan)
    result = stats.bootstrap(
        arrays,
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=max(1, AT_A_TIME // images),
        confidence_level=level,
        random_state=np.random.default_rng(seed),
    )
    return (float(result.confidence_interval.low), float(result.confidence_interval.high))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student t interval of the mean of independent runs; None for fewer than two.

    mean +- t(level, n - 1) * sd / sqrt(n)
    """
    if len(values) < 2:
        return None
    mean, error, quantile = _student(np.asarray(values, dtype=np.float64), level)
    return (mean - quantile * error, mean + quantile * error)


@dataclass(frozen=True)
class PairedDifference:
    """Ours minus theirs over runs with the same seeds."""

    mean: float
    low: float  # 95 % Student t interval; nan where there is none
    high: float
    p: float  # two-sided, paired t; nan where there is no interval
    n: int  # seeds

    @property
    def interval(self) -> Interval | None:
        """Ends of the interval; None for fewer than two seeds, or where the differences do not vary."""
        return None if math.isnan(self.low) else (self.low, self.high)

    def verdict(self, better: Direction) -> Verdict:
        """Whether ours is better, by the interval; "not decided" where it includes 0 or there is none."""
        if self.low > 0:
            return "better" if better == "higher" else "worse"
        if self.high < 0:
            return "worse" if better == "higher" else "better"
        return "not decided"


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> PairedDifference:
    """Mean difference of two methods over the same seeds, in the same order, with its interval.

    Differences that are all equal have no interval: so exactly the same gain for every seed comes of
    coarse scores or of seeds that change nothing, and says nothing of other seeds.
    """
    if len(ours) != len(theirs) or not len(ours):
        raise UserError(f"{len(ours)} runs against {len(theirs)}; give one of each for every seed")
    differences = np.subtract(ours, theirs, dtype=np.float64)
    size = float(np.max(np.abs([*ours, *theirs])))
    if len(differences) < 2 or np.ptp(differences) <= SAME * size:
        return PairedDifference(float(differences.mean()), math.nan, math.nan, math.nan, len(differences))
    mean, error, quantile = _student(differences, 0.95)
    p = 2 * special.stdtr(len(differences) - 1, -abs(mean) / error)
    return PairedDifference(
        mean, mean - quantile * error, mean + quantile * error, float(p), len(differences)
    )


def _student(values: Values, level: float) -> tuple[float, float, float]:
    """Mean, its standard error, and the t quantile of a two-sided interval."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(error), float(special.stdtrit(len(values) - 1, (1 + level) / 2))
