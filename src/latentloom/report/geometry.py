"""Figures of classifiers beside each other, and of how large clusters are and how far apart."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from latentloom.report.figures import (
    FIRST,
    PALETTE,
    curves,
    over_epochs,
    over_seeds,
    plain,
    recipe_colour,
    recipe_dash,
    trend,
)
from latentloom.report.rows import Runs, Spread, best_row, spread
from latentloom.values import Record


@dataclass(frozen=True)
class Style:
    """What a classifier is called, and how it is drawn."""

    name: str
    colour: str
    dash: str = "solid"
    ink: str = "#1c2024"  # of text on the colour


LINEAR = "val/accuracy"
# Class embeddings have one colour, class centres another; cosine is paler and dashed.
CLASSIFIERS = {
    LINEAR: Style("linear head", FIRST),
    "val/nearest_embedding_accuracy": Style("nearest class embedding", PALETTE[4], ink="white"),
    "val/nearest_embedding_cosine_accuracy": Style("nearest class embedding, cosine", "#bb8fd6", "dash"),
    "val/nearest_centre_accuracy": Style("nearest class centre", PALETTE[6]),
    "val/nearest_centre_cosine_accuracy": Style("nearest class centre, cosine", "#f3a970", "dash"),
}
SIZE, DISTANCE = "val/cluster_size", "val/centre_distance"
LENGTHS = {
    SIZE: "Cluster size",
    DISTANCE: "Centre distance",
    "val/centre_spacing": "Distance between class centres",
}
LOG = {"type": "log", "nticks": 3}  # more ticks, and those of 6, 7, 8 and 9 overlap
BAR = 18  # height in pixels


def classifiers(runs: Runs) -> dict[str, Style]:
    """The classifiers that any run was judged by; none where it is the linear head alone."""
    records = [record for found in runs.values() for record in found]
    found = {
        key: style
        for key, style in CLASSIFIERS.items()
        if any(key in row for record in judged(records, key) for row in record.history)
    }
    return found if found.keys() - {LINEAR} else {}


def judged(records: Sequence[Record], key: str) -> Sequence[Record]:
    """The runs in which that column is that classifier.

    Where a model classifies by its class embeddings, its accuracy is theirs, and not of a linear head.
    """
    if key != LINEAR:
        return records
    return [record for record in records if record.config["model"].get("classifier", "linear") == "linear"]


def classifier_curves(runs: Runs) -> dict[str, go.Figure]:
    """Recipe -> the accuracy of each of its classifiers over epochs, as `curves` draws them, on one scale."""
    drawn = {recipe: _classifier_curves(records) for recipe, records in runs.items()}
    drawn = {recipe: figure for recipe, figure in drawn.items() if figure.data}
    heights = [y for figure in drawn.values() for trace in figure.data for y in trace.y]
    for figure in drawn.values():
        figure.update_yaxes(range=_padded(heights))
    return drawn


def _classifier_curves(records: Sequence[Record]) -> go.Figure:
    figure = go.Figure()
    for key, style in CLASSIFIERS.items():
        points = over_seeds(judged(records, key), key)
        if points:
            figure.add_traces(trend(style.name, style.colour, style.dash, points))
    return over_epochs(figure)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values and a little more."""
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - margin, max(values) + margin


def best_epoch_bars(runs: Runs) -> go.Figure:
    """Accuracy of each classifier at the epochs that were selected: mean over seeds, one sd to each side."""
    bars = [_bars(style, _at_best_epoch(runs, key)) for key, style in classifiers(runs).items()]
    figure = go.Figure(bars).update_xaxes(title="validation accuracy", range=[0, 1])
    names = [html.escape(recipe, quote=False) for recipe in runs]
    figure.update_yaxes(categoryarray=names, autorange="reversed", automargin=True, showgrid=False)
    figure.update_layout(barmode="group", bargap=0.2, height=60 + BAR * (len(bars) + 1) * len(runs))
    return plain(figure, hovermode="closest", margin={"l": 8, "r": 12, "t": 8, "b": 40})


def _at_best_epoch(runs: Runs, key: str) -> dict[str, Spread]:
    """Recipe -> a column at the best epoch, over the runs that have a finite number there."""
    found = {
        recipe: [
            v for record in judged(records, key) if math.isfinite(v := best_row(record).get(key, math.nan))
        ]
        for recipe, records in runs.items()
    }
    return {recipe: spread(values) for recipe, values in found.items() if values}


def _bars(style: Style, accuracies: Mapping[str, Spread]) -> go.Bar:
    return go.Bar(
        x=[accuracy.mean for accuracy in accuracies.values()],
        y=[html.escape(recipe, quote=False) for recipe in accuracies],
        error_x={
            "array": [accuracy.sd for accuracy in accuracies.values()],  # None draws nothing
            "color": PALETTE[8],
            "thickness": 1.5,
            "width": 3,
        },
        orientation="h",
        marker={"color": style.colour},
        name=style.name,
        text=[accuracy.text(4) for accuracy in accuracies.values()],
        textposition="inside",
        insidetextanchor="start",
        insidetextfont={"color": style.ink},
        constraintext="none",
        hovertemplate=f"{style.name}: %{{text}}<extra></extra>",
    )


def length_curves(runs: Runs) -> dict[str, go.Figure]:
    """Name -> a length over epochs on a log axis, as `curves` draws it, for the lengths that any run has.

    A band that would go to 0 or below ends at a tenth of the smallest mean; a length of 0 is not drawn.
    """
    drawn = {name: _on_log_axis(curves(runs, key)) for key, name in LENGTHS.items()}
    return {name: figure for name, figure in drawn.items() if figure.data}


def _on_log_axis(figure: go.Figure) -> go.Figure:
    for band, line in zip(figure.data[::2], figure.data[1::2], strict=True):
        lowest = min((mean for mean in line.y if mean > 0), default=1.0) / 10
        band.y = [max(y, lowest) for y in band.y]
    return figure.update_yaxes(**LOG)


def size_against_distance(runs: Runs) -> go.Figure:
    """The path of each recipe over its epochs: cluster size against centre distance, means over seeds.

    From a ring at the first epoch to a disc at the last. Both axes have one log scale; on the dashed line
    clusters are as large as their centres are far from the middle, below it they are smaller.
    """
    figure = go.Figure()
    for position, (recipe, records) in enumerate(runs.items()):
        path = _path(records)
        if path:
            figure.add_trace(_drawn_path(recipe, position, path))
    if figure.data:
        figure = _on_equal_axes(figure)
    return plain(figure, hovermode="closest", margin={"l": 52, "r": 12, "t": 12, "b": 44})


def _path(records: Sequence[Record]) -> list[tuple[float, float, float]]:
    """Epoch, centre distance and cluster size, where both are above 0."""
    sizes = {epoch: mean for epoch, mean, _, _ in over_seeds(records, SIZE)}
    distances = {epoch: mean for epoch, mean, _, _ in over_seeds(records, DISTANCE)}
    path = [(epoch, distances[epoch], sizes[epoch]) for epoch in sizes if epoch in distances]
    return [point for point in path if min(point) > 0]


def _drawn_path(recipe: str, position: int, path: Sequence[tuple[float, float, float]]) -> go.Scatter:
    epochs, distances, sizes = zip(*path, strict=True)
    between, last = ["circle"] * len(path), len(path) - 1
    name = html.escape(recipe, quote=False)
    return go.Scatter(
        x=distances,
        y=sizes,
        customdata=epochs,
        mode="lines+markers",
        line={"color": recipe_colour(position), "width": 2, "dash": recipe_dash(position)},
        marker={
            "symbol": ["circle-open", *between[1:]] if last else between,
            "size": [9, *[4] * (last - 1), 11] if last else 11,
            "line": {"color": recipe_colour(position), "width": 2},
            "opacity": 1,
        },
        name=name,
        hovertemplate=f"{name}, epoch %{{customdata}}: size %{{y:.4f}}, distance %{{x:.4f}}<extra></extra>",
    )


def _on_equal_axes(figure: go.Figure) -> go.Figure:
    lengths = [length for trace in figure.data for length in (*trace.x, *trace.y)]
    low, high = _padded([math.log10(length) for length in lengths])
    equal = [10**low, 10 ** (high - 0.05 * (high - low)), 10**high]
    figure.add_trace(
        go.Scatter(
            x=equal,
            y=equal,
            mode="lines+text",
            line={"color": FIRST, "width": 1.5, "dash": "dash"},
            text=["", "size = distance ", ""],
            textposition="middle left",
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title="centre distance", range=[low, high], **LOG)
    return figure.update_yaxes(title="cluster size", range=[low, high], **LOG)
