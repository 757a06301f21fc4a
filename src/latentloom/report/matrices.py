"""Matrices of classes as heat maps: distances, confusions; readable with a hundred classes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from latentloom.report.figures import plain
from latentloom.report.maps import Floats
from latentloom.report.points import Integers

NAMED = 40  # more names of classes than these do not fit the side of a figure
LONGEST = 20  # letters of the name of a group
SCALE = "Cividis"  # even in lightness, and the same for the colour-blind
SHARES = [[0, "rgba(231,99,0,0)"], [0.25, "rgba(231,99,0,0.55)"], [1, "rgb(231,99,0)"]]


@dataclass(frozen=True)
class Order:
    """In which order classes stand along a matrix, and what is written there."""

    rows: Integers  # (C,), a permutation
    names: Sequence[str]  # of the classes, as they were; any text
    ticks: Sequence[tuple[int, str]] = ()  # place and text, where names do not fit


def order_of(
    names: Sequence[str], distances: Floats, group_of: Integers | None, groups: Sequence[str]
) -> Order:
    """Classes group by group; without groups, near ones beside each other.

    Args:
        names: of the classes, C.
        distances: between them, (C, C); where some are not finite, classes keep their order.
        group_of: the group of each class, (C,); -1 is none.
        groups: names of the groups; beyond 40 classes they stand along the sides.
    """
    if group_of is None:
        return Order(_leaves(distances), names)
    rows = np.argsort(group_of, kind="stable")
    places = {k: np.flatnonzero(group_of[rows] == k) for k in range(len(groups))}
    middles = [(int(at[len(at) // 2]), groups[k]) for k, at in places.items() if len(at)]
    return Order(rows, names, middles if len(names) > NAMED else ())


def _leaves(distances: Floats) -> Integers:
    """The leaves of the tree of average linkage, turned so that neighbours are near."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(distances) < 3 or not np.isfinite(distances).all():
        return np.arange(len(distances))
    pairs = squareform(distances, checks=False)
    leaves: Integers = leaves_list(linkage(pairs, "average", optimal_ordering=True))
    return leaves


def centre_distances(centres: Floats) -> Floats:
    """Euclidean distances in units of their mean, (C, C); nan beside a centre that is nan.

    A latent space has no unit of its own; so matrices of several can be looked at together.

    >>> centre_distances(np.array([[0.0], [1.0], [3.0]])).tolist()
    [[0.0, 0.5, 1.5], [0.5, 0.0, 1.0], [1.5, 1.0, 0.0]]
    """
    from scipy.spatial.distance import cdist

    distances: Floats = cdist(centres, centres)
    off = distances[_off_diagonal(len(centres))]
    off = off[np.isfinite(off)]
    return distances / (float(off.mean()) if off.any() else 1.0)


def name_distances(vectors: Floats) -> Floats:
    """1 - cosine of label embeddings that are not 0, (C, d) -> (C, C)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances: Floats = 1 - unit @ unit.T
    return distances


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's over pairs of classes that are finite in both; nan with fewer than three classes."""
    from scipy.stats import spearmanr

    pairs = np.triu(_off_diagonal(len(a))) & np.isfinite(a) & np.isfinite(b)
    if pairs.sum() < 3 or np.ptp(a[pairs]) == 0 or np.ptp(b[pairs]) == 0:
        return float("nan")
    return float(spearmanr(a[pairs], b[pairs]).statistic)


def _off_diagonal(n: int) -> np.ndarray:
    off: np.ndarray = ~np.eye(n, dtype=bool)
    return off


def distance_map(distances: Floats, order: Order) -> go.Figure:
    """A heat map of distances between classes, (C, C), the diagonal left out."""
    off = np.where(_off_diagonal(len(distances)), distances, np.nan)
    return _heat_map(off, order, SCALE, "%{y} to %{x}: %{z:.2f}")


def confusion_map(counts: Integers, order: Order) -> go.Figure:
    """A heat map of which share of a class was taken for which other, in %, without what was right."""
    shares = 100 * shares_of(counts)
    np.fill_diagonal(shares, np.nan)
    figure = _heat_map(shares, order, SHARES, "%{y} taken for %{x}: %{z:.1f} %")
    figure.data[0].zmin = 0
    figure.update_xaxes(title="predicted").update_yaxes(title="true")
    return figure


def counts_of(y: Integers, predicted: Integers, classes: int) -> Integers:
    """How often each class was taken for which, (C, C), rows true; unlabelled images do not count.

    >>> counts_of(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (y[y >= 0], predicted[y >= 0]), 1)
    return counts


def shares_of(counts: Integers) -> Floats:
    """The counts as shares of their rows; 0 in a row without any."""
    shares: Floats = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _heat_map(values: Floats, order: Order, scale: object, about: str) -> go.Figure:
    names = [escaped(order.names[k]) for k in order.rows]
    drawn = go.Heatmap(
        x=names,
        y=names,
        z=values[np.ix_(order.rows, order.rows)].astype(np.float32),
        colorscale=scale,
        colorbar={"thickness": 10, "len": 0.6, "outlinewidth": 0},
        hovertemplate=about + "<extra></extra>",
        hoverongaps=False,
    )
    figure = go.Figure(drawn).update_xaxes(tickangle=-60, **_axis(names, order))
    figure.update_xaxes(showticklabels=not order.ticks)  # long names of groups, the same as beside the rows
    figure.update_yaxes(autorange="reversed", **_axis(names, order))
    return plain(figure, hovermode="closest", margin={"l": 8, "r": 8, "t": 8, "b": 8})


def _axis(names: Sequence[str], order: Order) -> dict[str, object]:
    axis = {"type": "category", "showgrid": False, "automargin": True, "tickfont": {"size": 10}}
    if order.ticks:
        places = {"tickvals": [names[at] for at, _ in order.ticks]}
        return axis | places | {"ticktext": [escaped(_shortened(text)) for _, text in order.ticks]}
    return axis | {"dtick": 1} if len(names) <= NAMED else axis


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def escaped(text: str) -> str:
    """Text as Plotly shows it, which reads a subset of HTML."""
    return html.escape(text, quote=False)
