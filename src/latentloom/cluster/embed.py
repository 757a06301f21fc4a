"""Latents of many image files by actors of Ray Data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from latentloom.checks import UserError
from latentloom.cluster.connect import check_seen, connected, gpus_each, places
from latentloom.inference.loading import load
from latentloom.inference.parts import Parts
from latentloom.inference.tables import Outcome, embed_files, make_part, part_progress
from latentloom.inference.trained import Trained

BLOCKS = 10_000  # more make Ray slow; each holds as many parts as it takes


def embed_on(
    address: str,
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    batch: int | None = None,
    workers: int = 2,
    device: str = "auto",
    function: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """The table that `latentloom.inference.embed_files` writes, by as many actors as there is room for.

    Each loads the model once and makes parts of 1,024 images, which lie beside the table until all are
    there. So a call goes on where one before it was killed, on a cluster or without one.

    Args:
        address: of the cluster; see `connected`.
        model: the folder of a run, or that of an export. Every node must see it, the images and the table
            under the same paths.
        images, out, batch, overwrite: as in `embed_files`.
        workers: threads that decode, in each actor.
        device: cpu or cuda; auto is a GPU for each actor where there is any.
        function: of a model of the user's own; see `load`.
    """

    def make(parts: Parts, trained: Trained, latents: bool, size: int, workers: int) -> None:
        if not parts.missing():
            return
        actor = (replace(parts, paths=()), str(folder), device, function, latents, batch, workers)
        with connected(address):
            check_seen(place.parent, [folder, *(Path(parts.paths[k]).absolute() for k in (0, -1))])
            _spread(parts, actor, gpus_each(device))

    place, folder = Path(out).absolute(), Path(model).absolute()
    trained = load(folder, device="cpu", function=function)
    return embed_files(trained, images, place, batch=batch, workers=workers, overwrite=overwrite, make=make)


def _spread(parts: Parts, actor: tuple[Any, ...], gpus: float) -> None:
    """Make the parts that are missing by actors of these arguments."""
    missing = parts.missing()
    room = min(places(1, gpus), len(missing))
    if room < 1:
        raise UserError("no node of the cluster has a core; start Ray with --num-cpus 1 or more")
    DataContext.get_current().enable_progress_bars = False
    made = ray.data.from_items(
        [{"part": k, "paths": list(parts.paths_of(k))} for k in missing],
        override_num_blocks=min(len(missing), BLOCKS),
    ).map(
        _Embedder,  # type: ignore[arg-type]
        fn_constructor_args=actor,
        compute=ActorPoolStrategy(min_size=1, max_size=room),
        num_cpus=1,
        num_gpus=gpus,
    )
    try:
        with part_progress(parts) as advance:
            for row in made.iter_rows():
                advance(row["images"])
    except RayError as error:
        raise _mistake(error) from error


def _mistake(error: BaseException) -> UserError:
    """The user's mistake that an actor's error came of, or one that says what the actor said."""
    cause: BaseException | None = error
    while cause is not None:
        for found in (cause, getattr(cause, "cause", None)):
            if isinstance(found, UserError):
                return found
        cause = cause.__cause__
    last = str(error).strip().splitlines()[-1]
    return UserError(f"the cluster gave up: {last}; the same command goes on with the parts that are missing")


class _Embedder:
    """A model in a process of its own, which makes parts."""

    def __init__(
        self,
        parts: Parts,
        folder: str,
        device: str,
        function: str | None,
        latents: bool,
        batch: int | None,
        workers: int,
    ) -> None:
        self.parts = parts
        self.trained = load(folder, device=device, function=function)
        self.asked = latents, batch, workers

    def __call__(self, row: Mapping[str, Any]) -> dict[str, int]:
        paths = [str(path) for path in row["paths"]]
        make_part(self.parts, int(row["part"]), paths, self.trained, *self.asked)
        return {"images": len(paths)}
