"""Published tables run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.checks import UserError
from latentloom.commands import Commands, command
from latentloom.commands.runs import add_cluster, runner
from latentloom.flags import Overrides


def add_to(commands: Commands) -> None:
    """The command reproduce."""
    again = command(commands, "reproduce", _reproduce, "our figures beside the published ones", settable=True)
    again.add_argument("paper", metavar="PAPER", help="laresa, latent-boost, moving-targets or vae-dml")
    again.add_argument(
        "table",
        metavar="TABLE",
        help="of laresa 1 to 3, 7 or 8; of latent-boost 2 to 5 or A1 to A8; of moving-targets 6 or 7; "
        "of vae-dml 6.1 to 6.6",
    )
    again.add_argument("--scale", default="smoke", choices=["smoke", "cpu", "full"], help="(smoke)")
    again.add_argument(
        "--workers", type=int, help="runs at a time (1; on a cluster as many as there is room for)"
    )
    again.add_argument("--json", help="also write the figures to this file")
    again.add_argument("--folder", help="where the runs are kept (runs/reproduce)")
    add_cluster(again)


def _reproduce(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.files import write_text
    from latentloom.recipes import load_recipe
    from latentloom.reproduce import reproduce

    for field, _ in overrides:
        if not field.startswith("data.") or field == "data.name":
            raise UserError(
                f"reproduce runs what the table says; --{field} cannot be set, only how data are found"
            )
    data = load_recipe("baseline", overrides).data
    folder = Path(arguments.folder or "runs/reproduce")
    asked = arguments.paper, arguments.table, arguments.scale, folder, data
    with runner(arguments.cluster, folder, arguments.workers) as runs:
        if runs is None:
            done = reproduce(*asked, 1 if arguments.workers is None else arguments.workers)
        else:
            done = reproduce(*asked, run=runs.run, plan_runs=runs.plan)
    print(done.text())
    if arguments.json:
        write_text(Path(arguments.json), done.json())
