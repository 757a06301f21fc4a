"""The folder of a run: one configuration, one run at a time, nothing overwritten."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.files import atomically, locked, remove_parts, write_text

RECORD = "record.json"
CONFIG = "config.yaml"
HISTORY = "history.csv"
WEIGHTS = "model.safetensors"
ABOUT = "model.json"
CENTRES = "class_centres.safetensors"
LATENTS = "latents.parquet"
DATA = "data.json.gz"
KEPT_LATENTS = "latents"
LAST = Path("checkpoints", "last.ckpt")
BEFORE = Path("checkpoints", "before-last.ckpt")
BEST = Path("checkpoints", "best.ckpt")
ABSENT = "not there"


@contextmanager
def claimed(folder: Path, config: Train, rank: int = 0) -> Iterator[None]:
    """Hold the folder for this process, with the configuration written to it.

    A folder that holds another configuration is refused; so is one in use. Of processes that train
    together the first holds it for all, by its rank.
    """
    if rank:
        yield
        return
    refusal = f"the folder {folder} is in use by another run; wait for it, or choose another --folder"
    with locked(folder, refusal):
        for place in (folder, folder / LAST.parent, folder / KEPT_LATENTS):
            remove_parts(place)
        _keep_config(folder / CONFIG, config)
        yield


def _keep_config(path: Path, config: Train) -> None:
    wanted = dataclasses.asdict(config)
    if not path.exists() or not _begun(path.parent):
        write_text(path, yaml.safe_dump(wanted, sort_keys=False))
        return
    there = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    # A field that an older version did not know has its default.
    if different := sorted(_differences(_completed(there, dataclasses.asdict(Train())), wanted)):
        raise UserError(
            f"{path.parent} holds a run with another configuration (differs in {', '.join(different[:5])}); "
            "choose another --folder, or delete that one"
        )


def resumable(folder: Path) -> bool:
    """Whether the folder holds a run that was begun and did not end."""
    return (folder / LAST).exists() or (folder / BEFORE).exists()


def _begun(folder: Path) -> bool:
    """Whether there is something to lose; a run refused at its start leaves its configuration alone."""
    return any((folder / kept).exists() for kept in (RECORD, LAST, BEFORE, BEST, HISTORY))


def _completed(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What is given, with defaults for what is missing, level by level."""
    below = {
        key: _completed(value, defaults[key])
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**defaults, **given, **below}


def held_to(folder: Path, contents: Mapping[str, str]) -> None:
    """Note what a run reads; one that goes on with other files than it began with is refused."""
    path = folder / DATA
    if not (resumable(folder) and path.exists()):
        with atomically(path) as part:
            part.write_bytes(gzip.compress(json.dumps(contents).encode(), mtime=0))
        return
    then = json.loads(gzip.decompress(path.read_bytes()))
    names = sorted(then.keys() | contents.keys())
    told = [
        f"{n}: {then.get(n, ABSENT)} then, {contents.get(n, ABSENT)} now"
        for n in names
        if then.get(n) != contents.get(n)
    ]
    if told:
        raise UserError(
            f"{len(told)} of {len(names)} files of images and labels are not as they were when the run in "
            f"{folder} began ({'; '.join(told[:3])}); put them back, and it goes on, or choose another "
            "--folder"
        )


def _differences(a: Any, b: Any, at: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differences(a.get(key), b.get(key), f"{at}.{key}" if at else str(key))
    elif a != b:
        yield at
