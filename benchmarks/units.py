"""What a billion images would take, worked out from what a few take here.

    python benchmarks/units.py --out docs/results/benchmark-units.txt

Measured, each in CPU seconds of all threads, with OMP_NUM_THREADS=1: embedding JPEG files with a ResNet-18 at
224 pixels, from the file to the row; joining parts to one Parquet table; the card of many latents, by the
growth from 20,000 rows to 100,000. And in bytes: a path in memory, a row of the table. All else is
multiplication, and holds as far as these grow with the number of images.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import torch
from card import one
from embed import both, draw_images, taken, write_model
from pyarrow import parquet

from latentloom.files import write_text
from latentloom.inference import image_paths
from latentloom.inference.parts import IN_PART, Parts

D, GIB, HOUR = 512, 2**30, 3600
PATH = "/data/images/{:04}/{:012}.jpg"


@dataclass(frozen=True)
class Units:
    """Costs of one image."""

    embed: float  # CPU seconds
    join: float  # CPU seconds
    card: float  # CPU seconds
    path: float  # bytes of memory
    row: float  # bytes on disk
    peak: float  # bytes of memory of the card, beside the pages of the file


def bytes_of_a_path(count: int = 200_000) -> float:
    with tempfile.TemporaryDirectory() as place:
        listed = Path(place, "images.txt")
        listed.write_text("\n".join(PATH.format(k // 1000, k) for k in range(count)))
        tracemalloc.start()
        paths = image_paths([listed])
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return held / len(paths)


def seconds_of_an_image(count: int) -> float:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        draw_images(top / "images", count)
        write_model(top / "model", top / "images", "resnet18", 224)
        whole, _ = both(top, workers=1)
        return min(taken(whole)[1] for _ in range(2)) / count


def joining(parts: int = 40) -> tuple[float, float]:
    """CPU seconds, and bytes on disk, of a row."""
    numbers = np.random.default_rng(0).standard_normal((IN_PART, D), np.float32)
    columns = {"path": [PATH.format(0, k) for k in range(IN_PART)]}
    columns |= {f"z_{k}": numbers[:, k] for k in range(D)}
    with tempfile.TemporaryDirectory() as place:
        whole = Parts(Path(place, "z.parquet"), Path(place, "parts"), ("",) * (parts * IN_PART))
        whole.folder.mkdir()
        for k in range(parts):
            parquet.write_table(pyarrow.table(columns), whole.folder / f"{k:08}.parquet")
        busy = taken(whole.join)[1]
        return busy / len(whole.paths), whole.out.stat().st_size / len(whole.paths)


def of_the_card() -> tuple[float, float]:
    """CPU seconds of a row more, and bytes of memory of one beside those of the file."""
    few, many = (one(n, D, 1000, "npy", 1) for n in (20_000, 100_000))
    rows = many["n"] - few["n"]
    memory = (many["peak_bytes"] - few["peak_bytes"]) - (many["file_bytes"] - few["file_bytes"])
    return (many["cpu_seconds"] - few["cpu_seconds"]) / rows, memory / rows


def measured(images: int) -> Units:
    join, row = joining()
    card, peak = of_the_card()
    return Units(seconds_of_an_image(images), join, card, bytes_of_a_path(), row, peak)


def table(units: Units, images: float, cores: int) -> str:
    hours, gib = images / HOUR, images / GIB
    rows = [
        (
            "embedding, files to rows",
            f"{1e3 * units.embed:.2f} ms",
            units.embed * hours / cores,
            "h, all cores",
        ),
        ("joining parts to a table", f"{1e6 * units.join:.1f} us", units.join * hours, "h, one core"),
        ("the card", f"{1e6 * units.card:.1f} us", units.card * hours, "h, one core"),
        ("the table", f"{units.row:,.0f} bytes", units.row * gib, "GiB on disk"),
        ("the list of paths", f"{units.path:.0f} bytes", units.path * gib, "GiB of memory, in one process"),
        ("memory of the card", f"{units.peak:.0f} bytes", units.peak * gib, "GiB, beside pages of the file"),
    ]
    head = f"{D} dimensions; one thread of {os.cpu_count()} cores, torch {torch.__version__}\n"
    head += f"{'':28}{'of one image':>16}   of {images:,.0f}, on {cores:,} cores\n"
    return head + "".join(f"{name:28}{unit:>16}   {total:,.0f} {of}\n" for name, unit, total, of in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--images", type=float, default=1e9)
    parser.add_argument("--cores", type=int, default=1000, help="of the cluster")
    parser.add_argument("--sample", type=int, default=128, help="images that are really embedded")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = table(measured(given.sample), given.images, given.cores)
    print(text, end="")
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
