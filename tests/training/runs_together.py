"""Whole runs in float64, in one process or in the parts of many; see `together`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from latentloom.data import Batches, TwoStreams
from latentloom.encoders import ENCODERS
from latentloom.encoders.networks import EncoderInfo
from latentloom.recipes import load_recipe
from latentloom.training.module import LatentModule
from latentloom.training.run import run
from latentloom.values import Record

QUICK = {
    "data.limit": "300",
    "data.batch": "64",  # four steps an epoch; of three processes one has 22 images
    "data.augment": "[crop, flip]",
    "model.encoder": "normed",
    "training.epochs": "2",
    "training.logger": "false",
    "training.keep_latents": "1",
    "training.accelerator": "cpu",
    "training.precision": "64-true",
    "evaluation.bootstrap": "10",
}
RUNS: dict[str, tuple[str, Mapping[str, str]]] = {
    "balanced": ("latent-boost", {"data.balanced": "8", "model.clusters": "2"}),
    "partly labelled": (
        "latent-boost",
        {"data.labels": "40", "data.labelled_batch": "31", "training.pseudo_labels": "0.3"},
    ),
}
STOPPED = 3  # the step before which a run is stopped


def normed(channels: int, size: int) -> nn.Module:
    pixels = channels * size * size
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))


KNOWN = EncoderInfo(normed, latent_dim=8, smallest=8, about="for these tests")


def whole_run(name: str, folder: Path, *more: tuple[str, str]) -> Record:
    recipe, fields = RUNS[name]
    with patch.dict(ENCODERS, {"normed": KNOWN}):
        config = load_recipe(recipe, [*{**QUICK, **fields}.items(), *more])
        return run(config, folder, recipe=recipe, progress=False)


def stopped_run(folder: Path) -> None:
    """A run that saves in every step and ends by an error before one of them."""
    step = LatentModule.training_step

    def stop(self: LatentModule, *args: Any) -> Tensor:
        if self.global_step == STOPPED:
            raise KilledError
        return step(self, *args)

    with patch.object(LatentModule, "training_step", stop):
        try:
            whole_run("balanced", folder, EVERY_STEP)
        except KilledError:
            return
    raise AssertionError("the run was not stopped")


class KilledError(Exception):
    """Where processes would have been killed."""


EVERY_STEP = ("training.checkpoint_steps", "1")


def runs_of(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """What one of the processes has of each run, started as torchrun starts it; who loads its batches."""
    as_torchrun = {
        "TORCHELASTIC_RUN_ID": "tests",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    found: dict[str, Any] = {}
    loaders: set[str] = set()
    begin = LatentModule.on_train_start

    def seen(self: LatentModule) -> None:
        loader = self.trainer.train_dataloader
        assert isinstance(loader, (Batches, TwoStreams))
        loaders.add(type(loader).__name__)
        begin(self)

    with patch.dict(os.environ, as_torchrun), patch.object(LatentModule, "on_train_start", seen):
        for name in RUNS:
            record = whole_run(name, folder / f"{name}-of-{world}")
            found[name] = [dict(row) for row in record.history]
        stopped_run(folder / f"stopped-of-{world}")
    return {**found, "loaders": sorted(loaders)}
