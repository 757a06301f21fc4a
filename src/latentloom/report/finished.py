"""The page of runs that have ended, from their folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import load
from latentloom.data.splits import limit
from latentloom.latent.geometry import evenly
from latentloom.names.coarse import coarse_of
from latentloom.names.vectors import packaged
from latentloom.names.words import texts_of
from latentloom.records import load_record
from latentloom.report.atlas import Classes, Json, Steps, View, atlas
from latentloom.report.maps import Floats
from latentloom.report.points import (
    Points,
    final_points,
    group_of_classes,
    kept_epochs,
    kept_points,
    lengthened,
)
from latentloom.report.progress import Doing, unseen
from latentloom.report.projections import FITTED
from latentloom.report.rows import Runs
from latentloom.report.thumbnails import Sprite, sprite, thumbnails
from latentloom.training.folder import ABOUT, RECORD
from latentloom.values import ImageSet, Record, Splits

EPOCHS = 6  # on the slider; t-SNE takes about a second for each and each recipe
DEFAULT = ("t-SNE", "PCA")
NAMES = "label embeddings"
NO_IMAGES = "The images are not where they were, so that the maps are without them."


@dataclass(frozen=True)
class Shown:
    """One recipe's run that is drawn, the first: its record, and the folder that it is in."""

    record: Record
    folder: Path


@dataclass(frozen=True)
class Latents:
    """What the maps and the figures of classes are drawn from."""

    atlas: Json
    notes: Sequence[str]  # on what the maps lack
    classes: Classes
    final: Mapping[str, Points]  # recipe -> latents of its first run
    name_vectors: Floats | None  # (C, d), of the names of classes


def find_runs(places: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Recipe -> seed -> folder, of the runs in these folders or anywhere below them."""
    found: dict[str, dict[int, Path]] = {}
    for folder in dict.fromkeys(path.parent for place in places for path in _records_below(place)):
        record = load_record(folder / RECORD)
        seeds = found.setdefault(record.recipe, {})
        if record.seed in seeds:
            raise UserError(
                f"{folder} and {seeds[record.seed]} both hold {record.recipe} with seed {record.seed}; "
                "give one of them"
            )
        seeds[record.seed] = folder
    return found


def _records_below(place: Path) -> list[Path]:
    found = sorted(place.rglob(RECORD)) if place.is_dir() else []
    if not found:
        raise UserError(f"no finished run in {place}; give a run's folder, or one that holds runs")
    return found


def common_folder(places: Sequence[Path]) -> Path:
    """The folder that holds them all, where their page belongs."""
    return Path(os.path.commonpath([place.resolve() for place in places]))


def latents_of(
    runs: Runs,
    folders: Mapping[str, Path],
    projections: Sequence[str] = DEFAULT,
    doing: Doing = unseen,
) -> Latents:
    """The latents of the first run of each recipe.

    Args:
        runs: recipe -> its runs.
        folders: recipe -> the folder of the first of them.
        projections: of `PROJECTIONS`.
        doing: told what begins.
    """
    doing("images and latents", 0)
    shown = {recipe: Shown(records[0], folders[recipe]) for recipe, records in runs.items()}
    first = next(iter(shown.values()))
    splits = _images(first.record)
    final, left_out = _of_same_images({recipe: _final(one) for recipe, one in shown.items()})
    views = [_final_view(final, first.record), *_over_epochs({r: shown[r] for r in final})]
    pictured, drawn = _pictured(views, first.record, splits)
    classes = _classes(first, splits)
    points = {recipe: steps.points[0] for recipe, steps in final.items()}
    return Latents(
        atlas(classes, pictured, drawn, projections, doing),
        [*([] if drawn else [NO_IMAGES]), *left_out],
        classes,
        points,
        _name_vectors(points, classes.names),
    )


def _name_vectors(final: Mapping[str, Points], names: Sequence[str]) -> Floats | None:
    """What the names of classes mean: as packaged, or as some recipe has it; else None."""
    try:
        known = packaged(texts_of(names))
    except UserError:  # a name without a word
        known = None
    if known is not None:
        return known.vectors.numpy()
    found = [points.marks[NAMES] for points in final.values() if NAMES in points.marks]
    return found[0] if found else None


def _images(record: Record) -> Splits | None:
    """The images of a run, where they are still to be had."""
    try:
        return load(Data(**{**record.config["data"], "download": False}), record.seed)
    except (UserError, OSError, TypeError):  # a TypeError where a record is of another version
        return None


def _final(one: Shown) -> Steps:
    points = final_points(one.folder, one.record.card.split)
    return Steps(one.record.seed, [one.record.best_epoch + 1], [lengthened(points, _directions(one.record))])


def _directions(record: Record) -> set[str]:
    """The kinds of marks that latents are compared with by cosine."""
    by_cosine = record.config["model"].get("classifier") == "cosine"
    return {NAMES, "group embeddings"} | ({"class embeddings"} if by_cosine else set())


def _of_same_images(found: Mapping[str, Steps]) -> tuple[dict[str, Steps], list[str]]:
    """Those that are of the images of the first, and a note for each that is not."""
    first = next(iter(found.values())).points[0]
    same = {name: steps for name, steps in found.items() if _same(steps.points[0], first)}
    notes = [f"{name} is on no map: it was evaluated on other images." for name in found if name not in same]
    return same, notes


def _same(a: Points, b: Points) -> bool:
    return np.array_equal(a.y, b.y) and np.array_equal(a.rows, b.rows)


def _final_view(recipes: Mapping[str, Steps], record: Record) -> View:
    images = len(next(iter(recipes.values())).points[0].y)
    note = "Latents of each recipe's chosen epoch; what is compared by cosine is drawn at their mean length."
    if images > FITTED:
        note += f" t-SNE is of {FITTED:,} of them, stratified, which can be seen; the others are placed."
    return View(f"{images:,} {record.card.split} images, final", note, recipes)


def _over_epochs(shown: Mapping[str, Shown]) -> list[View]:
    """A view of the kept epochs, at most 6, of the recipes that kept any; none where no recipe did."""
    kept = {recipe: kept_epochs(one.folder) for recipe, one in shown.items()}
    every = sorted({epoch for epochs in kept.values() for epoch in epochs})
    chosen = [every[k] for k in evenly(len(every), EPOCHS)]
    found = {
        recipe: _steps(shown[recipe].record, {e: epochs[e] for e in chosen if e in epochs})
        for recipe, epochs in kept.items()
        if set(chosen) & set(epochs)
    }
    found = {recipe: steps for recipe, steps in found.items() if steps.points}
    if not found:
        return []
    found, _ = _of_same_images(found)
    images = len(next(iter(found.values())).points[0].y)
    note = (
        "Latents after some epochs. PCA has one pair of axes for all of them; t-SNE goes back from the last "
        "epoch, each map begun from the one after it. Class centres are means of the images shown."
    )
    return [View(f"{images:,} validation images, over epochs", note, found)]


def _steps(record: Record, files: Mapping[int, Path]) -> Steps:
    """Epochs whose latents are finite; half precision ends at 65,504."""
    points = {epoch: kept_points(path, FITTED) for epoch, path in files.items()}
    finite = {epoch: one for epoch, one in points.items() if one.is_finite()}
    drawn = [lengthened(one, _directions(record)) for one in finite.values()]
    return Steps(record.seed, list(finite), drawn)


def _pictured(
    views: Sequence[View], record: Record, splits: Splits | None
) -> tuple[list[View], Sprite | None]:
    """The views with their thumbnails, all in one sprite; without the images, or others, none."""
    if splits is None:
        return list(views), None
    kept = record.config["training"]["kept_latents"]
    sets = [getattr(splits, record.card.split), limit(splits.validation, kept, seed=0)]
    tiles: list[Any] = []
    found = []
    for view, images in zip(views, sets, strict=False):  # there may be no view of epochs
        rows = _thumbnail_rows(view, images)
        found.append(View(view.name, view.note, view.recipes, len(rows), len(tiles)))
        tiles += thumbnails(images, rows)
    return found, sprite(tiles) if tiles else None


def _thumbnail_rows(view: View, images: ImageSet) -> list[int]:
    """The first 2,000 images of a view; none where the labels say that the images are others."""
    first = next(iter(view.recipes.values())).points[0]
    rows = first.rows[:FITTED]
    fits = rows.max() < len(images) and np.array_equal(images.labels[rows].numpy(), first.y[:FITTED])
    return [int(row) for row in rows] if fits else []


def _classes(first: Shown, splits: Splits | None) -> Classes:
    about: dict[str, Any] = json.loads((first.folder / ABOUT).read_text(encoding="utf-8"))
    groups = None if splits is None else coarse_of(splits.train)
    of_class = group_of_classes(first.folder) if groups is None else groups.numpy()
    return Classes(about["class_names"], about.get("coarse_names") or (), of_class)
