"""The searchers of Ray Tune over a space, and the trials that they already know."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.sweep.space import Axis, own_values
from latentloom.sweep.trial import Trial
from latentloom.sweep.worker import SCORE
from latentloom.values import Direction


class Numbered(Searcher):
    """Another searcher, each of whose suggestions is the trial of the next number."""

    def __init__(self, searcher: Searcher, numbers: Iterable[int]) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher
        self.numbers = iter(numbers)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"values": self.searcher.suggest(trial_id), "number": next(self.numbers)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        failed = error or not result or "error" in result
        self.searcher.on_trial_complete(trial_id, None if failed else result, error=failed)

    def get_state(self) -> dict[str, Any]:
        """Nothing; trials on disk are the state."""
        return {}


def searcher_for(
    search: str, axes: Sequence[Axis], base: Train, known: Sequence[Trial], better: Direction
) -> Searcher:
    """A TPE searcher that has been told of the trials that ended, and first suggests those that did not.

    Where no trial has begun, the values of the recipe itself come first, if the space holds them: so that
    the best is at least as good. The seed is the number of known trials; the same one would suggest them
    again.
    """
    ended = [trial for trial in known if trial.state != "running"]
    begun = [trial for trial in known if trial.state == "running"]
    points = [dict(trial.values) for trial in (*ended, *begun)]
    own = None if known else own_values(axes, base)
    searcher = _made(search, axes, points if own is None else [own], better)
    for trial in ended:
        searcher.suggest(str(trial.number))
        good = trial.state != "failed" and math.isfinite(trial.score)
        searcher.on_trial_complete(str(trial.number), {SCORE: trial.score} if good else None, error=not good)
    return searcher


def _made(search: str, axes: Sequence[Axis], points: list[dict[str, Any]], better: Direction) -> Searcher:
    space = {axis.field: _domain(axis) for axis in axes}
    mode = "max" if better == "higher" else "min"
    if search == "hyperopt":
        _check_hyperopt()
        return HyperOptSearch(
            HyperOptSearch.convert_search_space(space), SCORE, mode, points, random_state_seed=len(points)
        )
    optuna.logging.set_verbosity(logging.WARNING)
    return OptunaSearch(OptunaSearch.convert_search_space(space), SCORE, mode, points, seed=len(points))


def _check_hyperopt() -> None:
    try:
        import hyperopt  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"cannot import HyperOpt ({error}); install it with pip install 'hyperopt>=0.3', or leave out "
            "--search hyperopt"
        ) from error


def _domain(axis: Axis) -> Any:
    match axis.kind:
        case "uniform":
            return tune.uniform(axis.low, axis.high)
        case "loguniform":
            return tune.loguniform(axis.low, axis.high)
        case "uniformint":
            return tune.randint(int(axis.low), int(axis.high) + 1)
    return tune.choice(list(axis.choices))
