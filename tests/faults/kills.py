"""A run on digits that is killed at a chosen moment, and goes on; each in a process of its own.

The processes are forked from this one, which has imported everything and trained once, so that no kill
falls into an import.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from latentloom.recipes import load_recipe
from latentloom.training.callbacks import Position
from latentloom.training.module import LatentModule
from latentloom.training.run import run

FIELDS = {
    "data.limit": "240",
    "data.batch": "36",  # six steps an epoch
    "data.augment": "[crop]",
    "training.lr": "0.02",
    "training.keep_latents": "2",
    "training.logger": "false",
    "training.accelerator": "cpu",
    "evaluation.bootstrap": "20",
}
RUNS = {
    "saved at every second step, with clusters": {
        "model.clusters": "2",
        "training.checkpoint_steps": "2",
        "training.epochs": "4",
    },
    "saved after every epoch, stopped early": {"training.epochs": "20", "training.stop_patience": "1"},
}
AT_THE_END = ("file model.safetensors", "file record.json")
Point = Callable[[str], None]  # told what happens now


def train(name: str, folder: Path) -> None:
    config = load_recipe("latent-boost", [*{**FIELDS, **RUNS[name]}.items()])
    run(config, folder, recipe="latent-boost", progress=False)


# The moments of a run


@contextmanager
def points(point: Point) -> Iterator[None]:
    """Call `point` at each moment at which a run can be killed."""
    with ExitStack() as patched:
        for owner, name, around in (
            (LatentModule, "training_step", _step(point)),
            (torch.optim.Adam, "step", _update(point)),
            (Path, "open", _half(point)),
            (os, "fsync", _synced(point)),
            (os, "replace", _renamed(point)),
        ):
            patched.enter_context(patch.object(owner, name, around(getattr(owner, name))))
        yield


def _step(point: Point) -> Any:
    def around(real: Any) -> Any:
        def step(self: LatentModule, *given: Any) -> Any:
            point("step begins")
            return real(self, *given)

        return step

    return around


def _update(point: Point) -> Any:
    def around(real: Any) -> Any:
        def update(self: Any, *given: Any, **named: Any) -> Any:
            done = real(self, *given, **named)
            point("step ends")
            return done

        return update

    return around


def _half(point: Point) -> Any:
    """Between two halves of what is written to a checkpoint."""

    def around(real: Any) -> Any:
        def opened(self: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
            file = real(self, mode, *given, **named)
            if mode != "wb" or ".ckpt." not in self.name:
                return file
            whole = file.write

            def write(data: Any) -> int:
                if len(data) < 1000:
                    return int(whole(data))
                whole(data[: len(data) // 2])
                file.flush()
                point("checkpoint half")
                return int(whole(data[len(data) // 2 :]))

            file.write = write
            return file

        return opened

    return around


def _synced(point: Point) -> Any:
    def around(real: Any) -> Any:
        def fsync(descriptor: int) -> None:
            real(descriptor)
            if ".ckpt." in os.readlink(f"/proc/self/fd/{descriptor}"):
                point("checkpoint written")

        return fsync

    return around


def _renamed(point: Point) -> Any:
    def around(real: Any) -> Any:
        def replace(old: Any, new: Any) -> None:
            real(old, new)
            point(("checkpoint " if Path(new).suffix == ".ckpt" else "file ") + Path(new).name)

        return replace

    return around


# Processes


def forked(work: Callable[[], None]) -> int:
    """The status with which a process ends that does the work."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def recorded(name: str, folder: Path) -> list[str]:
    """The moments of an undisturbed run, which is done here."""
    seen: list[str] = []
    with points(seen.append):
        train(name, folder)
    return seen


def killed(name: str, folder: Path, moment: int) -> int:
    """Train until a moment, by its number; the status of the process, which kills itself there."""
    left = iter(range(moment, -1, -1))

    def point(_: str) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        with points(point):
            train(name, folder)

    return forked(work)


def left_by(folder: Path) -> dict[str, Any]:
    """All that a run leaves but how long it took: numbers of record and history, bytes of the other files."""
    record = json.loads((folder / "record.json").read_text())
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    for timed in (record, *record["history"], *rows):
        del timed["seconds"]
    del record["commit"], record["sources"]  # of the tree, which may be worked on meanwhile
    left: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return {**left, "record.json": record, "history.csv": rows}


def differences(folder: Path, whole: dict[str, Any]) -> list[str]:
    """What a resumed run left otherwise than the undisturbed one."""
    ours = left_by(folder)
    return sorted(name for name in ours.keys() | whole.keys() if ours.get(name) != whole.get(name))


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill each of the runs so many times, and twice when its training is over; say what came of it."""
    torch.set_num_threads(1)
    draw = random.Random(seed)
    for name in RUNS:
        whole = folder / "whole" / name
        seen = recorded(name, whole)
        left = left_by(whole)
        say({"run": name, "moments": Counter(seen), "epochs": len(left["record.json"]["history"])})
        for moment in (*drawn(seen, kills, draw), *map(seen.index, AT_THE_END)):
            say({"run": name, "moment": seen[moment], **attempt(name, folder / "killed", moment, left)})
    with patch.object(Position, "load_state_dict"):
        moment = seen.index("checkpoint last.ckpt") + 1
        say({"mistake": "forgets its place", **attempt(name, folder / "killed", moment, left)})


def attempt(name: str, folder: Path, moment: int, whole: dict[str, Any]) -> dict[str, Any]:
    """Kill a run and let it go on; how it ended, and what it left otherwise than the undisturbed one."""
    status = killed(name, folder, moment)
    resumed = forked(lambda: train(name, folder))
    found = {"number": moment, "status": status, "resumed": resumed, "differs": differences(folder, whole)}
    shutil.rmtree(folder)
    return found


def drawn(seen: list[str], kills: int, draw: random.Random) -> list[int]:
    """Numbers of moments in steps and checkpoint writes, uniformly; none twice while there are others."""
    among = [number for number, moment in enumerate(seen) if moment.startswith(("step", "checkpoint"))]
    rounds = -(-kills // len(among))
    return [one for _ in range(rounds) for one in draw.sample(among, len(among))][:kills]


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
