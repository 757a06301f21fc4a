"""Recipes: each resolves and trains; each mistake in one is a single readable line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from latentloom.checks import UserError
from latentloom.config import Schedule, Term, Train
from latentloom.losses import TERMS
from latentloom.objective import Objective
from latentloom.recipes import load_recipe, overlay, recipes, resolve
from latentloom.training.model import model_for
from latentloom.values import ImageSet

every_recipe = pytest.mark.parametrize("name", recipes())


@every_recipe
def test_recipe_trains(name: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randint(256, (24, 1, 8, 8), dtype=torch.uint8), torch.arange(24) % 3
    small = {
        "data.name": "digits",
        "model.encoder": "mlp",
        "model.stem": "auto",
        "model.normalise": "measured",
    }
    config = load_recipe(name, [*small.items()])
    model = model_for(config, ImageSet("digits", x, y, ("a", "b", "c")))
    objective = Objective.from_config(config.objective)
    rows = torch.arange(24)
    found = objective(model(x, rows).with_samples(y=y), progress=0.5)
    assert found.parts.keys() == objective.terms.keys()
    before = [p.detach().clone() for p in model.parameters()]
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    found.total.backward()
    adam.step()
    assert objective(model(x, rows).with_samples(y=y), progress=0.5).total < found.total
    assert not any(map(torch.equal, model.parameters(), before))


@every_recipe
def test_recipe_says_what_it_is(name: str) -> None:
    about = recipes()[name]
    assert about.endswith(".")
    assert not about.startswith("#")


def test_every_term_has_a_recipe() -> None:
    used = {term for name in recipes() for term in load_recipe(name).objective.terms}
    assert used == TERMS.keys()


def test_recipe_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# Größer.\nobjective: {terms: {magnet: {weight: 2}}}\nseed: 4\n", encoding="utf-8")
    config = load_recipe(str(path))
    assert config.objective.terms == {"magnet": Term(2.0)}
    assert config.seed == 4
    path.write_text("# nothing but this comment\n")
    assert load_recipe(str(path)) == Train()


@every_recipe
def test_resolved_configuration_resolves_to_itself(name: str) -> None:
    config = load_recipe(name, [("data.augment", "[flip]"), ("objective.lam", "{kind: warmup}")])
    assert resolve(yaml.safe_load(yaml.safe_dump(asdict(config)))) == config


def test_fields_are_replaced() -> None:
    config = load_recipe(
        "latent-boost",
        [
            ("training.lr", "1e-2"),  # text, for YAML
            ("training.epochs", "3"),
            ("data.augment", "[crop, flip]"),
            ("model.latent_dim", "null"),
            ("objective.lam", "{kind: linear, start: 0, stop: 0.5}"),
            ("objective.terms.latent_boost.options.beta", "0.5"),
            ("objective.terms.latent_boost.options.variant", "paper"),
            ("objective.terms.latent_boost.weight.kind", "step"),
            ("objective.terms.extra.loss", "center"),
        ],
    )
    assert (config.training.lr, config.training.epochs) == (0.01, 3)
    assert config.data.augment == ["crop", "flip"]
    assert config.model.latent_dim is None
    assert config.objective.lam == Schedule("linear", 0.0, 0.5)
    assert config.objective.terms == {
        "cross_entropy": Term(),
        "latent_boost": Term(Schedule("step"), {"alpha": 2.0, "beta": 0.5, "variant": "paper"}),
        "extra": Term(loss="center"),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("3.0", 3.0), ("1e-8", 1e-8), ("true", True), ("mean", "mean"), ("null", None)],
)
def test_option_keeps_its_type(text: str, value: object) -> None:
    terms = load_recipe("triplet", [("objective.terms.triplet.options.margin", text)]).objective.terms
    found = terms["triplet"].options["margin"]
    assert (found, type(found)) == (value, type(value))


def test_recipe_is_not_changed_by_what_replaces_it() -> None:
    before = load_recipe("magnet")
    load_recipe("magnet", [("objective.terms.magnet.options.alpha", "9")])
    assert load_recipe("magnet") == before


def test_overlay_makes_its_own_way() -> None:
    tree = {"a": {"b": 1}}
    overlay(tree, "a.c.d", "[1, x]")
    overlay(tree, "e", "2")
    assert tree == {"a": {"b": 1, "c": {"d": [1, "x"]}}, "e": 2}


# A field, what it is set to, and the error.
OBJECTIVE = "alpha, alternate, floor, freeze_after, lam, terms, weighting"
TERM = "objective.terms.cross_entropy"
MISTAKES = {
    "field": ("sede", "1", r"no field 'sede'; did you mean 'seed'\?"),
    "field of a section": ("objective.lamb", "1", r"no field of objective 'lamb'; did you mean 'lam'\?"),
    "field of a term": (f"{TERM}.wieght", "1", rf"no field of {TERM} 'wieght'; did you mean 'weight'\?"),
    "field of a schedule": (
        "objective.lam",
        "{kind: linear, strat: 1}",
        r"no field of objective.lam 'strat'; did you mean 'start'\?",
    ),
    "field without a name": (
        "objective..lam",
        "1",
        f"no field of objective ''; known: {OBJECTIVE}",
    ),
    "field that is a number": (
        "objective.7",
        "1",
        f"no field of objective '7'; known: {OBJECTIVE}",
    ),
    "words for a number": ("training.epochs", "many", "training.epochs must be int, got 'many'"),
    "half an epoch": ("training.epochs", "2.5", r"training.epochs must be int, got 2\.5"),
    "a section for a number": ("training.epochs.first", "2", "training.epochs must be int, got {'first': 2}"),
    "nothing for a number": ("training.lr", "null", "training.lr must be float, got null"),
    "a word for lambda": ("objective.lam", "half", r"lam must be float \| Schedule \| None, got 'half'"),
    "a word for a list": ("data.augment", "crop", r"data.augment must be list\[str\], got 'crop'"),
    "a list for an option": (f"{TERM}.options.k", "[1]", rf"{TERM}.options.k must be .*, got \[1\]"),
    "a choice that is not offered": (
        "evaluation.split",
        "tset",
        r"evaluation.split must be Literal\['validation', 'test'\], got 'tset'",
    ),
    "a schedule that is not offered": ("objective.lam.kind", "lnear", "lam.kind must be .*'linear'.*'lnear'"),
    "a schedule of no kind": ("objective.lam", "{start: 1}", "objective.lam lacks 'kind', which is Literal"),
    "a number for a section": (
        "objective",
        "3",
        "objective must hold fields: terms, lam, .*; got 3",
    ),
    "a number for a term": (TERM, "3", f"{TERM} must hold fields: weight, options, loss; got 3"),
    "a list of terms": ("objective.terms", "[magnet]", r"objective.terms must hold fields; got \['magnet'\]"),
    "a step into what the recipe leaves out": ("seed.x", "1", "seed must be int, got {'x': 1}"),
    "broken YAML": (f"{TERM}.weight", "[1", rf"{TERM}.weight: '\[1' is not a value; while parsing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_in_one_line(mistake: str) -> None:
    field, text, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message) as caught:
        load_recipe("baseline", [(field, text)])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_step_into_a_scalar_of_the_recipe() -> None:
    with pytest.raises(UserError, match=r"objective.lam.start: 'lam' holds the value 0.25 and has no field"):
        load_recipe("magnet", [("objective.lam.start", "1")])


FILES = {
    "broken": (b"objective: [", "is not YAML; while parsing"),
    "tab": (b"\tseed: 1", "is not YAML; while scanning"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00", "is not YAML"),
    "list": (b"- seed", r"must hold fields: data, .*; got \['seed'\]"),
    "scalar": (b"seed", "must hold fields: data, .*; got 'seed'"),
    "unknown field": (b"sede: 1", "no field 'sede'; did you mean 'seed'"),
    "field that is a number": (b"1: 2", "no field '1'"),
    "empty term": (
        b"objective: {terms: {magnet: }}",
        "magnet must hold fields: weight, options, loss; got None",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("overrides", [[], [("seed", "1")]])
def test_bad_file_is_told_in_one_line(name: str, overrides: list[tuple[str, str]], tmp_path: Path) -> None:
    content, message = FILES[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(str(path), overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml"])
def test_missing_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"cannot read the recipe .*{name}: No such file or directory"):
        load_recipe(str(tmp_path / name))


def test_misspelt_recipe() -> None:
    with pytest.raises(UserError, match=r"no recipe 'latent-bost'; did you mean 'latent-boost'\?") as caught:
        load_recipe("latent-bost")
    assert all(name in str(caught.value) for name in recipes())
