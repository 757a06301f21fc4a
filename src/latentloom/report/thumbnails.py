"""Many small images as one, for a page to cut from."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentloom.training.pictures import Bytes
from latentloom.values import ImageSet

SIDE = 32  # pixels at most; the page enlarges
SMALL = 12  # images of at most so many pixels are kept as they are; others lose what is not seen
QUALITY = 80


@dataclass(frozen=True)
class Sprite:
    """Images in rows, the k-th at row k // columns and column k % columns, with nothing between them."""

    address: str  # data: address of a WebP
    side: int  # of an image in pixels
    columns: int


def sprite(images: Sequence[Bytes]) -> Sprite:
    """Thumbnails (h, w, 3) of one size, at least one, in a square or nearly."""
    side = len(images[0])
    columns = math.isqrt(len(images) - 1) + 1
    whole = np.zeros((-(-len(images) // columns) * side, columns * side, 3), np.uint8)
    for k, image in enumerate(images):
        top, left = k // columns * side, k % columns * side
        whole[top : top + side, left : left + side] = image
    return Sprite(_address(whole, lossless=side <= SMALL), side, columns)


def thumbnails(image_set: ImageSet, rows: Sequence[int], side: int = SIDE) -> list[Bytes]:
    """The images of these rows, (side, side, 3) each; smaller where all of them are smaller."""
    images = image_set.images
    drawn = (images[row] if isinstance(images, Tensor) else images.decode(row) for row in rows)
    return [_small(image.numpy(), side) for image in drawn]


def _small(image: Bytes, side: int) -> Bytes:
    """An image (c, h, w) as (s, s, 3), s at most `side`; what is not square is filled with black."""
    from PIL import Image

    pixels = image.transpose(1, 2, 0)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    side = min(side, max(pixels.shape[:2]))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.BOX)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square)


def _address(pixels: Bytes, lossless: bool) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", quality=QUALITY, lossless=lossless)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
