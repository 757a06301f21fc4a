"""Checkpoints with a digest of their bytes: written whole or not at all, and read only if it is theirs."""

from __future__ import annotations

import os
import warnings
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO

from latentloom.checks import UserError
from latentloom.files import atomically
from latentloom.training.folder import BEFORE, BEST, LAST

DIGEST = (
    sha256().digest_size
)  # bytes at the end of a file, after what `torch.save` wrote, which still reads it
BLOCK = 2**20


class WholeCheckpoints(CheckpointIO):
    """How Lightning writes and reads checkpoints; beside the last one stays the one before it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path, buffer = Path(path), BytesIO()
        torch.save(checkpoint, buffer)
        before = path.parent / BEFORE.name if path.name == LAST.name else None
        with atomically(path, before=before) as part, part.open("wb") as file:
            file.write(buffer.getbuffer())
            file.write(sha256(buffer.getbuffer()).digest())

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class OneCheckpoint(ModelCheckpoint):
    """A file that is written again and again, and keeps its score where its folder has been moved."""

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        # Of a state between the last batch and the validation Lightning makes one that was validated.
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            super().on_train_batch_end(trainer, *rest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = self.format_checkpoint_name({})
        moved: dict[str, Any] = {name: here for name in PATHS if state_dict[name]}
        scores = dict(zip([here], state_dict["best_k_models"].values(), strict=False))
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})


PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def read(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; one that is missing, torn or altered is a `UserError`."""
    _check(path)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _check(path: Path) -> None:
    if not is_whole(path):
        raise UserError(
            f"{path} is gone, or not as it was written; put it back from a copy, or delete "
            f"{path.parent.parent} and run again"
        )


def is_whole(path: Path) -> bool:
    """Whether a file is there and ends in the digest of all that is before."""
    if not path.exists():
        return False
    found, left = sha256(), path.stat().st_size - DIGEST
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, BLOCK))):
            found.update(block)
            left -= len(block)
        return left == 0 and file.read() == found.digest()


def to_resume(folder: Path, rank: int = 0) -> Path | None:
    """The newest whole checkpoint of a run; None where there is none at all.

    One that is torn is named in a warning, and the one before it is used. Of processes that train
    together the first warns, and puts the torn one aside.

    Raises:
        UserError: where there are checkpoints and none is whole, or that of the best epoch is not.
    """
    there = [path for path in (folder / LAST, folder / BEFORE) if path.exists()]
    whole = next(filter(is_whole, there), None)
    if there and whole is None:
        raise UserError(
            f"{' and '.join(map(str, there))} are not as they were written; put one back from a copy, or "
            f"delete {folder} and run again"
        )
    if (folder / BEST).exists():
        _check(folder / BEST)
    if whole is not None and whole != there[0] and rank == 0:
        _put_aside(there[0], whole)
    return whole


def _put_aside(torn: Path, whole: Path) -> None:
    """Rename it, so that it never takes the place of a whole one."""
    aside = torn.with_suffix(".torn")
    os.replace(torn, aside)
    warnings.warn(
        f"{torn} is not as it was written, and now called {aside.name}; the run goes on from {whole.name}, "
        "the one before it",
        stacklevel=2,
    )


def clear(folder: Path) -> None:
    """Remove the checkpoints of a run that has ended."""
    for kept in (LAST, BEFORE, BEST, LAST.with_suffix(".torn")):
        (folder / kept).unlink(missing_ok=True)
