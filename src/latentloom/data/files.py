"""Images in files, decoded when asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.values import Images

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # of Pillow, for these suffixes


@dataclass(frozen=True)
class ImageFiles:
    """Image files of any size and mode, as squares of colour."""

    paths: tuple[Path, ...]
    size: int
    resize: int | None = None  # >= size, which it is unless given

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, row: int) -> Tensor:
        """The image of one row, uint8 (3, size, size).

        Turned upright by its EXIF orientation, laid on white where it is transparent, its shorter side
        scaled to `resize` with antialiasing, and cropped to `size` around the centre. A file that does
        not decode is an error that names it.
        """
        path = self.paths[row]
        try:
            square = np.array(_square(path, self.size, self.resize or self.size))
            return torch.from_numpy(square).permute(2, 0, 1).contiguous()
        except ModuleNotFoundError as error:
            raise UserError(
                f"reading {path} needs Pillow; install it with: pip install 'latentloom[train]'"
            ) from error
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise UserError(
                f"{path} does not decode as an image ({error}); put it right, and the same command "
                "goes on, or leave such files out with --data.skip_bad true"
            ) from error


def image_shape(images: Tensor | Images) -> tuple[int, int, int]:
    """Channels, height and width of an image."""
    channels, height, width = (images if isinstance(images, Tensor) else images.decode(0)[None]).shape[1:]
    return channels, height, width


def undecodable(images: Images, workers: int) -> dict[int, str]:
    """Rows that do not decode, each with its complaint; decodes every image once, in threads."""

    def complaint(row: int) -> str:
        try:
            images.decode(row)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        return {row: text for row, text in enumerate(pool.map(complaint, range(len(images)))) if text}


def _square(path: Path, size: int, resize: int) -> Image:
    from PIL import Image, ImageOps

    # By its content a file could be of a format that Pillow reads by running another program.
    with Image.open(path, formats=FORMATS) as image:
        pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if most is not None and pixels > most:
            raise ValueError(
                f"it has {pixels:,} pixels, more than the {most:,} that are read, for a small file can "
                "hold more than fits in memory"
            )
        # A JPEG several times too large is decoded at a fraction of its size.
        image.draft(None, (resize, resize))
        upright = ImageOps.exif_transpose(image)
    cut = (1 - size / resize) / 2  # at either end of the shorter side
    return ImageOps.fit(_rgb(upright), (size, size), Image.Resampling.BILINEAR, bleed=cut)


def _rgb(image: Image) -> Image:
    """Any mode as RGB; 16 bits keep their upper 8, which Pillow's own conversion would clip."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        upper = np.asarray(image).clip(0, 65535).astype(np.uint16) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
