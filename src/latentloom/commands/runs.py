"""Training: one recipe, or many over seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.checks import UserError
from latentloom.commands import Commands, command
from latentloom.files import file_name
from latentloom.flags import Overrides, field_of


def add_to(commands: Commands) -> None:
    """The commands train and compare."""
    train = command(commands, "train", _train, "train one recipe, and take its card", settable=True)
    train.add_argument("recipe", metavar="RECIPE", help="a name of `latentloom list recipes`, or a YAML file")
    train.add_argument("--folder", help="where the run is kept (runs/RECIPE-DATA-seedN)")
    compare = command(
        commands, "compare", _compare, "recipes over seeds: a table with spread, and a page", settable=True
    )
    compare.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="the first is compared with; fields may follow: magnet,objective.lam=0.25",
    )
    compare.add_argument("--seeds", type=int, default=3, help="runs of each recipe, seeds 0 to N - 1 (3)")
    compare.add_argument(
        "--workers", type=int, default=1, help="runs at a time, each on its share of cores (1)"
    )
    compare.add_argument("--folder", help="where the runs are kept (runs/compare-DATA)")


def _train(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.recipes import load_recipe
    from latentloom.training.folder import LAST, RECORD
    from latentloom.training.processes import rank_of
    from latentloom.training.run import run

    asked = load_recipe(arguments.recipe, overrides)
    name = recipe_label(arguments.recipe)
    folder = Path(arguments.folder or f"runs/{name}-{file_name(asked.data.name)}-seed{asked.seed}")
    if (folder / RECORD).exists():
        print(f"{folder} holds this run already; it is not run again")
    elif (folder / LAST).exists():
        print(f"{folder} holds a run that did not end; it goes on from its last checkpoint")
    record = run(asked, folder, recipe=name)
    if rank_of(asked.training):
        return  # the first of several processes speaks for all
    print(record.card)
    print(f"best epoch {record.best_epoch + 1} of {len(record.history)}, {record.seconds:.0f} s of training")
    print(f"everything is in {folder}")


def _compare(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.comparison import compare

    if any(field == "seed" for field, _ in overrides):
        raise UserError("compare runs the seeds 0 to N - 1; say how many with --seeds N")
    recipes = [_with_inline(text) for text in arguments.recipes]
    folder = Path(arguments.folder or f"runs/compare-{file_name(dict(overrides).get('data.name', 'digits'))}")
    text, page = compare(recipes, overrides, seeds=arguments.seeds, folder=folder, workers=arguments.workers)
    print(text)
    print(f"the page is {page}")


def _with_inline(text: str) -> tuple[str, str, Overrides]:
    """A recipe with fields of its own, "name,a.b=value,...": its label, its name, the fields."""
    name, *pairs = text.split(",")
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"{text!r}: {pair!r} is not field=value")
    parts = [pair.partition("=") for pair in pairs]
    return recipe_label(text), name, [(field_of(key), value) for key, _, value in parts]


def recipe_label(recipe: str) -> str:
    """A recipe's name as a folder can have it."""
    name, *pairs = recipe.split(",")
    return ",".join([Path(name).stem if name.endswith((".yaml", ".yml")) else name, *map(file_name, pairs)])
