"""Training: one recipe, or many over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latentloom.checks import UserError
from latentloom.commands import Commands, command
from latentloom.files import file_name
from latentloom.flags import Overrides, field_of

if TYPE_CHECKING:
    from latentloom.cluster.tasks import Runs
    from latentloom.config import Train
    from latentloom.values import Record


def add_to(commands: Commands) -> None:
    """The commands train and compare."""
    train = command(commands, "train", _train, "train one recipe, and take its card", settable=True)
    train.add_argument("recipe", metavar="RECIPE", help="a name of `latentloom list recipes`, or a YAML file")
    train.add_argument("--folder", help="where the run is kept (runs/RECIPE-DATA-seedN)")
    add_cluster(train)
    train.add_argument(
        "--workers",
        metavar="K|MIN:MAX",
        help="of the cluster, that train as one; from MIN to MAX, as there is room (1)",
    )
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
        "--workers",
        type=int,
        help="runs at a time, each on its share of cores (1; on a cluster as many as there is room for)",
    )
    compare.add_argument("--folder", help="where the runs are kept (runs/compare-DATA)")
    add_cluster(compare)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The flag --cluster."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="work on a Ray cluster: HOST:PORT, auto for the one that this machine is part of, or local",
    )


def _train(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.recipes import load_recipe
    from latentloom.training.folder import RECORD, resumable
    from latentloom.training.processes import rank_of
    from latentloom.training.run import run

    asked = load_recipe(arguments.recipe, overrides)
    name = recipe_label(arguments.recipe)
    folder = Path(arguments.folder or f"runs/{name}-{file_name(asked.data.name)}-seed{asked.seed}")
    if (folder / RECORD).exists():
        print(f"{folder} holds this run already; it is not run again")
    elif resumable(folder):
        print(f"{folder} holds a run that did not end; it goes on from its last checkpoint")
    if arguments.cluster is None and arguments.workers is not None:
        raise UserError("--workers are of a cluster; on this machine ask for --training.devices")
    if arguments.cluster is not None:
        record = _train_on(arguments, asked, folder, name)
    else:
        record = run(asked, folder, recipe=name)
    if rank_of(asked.training):
        return  # the first of several processes speaks for all
    print(record.card)
    print(f"best epoch {record.best_epoch + 1} of {len(record.history)}, {record.seconds:.0f} s of training")
    print(f"everything is in {folder}")


def _train_on(arguments: argparse.Namespace, asked: Train, folder: Path, recipe: str) -> Record:
    from latentloom.cluster import ray_needed

    with ray_needed():
        from latentloom.cluster.train import train_on
    workers = _ends(arguments.workers or "1")
    print(f"training on Ray; {folder / 'history.csv'} has a row for every epoch that is done", flush=True)
    return train_on(arguments.cluster, asked, folder, recipe=recipe, workers=workers)


def _ends(text: str) -> tuple[int, int]:
    """The least and the most of "3" or "1:4"."""
    least, _, most = text.partition(":")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise UserError(f"--workers is a number, or the least and the most as 1:4; got {text!r}") from None


@contextmanager
def runner(cluster: str | None, folder: Path, workers: int | None) -> Iterator[Runs | None]:
    """What does runs on the cluster; None without one."""
    if cluster is None:
        yield None
        return
    from latentloom.cluster import ray_needed

    with ray_needed():
        from latentloom.cluster.tasks import runs_on
    with runs_on(cluster, folder, workers) as runs:
        yield runs


def _compare(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.comparison import compare
    from latentloom.training.compare import run_cells

    if any(field == "seed" for field, _ in overrides):
        raise UserError("compare runs the seeds 0 to N - 1; say how many with --seeds N")
    recipes = [_with_inline(text) for text in arguments.recipes]
    folder = Path(arguments.folder or f"runs/compare-{file_name(dict(overrides).get('data.name', 'digits'))}")
    workers = 1 if arguments.workers is None else arguments.workers
    with runner(arguments.cluster, folder, arguments.workers) as runs:
        run = run_cells if runs is None else runs.run
        text, page = compare(
            recipes, overrides, seeds=arguments.seeds, folder=folder, workers=workers, run=run
        )
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
