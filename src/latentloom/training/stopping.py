"""Signals that end a run: after the step at hand, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

# What each of them does when it comes a second time.
SIGNALS: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class Stop(Callback):
    """SIGTERM and SIGINT end training after the step at hand; a second signal ends it at once.

    The state is saved, unless an epoch has just been trained: then its last checkpoint stands. The process
    exits as a shell expects it, with 128 + the number of the signal. Of processes that train together all
    end when one of them was told to. In a thread that hears no signals nothing is done.

    Args:
        last: the checkpoint that the run goes on from.
    """

    def __init__(self, last: Path) -> None:
        self.last = last
        self.told = 0  # number of the signal
        self.group: Any = None  # on the CPU, so that no step waits for a GPU

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:  # Lightning puts back what was there before
                signal.signal(number, self._hear)
        if trainer.world_size > 1:
            self.group = dist.new_group(backend="gloo")

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.told = number
        for again, then in SIGNALS.items():
            signal.signal(again, then)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if (told := self._told_to_any()) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            trainer.save_checkpoint(self.last)
            raise SystemExit(128 + told)

    def on_validation_batch_end(self, *_: Any) -> None:
        self._end_if_told()

    def on_train_end(self, *_: Any) -> None:
        self._end_if_told()

    def _end_if_told(self) -> None:
        if told := self._told_to_any():
            raise SystemExit(128 + told)

    def _told_to_any(self) -> int:
        if self.group is None:
            return self.told
        told = torch.tensor(self.told)
        dist.all_reduce(told, dist.ReduceOp.MAX, self.group)
        return int(told)
