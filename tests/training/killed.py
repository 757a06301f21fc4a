"""A run in a process of its own that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback
import latentloom.training.trainer as trainer
from latentloom.recipes import load_recipe
from latentloom.training.run import run

torch.set_num_threads(1)

class Kill(Callback):
    def on_train_batch_end(self, t, *_):
        if t.global_step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

built = trainer.Trainer
trainer.Trainer = lambda **kw: built(**{**kw, "callbacks": [*kw["callbacks"], Kill()]})
overrides = [tuple(pair.split("=", 1)) for pair in sys.argv[4:]]
run(load_recipe(sys.argv[1], overrides), Path(sys.argv[2]), recipe=sys.argv[1], progress=False)
"""


def killed_at(step: int, recipe: str, folder: Path, overrides: Sequence[tuple[str, str]]) -> None:
    """Train a recipe until the end of a step, and kill it there."""
    pairs = [f"{key}={value}" for key, value in overrides]
    done = subprocess.run([sys.executable, "-c", KILLED, recipe, str(folder), str(step), *pairs], check=False)
    assert done.returncode == -signal.SIGKILL
