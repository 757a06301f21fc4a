"""How much each term of the loss counts over training, as stacked areas."""

from __future__ import annotations

import html
from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from latentloom.report.figures import PALETTE, over_epochs, over_seeds
from latentloom.report.rows import Runs

# Beginnings of columns of the history, and what is added to the recipe's name above their figure.
STACKS = {"weight/": "", "balance/": ", fine and coarse names"}
STILL = 1e-6  # weights that differ by less over training, in rounding, do not move


def weight_areas(runs: Runs) -> dict[str, go.Figure]:
    """Heading -> weights over epochs, one above the other, means over seeds; of recipes whose weights move.

    The shares of fine and coarse names in an anchor are a figure of their own.
    """
    colours = _colours(runs)
    return {
        recipe + STACKS[stack]: _areas(runs, recipe, keys, colours) for recipe, stack, keys in _moving(runs)
    }


def weight_legend(runs: Runs) -> list[tuple[str, str]]:
    """Name and colour of all that the figures of `weight_areas` show."""
    shown = {key for _, _, keys in _moving(runs) for key in keys}
    return [(_name(key), colour) for key, colour in _colours(runs).items() if key in shown]


def _areas(runs: Runs, recipe: str, keys: list[str], colours: dict[str, str]) -> go.Figure:
    figure = go.Figure()
    for key in keys:
        epoch, mean, _, _ = np.array(over_seeds(runs[recipe], key)).T
        figure.add_scatter(
            x=epoch,
            y=mean,
            stackgroup="weights",
            mode="lines",
            line={"color": colours[key], "width": 0.5},
            name=html.escape(_name(key), quote=False),
            hovertemplate="%{y:.3f}",
        )
    return over_epochs(figure)


def _moving(runs: Runs) -> Iterator[tuple[str, str, list[str]]]:
    """Recipe, stack and its columns, for each stack of which any weight moves."""
    for recipe in runs:
        for stack in STACKS:
            keys = [key for key in _columns(runs, recipe) if key.startswith(stack)]
            if any(_moves(runs, recipe, key) for key in keys):
                yield recipe, stack, keys


def _moves(runs: Runs, recipe: str, key: str) -> bool:
    means = [mean for _, mean, _, _ in over_seeds(runs[recipe], key)]
    return max(means) - min(means) > STILL


def _columns(runs: Runs, recipe: str) -> list[str]:
    """Columns of weights that any run of the recipe has a finite number in, in the order of its terms."""
    keys = dict.fromkeys(key for record in runs[recipe] for row in record.history for key in row)
    return [key for key in keys if key.startswith(tuple(STACKS)) and over_seeds(runs[recipe], key)]


def _colours(runs: Runs) -> dict[str, str]:
    """A colour for each column, the same in all recipes; beyond ten they repeat."""
    keys = dict.fromkeys(key for recipe in runs for key in _columns(runs, recipe))
    return {key: PALETTE[k % len(PALETTE)] for k, key in enumerate(keys)}


def _name(key: str) -> str:
    return key.partition("/")[2]
