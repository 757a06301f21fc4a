"""Images for a trained model: which files are meant, and how they are prepared, as its run prepared them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.data.arrays import squares
from latentloom.data.files import SUFFIXES, ImageFiles

AHEAD = 3  # batches that are being decoded while one is embedded
LISTS = frozenset({".txt", ".lst"})
# Parts of red, green and blue in grey, of 2^16 (ITU-R BT.601), as Pillow has them.
GREY = (19595, 38470, 7471)


@dataclass(frozen=True)
class ImageForm:
    """What a model takes: squares of `size` pixels, and how they are cut from images of another size."""

    channels: int
    size: int
    resize: int | None = None  # length of the shorter side before the crop; size unless given

    def read(self, path: str) -> Tensor:
        """The image of a file, uint8 (channels, size, size); see `ImageFiles`. One channel is grey."""
        colour = ImageFiles((Path(path),), self.size, self.resize).decode(0)
        return colour if self.channels == 3 else _grey(colour)

    def fitted(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w), uint8 or floats in [0, 1], as (n, channels, size, size)."""
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise UserError(
                f"wanted images (n, {self.channels}, h, w), got {tuple(images.shape)}; of a single image "
                "pass image[None], of channels last images.permute(0, 3, 1, 2)"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise UserError(f"images must be uint8, or floats in [0, 1], got {images.dtype}")
        if images.shape[2:] == (self.size, self.size):
            return images
        if images.dtype != torch.uint8:
            raise UserError(
                f"floats must be of the model's own size {self.size} x {self.size}, got "
                f"{tuple(images.shape)}; pass uint8, which is resized as in training"
            )
        return squares(images, self.size, self.resize)


@dataclass(frozen=True)
class Files:
    """Files of one batch: the images of those that decode, and why others do not."""

    paths: list[str]  # n of those that decode
    images: Tensor | None  # uint8 (n, c, h, w); None where n is 0
    skipped: list[tuple[str, str]]  # path and reason


def read_batches(form: ImageForm, batches: Sequence[Sequence[str]], workers: int) -> Iterator[Files]:
    """The images of each batch of paths, in their order, decoded in threads some batches ahead.

    Pillow decodes and scales without holding Python's lock, so that threads keep as many cores busy.
    """
    pool = ThreadPoolExecutor(max(workers, 1))
    waiting: deque[tuple[Sequence[str], list[Future[Tensor | str]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(_read, form, path) for path in batch]))
            if len(waiting) > AHEAD:
                yield _gathered(*waiting.popleft())
        while waiting:
            yield _gathered(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def image_paths(asked: Sequence[str | Path]) -> list[str]:
    """The files that are meant, each once, in the order asked for.

    A folder stands for the image files below it, by name, without hidden ones; a file ending in .txt or
    .lst for the paths in its lines, seen from the working directory; any other file for itself.
    """
    found = dict.fromkeys(path for one in asked for path in _meant(Path(one)))
    if not found:
        raise UserError(
            f"no image among {', '.join(map(str, asked))}; wanted files ending in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return list(found)


def _meant(path: Path) -> Iterator[str]:
    if path.is_dir():
        for top, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            kept = (name for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)
            yield from (os.path.join(top, name) for name in kept if not name.startswith("."))
    elif not path.exists():
        raise UserError(
            f"there is no {path}; give image files, folders, or a .txt file with a path in each line"
        )
    elif path.suffix.lower() in LISTS:
        yield from filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines()))
    else:
        yield str(path)


def _read(form: ImageForm, path: str) -> Tensor | str:
    """The image, or why there is none."""
    try:
        return form.read(path)
    except UserError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):  # which no other image would mend
            raise
        return str(error.__cause__ or error)


def _gathered(paths: Sequence[str], futures: Sequence[Future[Tensor | str]]) -> Files:
    results = [(path, future.result()) for path, future in zip(paths, futures, strict=True)]
    good = [(path, image) for path, image in results if isinstance(image, Tensor)]
    return Files(
        [path for path, _ in good],
        torch.stack([image for _, image in good]) if good else None,
        [(path, reason) for path, reason in results if isinstance(reason, str)],
    )


def _grey(colour: Tensor) -> Tensor:
    """uint8 (3, h, w) -> (1, h, w), rounded as Pillow rounds; grey stays as it is."""
    # In NumPy, for torch would start threads of its own in each of those that decode.
    weighted = np.tensordot(np.array(GREY, np.uint32), colour.numpy().astype(np.uint32), axes=1)
    return torch.from_numpy((weighted + 2**15 >> 16).astype(np.uint8))[None]
