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
        "what",
        metavar="RUN|LATENTS",
        type=Path,
        help="a run's folder, or latents with their labels in a .parquet, .npz or .npy file",
    )
    evaluate.add_argument(
        "--labels", type=Path, help="labels of a .npy file: .npy, or a text with one in each line"
    )
    evaluate.add_argument(
        "--train", type=Path, help="latents of the training split, for class centres and probes"
    )
    evaluate.add_argument(
        "--centres", type=Path, help="class centres (C, d), .npy or .safetensors, in place of --train"
    )
    evaluate.add_argument(
        "--class-names",
        type=Path,
        help="a text with a class in each line: is what is alike by name also near by",
    )
    evaluate.add_argument("--json", type=Path, help="also write the card to this file")


def _evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    import json

    from latentloom.files import write_text
    from latentloom.records import card_to_json
    from latentloom.report.cards import card_at

    card = card_at(
        arguments.what,
        labels=arguments.labels,
        train=arguments.train,
        centres=arguments.centres,
        class_names=arguments.class_names,
    )
    print(card)
    if arguments.json:
        write_text(arguments.json, json.dumps(card_to_json(card), indent=1, allow_nan=False) + "\n")
