"""Figures of a comparison: maps, learning curves, schedules."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
import plotly.graph_objects as go

from latentloom.report.maps import MapData
from latentloom.report.rows import Runs
from latentloom.values import Record

# Ten colours that stay apart in the common forms of colour blindness (Petroff 2021, arXiv:2107.02270).
PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "cross",
    "triangle-up",
    "x",
    "star",
    "hexagon",
    "pentagon",
    "hourglass",
)
FIRST = "#8b909a"  # the recipe that others are compared with is grey
DASHES = ("solid", "dash", "dot", "dashdot")
WEBGL_FROM = 5000  # points; below, vectors are sharper, and browsers allow few WebGL drawings on a page
NAMED_CLASSES = 20  # more names than these hide the map
UNLABELLED = "#b0b0b0"


def latent_map(data: MapData) -> go.Figure:
    """Points coloured by class, with the mean of each class's points on the map as its centre.

    Beyond ten classes colours repeat, with another symbol.
    """
    figure = go.Figure()
    for k in sorted(set(data.labels.tolist())):
        figure.add_trace(_points(data, k))
    figure.add_trace(_centres(data))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return plain(figure, hovermode="closest", margin={"l": 0, "r": 0, "t": 16, "b": 0})


def _points(data: MapData, k: int) -> go.Scatter | go.Scattergl:
    draw = go.Scattergl if len(data.labels) >= WEBGL_FROM else go.Scatter
    x, y = data.xy[data.labels == k].astype(np.float32).T
    size = min(6.0, max(2.5, 180 / math.sqrt(len(data.labels))))
    marker = {"color": class_colour(k), "symbol": class_symbol(k), "size": size, "opacity": 0.75}
    name = class_name(data, k)
    return draw(x=x, y=y, mode="markers", marker=marker, name=name, hovertemplate=f"{name}<extra></extra>")


def _centres(data: MapData) -> go.Scatter:
    classes = sorted(set(data.labels[data.labels >= 0].tolist()))
    centres = np.array([data.xy[data.labels == k].mean(0) for k in classes]).reshape(-1, 2)
    names = [class_name(data, k) for k in classes]
    marker = {
        "color": [class_colour(k) for k in classes],
        "symbol": [class_symbol(k) for k in classes],
        "size": 11,
        "line": {"width": 2, "color": "white"},
    }
    return go.Scatter(
        x=centres[:, 0],
        y=centres[:, 1],
        mode="markers+text" if len(classes) <= NAMED_CLASSES else "markers",
        marker=marker,
        text=names,
        textposition="top center",
        name="centres",
        hovertemplate="centre of %{text}<extra></extra>",
    )


def class_name(data: MapData, k: int) -> str:
    """Name of a class as Plotly shows it; Plotly reads a subset of HTML, so that it is escaped."""
    return html.escape(data.class_names[k], quote=False) if k >= 0 else "unlabelled"


def class_colour(k: int) -> str:
    return PALETTE[k % len(PALETTE)] if k >= 0 else UNLABELLED


def class_symbol(k: int) -> str:
    return SYMBOLS[k // len(PALETTE) % len(SYMBOLS)] if k >= 0 else "circle-open"


def curves(runs: Runs, key: str) -> go.Figure:
    """A column of the history over epochs: mean over seeds per recipe, in a band of one sd to each side.

    An epoch counts the runs that got to it, so that a line may jump where a run stopped early.
    """
    figure = go.Figure()
    for position, (recipe, records) in enumerate(runs.items()):
        points = over_seeds(records, key)
        if points:
            figure.add_traces(trend(recipe, recipe_colour(position), recipe_dash(position), points))
    return over_epochs(figure)


def over_epochs(figure: go.Figure) -> go.Figure:
    """The figure with an axis of epochs, and a hover that reads all lines at one epoch."""
    figure.update_xaxes(title="epoch", rangemode="tozero")
    return plain(figure, hovermode="x unified", margin={"l": 48, "r": 12, "t": 8, "b": 40})


def over_seeds(records: Sequence[Record], key: str) -> list[tuple[float, float, float, int]]:
    """Epoch counted from 1, mean, sample sd (0 for one run) and number of runs, where any has the key."""
    found: dict[float, list[float]] = {}
    for row in (row for record in records for row in record.history):
        if math.isfinite(row.get(key, math.nan)):
            found.setdefault(row["epoch"] + 1, []).append(row[key])
    return [(e, fmean(v), stdev(v) if len(v) > 1 else 0.0, len(v)) for e, v in sorted(found.items())]


def trend(
    name: str, colour: str, dash: str, points: Sequence[tuple[float, float, float, int]]
) -> list[go.Scatter]:
    """A band of one sd to each side and the line of the mean, from `over_seeds`; any text is a name."""
    epoch, mean, sd, n = np.array(points).T
    band = go.Scatter(
        x=np.concatenate([epoch, epoch[::-1]]),
        y=np.concatenate([mean + sd, (mean - sd)[::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=_faint(colour),
        line={"width": 0},
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=epoch,
        y=mean,
        customdata=np.stack([sd, n], 1),
        mode="lines" if len(epoch) > 1 else "markers",
        line={"color": colour, "width": 2, "dash": dash},
        name=html.escape(name, quote=False),
        hovertemplate="%{y:.4f} ± %{customdata[0]:.4f} (n=%{customdata[1]})",
    )
    return [band, line]


def recipe_colour(position: int) -> str:
    return PALETTE[(position - 1) % len(PALETTE)] if position else FIRST


def recipe_dash(position: int) -> str:
    return DASHES[(position - 1) // len(PALETTE) % len(DASHES)] if position else "solid"


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def scheduled(runs: Runs) -> list[str]:
    """Columns of the history that are schedules: lambda, and options as "term.option"."""
    columns = {
        key: None for records in runs.values() for record in records for row in record.history for key in row
    }
    return [key for key in columns if key == "lambda" or ("." in key and "/" not in key)]


def plain(figure: go.Figure, hovermode: str, margin: Mapping[str, int]) -> go.Figure:
    """No background and no legend: the page has both, and it changes between light and dark."""
    return figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=margin,
        showlegend=False,
        hovermode=hovermode,
    )
