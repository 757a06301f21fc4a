"""Parallel coordinates of a sweep: an axis per field, a line per trial, coloured by its score."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from latentloom.sweep.space import Axis
from latentloom.sweep.trial import Trial


def parallel_coordinates(axes: Sequence[Axis], trials: Sequence[Trial], monitor: str) -> go.Figure:
    """Trials that have a score, those stopped early among them; the last axis is the score."""
    scored = [trial for trial in trials if math.isfinite(trial.score)]
    scores = [trial.score for trial in scored]
    lines = {"color": scores, "colorscale": "Viridis", "showscale": True, "colorbar": {"title": monitor}}
    dimensions = [_dimension(axis, [trial.values[axis.field] for trial in scored]) for axis in axes]
    figure = go.Figure(
        go.Parcoords(line=lines, dimensions=[*dimensions, {"label": monitor, "values": scores}])
    )
    return figure.update_layout(template="none", margin={"t": 96})


def _dimension(axis: Axis, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of the picture: choices by name, a logarithmic range in powers of ten."""
    label = html.escape(axis.field.removeprefix("objective.terms."), quote=False)
    if axis.choices:
        places = list(range(len(axis.choices)))
        names = [html.escape(choice, quote=False) for choice in axis.choices]
        at = [axis.choices.index(value) for value in values]
        return {
            "label": label,
            "values": at,
            "range": [0, max(places)],
            "tickvals": places,
            "ticktext": names,
        }
    if axis.kind != "loguniform":
        return {"label": label, "values": list(values), "range": [axis.low, axis.high]}
    low, high = math.log10(axis.low), math.log10(axis.high)
    ticks = sorted({low, *range(math.ceil(low), math.floor(high) + 1), high})
    return {
        "label": label,
        "values": [math.log10(value) for value in values],
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [f"{10**tick:.3g}" for tick in ticks],
    }
