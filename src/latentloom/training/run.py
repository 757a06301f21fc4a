"""One run: images in, a trained model, its card and its record out."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from safetensors.torch import save_file
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.config import Data, Train
from latentloom.data import Batches, TwoStreams, keep_labels, load
from latentloom.data.balanced import Balanced, balanced
from latentloom.data.batches import WHOLE, Part
from latentloom.data.contents import contents, sources
from latentloom.data.labels import lost_classes
from latentloom.encoders import Model
from latentloom.evaluation import class_means, protocol_findings, take_card
from latentloom.evaluation.prior import component_findings
from latentloom.evaluation.semantics import hit_rate_ceiling
from latentloom.files import atomically, full_disk_told, write_text
from latentloom.latent.gather import processes
from latentloom.names.coarse import coarse_of
from latentloom.objective import Objective
from latentloom.records import commit_of, hardware, load_record, save_record, source_hashes, versions
from latentloom.training.callbacks import Position
from latentloom.training.checkpoints import clear, read, to_resume
from latentloom.training.folder import ABOUT, BEST, CENTRES, LATENTS, RECORD, WEIGHTS, claimed, held_to
from latentloom.training.latents import collect, write_parquet
from latentloom.training.model import description, model_for, vectors_for
from latentloom.training.module import DivergedError, LatentModule
from latentloom.training.pictures import save_pictures
from latentloom.training.processes import first_alone, lost_process_told, rank_of
from latentloom.training.trainer import Replay, scoring_for, trainer_for
from latentloom.values import Card, ImageSet, Latent, Record, Splits

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def run(
    config: Train,
    folder: Path,
    *,
    recipe: str,
    progress: bool = True,
    watch: Callable[[Mapping[str, float]], None] | None = None,
) -> Record:
    """Train, evaluate once, and leave everything in `folder`.

    A finished run is read, not run again; one that died is resumed from its last checkpoint, and ends
    as if it had not died. Of processes that train together the first alone evaluates and writes, and all
    have its record; they must see one folder.

    Args:
        config: what to run.
        folder: gets config.yaml, history.csv, model.safetensors, latents.parquet, record.json and more.
        recipe: the name under which the record is kept.
        progress: show on a terminal how far it is.
        watch: called after every epoch with its row of the history; what it raises ends the run, which
            can be resumed.
    """
    with claimed(folder, config, rank_of(config.training)):
        if (folder / RECORD).exists():
            clear(folder)  # of a run that was killed when only this was left to do
            return load_record(folder / RECORD)
        before = torch.are_deterministic_algorithms_enabled()
        try:
            with full_disk_told(folder), lost_process_told():
                return _run(config, folder, recipe, progress, watch)
        except DivergedError:
            if rank_of(config.training) == 0:
                raise
            raise SystemExit(2) from None  # the first process says it for all
        finally:
            torch.use_deterministic_algorithms(before)


def _run(
    config: Train,
    folder: Path,
    recipe: str,
    progress: bool,
    watch: Callable[[Mapping[str, float]], None] | None,
) -> Record:
    seed_everything(config.seed, workers=True, verbose=False)
    objective = Objective.from_config(config.objective)
    whole = load(config.data, config.seed)
    if rank_of(config.training) == 0:
        held_to(folder, contents(sources(whole, config.data)))
    splits = replace(whole, train=with_labels_kept(whole.train, config))
    model = model_for(config, splits.train)
    scoring = scoring_for(config, splits.train)
    module = LatentModule(model, objective, config.training, scoring, config.seed)
    trainer = trainer_for(config, folder, splits, module, progress, watch)
    _fit(trainer, module, config, splits, folder)
    with first_alone() as first, _waiting(progress and first, "taking the card"):
        own = _finished(config, recipe, model, module, splits, whole.train.labels, folder) if first else None
    return own or load_record(folder / RECORD)


def _waiting(shown: bool, what: str) -> AbstractContextManager[object]:
    """A sign on the terminal that something is being done; none where there is no terminal."""
    from rich.console import Console

    return Console(stderr=True).status(what) if shown else nullcontext()


def _finished(
    config: Train,
    recipe: str,
    model: Model,
    module: LatentModule,
    splits: Splits,
    every_y: Tensor,
    folder: Path,
) -> Record:
    """Go back to the best epoch, evaluate it, and write what is left to be written."""
    kept = read(folder / BEST)
    module.load_state_dict(kept["state_dict"])
    save_pictures(model, splits, config, folder)
    record = _record(config, recipe, module, splits, every_y, folder, int(kept["epoch"]))
    save_record(record, folder / RECORD)
    clear(folder)
    return record


def with_labels_kept(train: ImageSet, config: Train) -> ImageSet:
    """The training images with as many labels as the configuration leaves them."""
    c = config.data
    if not _withholds(c):
        return train
    kept = keep_labels(train.labels, c.labels, seed=config.seed, stratified=c.stratified)
    coarse = None if train.coarse is None else torch.where(kept >= 0, train.coarse, -1)
    return replace(train, labels=kept, coarse=coarse)


def batches_for(
    config: Train, train: ImageSet, objective: Objective, device: torch.device, part: Part = WHOLE
) -> Batches | TwoStreams:
    """Training batches; labelled ones beside them where labels are withheld, or asked for by their size.

    Of several processes each has its part of every batch.
    """
    c = config.data
    batches = Batches(
        train, c.batch, config.seed, device, c.augment, c.workers, order=_order(config, train), part=part
    )
    if not any(objective.reads_labels.values()) or not (_withholds(c) or c.labelled_batch):
        return batches
    return TwoStreams(batches, c.batch if c.labelled_batch is None else c.labelled_batch)


def _order(config: Train, train: ImageSet) -> Balanced | None:
    c = config.data
    if c.balanced is None:
        return None
    if _withholds(c) or c.labelled_batch:
        raise UserError(
            "batches of labelled images are class-balanced as they are; leave out --data.balanced, or both "
            "--data.labels and --data.labelled_batch"
        )
    return balanced(train.labels, c.batch, c.balanced, config.seed, train.coarse, c.balanced_groups)


def _withholds(data: Data) -> bool:
    return isinstance(data.labels, int) or data.labels != 1  # 1 is one label, 1.0 is all


def _fit(trainer: Trainer, module: LatentModule, config: Train, splits: Splits, folder: Path) -> None:
    part = Part(trainer.global_rank, trainer.world_size)
    batches = batches_for(config, splits.train, module.objective, trainer.strategy.root_device, part)
    module.data_path = batches.path
    trainer.callbacks.insert(0, Position(batches))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        # The folder is the run's own, and may hold what an interrupted run left; the rest is Lightning's.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", message="It is recommended to use .*sync_dist=True")  # equal in all
        # Lightning does so after it has loaded a checkpoint, whose float64 would then have been rounded.
        trainer.precision_plugin.convert_module(module)
        trainer.fit(
            module,
            train_dataloaders=batches,
            val_dataloaders=Replay(splits.validation, module.model, part),
            ckpt_path=to_resume(folder, trainer.global_rank),
        )


def _record(
    config: Train,
    recipe: str,
    module: LatentModule,
    splits: Splits,
    every_y: Tensor,
    folder: Path,
    best_epoch: int,
) -> Record:
    """Export the model, embed the split that is evaluated, take its card.

    `every_y` are the labels of the training images before any were withheld, (n,).
    """
    _export(module, config, splits.train, folder)
    chosen = config.evaluation
    latent = collect(module.model, Replay(getattr(splits, chosen.split), module.model))
    latent = latent.with_shared(**_meanings(config, splits.train))
    train = collect(module.model, Replay(splits.train, module.model))
    centres = class_means(train.z, train.y, len(splits.train.class_names))
    with atomically(folder / CENTRES) as part:
        save_file({"class_centres": centres.float()}, part)
    write_parquet(folder / LATENTS, latent, chosen.split, splits.train.class_names)
    return Record(
        recipe=recipe,
        seed=config.seed,
        config=dataclasses.asdict(config),
        card=_card(config, module.model, latent, train, every_y),
        history=module.history,
        best_epoch=best_epoch,
        seconds=module.seconds,
        commit=commit_of(Path(__file__).parent),
        sources=source_hashes(),
        versions=versions(),
        hardware=_hardware(config.training.accelerator),
        warnings=[*filter(None, [lost_classes(splits.train.labels, every_y)]), *module.alarms],
        data_path=module.data_path,
    )


def _hardware(accelerator: str) -> str:
    together = processes()
    return hardware(accelerator) + (f", {together} processes" if together > 1 else "")


def _meanings(config: Train, train: ImageSet) -> dict[str, Tensor]:
    """Groups of classes, and vectors of names as they are: centred or not, recipes are judged alike."""
    groups, found = coarse_of(train), dict[str, Tensor]()
    if groups is not None:
        found["coarse_of"] = groups
    if config.model.label_embeddings.source != "none":
        fine, coarse, _ = vectors_for(config.model.label_embeddings, train)
        found |= {"label_embeddings": fine} | ({} if coarse is None else {"coarse_embeddings": coarse})
    return found


def _card(config: Train, model: nn.Module, latent: Latent, train: Latent, every_y: Tensor) -> Card:
    c, seed = config.evaluation, config.seed
    card = take_card(
        latent, train, split=c.split, bootstrap=c.bootstrap, probe_limit=c.probe_limit, seed=seed
    )
    found = dict(card.findings)
    if "hit_rate" in found:
        found["hit_rate"] = replace(found["hit_rate"], high=hit_rate_ceiling(latent["coarse_of"]))
    if isinstance(model, Model) and model.prior is not None:
        with torch.no_grad():
            found |= component_findings(model.prior, latent.z, latent.y, split=c.split)
    if c.protocols and (latent.y >= 0).any():
        found |= protocol_findings(
            train.z, every_y, train.y, latent.z, latent.y, split=c.split, limit=c.probe_limit, seed=seed
        )
    return replace(card, findings=found)


def _export(module: LatentModule, config: Train, train: ImageSet, folder: Path) -> None:
    """model.safetensors and, beside it, what is needed to build the model again and to feed it."""
    weights = {name: value.contiguous().cpu() for name, value in module.model.state_dict().items()}
    with atomically(folder / WEIGHTS) as part:
        save_file(weights, part)
    about = description(config, train)
    if isinstance(module.model, Model) and module.model.label_embeddings is not None:
        about["label_embeddings"] = module.model.label_embeddings.origin
    write_text(folder / ABOUT, json.dumps(about, indent=1))
