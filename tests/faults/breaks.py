"""Commands that something happens to, each in a process forked from this one, which has imported all."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy
import torch
from kills import left_by
from PIL import Image

from latentloom.cli import main as latentloom
from latentloom.training.module import LatentModule

FIELDS = {
    "data.limit": "240",
    "data.batch": "36",  # six steps an epoch
    "data.augment": "[crop]",
    "training.epochs": "3",
    "training.keep_latents": "0",
    "training.logger": "false",
    "training.accelerator": "cpu",
    "evaluation.bootstrap": "20",
}
Hurt = Callable[[int], None]  # told the step that begins
STEP = 9  # in the second epoch
SECONDS = 300  # after which a command is taken to hang


def nothing(step: int) -> None:
    pass


def command(folder: Path, fields: Mapping[str, str]) -> list[str]:
    pairs = itertools.chain.from_iterable((f"--{key}", value) for key, value in {**FIELDS, **fields}.items())
    return ["train", "latent-boost", "--folder", str(folder), *pairs]


class Started:
    """A command in a process of its own; what it prints is kept.

    Args:
        folder: of the run.
        hurt: called at the beginning of each step.
        fields: of the configuration.
        environment: of the process.
    """

    def __init__(
        self,
        folder: Path,
        hurt: Hurt = nothing,
        fields: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.said = Path(tempfile.mkdtemp()) / "said"
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.update(environment or {})
            self._run(command(folder, fields or {}), hurt)

    def _run(self, words: list[str], hurt: Hurt) -> None:
        with self.said.open("w") as said:
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code: Any = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with at_steps(hurt):
                code = latentloom(words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)

    def ended(self) -> dict[str, Any]:
        """Its exit code, negative where a signal killed it, and the lines that it said."""
        until = time.monotonic() + SECONDS
        while not (done := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        lines = [line for line in self.said.read_text().splitlines() if line.startswith("latentloom: ")]
        return {
            "code": os.waitstatus_to_exitcode(done[1]),
            "said": lines,
            "all": self.said.read_text()[-3000:],
        }


@contextmanager
def at_steps(hurt: Hurt) -> Iterator[None]:
    real = LatentModule.training_step

    def step(self: LatentModule, *given: Any) -> Any:
        hurt(self.global_step)
        return real(self, *given)

    with patch.object(LatentModule, "training_step", step):
        yield


def same(folder: Path, whole: dict[str, Any]) -> list[str]:
    """Names of what a run left otherwise than another one did."""
    ours = left_by(folder)
    return sorted(name for name in ours.keys() | whole.keys() if ours.get(name) != whole.get(name))


def gone_on(folder: Path, whole: dict[str, Any], fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The same command again."""
    ended = Started(folder, fields=fields).ended()
    return {**ended, "differs": same(folder, whole) if ended["code"] == 0 else None}


# One process


def by_signal(number: int, step: int = STEP) -> Hurt:
    def hurt(at: int) -> None:
        if at == step:
            os.kill(os.getpid(), number)

    return hurt


def signals(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, number, step in (
        ("SIGTERM", signal.SIGTERM, STEP),
        ("SIGINT", signal.SIGINT, STEP),
        ("SIGTERM in the last step of an epoch", signal.SIGTERM, 11),
        ("SIGTERM in the last step of all", signal.SIGTERM, 17),
        ("SIGTERM in the first step of all", signal.SIGTERM, 0),
    ):
        place = folder / name
        ended = Started(place, by_signal(number, step)).ended()
        last = place / "checkpoints" / "last.ckpt"
        step = torch.load(last, weights_only=True)["global_step"] if last.exists() else None
        found[name] = {**ended, "saved at": step, "then": gone_on(place, whole)}
    return found


def impatient(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    """A second signal while the first is waiting for the step to end."""

    def hurt(step: int) -> None:
        if step == STEP:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(SECONDS)

    return {**Started(folder, hurt).ended(), "then": gone_on(folder, whole)}


def two_in_one_folder(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    """A second run while the first is in a step; and another one when the first was killed."""
    there = folder.with_name("in its step")

    def hurt(step: int) -> None:
        if step == STEP:
            there.touch()
            time.sleep(SECONDS)

    first = Started(folder, hurt)
    while not there.exists():
        time.sleep(0.02)
    begun = time.monotonic()
    second = Started(folder).ended()
    waited = time.monotonic() - begun
    os.kill(first.pid, signal.SIGKILL)
    return {"first": first.ended(), "second": second, "waited": waited, "then": gone_on(folder, whole)}


def full_disk(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    """A disk that fills up in mid-run: a small file system where one can be mounted, else a limit."""
    folder.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False, capture_output=True
    ).returncode
    run = folder / "run"

    def hurt(step: int) -> None:
        if step != STEP:
            return
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            return
        with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(1000)):
                pass

    try:
        ended = Started(run, hurt).ended()
        left = sorted(path.name for path in (run / "checkpoints").iterdir())
        (folder / "ballast").unlink(missing_ok=True)
        return {**ended, "mounted": mounted, "left": left, "then": gone_on(run, whole)}
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def jumping_clock(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    """A clock that is set on and back by years, again and again, in a run that is stopped and goes on."""
    draw, begun = random.Random(0), time.monotonic()
    with patch("time.time", lambda: draw.uniform(0, 4e9)):
        stopped = Started(folder, by_signal(signal.SIGTERM)).ended()
        then = gone_on(folder, whole)
    record = json.loads((folder / "record.json").read_text())
    seconds = [row["seconds"] for row in record["history"]]
    wall = time.monotonic() - begun
    return {**stopped, "then": then, "seconds": [*seconds, record["seconds"]], "wall": wall}


# Data that change under way


def pictures(folder: Path) -> str:
    """A folder of images in three classes."""
    draw = numpy.random.default_rng(0)
    for number in range(90):
        path = folder / "abc"[number % 3] / f"{number:02}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=numpy.uint8)).save(path)
    return f"folder:{folder}"


def changed_data(folder: Path) -> dict[str, Any]:
    fields = {
        "data.name": pictures(folder / "pictures"),
        "data.size": "12",
        "data.limit": "null",
        "data.batch": "9",
        "model.encoder": "mlp",
    }
    whole = Started(folder / "whole", fields=fields).ended()
    left = left_by(folder / "whole")
    run, image = folder / "run", folder / "pictures" / "a" / "00.bmp"
    kept = image.read_bytes()
    gone = Started(run, lambda step: image.unlink(missing_ok=True) if step == STEP else None, fields).ended()
    missing = Started(run, fields=fields).ended()
    image.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))  # as long as it was
    other = Started(run, fields=fields).ended()
    image.write_bytes(kept)  # with another time
    then = gone_on(run, left, fields)
    return {"whole": whole, "gone": gone, "missing": missing, "other": other, "then": then}


# Two processes


def together(folder: Path, hurts: Mapping[int, Hurt], meeting: int) -> dict[str, Any]:
    """The same command in two processes, as torchrun starts them; how each of them ended, and when."""
    begun = time.monotonic()
    started = [
        Started(
            folder,
            hurts.get(rank, nothing),
            environment={
                "TORCHELASTIC_RUN_ID": "tests",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(meeting),
                **{name: str(rank) for name in ("RANK", "LOCAL_RANK")},
                **{name: "2" for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")},
            },
        )
        for rank in range(2)
    ]
    return {"each": [one.ended() for one in started], "seconds": time.monotonic() - begun}


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def not_a_number(step: int) -> None:
    """What this process adds to the latents is not a number from now on."""
    if step == STEP:
        real = LatentModule._latent

        def spoilt(self: LatentModule, *given: Any, **named: Any) -> Any:
            latent = real(self, *given, **named)
            return latent.with_samples(z=latent.z * float("nan"))

        LatentModule._latent = spoilt  # type: ignore[method-assign]


def of_two(folder: Path) -> dict[str, Any]:
    """What happens to one of two processes, and how both go on."""
    found: dict[str, Any] = {"whole": together(folder / "whole", {}, free_port())}
    whole = left_by(folder / "whole")
    for name, hurt in {
        "killed": by_signal(signal.SIGKILL),
        "SIGTERM": by_signal(signal.SIGTERM),
        "not a number": not_a_number,
    }.items():
        ended = together(folder / name, {1: hurt}, free_port())
        then = together(folder / name, {}, free_port())
        differs = same(folder / name, whole) if (folder / name / "record.json").exists() else None
        found[name] = {**ended, "then": then, "differs": differs}
    return found


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)  # what is said by processes goes with the rest
    undisturbed = Started(folder / "whole").ended()
    assert undisturbed["code"] == 0, undisturbed
    whole = left_by(folder / "whole")
    scenes: dict[str, Callable[[], dict[str, Any]]] = {
        "signals": lambda: signals(folder / "signals", whole),
        "impatient": lambda: impatient(folder / "impatient", whole),
        "two in one folder": lambda: two_in_one_folder(folder / "two", whole),
        "full disk": lambda: full_disk(folder / "full", whole),
        "clock": lambda: jumping_clock(folder / "clock", whole),
        "data": lambda: changed_data(folder / "data"),
        "of two": lambda: of_two(folder / "of-two"),
    }
    for name, scene in scenes.items():
        print(json.dumps({name: scene()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
