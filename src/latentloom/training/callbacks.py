"""What watches a run: its random state, its clusters, its files, its kept latents."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor

from latentloom.data import Batches, TwoStreams
from latentloom.evaluation import class_means
from latentloom.files import atomically, write_text
from latentloom.training.latents import clusters_within_classes, collect
from latentloom.training.module import LatentModule

Images = Iterable[Mapping[str, Tensor]]


class RandomState(Callback):
    """The random state in the checkpoint, put back after Lightning's own draws at the start."""

    saved: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.saved is None:
            return
        torch.set_rng_state(self.saved["torch"])
        if self.saved["cuda"]:
            torch.cuda.set_rng_state_all(self.saved["cuda"])
        name, keys, *rest = self.saved["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        version, internal, gauss = self.saved["python"]
        random.setstate((version, tuple(internal), gauss))
        self.saved = None


class Position(Callback):
    """The place in the training batches, which Lightning puts back in mid-epoch and not after an epoch."""

    def __init__(self, batches: Batches | TwoStreams) -> None:
        self.batches = batches

    def state_dict(self) -> dict[str, Any]:
        return self.batches.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches.load_state_dict(state_dict)


class Clusters(Callback):
    """k-means over all training latents, class by class, before every epoch."""

    def __init__(self, batches: Images, clusters: int, seed: int) -> None:
        self.batches = batches
        self.clusters = clusters
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready > 0 and pl_module.cluster is not None:
            return  # resumed in mid-epoch: the clusters of this epoch came with the checkpoint
        latent = collect(pl_module.model, self.batches)
        pl_module.cluster = clusters_within_classes(
            latent.z, latent.y, self.clusters, self.seed + trainer.current_epoch
        )


class Watch(Callback):
    """history.csv and classes.csv, whole after every epoch; one warning for each way to collapse."""

    def __init__(self, folder: Path, then: Callable[[Mapping[str, float]], None] | None = None) -> None:
        self.folder = folder
        self.then = then
        self.warned: set[str] = set()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        table = pandas.DataFrame(pl_module.history)
        write_text(self.folder / "history.csv", table.to_csv(index=False))
        write_text(self.folder / "classes.csv", _by_class(pl_module.classes).to_csv(index=False))
        for alarm in pl_module.alarms:
            kind = alarm.split(": ")[1]  # "epoch 3: rank one: 99.5 % ..."
            if kind not in self.warned:
                self.warned.add(kind)
                warnings.warn(f"the latent space has collapsed, {alarm}", stacklevel=2)
        if self.then is not None:
            self.then(pl_module.history[-1])


def _by_class(epochs: Sequence[Mapping[str, Tensor]]) -> pandas.DataFrame:
    """A row per epoch and class."""
    tables = [pandas.DataFrame({name: values.tolist() for name, values in epoch.items()}) for epoch in epochs]
    return pandas.concat(tables, keys=range(len(tables)), names=["epoch", "class"]).reset_index()


class KeepLatents(Callback):
    """Latents of a fixed sample, with its class means (nan where absent) and what the heads share."""

    def __init__(self, batches: Images, folder: Path, every: int) -> None:
        self.batches = batches
        self.folder = folder
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        if (trainer.current_epoch + 1) % self.every:
            return
        latent = collect(pl_module.model, self.batches)
        means = class_means(latent.z, latent.y, pl_module.scoring.classes)
        kept = {
            "z": latent.z.half(),
            "y": latent.y.to(torch.int32),
            "class_centres": means.half(),
            **{name: value.half() for name, value in latent.shared.items()},
        }
        with atomically(self.folder / f"epoch-{trainer.current_epoch:04d}.safetensors") as part:
            save_file(kept, part)
