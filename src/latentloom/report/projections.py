"""Latents and what lies among them in the plane, over epochs in one frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentloom.checks import UserError
from latentloom.report.maps import FEWEST, Floats
from latentloom.report.points import Points

FITTED = 2000  # points that t-SNE and UMAP are fitted on; the others are placed among them
LATER = 250  # steps of t-SNE from the map of another epoch
FEW_NEIGHBOURS = 5  # that place a mark


@dataclass(frozen=True)
class Layout:
    """A map of one epoch."""

    xy: Floats  # (n, 2)
    marks: Mapping[str, Floats]  # kind -> (K, 2); nan where absent


Projection = Callable[[Sequence[Points], int], list[Layout]]


def principal(steps: Sequence[Points], seed: int = 0) -> list[Layout]:
    """The plane of the first two principal components of all steps together, so that they share axes.

    Nothing in it is random; `seed` is there because other projections take one.
    """
    pooled = np.concatenate([step.z for step in steps]).astype(np.float64)
    middle = pooled.mean(0)
    _, directions = np.linalg.eigh(np.atleast_2d(np.cov(pooled, rowvar=False, bias=True)))
    basis = directions[:, ::-1][:, :2]  # eigh has the largest last
    basis = np.pad(basis, ((0, 0), (0, 2 - basis.shape[1])))
    return [_laid_out(step, lambda z: (z - middle) @ basis, lambda z: (z - middle) @ basis) for step in steps]


def neighbours(steps: Sequence[Points], seed: int = 0) -> list[Layout]:
    """t-SNE of the last step from its principal components, and of each other from the one after it.

    The first 2,000 points are fitted; the others, and the marks, are placed among them as they lie among
    them in the latent space. The perplexity is 30, or (n - 1) / 3 where that is less.
    """
    layouts: list[Layout] = []
    start: Floats | None = None
    for step in reversed(steps):
        fitted = _fitted(step.z[:FITTED], start, seed)
        start = np.asarray(fitted)
        layouts.append(_laid_out(step, _points_on(fitted), _marks_on(fitted)))
    return layouts[::-1]


def _fitted(z: Floats, start: Floats | None, seed: int) -> Any:
    """An embedding of openTSNE. From a start it goes on without the phase that gathers clusters."""
    from openTSNE import TSNE, TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    z = np.ascontiguousarray(z, dtype=np.float64)
    perplexity = min(30.0, (len(z) - 1) / 3)
    if start is None:  # one thread, since sums of several come in any order, and a seed gives one map
        return TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1).fit(z)
    near = PerplexityBasedNN(z, perplexity=perplexity, n_jobs=1, random_state=seed)
    begun = TSNEEmbedding(start, near, n_jobs=1, random_state=seed)
    return begun.optimize(n_iter=LATER, momentum=0.8)


def _points_on(fitted: Any) -> Callable[[Floats], Floats]:
    def place(z: Floats) -> Floats:
        known, new = np.asarray(fitted), z[len(fitted) :]
        return np.concatenate([known, np.asarray(fitted.transform(new))]) if len(new) else known

    return place


def _marks_on(fitted: Any) -> Callable[[Floats], Floats]:
    perplexity = min(FEW_NEIGHBOURS, (len(fitted) - 1) / 3)
    return lambda z: np.asarray(fitted.transform(z, perplexity=perplexity))


def uniform(steps: Sequence[Points], seed: int = 0) -> list[Layout]:
    """UMAP of the last step, and of each other from the one after it, turned to lie as that does.

    It needs umap-learn.
    """
    layouts: list[Layout] = []
    start: Any = "spectral"
    for step in reversed(steps):
        fitted = _umap(step.z[:FITTED], start, seed)
        start = fitted.embedding_
        layout = _laid_out(step, _points_by(fitted), fitted.transform)
        layouts.append(turned([layout], layouts[-1])[0] if layouts else layout)
    return layouts[::-1]


def _umap(z: Floats, start: Any, seed: int) -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError("a map by UMAP needs umap-learn; pip install umap-learn") from error
    return UMAP(n_neighbors=min(15, len(z) - 1), init=start, random_state=seed, n_jobs=1).fit(z)


def _points_by(fitted: Any) -> Callable[[Floats], Floats]:
    def place(z: Floats) -> Floats:
        known, new = fitted.embedding_, z[len(fitted.embedding_) :]
        return np.concatenate([known, fitted.transform(new)]) if len(new) else known

    return place


PROJECTIONS: dict[str, Projection] = {"t-SNE": neighbours, "PCA": principal, "UMAP": uniform}


def offered(steps: Sequence[Points], asked: Sequence[str]) -> list[str]:
    """Of the projections asked for, those that the latents allow: PCA alone where neighbours mean nothing."""
    if not all(step.is_finite() for step in steps):
        raise UserError(
            "the latents hold nan or infinity; a map needs finite ones, so look at the run's losses"
        )
    spread_out = all(
        len(s.z) >= FEWEST and s.z.shape[1] >= 2 and np.ptp(s.z, axis=0).max() > 0 for s in steps
    )
    return [name for name in asked if spread_out or name == "PCA"]


def turned(layouts: Sequence[Layout], onto: Layout) -> list[Layout]:
    """The layouts, moved, turned and mirrored but not stretched, so that the last lies as `onto` does.

    The points of both must be of the same images. Where one is all in one place, nothing is turned.
    """
    from scipy.linalg import orthogonal_procrustes

    here, there = layouts[-1].xy.mean(0), onto.xy.mean(0)
    turn, _ = orthogonal_procrustes(layouts[-1].xy - here, onto.xy - there)
    return [
        Layout(
            (layout.xy - here) @ turn + there,
            {kind: (places - here) @ turn + there for kind, places in layout.marks.items()},
        )
        for layout in layouts
    ]


def _laid_out(step: Points, points: Callable[[Floats], Floats], marks: Callable[[Floats], Floats]) -> Layout:
    return Layout(points(step.z), {kind: _where_finite(places, marks) for kind, places in step.marks.items()})


def _where_finite(places: Floats, project: Callable[[Floats], Floats]) -> Floats:
    xy = np.full((len(places), 2), np.nan)
    finite = np.isfinite(places).all(1)
    if finite.any():
        xy[finite] = project(np.ascontiguousarray(places[finite], dtype=np.float64))
    return xy
