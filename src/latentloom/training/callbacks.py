"""What watches a run: its random state, its clusters, its pseudo-labels, its files, its kept latents.

Of processes that train together the first alone looks at all images and writes; the others are told.
"""

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
from lightning.pytorch.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from safetensors.torch import save_file
from torch import Tensor

from latentloom.checks import UserError
from latentloom.config import Schedule
from latentloom.data import Batches, TwoStreams
from latentloom.evaluation import class_means
from latentloom.files import atomically, write_text
from latentloom.latent.pseudo import pseudo_labels
from latentloom.objective import at
from latentloom.training.latents import clusters_within_classes, collect
from latentloom.training.module import LatentModule

Images = Iterable[Mapping[str, Tensor]]

FIXED = "fixed.safetensors"  # beside the files of epochs
CONSTANT = ("label_embeddings", "coarse_embeddings", "coarse_of")


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


class StopEarly(EarlyStopping):
    """Early stopping that a run remembers which goes on when it had stopped."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True  # which no checkpoint holds


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
        self.epoch = -1  # that the clusters are of

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch = state_dict["epoch"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        if self.epoch == trainer.current_epoch:
            return  # resumed in mid-epoch: the clusters of this epoch came with the checkpoint
        self.epoch = trainer.current_epoch
        found = self._found(pl_module) if trainer.is_global_zero else None
        pl_module.cluster = trainer.strategy.broadcast(found)

    def _found(self, module: LatentModule) -> Tensor:
        latent = collect(module.model, self.batches)
        return clusters_within_classes(latent.z, latent.y, self.clusters, self.seed + self.epoch)


class PseudoLabels(Callback):
    """Labels for the most confident unlabelled training images, anew before every epoch.

    Only the batches of labelled images carry them. The class centres that they come from are of given
    labels alone. How many there are is a column of the history, and logged.

    Args:
        batches: all training images with the given labels, in row order.
        share: of the unlabelled images, over the progress of the run.
        start: first epoch that has any.
    """

    def __init__(self, batches: Images, share: float | Schedule, start: int) -> None:
        self.batches = batches
        self.share = share
        self.start = start
        for progress in (0.0, 1.0):  # a schedule never turns, so that its ends bound it
            if not 0 <= (value := self._share_at(progress)) <= 1:
                raise UserError(
                    f"training.pseudo_labels is a share in [0, 1], got {value} at progress {progress}"
                )
        self.epoch = -1  # that the labels are of
        self.labels: Tensor | None = None  # (n,), given ones among them
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "labels": self.labels, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.labels = state_dict["epoch"], state_dict["labels"]
        self.count = state_dict["count"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.labels is not None:  # resumed, perhaps in mid-epoch, which Lightning does not start again
            _labelled_stream(trainer).relabel(self.labels)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        stream = _labelled_stream(trainer)
        if trainer.current_epoch < self.start or self.epoch == trainer.current_epoch:
            return
        self.epoch = trainer.current_epoch
        found = self._found(pl_module) if trainer.is_global_zero else None
        told: Any = trainer.strategy.broadcast(found)
        self.labels, self.count = told
        stream.relabel(self.labels)

    def _found(self, module: LatentModule) -> tuple[Tensor, int]:
        """Labels of all training images, and how many of them were found."""
        latent = collect(module.model, self.batches)
        found = pseudo_labels(latent.z, latent.y, self._share_at(module.progress))
        return torch.where(latent.y >= 0, latent.y, found), int((found >= 0).sum())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        pl_module.history[-1]["pseudo_labels"] = self.count
        pl_module.log("pseudo_labels", float(self.count))

    def _share_at(self, progress: float) -> float:
        share: Any = at(self.share, progress)
        return float(share)


def _labelled_stream(trainer: Trainer) -> TwoStreams:
    stream = trainer.train_dataloader
    if not isinstance(stream, TwoStreams):
        raise UserError(
            "pseudo-labels want unlabelled images and a term that reads labels; set --data.labels, or "
            "--training.pseudo_labels 0"
        )
    return stream


class Watch(Callback):
    """history.csv and classes.csv, whole after every epoch; one warning for each way to collapse."""

    def __init__(self, folder: Path, then: Callable[[Mapping[str, float]], None] | None = None) -> None:
        self.folder = folder
        self.then = then
        self.warned: set[str] = set()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        if not trainer.is_global_zero:
            return
        table = pandas.DataFrame(pl_module.history)
        write_text(self.folder / "history.csv", table.to_csv(index=False), lasting=False)
        by_class = _by_class(pl_module.classes)
        write_text(self.folder / "classes.csv", by_class.to_csv(index=False), lasting=False)
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
    """Latents of a fixed sample every so many epochs, and what lies among them.

    epoch-0004.safetensors holds, for the fifth epoch, z (n, d) in half precision, the class means of the
    sample (nan where absent), the predicted classes where a head gives logits, and what the heads share.
    What no epoch changes, the labels and the vectors of names, is in fixed.safetensors, once.
    """

    def __init__(self, batches: Images, folder: Path, every: int) -> None:
        self.batches = batches
        self.folder = folder
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LatentModule)
        if (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero:
            return
        latent = collect(pl_module.model, self.batches)
        shared = {name: _halved(value) for name, value in latent.shared.items()}
        if not (self.folder / FIXED).exists():
            constant = {name: value for name, value in shared.items() if name in CONSTANT}
            self._save(FIXED, {"y": latent.y.to(torch.int32), **constant})
        kept = {
            "z": latent.z.half(),
            "class_centres": class_means(latent.z, latent.y, pl_module.scoring.classes).half(),
            **{name: value for name, value in shared.items() if name not in CONSTANT},
        }
        if "logits" in latent:
            kept["predicted"] = latent.logits.argmax(1).to(torch.int32)
        self._save(f"epoch-{trainer.current_epoch:04d}.safetensors", kept)

    def _save(self, name: str, kept: Mapping[str, Tensor]) -> None:
        with atomically(self.folder / name, lasting=False) as part:
            save_file(dict(kept), part)


def _halved(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
