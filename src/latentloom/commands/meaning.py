"""What class names mean: their vectors and groups."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.checks import UserError
from latentloom.commands import Commands, command
from latentloom.config import Train
from latentloom.flags import Overrides


def add_to(commands: Commands) -> None:
    """The commands names and groups."""
    names = command(commands, "names", _names, "what is read for class names, and its vectors", settable=True)
    names.add_argument("--out", help="write the vectors to this .safetensors file")
    names.add_argument("--check", action="store_true", help="compute the packaged vectors again and compare")
    groups = command(
        commands, "groups", _groups, "coarse labels from what class names mean, to be edited", settable=True
    )
    groups.add_argument("--out", required=True, help="the YAML file, for --data.coarse")
    groups.add_argument("--number", type=int, help="of groups (that of the best silhouette)")


def _names(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.data.catalogue import class_names
    from latentloom.names.command import checked, show

    if arguments.check:
        print(checked())
        return
    asked = _asked_names("names", overrides)
    print(show(asked.model.label_embeddings, *class_names(asked.data), arguments.out))


def _groups(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.data.catalogue import class_names
    from latentloom.names.asked import asked_vectors
    from latentloom.names.groups import suggest_groups
    from latentloom.names.vectors import centre

    asked = _asked_names("groups", overrides)
    fine, _ = class_names(asked.data)
    found = asked_vectors(asked.model.label_embeddings, fine)
    vectors = centre(found.vectors, fine) if asked.model.label_embeddings.centred else found.vectors
    print(suggest_groups(vectors, fine, Path(arguments.out), arguments.number))


def _asked_names(command: str, overrides: Overrides) -> Train:
    """Which class names, and how they are read."""
    from latentloom.recipes import load_recipe

    for field, _ in overrides:
        if not field.startswith(("data.", "model.label_embeddings.")):
            raise UserError(
                f"{command} trains nothing; --{field} cannot be set, only --data.* and "
                "--model.label_embeddings.*"
            )
    if "data.name" not in dict(overrides):
        raise UserError("say whose class names: --data NAME, or --data folder:PATH")
    return load_recipe("baseline", [("model.label_embeddings.source", "names"), *overrides])
