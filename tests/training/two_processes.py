"""A run in float64 that is done with and without Ray; as a script, in two processes; see `together`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from together import in_processes, together

from latentloom.config import Train
from latentloom.recipes import load_recipe
from latentloom.training.run import run

WORLD = 2
RECIPE = "latent-boost"
FIELDS = {
    "data.batch": "63",  # of which the processes have 32 and 31
    "data.augment": "[crop, flip]",
    "model.encoder": "mlp",
    "training.epochs": "12",
    "training.checkpoint_steps": "3",
    "training.logger": "false",
    "training.keep_latents": "0",
    "training.accelerator": "cpu",
    "training.precision": "64-true",
    "evaluation.bootstrap": "10",
}


def asked() -> Train:
    return load_recipe(RECIPE, [*FIELDS.items()])


def whole_run(folder: Path) -> None:
    run(asked(), folder, recipe=RECIPE, progress=False)


def two_processes(folder: Path) -> None:
    """Do the run in folder / "run"."""
    together(Path(__file__), folder, [WORLD])


def _part(rank: int, world: int, folder: Path) -> dict[str, Any]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    environment = {name: str(value) for name, value in place.items()} | {"TORCHELASTIC_RUN_ID": "tests"}
    with patch.dict(os.environ, environment):
        whole_run(folder / "run")
    return {}


if __name__ == "__main__":
    in_processes(_part)
