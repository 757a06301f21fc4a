"""Classes in the latent space of each recipe: how far apart, how large, and taken for what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from latentloom.report.atlas import Classes
from latentloom.report.figures import FIRST, PALETTE, plain
from latentloom.report.maps import Floats
from latentloom.report.matrices import (
    SCALE,
    Order,
    centre_distances,
    confusion_map,
    counts_of,
    distance_map,
    escaped,
    order_of,
    rank_correlation,
    shares_of,
)
from latentloom.report.points import Integers, Points

CENTRES = "class centres"
MOST = 8  # frequent mistakes


@dataclass(frozen=True)
class Confusion:
    """A class that was taken for another one."""

    true: str
    predicted: str
    count: int
    share: float  # of the images of the true class


@dataclass(frozen=True)
class ClassFigures:
    """What is drawn of one recipe; None where the run did not leave what it takes."""

    distances: go.Figure | None
    correlation: float  # of ranks, with the distances between names; nan where there are none
    confusion: go.Figure | None
    sizes: go.Figure | None
    confusions: Sequence[Confusion]


def order_of_classes(final: Mapping[str, Points], classes: Classes) -> Order:
    """One order for all recipes: by groups, or by the distances in the first recipe that has centres."""
    centres = [points.marks[CENTRES] for points in final.values() if CENTRES in points.marks]
    unknown = np.full((len(classes.names),) * 2, np.nan)
    distances = centre_distances(centres[0]) if centres else unknown
    return order_of(classes.names, distances, classes.group_of, classes.groups)


def class_figures(points: Points, classes: Classes, order: Order, names: Floats | None) -> ClassFigures:
    """The figures of one recipe.

    Args:
        points: of the evaluated images.
        classes: their names.
        order: along the sides of matrices.
        names: distances between names of classes, (C, C).
    """
    centres = points.marks.get(CENTRES)
    distances = None if centres is None else centre_distances(centres)
    counts = None
    if points.predicted is not None and (points.y >= 0).any():
        counts = counts_of(points.y, points.predicted, len(classes.names))
    return ClassFigures(
        distances=None if distances is None else distance_map(distances, order),
        correlation=math.nan if distances is None or names is None else rank_correlation(distances, names),
        confusion=None if counts is None else confusion_map(counts, order),
        sizes=None if centres is None else class_sizes(points, centres, counts, classes.names),
        confusions=[] if counts is None else confusions(counts, classes.names),
    )


def confusions(counts: Integers, names: Sequence[str]) -> list[Confusion]:
    """The most frequent mistakes, eight at most, most frequent first.

    >>> confusions(np.array([[5, 1], [3, 1]]), ["cat", "dog"])[0]
    Confusion(true='dog', predicted='cat', count=3, share=0.75)
    """
    rows, columns = np.nonzero(counts)
    wrong = Counter(
        {(int(i), int(j)): int(counts[i, j]) for i, j in zip(rows, columns, strict=True) if i != j}
    )
    shares = shares_of(counts)
    return [
        Confusion(names[i], names[j], count, float(shares[i, j])) for (i, j), count in wrong.most_common(MOST)
    ]


def class_sizes(points: Points, centres: Floats, counts: Integers | None, names: Sequence[str]) -> go.Figure:
    """Each class: the median distance of its images to its centre, against that of the nearest other centre.

    Below the dashed line half of the images or more lie nearer to their centre than that is to any other.
    Coloured by the share that is classified rightly, where there are predictions.
    """
    from scipy.spatial.distance import cdist

    known = np.flatnonzero(np.isfinite(centres).all(1))
    apart = cdist(centres[known], centres[known]) + np.diag(np.full(len(known), np.inf))
    nearest = dict(zip(known.tolist(), apart.min(1, initial=np.inf), strict=True))
    present = [k for k in nearest if (points.y == k).any() and math.isfinite(nearest[k])]
    sizes = [float(np.median(np.linalg.norm(points.z[points.y == k] - centres[k], axis=1))) for k in present]
    right = None if counts is None else np.diag(shares_of(counts))[present]
    others = [float(nearest[k]) for k in present]
    figure = go.Figure([_class_points(others, sizes, right, [names[k] for k in present])])
    if present:
        figure.add_trace(_equal(min(max(others), max(sizes))))
    figure.update_xaxes(title="from the centre to the nearest other one", rangemode="tozero")
    figure.update_yaxes(title="from the images to the centre, median", rangemode="tozero")
    return plain(figure, hovermode="closest", margin={"l": 52, "r": 12, "t": 12, "b": 44})


def _class_points(
    x: Sequence[float], y: Sequence[float], right: Floats | None, names: Sequence[str]
) -> go.Scatter:
    marker: dict[str, object] = {"size": 9, "line": {"width": 1, "color": "white"}, "color": PALETTE[0]}
    about = "%{text}: own %{y:.3g}, nearest other %{x:.3g}"
    if right is not None:
        bar = {"title": {"text": "right"}, "thickness": 10, "len": 0.6, "tickformat": ".0%"}
        marker |= {"color": right, "colorscale": SCALE, "cmax": 1, "colorbar": bar}
        marker["cmin"] = min(0.9, float(right.min(initial=1.0)))
        about += ", %{marker.color:.1%} right"
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker=marker,
        text=[escaped(name) for name in names],
        hovertemplate=about + "<extra></extra>",
    )


def _equal(end: float) -> go.Scatter:
    line = {"color": FIRST, "width": 1.5, "dash": "dash"}
    return go.Scatter(x=[0, end], y=[0, end], mode="lines", line=line, hoverinfo="skip")
