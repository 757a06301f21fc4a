"""Recipes beside each other: means with their spread, paired differences, and speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from latentloom.checks import UserError, check_choice
from latentloom.evaluation.statistics import PairedDifference, Verdict, paired_difference
from latentloom.values import Direction, Record

Runs = Mapping[str, Sequence[Record]]  # recipe -> its runs, one per seed; differences are against the first


@dataclass(frozen=True)
class Spread:
    """A number over runs."""

    mean: float
    sd: float | None  # of the sample, n - 1; None for a single run, nan where a value is not finite
    n: int

    def text(self, digits: int) -> str:
        return f"{self.mean:.{digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{digits}f}")


@dataclass(frozen=True)
class Cell:
    """One score of one recipe, and how it differs from the first recipe's."""

    spread: Spread
    better: Direction
    change: float | None = (
        None  # of the mean, in % of the first recipe's; None for that one and where that is 0
    )
    difference: PairedDifference | None = None  # over common seeds; None below two, or without finite scores
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Reach:
    """When runs first reach a target; those that never do are counted, not dropped."""

    spread: Spread | None  # over the runs that do
    never: int
    n: int

    def text(self, digits: int) -> str:
        reached = [self.spread.text(digits)] if self.spread else []
        return ", ".join([*reached, *([f"never ({self.never} of {self.n})"] if self.never else [])])


@dataclass(frozen=True)
class Row:
    """One recipe."""

    recipe: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell | None]  # None where no run of the recipe has the score
    epochs_to_best: Spread
    seconds_to_best: Spread
    epochs_to_reach: Reach  # the first recipe's best validation score, the mean over its seeds
    seconds_to_reach: Reach


def summary(runs: Runs, scores: Sequence[str]) -> list[Row]:
    """One row per recipe, compared with the first over the seeds that both have.

    Args:
        runs: recipe -> its runs; at least one each.
        scores: names of the card's findings; one that no run has is an error.
    """
    _check(runs, scores)
    first = next(iter(runs.values()))
    target = fmean(_best_score(record, *_monitor(first)) for record in first)
    return [_row(recipe, records, first, scores, target) for recipe, records in runs.items()]


def _check(runs: Runs, scores: Sequence[str]) -> None:
    known = {name for records in runs.values() for record in records for name in record.card.findings}
    for name in scores:
        check_choice("score", name, known)
    for recipe, records in runs.items():
        seeds = [record.seed for record in records]
        if not seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"the runs of {recipe!r} have the seeds {seeds}; give at least one, and each seed once"
            )


def _row(
    recipe: str, records: Sequence[Record], first: Sequence[Record], scores: Iterable[str], target: float
) -> Row:
    reached = [_first_reach(record, *_monitor(records), target) for record in records]
    best = [best_row(record) for record in records]
    return Row(
        recipe=recipe,
        seeds=tuple(record.seed for record in records),
        cells={name: _cell(records, first, name) for name in scores},
        epochs_to_best=spread([row["epoch"] + 1 for row in best]),
        seconds_to_best=spread([row["seconds"] for row in best]),
        epochs_to_reach=_reach([row["epoch"] + 1 if row else None for row in reached]),
        seconds_to_reach=_reach([row["seconds"] if row else None for row in reached]),
    )


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one number.

    >>> spread([0.25, 0.75]).text(4), spread([0.5]).text(4)
    ('0.5000 ± 0.3536', '0.5000')
    """
    if len(values) < 2:
        return Spread(fmean(values), None, len(values))
    return Spread(fmean(values), stdev(values) if _finite(values) else math.nan, len(values))


def _cell(records: Sequence[Record], first: Sequence[Record], score: str) -> Cell | None:
    ours, theirs = _by_seed(records, score), _by_seed(first, score)
    if not ours:
        return None
    better = next(r.card.findings[score].better for r in records if score in r.card.findings)
    mine = spread(list(ours.values()))
    if records is first or not theirs:
        return Cell(mine, better)
    change = _change(mine.mean, fmean(theirs.values()))
    common = sorted(ours.keys() & theirs.keys())
    pairs = [ours[seed] for seed in common], [theirs[seed] for seed in common]
    if len(common) < 2 or not _finite([*pairs[0], *pairs[1]]):
        return Cell(mine, better, change)
    difference = paired_difference(*pairs)
    return Cell(mine, better, change, difference, difference.verdict(better))


def _change(ours: float, base: float) -> float | None:
    return 100 * (ours - base) / abs(base) if base and _finite([ours, base]) else None


def _finite(values: Iterable[float]) -> bool:
    return all(map(math.isfinite, values))


def _by_seed(records: Sequence[Record], score: str) -> dict[int, float]:
    return {r.seed: r.card.value(score) for r in records if score in r.card.findings}


def _monitor(records: Sequence[Record]) -> tuple[str, Direction]:
    """The validation score that a recipe selects its epoch by, and its direction."""
    name = records[0].config["training"]["monitor"]
    finding = records[0].card.findings.get(name)
    return name, finding.better if finding else "higher"


def _validation(row: Mapping[str, float], name: str, better: Direction) -> float:
    """The score of an epoch, negated where lower is better; nan where it has none."""
    return row.get(f"val/{name}", math.nan) * (1 if better == "higher" else -1)


def _best_score(record: Record, name: str, better: Direction) -> float:
    scores = [_validation(row, name, better) for row in record.history]
    return max((score for score in scores if not math.isnan(score)), default=math.nan)


def _first_reach(record: Record, name: str, better: Direction, target: float) -> Mapping[str, float] | None:
    """The first epoch that is as good as the target; a target of nan is never met."""
    return next((row for row in record.history if _validation(row, name, better) >= target), None)


def best_row(record: Record) -> Mapping[str, float]:
    """The row of the history of the epoch that was selected."""
    return {row["epoch"]: row for row in record.history}[record.best_epoch]


def _reach(values: Sequence[float | None]) -> Reach:
    found = [value for value in values if value is not None]
    return Reach(spread(found) if found else None, len(values) - len(found), len(values))
