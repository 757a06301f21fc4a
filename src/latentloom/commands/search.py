"""The search for hyper-parameters."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.checks import UserError
from latentloom.commands import Commands, command
from latentloom.commands.runs import recipe_label
from latentloom.files import file_name
from latentloom.flags import Overrides


def add_to(commands: Commands) -> None:
    """The command sweep."""
    sweep = command(
        commands,
        "sweep",
        _sweep,
        "search for the fields of a recipe that do best on validation",
        settable=True,
    )
    sweep.add_argument("recipe", metavar="RECIPE", help="a name of `latentloom list recipes`, or a YAML file")
    sweep.add_argument(
        "--space", default="default", help="a name of `latentloom list spaces`, or a YAML file (default)"
    )
    sweep.add_argument("--trials", type=int, default=30, help="how many in all (30)")
    sweep.add_argument("--seeds", type=int, default=1, help="runs of each trial, seeds 0 to N - 1 (1)")
    sweep.add_argument("--workers", type=int, help="trials at a time (as many as there is room for)")
    sweep.add_argument("--cpus", type=float, default=1, help="cores of a trial (1)")
    sweep.add_argument("--gpus", type=float, help="GPUs of a trial, or a share of one (1 where there is any)")
    sweep.add_argument("--address", help="of a running Ray cluster, HOST:PORT or auto (one is started here)")
    sweep.add_argument("--search", default="tpe", choices=["tpe", "hyperopt"], help="(tpe)")
    sweep.add_argument("--folder", help="where everything is kept (runs/sweep-RECIPE-DATA)")


def _sweep(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.sweep import sweep

    if any(field == "seed" for field, _ in overrides):
        raise UserError("sweep runs the seeds 0 to N - 1 of each trial; say how many with --seeds N")
    name = f"{recipe_label(arguments.recipe)}-{file_name(dict(overrides).get('data.name', 'digits'))}"
    result = sweep(
        arguments.recipe,
        overrides,
        space=arguments.space,
        trials=arguments.trials,
        folder=Path(arguments.folder or f"runs/sweep-{name}"),
        seeds=arguments.seeds,
        search=arguments.search,
        workers=arguments.workers,
        cpus=arguments.cpus,
        gpus=arguments.gpus,
        address=arguments.address,
    )
    print(result.text())
