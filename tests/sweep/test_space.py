"""Search spaces: what they hold, what is refused before any trial starts."""

from __future__ import annotations

import math

import pytest

from latentloom.checks import UserError
from latentloom.config import Schedule
from latentloom.recipes import load_recipe
from latentloom.sweep.space import Axis, as_mapping, as_text, load_space, own_values, spaces, with_values


def space(tmp_path, text: str, recipe: str = "latent-boost"):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return load_space(str(path), load_recipe(recipe))


def test_every_distribution(tmp_path):
    found = space(
        tmp_path,
        """
training.lr: {loguniform: [1e-5, 1.0e-2]}
objective.lam: {uniform: [0, 1]}
model.latent_dim: {uniformint: [1e1, 20]}
training.monitor_is_not_here: {choice: [1]}
""".replace("training.monitor_is_not_here: {choice: [1]}", "data.augment: {choice: [[], [crop, flip]]}"),
    )
    assert found == (
        Axis("training.lr", "loguniform", 1e-5, 1e-2),
        Axis("objective.lam", "uniform", 0.0, 1.0),
        Axis("model.latent_dim", "uniformint", 10, 20),
        Axis("data.augment", "choice", choices=("[]", "[crop, flip]")),
    )
    assert isinstance(found[2].low, int)


def test_an_option_of_a_term_may_be_an_axis_and_so_may_a_schedule(tmp_path):
    text = """
objective.terms.latent_boost.options.alpha: {uniform: [1, 8]}
objective.lam: {choice: [0.5, {kind: linear, start: 0.5, stop: 0.0}]}
"""
    axes = space(tmp_path, text)
    chosen = with_values(load_recipe("latent-boost"), {axis.field: axis.ends[-1] for axis in axes})
    assert chosen.objective.terms["latent_boost"].options["alpha"] == 8.0
    assert chosen.objective.lam == Schedule("linear", 0.5, 0.0)


REFUSED = {
    "an unknown field": ("training.learn: {uniform: [0, 1]}", r"no field of training 'learn'"),
    "an unknown section": ("trainig.lr: {uniform: [0, 1]}", r"no field 'trainig'; did you mean 'training'"),
    "an unknown option": (
        "objective.terms.latent_boost.options.alfa: {uniform: [0, 1]}",
        r"no option of latent_boost 'alfa'; did you mean 'alpha'",
    ),
    "a term that the recipe lacks": (
        "objective.terms.magnet.options.alpha: {uniform: [0, 1]}",
        r"no term of the recipe 'magnet'",
    ),
    "an unknown distribution": ("training.lr: {lognormal: [0, 1]}", r"no distribution for training.lr"),
    "an empty range": ("training.lr: {uniform: [1, 1]}", r"the range \[1, 1\] is empty"),
    "a range upside down": ("training.lr: {uniform: [2, 1]}", r"empty; low must be below high"),
    "an empty choice": ("training.lr: {choice: []}", r"choice needs at least one value"),
    "one bound": ("training.lr: {uniform: [1]}", r"uniform takes two numbers, \[low, high\], got \[1\]"),
    "three bounds": ("training.lr: {uniform: [1, 2, 3]}", r"takes two numbers"),
    "a bound that is a word": ("training.lr: {uniform: [low, 1]}", r"takes two numbers"),
    "a bound that is true": ("training.lr: {uniform: [true, 3]}", r"takes two numbers"),
    "a bound that is nan": ("training.lr: {uniform: [.nan, 3]}", r"takes two numbers"),
    "a fraction among whole numbers": ("data.batch: {uniformint: [1.5, 3]}", r"takes two whole numbers"),
    "the logarithm of 0": ("training.lr: {loguniform: [0, 1]}", r"loguniform needs bounds above 0"),
    "fractions for a whole field": ("data.batch: {uniform: [16, 64]}", r"data.batch must be int, got 16.0"),
    "words for a number": ("training.lr: {choice: [fast, 0.1]}", r"training.lr must be float, got 'fast'"),
    "a word for the option of a term": (
        "objective.terms.latent_boost.options.alpha: {choice: [2.0, high]}",
        r"latent_boost.options.alpha must be float, got 'high'",
    ),
    "numbers for an option that is a word": (
        "objective.terms.latent_boost.options.variant: {uniform: [0, 1]}",
        r"latent_boost.options.variant must be Literal",
    ),
    "a lambda above 1": ("objective.lam: {uniform: [0, 2]}", r"lambda must lie in \[0, 1\]"),
    "the seed": ("seed: {uniformint: [0, 9]}", r"seed is set by the sweep itself"),
    "the split": ("evaluation.split: {choice: [test]}", r"evaluation.split is set by the sweep itself"),
    "two axes in each other's way": (
        "objective.lam: {uniform: [0, 1]}\nobjective.lam.start: {uniform: [0, 1]}",
        r"'lam' holds the value",
    ),
    "a bare range": ("training.lr: [0, 1]", r"training.lr needs one distribution"),
    "two distributions": ("training.lr: {uniform: [0, 1], choice: [2]}", r"needs one distribution"),
    "a number for a range": ("training.lr: {uniform: 1}", r"uniform takes a list, got 1"),
    "nothing": ("", r"wanted fields with their distributions"),
    "a list": ("- training.lr", r"wanted fields with their distributions"),
    "no YAML": ("a: [", r"is not YAML"),
    "a day that is none": ("seed: {choice: [2024-13-45]}", r"is not YAML; month must be in"),
    "lists without end": ("[" * 3000, r"is not YAML; maximum recursion depth"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    text, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as caught:
        space(tmp_path, text)
    assert str(tmp_path / "space.yaml") in str(caught.value)


def test_no_such_space(tmp_path):
    base = load_recipe("baseline")
    with pytest.raises(UserError, match=r"no packaged space.* 'defualt'; did you mean 'default'"):
        load_space("defualt", base)
    with pytest.raises(UserError, match=r"cannot be read: No such file"):
        load_space(str(tmp_path / "absent.yaml"), base)


FITS = {
    "default": "baseline",
    "latent-boost": "latent-boost",
    "moving-targets": "class-proximity",
    "moving-targets-no-r": "euclidean-target",
}


@pytest.mark.parametrize("name", spaces())
def test_packaged_spaces_fit_their_recipes(name):
    axes = load_space(name, load_recipe(FITS[name]))
    assert axes
    assert not spaces()[name].startswith("#")


def test_the_space_of_the_paper():
    """Moving Targets (2023): lr loguniform(1e-5, 1e-2), d uniformint(200, 2000), r uniformint(1e3, 1e6)."""
    assert as_mapping(load_space("moving-targets", load_recipe("class-proximity"))) == {
        "training.lr": {"loguniform": [1e-5, 1e-2]},
        "model.latent_dim": {"uniformint": [200, 2000]},
        "objective.terms.class_proximity.options.r": {"uniformint": [1000, 1000000]},
    }


@pytest.mark.parametrize("value", [1e-5, 1e30, 0.1 + 0.2, 7, "paper", "1", True, None, [1, "a"], {"a": 1.5}])
def test_a_value_survives_as_text(value):
    import yaml

    text = as_text(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == value


def test_values_leave_the_base_alone():
    base = load_recipe("latent-boost")
    chosen = with_values(base, {"training.lr": 0.5, "objective.terms.latent_boost.weight": 2.0})
    assert (chosen.training.lr, base.training.lr) == (0.5, 1e-3)
    assert math.isclose(chosen.objective.terms["latent_boost"].weight, 2.0)
    assert base.objective.terms["latent_boost"].weight == 1.0


@pytest.mark.parametrize("name", ["default", "latent-boost"])
def test_our_own_spaces_hold_the_recipe_itself(name):
    base = load_recipe(FITS[name])
    values = own_values(load_space(name, base), base)
    assert values is not None
    assert with_values(base, values) == base


OUTSIDE = {
    "below": Axis("training.lr", "uniform", 0.01, 0.1),
    "above": Axis("training.lr", "loguniform", 1e-5, 1e-4),
    "another choice": Axis("data.batch", "choice", choices=("16",)),
    "none": Axis("model.latent_dim", "uniformint", 2, 9),
    "true": Axis("data.download", "uniform", 0, 1),
    "an option that is not set": Axis("objective.terms.cross_entropy.options.x", "uniform", 0, 1),
    "below a number": Axis("objective.lam.start", "uniform", 0, 1),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_values_outside_of_the_space(name):
    inside = Axis("data.batch", "uniformint", 1, 128)
    assert own_values([inside], load_recipe("latent-boost")) == {"data.batch": 128}
    assert own_values([inside, OUTSIDE[name]], load_recipe("latent-boost")) is None
