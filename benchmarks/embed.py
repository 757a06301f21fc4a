"""Whether embedding files is as fast as the model alone.

    python benchmarks/embed.py [--encoder resnet18] [--size 224] [--images 256]

Photographs are stood in for by JPEG files of 320 x 240 pixels, smooth with some noise. In turns, the same
images are embedded by `embed_files`, from the files to the table, and by the model alone,
from memory in the same batches. Images per second of either; the share is what decoding and
writing leave of the model's own speed. The CPU seconds are those of all threads together, and with
OMP_NUM_THREADS=1 hold where others use the processors too; then the share of the work is what to read. With
more threads than one, and others at work, threads wait for each other in turning loops, and neither share
means anything.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from latentloom.data.trees import folder
from latentloom.inference import embed_files, image_paths, load
from latentloom.inference.images import read_batches
from latentloom.inference.trained import in_batches
from latentloom.recipes import load_recipe
from latentloom.training.model import description, model_for


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        draw_images(top / "images", asked.images)
        write_model(top / "model", top / "images", asked.encoder, asked.size)
        whole, alone = both(top, asked.workers)
        times = [in_turn(whole, alone, k % 2 == 1) for k in range(asked.repeats)]
    report(asked, times)


def draw_images(top: Path, count: int) -> None:
    """Two classes of JPEG files."""
    numbers = np.random.default_rng(0)
    for k in range(count):
        coarse = numbers.integers(256, size=(6, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC), float)
        pixels = (smooth + numbers.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = top / "ab"[k % 2] / f"{k:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def write_model(place: Path, images: Path, encoder: str, size: int) -> None:
    """The folder of a model as it starts; what it has learned makes it no faster."""
    config = load_recipe(
        "baseline", [("data.size", f"{size}"), ("model.encoder", encoder), ("data.name", f"folder:{images}")]
    )
    train, _ = folder({"folder": images}, config.data)
    model = model_for(config, train).eval()
    d = model(torch.stack([train.images.decode(0)])).z.shape[1]  # type: ignore[union-attr]
    place.mkdir()
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, place / "model.safetensors"
    )
    save_file({"class_centres": torch.zeros(2, d)}, place / "class_centres.safetensors")
    (place / "model.json").write_text(json.dumps(description(config, train)), encoding="utf-8")


def both(top: Path, workers: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Files to a table; and the model alone on the same batches in memory."""
    model, paths = load(top / "model"), image_paths([top / "images"])
    batches: list[Tensor] = [
        read.images
        for read in read_batches(model.form, in_batches(paths, model.at_once), workers)
        if read.images is not None
    ]

    def whole() -> None:
        embed_files(model, [top / "images"], top / "z.parquet", workers=workers, overwrite=True)

    def alone() -> None:
        for batch in batches:
            model.embed_batch(batch)

    embed_files(model, paths[:2], top / "warm.parquet")  # the first call sets up threads and imports
    return whole, alone


def in_turn(
    whole: Callable[[], object], alone: Callable[[], object], swapped: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What both take, the second first where swapped."""
    if swapped:
        second = taken(alone)
        return taken(whole), second
    return taken(whole), taken(alone)


def taken(fn: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads."""
    start, busy = time.perf_counter(), time.process_time()
    fn()
    return time.perf_counter() - start, time.process_time() - busy


def report(asked: argparse.Namespace, times: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    threads, load_now = torch.get_num_threads(), os.getloadavg()[0]
    print(
        f"{asked.encoder}, {asked.size} pixels, {asked.images} images, cores {os.cpu_count()}, "
        f"threads {threads}, workers {asked.workers}, load {load_now:.1f}, torch {torch.__version__}"
    )
    for name, which in (("files to table", 0), ("model alone", 1)):
        seconds = median(turn[which][0] for turn in times)
        busy = median(turn[which][1] for turn in times)
        print(f"{name:<15} {asked.images / seconds:8.1f} images/s  {busy:7.2f} CPU s")
    wall = median(alone[0] / whole[0] for whole, alone in times)
    work = median(alone[1] / whole[1] for whole, alone in times)
    print(f"share of the model's own speed {wall:.3f}, of the work {work:.3f}; medians of {len(times)} turns")


if __name__ == "__main__":
    main()
