"""The latent maps of a comparison as the page takes them: all recipes, the same images in each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from latentloom.report.figures import PALETTE
from latentloom.report.maps import Floats
from latentloom.report.points import Integers, Points
from latentloom.report.progress import Doing, unseen
from latentloom.report.projections import PROJECTIONS, Layout, offered, turned
from latentloom.report.thumbnails import Sprite

LEVELS = 65_534  # of a coordinate; one more stands for what is absent
ABSENT = 65_535
Json = dict[str, Any]
Layouts = Mapping[str, Sequence[Layout]]  # recipe -> its maps, one or several over epochs


@dataclass(frozen=True)
class Steps:
    """One recipe's latents of the images of a view: one step, or some epochs."""

    seed: int  # of the run
    epochs: Sequence[int]  # counted from 1
    points: Sequence[Points]  # of the same images in the same order


@dataclass(frozen=True)
class View:
    """The same images in the latent spaces of all recipes."""

    name: str
    note: str
    recipes: Mapping[str, Steps]
    thumbnails: int = 0  # so many images, the first, are in the sprite
    from_tile: int = 0  # where they begin in it


@dataclass(frozen=True)
class Classes:
    """What classes are called, and what groups they are in."""

    names: Sequence[str]
    groups: Sequence[str] = ()
    group_of: Integers | None = None  # (C,); -1 is none


def atlas(
    classes: Classes,
    views: Sequence[View],
    sprite: Sprite | None,
    projections: Sequence[str],
    doing: Doing = unseen,
) -> Json:
    """All that is drawn, for JSON; coordinates and classes are base64 of little-endian integers."""
    layouts = _all_laid_out(views, projections, doing)
    group_of = None if classes.group_of is None else [int(group) for group in classes.group_of]
    return {
        "palette": PALETTE,
        "classes": list(classes.names),
        "groups": list(classes.groups) if group_of is not None else [],
        "groupOf": group_of,
        "sprite": sprite and vars(sprite),
        "views": [_view(view, found) for view, found in zip(views, layouts, strict=True)],
    }


def _view(view: View, layouts: Mapping[str, Layouts]) -> Json:
    first = next(iter(view.recipes.values())).points[0]
    return {
        "name": view.name,
        "note": view.note,
        "y": packed(first.y, "<i2"),
        "thumbnails": view.thumbnails,
        "fromTile": view.from_tile,
        "projections": list(layouts),
        "epochs": sorted({epoch for steps in view.recipes.values() for epoch in steps.epochs}),
        "maps": [
            {
                "recipe": recipe,
                "seed": steps.seed,
                "epochs": list(steps.epochs),
                "predicted": [
                    None if p.predicted is None else packed(p.predicted, "<i2") for p in steps.points
                ],
                "layouts": {name: _framed(found[recipe]) for name, found in layouts.items()},
            }
            for recipe, steps in view.recipes.items()
        ],
    }


def _offered_by_all(view: View, projections: Sequence[str]) -> list[str]:
    found = [offered(steps.points, projections) for steps in view.recipes.values()]
    return [name for name in projections if all(name in names for names in found)]


def _all_laid_out(
    views: Sequence[View], projections: Sequence[str], doing: Doing
) -> list[dict[str, Layouts]]:
    """For each view its maps by each projection, which takes nearly all of the time that a page takes."""
    names = [_offered_by_all(view, projections) for view in views]
    every = sum(len(view.recipes) * len(offered) for view, offered in zip(views, names, strict=True))
    begun = count()

    def begins(what: str) -> None:
        doing(what, next(begun) / every)

    return [
        {name: _laid_out(view, name, begins) for name in offered}
        for view, offered in zip(views, names, strict=True)
    ]


def _laid_out(view: View, projection: str, begins: Callable[[str], None]) -> Layouts:
    """The maps of a view, turned to lie as the first recipe's do, since which way is up means nothing."""
    found: dict[str, list[Layout]] = {}
    for recipe, steps in view.recipes.items():
        begins(f"{projection} of {recipe}, {view.name}")
        layouts = PROJECTIONS[projection](steps.points, steps.seed)
        first = next(iter(found.values()), None)
        found[recipe] = turned(layouts, first[-1]) if first else layouts
    return found


def _framed(layouts: Sequence[Layout]) -> Json:
    """Maps in one frame: a square around all that is drawn, and in it the square around the images."""
    images = np.concatenate([layout.xy for layout in layouts])
    marks = [xy for layout in layouts for xy in layout.marks.values()]
    low, size = _square(np.concatenate([images, *marks]))
    inner, inner_size = _square(images)
    return {
        "shown": [*((inner - low) / size).round(4).tolist(), round(inner_size / size, 4)],
        "steps": [
            {
                "xy": packed(_levels(layout.xy, low, size), "<u2"),
                "marks": {kind: packed(_levels(xy, low, size), "<u2") for kind, xy in layout.marks.items()},
            }
            for layout in layouts
        ],
    }


def _square(xy: Floats) -> tuple[Floats, float]:
    """The low corner, (2,), and the side of the square around points, nan left out."""
    low, high = np.nanmin(xy, 0), np.nanmax(xy, 0)
    side = float((high - low).max()) or 1.0
    return (low + high - side) / 2, side


def _levels(xy: Floats, low: Floats, size: float) -> Integers:
    share = np.nan_to_num((xy - low) / size)
    levels = (share * LEVELS).round().clip(0, LEVELS)
    return np.where(np.isnan(xy), ABSENT, levels).astype(np.uint16)


def packed(values: Integers, kind: str) -> str:
    """Integers, in rows, as base64 of numpy's `kind`."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
