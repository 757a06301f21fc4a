"""Latents that a run left in its folder, with what lies among them: centres, embeddings, priors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentloom.checks import UserError, reason
from latentloom.data.splits import FIXED_SEED, stratified_order
from latentloom.report.maps import Floats, read_table
from latentloom.training.callbacks import FIXED
from latentloom.training.folder import CENTRES, LATENTS, WEIGHTS
from latentloom.training.pictures import read_pictures

Integers = NDArray[np.integer[Any]]

MOST = 10_000  # images of a split
# Kind of mark -> the tensor of a model's weights, or of kept latents, that holds its places, (K, d).
LEARNED = {
    "class embeddings": "class_embeddings.vectors",
    "learned centres": "centres.points",
    "label embeddings": "label_embeddings.vectors",
    "group embeddings": "label_embeddings.coarse_vectors",
}
KEPT = {
    "class centres": "class_centres",
    "class embeddings": "class_embeddings",
    "learned centres": "centres",
    "label embeddings": "label_embeddings",
    "group embeddings": "coarse_embeddings",
}
COMPONENTS = "prior components"
EPOCH = re.compile(r"epoch-(\d+)\.safetensors")


@dataclass(frozen=True)
class Points:
    """Latents of some images of a split, and what lies among them."""

    z: Floats  # (n, d)
    y: Integers  # (n,); -1 is unlabelled
    predicted: Integers | None  # (n,); None where no head predicts
    rows: Integers  # (n,), of the images in their split
    marks: Mapping[str, Floats]  # kind -> places, (K, d), of classes or groups in order; nan where absent

    def is_finite(self) -> bool:
        """Whether a map can be made; places of absent classes do not count."""
        return bool(np.isfinite(self.z).all())


def final_points(folder: Path, split: str) -> Points:
    """The latents of the chosen epoch, of at most 10,000 images, in an order that is stratified throughout.

    So the first images, however many, are a stratified choice. Class centres are means of training latents.
    """
    table = read_table(folder / LATENTS, split)
    rows = _stratified(table.y, MOST)
    predicted = None if table.predicted is None else table.predicted[rows]
    return Points(table.z[rows], table.y[rows], predicted, rows, _final_marks(folder, table.z.shape[1]))


def _final_marks(folder: Path, dimensions: int) -> dict[str, Floats]:
    centres = folder / CENTRES
    found = {"class centres": tensors(centres)["class_centres"]} if centres.exists() else {}
    weights = tensors(folder / WEIGHTS, tuple(LEARNED.values()))
    found |= {kind: weights[name] for kind, name in LEARNED.items() if name in weights}
    pictures = read_pictures(folder)
    if pictures is not None:
        found[COMPONENTS] = pictures.means
    return _in_space(found, dimensions)


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Epoch, counted from 1 -> the file of its latents, of the epochs whose latents were kept."""
    found = {path: EPOCH.fullmatch(path.name) for path in (folder / "latents").glob("epoch-*")}
    return {int(match[1]) + 1: path for path, match in sorted(found.items()) if match}


def kept_points(path: Path, most: int) -> Points:
    """The latents of one epoch, of at most `most` images, in an order that is stratified throughout.

    They are of validation images; class centres are means of these. `rows` count among the images kept.
    """
    fixed = path.with_name(FIXED)
    held = (tensors(fixed) if fixed.exists() else {}) | tensors(path)
    rows = _stratified(held["y"], most)
    predicted = held["predicted"][rows] if "predicted" in held else None
    marks = {kind: held[name].astype(np.float32) for kind, name in KEPT.items() if name in held}
    z = held["z"].astype(np.float32)
    return Points(z[rows], held["y"][rows], predicted, rows, _in_space(marks, z.shape[1]))


def lengthened(points: Points, kinds: Collection[str]) -> Points:
    """The same with marks of these kinds, which are directions, drawn out to the mean length of the latents.

    Cosines compare latents with them, so that their own length, often 1, says nothing of where they lie.
    """
    length = np.linalg.norm(points.z, axis=1).mean()
    drawn = {k: length * _unit(places) if k in kinds else places for k, places in points.marks.items()}
    return replace(points, marks=drawn)


def _unit(places: Floats) -> Floats:
    lengths = np.linalg.norm(places, axis=1, keepdims=True)
    return places / np.where(lengths == 0, 1, lengths)


def group_of_classes(folder: Path) -> Integers | None:
    """The group of each class, (C,), as the model holds it; None where it holds none."""
    return tensors(folder / WEIGHTS, ("label_embeddings.coarse_of",)).get("label_embeddings.coarse_of")


def tensors(path: Path, endings: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Tensors of a .safetensors file by name; with `endings` those alone, by the ending that they have."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            if endings is None:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            named = {e: name for e in endings for name in file.keys() if f".{name}".endswith(f".{e}")}  # noqa: SIM118
            return {ending: file.get_tensor(name) for ending, name in named.items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path} ({reason(error)}); run again, or restore it") from error


def _stratified(labels: Integers, most: int) -> Integers:
    order: Integers = stratified_order(torch.tensor(labels, dtype=torch.long), FIXED_SEED)[:most].numpy()
    return order


def _in_space(marks: Mapping[str, Floats], dimensions: int) -> dict[str, Floats]:
    """The marks that lie in the latent space; vectors of names may be of another length."""
    return {
        kind: places for kind, places in marks.items() if places.shape[1:] == (dimensions,) and len(places)
    }
