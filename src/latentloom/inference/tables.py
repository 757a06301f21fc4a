"""Latents and predictions of many image files, as a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow
from rich.console import Console
from rich.progress import Progress

from latentloom.checks import UserError
from latentloom.inference.images import image_paths, read_batches
from latentloom.inference.loading import load
from latentloom.inference.parts import IN_PART, Parts, check_out, parts_for
from latentloom.inference.trained import Trained, in_batches
from latentloom.training.latents import joined
from latentloom.values import Latent


@dataclass(frozen=True)
class Outcome:
    """What became of the files: how many there were, and path and reason of those that did not decode."""

    images: int
    skipped: Sequence[tuple[str, str]]

    def __str__(self) -> str:
        lines = [f"skipped {path}: {reason}" for path, reason in self.skipped]
        good = self.images - len(self.skipped)
        return "\n".join([*lines, f"{good:,} of {self.images:,} images, {len(self.skipped):,} skipped"])


def embed_files(
    model: Trained | str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    latents: bool = True,
    batch: int | None = None,
    workers: int = 2,
    device: str = "auto",
    overwrite: bool = False,
    make: Callable[[Parts, Trained, bool, int, int], None] | None = None,
) -> Outcome:
    """Write a table of images to a .parquet or .csv file, in parts: when killed, call it again.

    The columns are path; z_0 ... z_{d-1}, and in Parquet latent, the same numbers as one list; label, the
    name of the predicted class; probability; distance_to_centre; where the model has such vectors,
    distance_to_class_embedding and distance_to_label_embedding; and ood. They are those of `Predictions`.
    Files that do not decode have no row.

    Args:
        model: or the folder of a run, or that of an export.
        images: folders, files, and lists of files; see `image_paths`.
        out: the table.
        latents: False leaves out z.
        batch: images at a time; as many as `images_at_once` says unless given.
        workers: threads that decode.
        device: of a model that is read from a folder; see `load`.
        overwrite: replace the table, and throw away parts of another one.
        make: what makes the parts that are missing, if not `make_parts`.
    """
    path = Path(out)
    check_out(path, overwrite)
    paths = image_paths(images)
    trained = model if isinstance(model, Trained) else load(model, device=device)
    size = _size(batch, trained)
    asked = {"model": _fingerprint(trained), "latents": latents}
    with parts_for(path, paths, asked, overwrite) as parts:
        (make or make_parts)(parts, trained, latents, size, workers)
        parts.join()
        return Outcome(len(paths), parts.skipped())


def predict_files(
    trained: Trained, paths: Sequence[str], *, batch: int | None = None, workers: int = 2
) -> tuple[str, Outcome]:
    """The predictions of a few files as aligned text, and what became of the files."""
    done = list(_embedded(trained, in_batches(paths, _size(batch, trained)), workers))
    skipped = [one for chunk in done for one in chunk.skipped]
    table = _table(trained, done, latents=False).to_pandas()
    text = table.to_string(index=False, float_format="{:.4g}".format) if len(table) else "no image decodes"
    return text, Outcome(len(paths), skipped)


@dataclass(frozen=True)
class _Embedded:
    """A batch of files: those that decode with their latent, and the others."""

    paths: list[str]
    latent: Latent | None  # None where no file decodes
    skipped: list[tuple[str, str]]


def _embedded(trained: Trained, batches: Sequence[Sequence[str]], workers: int) -> Iterator[_Embedded]:
    for read in read_batches(trained.form, batches, workers):
        latent = None if read.images is None else trained.embed_batch(read.images)
        yield _Embedded(read.paths, latent, read.skipped)


def make_parts(parts: Parts, trained: Trained, latents: bool, size: int, workers: int) -> None:
    """Make the parts of a table that are missing, `size` images at a time; see `embed_files`."""
    missing = parts.missing()
    plan = [in_batches(parts.paths_of(k), size) for k in missing]
    stream = _embedded(trained, list(chain.from_iterable(plan)), workers)
    with part_progress(parts) as advance:
        for k, batches in zip(missing, plan, strict=True):
            done = []
            for paths in batches:
                done.append(next(stream))
                advance(len(paths))
            _write(parts, k, trained, done, latents)


def make_part(
    parts: Parts,
    k: int,
    paths: Sequence[str],
    trained: Trained,
    latents: bool,
    batch: int | None,
    workers: int,
) -> None:
    """Make the part k of a table, of these images, whatever paths `parts` itself holds."""
    done = list(_embedded(trained, in_batches(paths, _size(batch, trained)), workers))
    _write(parts, k, trained, done, latents)


@contextmanager
def part_progress(parts: Parts) -> Iterator[Callable[[int], None]]:
    """A bar of images, those of parts that are there done; what is yielded advances it."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        to_do = sum(len(parts.paths_of(k)) for k in parts.missing())
        task = bar.add_task("images", total=len(parts.paths), completed=len(parts.paths) - to_do)
        yield lambda images: bar.advance(task, images)


def _write(parts: Parts, k: int, trained: Trained, done: Sequence[_Embedded], latents: bool) -> None:
    skipped = [one for chunk in done for one in chunk.skipped]
    parts.write(k, _table(trained, done, latents, parts.out.suffix == ".parquet"), skipped)


def _table(
    trained: Trained, done: Sequence[_Embedded], latents: bool, as_list: bool = False
) -> pyarrow.Table:
    """A row for each file that decodes, its latent once more as a list if asked; empty where none does."""
    found = [chunk.latent for chunk in done if chunk.latent is not None]
    if not found:
        return pyarrow.table({})
    latent = joined(found)
    points: dict[str, object] = {f"z_{k}": z.numpy() for k, z in enumerate(latent.z.T.contiguous())}
    if as_list:
        points["latent"] = pyarrow.FixedSizeListArray.from_arrays(
            latent.z.flatten().numpy(), latent.z.shape[1]
        )
    columns = trained.predictions(latent).columns()
    return pyarrow.table(
        {
            "path": [_text(path) for chunk in done for path in chunk.paths],
            **(points if latents else {}),
            **{
                name: values if isinstance(values, tuple) else values.numpy()
                for name, values in columns.items()
            },
        }
    )


def _text(path: str) -> str:
    """A path that is not UTF-8 as text that is."""
    return path.encode(errors="backslashreplace").decode()


def _size(batch: int | None, trained: Trained) -> int:
    if batch is not None and batch < 1:
        raise UserError(f"wanted batches of at least one image, got {batch}")
    return min(batch or trained.at_once, IN_PART)


def _fingerprint(trained: Trained) -> str:
    """What tells a model from others: a hash of its numbers, and of how images are prepared."""
    found = hashlib.sha256(repr(trained.form).encode())
    for value in (*trained.model.state_dict().values(), trained.class_centres):
        found.update(value.cpu().contiguous().flatten().numpy())
    return found.hexdigest()[:16]
