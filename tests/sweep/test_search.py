"""The searchers: numbers, what they are told, and that they do not repeat themselves."""

from __future__ import annotations

import sys

import pytest

from latentloom.checks import UserError
from latentloom.recipes import load_recipe
from latentloom.sweep.run import SEARCHES
from latentloom.sweep.search import Numbered, searcher_for
from latentloom.sweep.space import Axis
from latentloom.sweep.trial import Trial

AXES = (
    Axis("training.lr", "loguniform", 1e-5, 1e-2),
    Axis("model.latent_dim", "uniformint", 3, 5),
    Axis("objective.lam", "uniform", 0.0, 1.0),
    Axis("data.batch", "choice", choices=("16", "64")),
)
BASE = load_recipe("latent-boost")  # whose latent_dim, none, lies outside


def suggested(search: str, count: int, known=()) -> list[dict]:
    searcher = searcher_for(search, AXES, BASE, known, "higher")
    return [searcher.suggest(f"new-{k}") for k in range(count)]


@pytest.mark.parametrize("search", SEARCHES)
def test_suggestions_lie_in_the_space_both_bounds_included(search):
    found = suggested(search, 40)
    assert all(1e-5 <= values["training.lr"] <= 1e-2 for values in found)
    assert {values["model.latent_dim"] for values in found} == {3, 4, 5}
    assert all(type(values["model.latent_dim"]) is int for values in found)
    assert all(0 <= values["objective.lam"] <= 1 for values in found)
    assert {values["data.batch"] for values in found} == {"16", "64"}


@pytest.mark.parametrize("search", SEARCHES)
def test_after_a_kill_begun_trials_come_first_and_exactly_and_no_trial_twice(search):
    first = suggested(search, 4)
    states = ("finished", "running", "failed", "stopped")
    known = [
        Trial(number, values, state, (0.5,) if state in ("finished", "stopped") else ())
        for number, (values, state) in enumerate(zip(first, states, strict=True))
    ]
    begun, *new = suggested(search, 5, known)
    assert begun == first[1]
    assert not [values for values in new if values in first]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_searcher_learns_from_known_trials(search, better):
    """Of forty known trials those with a high lambda did well: it is suggested more often."""
    known = [
        Trial(
            k, {**values, "objective.lam": k / 40}, "finished", (k / 40 if better == "higher" else -k / 40,)
        )
        for k, values in enumerate(suggested(search, 40))
    ]
    searcher = searcher_for(search, AXES, BASE, known, better)
    lams = [searcher.suggest(f"new-{k}")["objective.lam"] for k in range(20)]
    assert sum(lam > 0.5 for lam in lams) >= 14


@pytest.mark.parametrize("search", SEARCHES)
def test_the_recipe_itself_comes_first_and_once(search):
    base = load_recipe("latent-boost", [("model.latent_dim", "4"), ("data.batch", "64")])
    own = {"training.lr": 1e-3, "model.latent_dim": 4, "objective.lam": 0.25, "data.batch": "64"}
    searcher = searcher_for(search, AXES, base, [], "higher")
    assert searcher.suggest("first") == own
    assert searcher.suggest("second") != own
    again = searcher_for(search, AXES, base, [Trial(0, own, "finished", (0.5,))], "higher")
    assert again.suggest("second") != own


@pytest.mark.parametrize("search", SEARCHES)
def test_a_score_that_is_not_finite_teaches_nothing(search, caplog):
    known = [Trial(0, suggested(search, 1)[0], "finished", (float("nan"),))]
    assert suggested(search, 1, known)
    assert not caplog.records


def test_numbers_are_handed_out_in_order_and_failures_told():
    told = []

    class Told:
        metric, mode = "score", "max"

        def suggest(self, trial_id):
            return {"a.b": 1}

        def on_trial_complete(self, *what, error):
            told.append((*what, error))

    numbered = Numbered(Told(), [3, 7])
    assert numbered.suggest("x") == {"number": 3, "values": {"a.b": 1}}
    assert numbered.suggest("y") == {"number": 7, "values": {"a.b": 1}}
    good = {"score": 0.5}
    numbered.on_trial_complete("x", good)
    numbered.on_trial_complete("y", {"score": float("nan"), "error": "ValueError"})
    numbered.on_trial_complete("z", None, error=True)
    assert told == [("x", good, False), ("y", None, True), ("z", None, True)]


def test_hyperopt_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    with pytest.raises(UserError, match=r"cannot import HyperOpt.*hyperopt>=0.3"):
        searcher_for("hyperopt", AXES, BASE, [], "higher")
