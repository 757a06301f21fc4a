"""The card of latents."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.commands import Commands, command
from latentloom.flags import Overrides


def add_to(commands: Commands) -> None:
    """The command evaluate."""
    evaluate = command(commands, "evaluate", _evaluate, "the card of a run, or of any latents")
    evaluate.add_argument(
        "what", metavar="RUN|LATENTS", help="a run's folder, or a .parquet or .npz file with z and y"
    )


def _evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.cards import card_of

    print(card_of(Path(arguments.what)))
