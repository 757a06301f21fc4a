"""What a sweep came to: the best recipe, a table, a picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import pandas
import yaml

from latentloom.checks import UserError
from latentloom.config import Term, Train
from latentloom.files import atomically, write_text
from latentloom.sweep.picture import parallel_coordinates
from latentloom.sweep.space import Axis, with_values
from latentloom.sweep.trial import ERROR, Trial, best_trial, folder_of
from latentloom.values import Direction

BEST = "best.yaml"
SHOWN = 10  # trials in the text; the files hold all


@dataclass(frozen=True)
class SweepResult:
    """All trials of a sweep."""

    recipe: str
    base: Train  # what the values of a trial are set in
    axes: tuple[Axis, ...]
    trials: tuple[Trial, ...]  # by number
    monitor: str
    better: Direction
    folder: Path

    @property
    def best(self) -> Trial:
        """The finished trial with the best score."""
        best = best_trial(self.trials, self.better)
        if best is None:
            raise nothing_finished(self.trials, self.folder)
        return best

    def text(self) -> str:
        """The best trials, how many ended how, and where everything is; for a terminal."""
        counts = Counter(trial.state for trial in self.trials)
        return "\n".join(
            [
                table(self).head(SHOWN).to_string(index=False, na_rep="–"),
                f"{len(self.trials)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items()),
                *(f"failed: trial {t.number}: {t.error}" for t in self.trials if t.state == "failed"),
                f"the best is a recipe: latentloom train {self.folder / BEST}",
                f"everything is in {self.folder}",
            ]
        )


def write_result(result: SweepResult) -> None:
    """trials.csv, trials.md, parallel.html and best.yaml; without a finished trial only the first two."""
    found = table(result)
    write_text(result.folder / "trials.csv", found.sort_values("trial").to_csv(index=False))
    write_text(result.folder / "trials.md", markdown(found))
    write_text(result.folder / BEST, best_recipe(result))
    with atomically(result.folder / "parallel.html") as part:
        parallel_coordinates(result.axes, result.trials, result.monitor).write_html(part)


def table(result: SweepResult) -> pandas.DataFrame:
    """A row per trial: number, values, score with its spread over seeds, epochs, state; best first."""
    sign = 1 if result.better == "lower" else -1
    order = ["finished", "stopped", "running", "failed"]

    def rank(trial: Trial) -> tuple[int, float]:
        return order.index(trial.state), sign * trial.score if math.isfinite(trial.score) else math.inf

    rows = [
        {
            "trial": trial.number,
            **trial.values,
            result.monitor: trial.score,
            "sd": stdev(trial.scores) if len(trial.scores) > 1 else None,
            "seeds": len(trial.scores),
            "epochs": trial.epochs,
            "state": trial.state,
        }
        for trial in sorted(result.trials, key=rank)
    ]
    return pandas.DataFrame(rows)


def markdown(found: pandas.DataFrame) -> str:
    """A table in Markdown."""
    rule = ["---:"] * len(found.columns)
    lines = [list(found.columns), rule, *found.astype(object).fillna("–").values.tolist()]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def best_recipe(result: SweepResult) -> str:
    """The best trial as a recipe: what was asked for with its values, and the split asked for.

    Only fields that differ from the default are written.
    """
    best = result.best
    spread = f" ± {stdev(best.scores):.4f} over {len(best.scores)} seeds" if len(best.scores) > 1 else ""
    about = (
        f"# {result.recipe}, the best of {len(result.trials)} trials on {result.base.data.name}: "
        f"validation {result.monitor} {best.score:.4f}{spread}, trial {best.number}.\n"
    )
    chosen = changed(asdict(with_values(result.base, best.values)), asdict(Train()))
    terms = chosen["objective"]["terms"]
    chosen["objective"]["terms"] = {name: changed(term, asdict(Term())) for name, term in terms.items()}
    return about + yaml.safe_dump(chosen, sort_keys=False)


def changed(tree: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a tree that are not those of the default.

    >>> changed({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 0}})
    {'b': {'d': 3}}
    """
    found = {}
    for name, value in tree.items():
        there = default.get(name)
        kept = (
            changed(value, there)
            if isinstance(value, Mapping) and there and isinstance(there, Mapping)
            else value
        )
        if name not in default or value != there:
            found[name] = kept
    return found


def nothing_finished(trials: Sequence[Trial], folder: Path) -> UserError:
    """Why a sweep has no best trial: the first error, and where the logs are."""
    counts = Counter(trial.state for trial in trials)
    failed = [trial for trial in trials if trial.state == "failed"]
    about = ", ".join(f"{n} {state}" for state, n in counts.items()) or "none began"
    if not failed:
        return UserError(f"no trial of {folder} has finished ({about}); start the sweep again to go on")
    first = failed[0]
    return UserError(
        f"no trial of {folder} has finished ({about}); trial {first.number} failed first: {first.error}. "
        f"The logs are {folder_of(folder, first.number) / ERROR} and those beside it; mend it, then delete "
        f"{folder} and start again"
    )
