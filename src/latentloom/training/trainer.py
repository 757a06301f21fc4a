"""The Trainer of one run, with all that watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.config import Train, Training
from latentloom.data import ordered
from latentloom.data.batches import WHOLE, Part
from latentloom.data.splits import limit, subset
from latentloom.names.coarse import coarse_of
from latentloom.training.callbacks import Clusters, KeepLatents, PseudoLabels, RandomState, StopEarly, Watch
from latentloom.training.checkpoints import OneCheckpoint, WholeCheckpoints
from latentloom.training.folder import BEST, KEPT_LATENTS, LAST
from latentloom.training.latents import collect
from latentloom.training.loggers import EndOfLog, logger_for
from latentloom.training.module import LatentModule
from latentloom.training.processes import laid_out, rank_of
from latentloom.training.scoring import Scoring
from latentloom.training.stopping import Stop
from latentloom.values import ImageSet, Splits

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Replay:
    """Images in row order, batch by batch, as often as wanted, on the device that the model is on."""

    images: ImageSet
    model: nn.Module
    part: Part = WHOLE  # of each batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        device = next(self.model.parameters()).device
        return ordered(self.images, EVALUATION_BATCH, device, part=self.part)


def scoring_for(config: Train, train: ImageSet) -> Scoring:
    """The validation scores, with class centres from a fixed, stratified sample of the training images."""
    if config.training.centres_sample < 1:
        raise UserError(f"training.centres_sample must be at least 1, got {config.training.centres_sample}")
    labelled = train if (train.labels >= 0).all() else subset(train, (train.labels >= 0).nonzero()[:, 0])
    most = max(config.training.centres_sample, len(train.class_names) + 1)
    few = limit(labelled, min(len(labelled), most), seed=0)
    return Scoring(
        config.training.monitor,
        lambda model: collect(model, Replay(few, model)),
        len(train.class_names),
        coarse_of(train),
    )


def trainer_for(
    config: Train,
    folder: Path,
    splits: Splits,
    module: LatentModule,
    progress: bool,
    watch: Callable[[Mapping[str, float]], None] | None = None,
) -> Trainer:
    """A Trainer that keeps the best and the last state, stops early, and leaves its logs in `folder`."""
    c, model, scoring = config.training, module.model, module.scoring
    devices, machines = laid_out(c)
    mode = "max" if scoring.better == "higher" else "min"
    return Trainer(
        default_root_dir=folder,
        max_epochs=c.epochs,
        precision=c.precision,  # type: ignore[arg-type]
        accelerator=c.accelerator,
        devices=devices,
        num_nodes=machines,
        strategy=_strategy(c, devices * machines),
        deterministic=c.deterministic,
        plugins=[WholeCheckpoints()],
        logger=rank_of(c) == 0 and logger_for(config, folder),
        callbacks=[
            RandomState(),
            *_kept_latents(config, folder, splits, model),
            *_clusters(config, splits, model),
            *_pseudo_labels(config, splits, model),
            *_early_stopping(config, mode),
            *_checkpoints(config, folder, mode),
            Watch(folder, watch),
            EndOfLog(),
            Stop(folder / LAST),
            *([Progress(leave=False)] if progress else []),
        ],
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # batches come in parts already
    )


def _strategy(c: Training, processes: int) -> str:
    if processes == 1:
        return "auto"
    # Terms that alternate, frozen weights and heads that no term reads leave parameters without a gradient.
    return "ddp" if c.strategy == "ddp" else "ddp_find_unused_parameters_true"


class Progress(RichProgressBar):
    """Lightning's bar without the number of the logger's version, and with the name of the score."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, LatentModule)
        names = {"score": f"validation {pl_module.scoring.monitor}"}
        found = super().get_metrics(trainer, pl_module)
        return {names.get(k, k): v for k, v in found.items() if k != "v_num"}


def _clusters(config: Train, splits: Splits, model: nn.Module) -> list[Callback]:
    if config.model.clusters == 1:
        return []
    return [Clusters(Replay(splits.train, model), config.model.clusters, config.seed)]


def _pseudo_labels(config: Train, splits: Splits, model: nn.Module) -> list[Callback]:
    c = config.training
    if c.pseudo_labels == 0:
        return []
    return [PseudoLabels(Replay(splits.train, model), c.pseudo_labels, c.pseudo_from)]


def _kept_latents(config: Train, folder: Path, splits: Splits, model: nn.Module) -> list[Callback]:
    c = config.training
    if not c.keep_latents:
        return []
    few = limit(splits.validation, min(len(splits.validation), c.kept_latents), seed=0)
    return [KeepLatents(Replay(few, model), folder / KEPT_LATENTS, c.keep_latents)]


def _early_stopping(config: Train, mode: str) -> list[Callback]:
    c = config.training
    if c.select == "last":
        return []
    stop = StopEarly(f"val/{c.monitor}", mode=mode, patience=c.stop_patience, check_on_train_epoch_end=True)
    return [stop]


def _checkpoints(config: Train, folder: Path, mode: str) -> list[Callback]:
    c = config.training

    def kept(name: str, **options: Any) -> OneCheckpoint:
        return OneCheckpoint(folder / LAST.parent, name, enable_version_counter=False, **options)

    monitor, mode = (f"val/{c.monitor}", mode) if c.select == "best" else ("epoch", "max")
    best = kept(BEST.stem, monitor=monitor, mode=mode, save_weights_only=True, save_on_train_epoch_end=True)
    last = kept(LAST.stem, save_on_train_epoch_end=True)
    if not c.checkpoint_steps:
        return [best, last]
    return [
        best,
        last,
        kept(LAST.stem, every_n_train_steps=c.checkpoint_steps, save_on_train_epoch_end=False),
    ]
