"""Two figures of Moving Targets in two dimensions, drawn from the functions themselves, as HTML files.

python benchmarks/landscapes.py landscapes.html regions.html
chromium --headless --hide-scrollbars --window-size=1000,712 --screenshot=docs/landscapes.png landscapes.html
chromium --headless --hide-scrollbars --window-size=1000,372 --screenshot=docs/regions.png regions.html
python -c "from PIL import Image; p = 'docs/landscapes.png'; Image.open(p).quantize(256, kmeans=2).save(p)"

The first is the value of each target loss where one thing moves, and the way that its gradient moves it.
The second is which class each place is given by a linear layer, by the nearest class centre, and by the
centre of largest cosine, on points that are made up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor
from torch.func import grad_and_value, vmap

from latentloom.evaluation import class_means, linear_predictions, nearest
from latentloom.losses import class_proximity, comparison, cosine_target, euclidean_target, push_pull
from latentloom.report.figures import class_colour

Value = Callable[[Tensor], Tensor]  # of one place (2,)
EDGE = 4.0  # of the square that is drawn
EMBEDDINGS = torch.tensor([[-1.6, -0.6], [1.5, -0.9], [0.4, 1.7]])
POINT = EMBEDDINGS[0]  # where the point stays while the embedding of its class moves
PUSH = 20.0  # r of class_proximity; the default is for hundreds of dimensions
MARGIN = 2.0  # of push_pull; wide, so that it shows
ARROWS = 10  # per side
LEVELS = 16
INK = "#3c4250"
SHADES = ((0.0, "#ffffff"), (1.0, "#8494ab"))  # low, high
# Class 1 lies behind class 0 as seen from the origin; the classes differ in their spread.
CENTRES = torch.tensor([[1.3, 0.9], [3.2, 1.6], [-0.4, 3.0], [-1.6, -1.4]])
SPREADS = torch.tensor([0.35, 0.55, 0.6, 1.0])
EACH = 40  # points of a class


def point_moves(loss: Callable[..., Tensor], **options: float | str) -> Value:
    """The loss of a point of class 0 among the class embeddings."""
    return lambda place: loss(place[None], EMBEDDINGS, torch.tensor([0]), **options)


def embedding_moves(place: Tensor) -> Tensor:
    """`class_proximity` of a point that stays, where the embedding of its class is at the place."""
    embeddings = torch.cat([place[None], EMBEDDINGS[1:]])
    return class_proximity(POINT[None], embeddings, torch.tensor([0]), r=PUSH)


PANELS: dict[str, Value] = {
    "euclidean_target": point_moves(euclidean_target),
    "cosine_target": point_moves(cosine_target),
    "comparison": point_moves(comparison),
    "push_pull": point_moves(push_pull, margin=MARGIN),
    "push_pull as printed": point_moves(push_pull, variant="paper"),
    "class_proximity: the embedding moves": embedding_moves,
}


def grid(side: int, edge: float = EDGE) -> Tensor:
    """Places of a square about the origin, row by row, (side^2, 2)."""
    ticks = torch.linspace(-edge, edge, side)
    return torch.cartesian_prod(ticks, ticks).flip(1)


def heights(value: Value, side: int = 161) -> go.Contour:
    """Darker is higher, in LEVELS steps of the same height; the highest tenth is equally dark."""
    places = grid(side)
    z = vmap(value)(places)
    step = (z.max() - z.min()).item() / LEVELS
    return go.Contour(
        x=places[:side, 0],
        y=places[::side, 1],
        z=z.view(side, side),
        zmin=z.min().item(),
        zmax=z.quantile(0.9).item(),
        contours={"start": z.min().item() + step, "end": z.max().item(), "size": step},
        colorscale=SHADES,
        line={"width": 0.7, "color": "white"},
        showscale=False,
    )


def arrows(value: Value) -> go.Scatter:
    """The way of the negative gradient, shorter where it is small beside its median."""
    places = grid(ARROWS, EDGE * (1 - 1 / ARROWS))
    slope, _ = vmap(grad_and_value(value))(places)
    steep = slope.norm(dim=1, keepdim=True)
    step = -slope / steep.clamp_min(1e-9) * (steep / steep.median()).tanh() * 0.8 * EDGE / ARROWS
    ends = torch.stack([places - step, places + step, torch.full_like(places, torch.nan)], 1).flatten(0, 1)
    return go.Scatter(
        x=ends[:, 0],
        y=ends[:, 1],
        mode="lines+markers",
        line={"color": INK, "width": 1},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0, 6, 0] * len(places),
            "color": INK,
            "line": {"width": 0},
        },
        opacity=0.75,
    )


def marks(places: Tensor, names: list[str], first: int = 0, symbol: str = "diamond") -> go.Scatter:
    """Ringed marks in the colours of their classes, the first of class `first`."""
    return go.Scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers+text",
        marker={
            "symbol": symbol,
            "size": 14,
            "color": [class_colour(first + k) for k in range(len(places))],
            "line": {"width": 2, "color": "white"},
        },
        text=[f"<b>{name}</b>" for name in names],
        textposition="bottom center",
        textfont={"color": INK, "size": 12},
    )


def landscapes() -> go.Figure:
    """A panel for each loss."""
    figure = make_subplots(2, 3, subplot_titles=list(PANELS), horizontal_spacing=0.02, vertical_spacing=0.07)
    embeddings = [marks(EMBEDDINGS, ["own", "other", "other"])]
    around = [marks(EMBEDDINGS[1:], ["other", "other"], 1), marks(POINT[None], ["point"], symbol="circle")]
    for k, value in enumerate(PANELS.values()):
        seen = around if value is embedding_moves else embeddings
        figure.add_traces([heights(value), arrows(value), *seen], rows=k // 3 + 1, cols=k % 3 + 1)
    return plain(figure, EDGE, height=712)


def regions() -> go.Figure:
    """A panel for each classifier, on the same points."""
    noise = torch.randn(len(CENTRES), EACH, 2, generator=torch.Generator().manual_seed(0))
    z = (CENTRES[:, None] + SPREADS[:, None, None] * noise).flatten(0, 1)
    y = torch.arange(len(CENTRES)).repeat_interleave(EACH)
    centres, places = class_means(z, y, len(CENTRES)), grid(501, EDGE + 1)
    panels = {
        "linear layer": linear_predictions(z, y, places),
        "nearest class centre": nearest(places, centres),
        "class centre of largest cosine": nearest(places, centres, "cosine"),
    }
    figure = make_subplots(1, 3, subplot_titles=list(panels), horizontal_spacing=0.02)
    seen = [points(z, y), marks(centres, [""] * len(centres), symbol="circle"), origin()]
    for column, classes in enumerate(panels.values(), start=1):
        figure.add_traces([coloured(classes), *seen], rows=1, cols=column)
    return plain(figure, EDGE + 1, height=372)


def coloured(classes: Tensor) -> go.Heatmap:
    """The class of each place of the grid, as a pale ground."""
    side, last = round(len(classes) ** 0.5), len(CENTRES) - 1
    ticks = grid(side, EDGE + 1)[:side, 0]
    scale = [(k / last, class_colour(k)) for k in range(last + 1)]
    return go.Heatmap(
        x=ticks,
        y=ticks,
        z=classes.view(side, side),
        colorscale=scale,
        zmin=0,
        zmax=last,
        showscale=False,
        opacity=0.3,
    )


def points(z: Tensor, y: Tensor) -> go.Scatter:
    """Small dots in the colours of their classes."""
    marker = {"color": [class_colour(k) for k in y.tolist()], "size": 5}
    return go.Scatter(x=z[:, 0], y=z[:, 1], mode="markers", marker=marker)


def origin() -> go.Scatter:
    """A thin cross."""
    marker = {"symbol": "cross-thin-open", "size": 12, "color": INK}
    return go.Scatter(x=[0], y=[0], mode="markers", marker=marker)


def plain(figure: go.Figure, edge: float, height: int) -> go.Figure:
    """A square of the same size in every panel, without axes or legend."""
    figure.update_xaxes(visible=False, range=[-edge, edge], constrain="domain")
    figure.update_yaxes(visible=False, range=[-edge, edge], constrain="domain")
    return figure.update_layout(
        template="plotly_white",
        width=1000,
        height=height,
        showlegend=False,
        margin={"l": 5, "r": 5, "t": 32, "b": 5},
    )


def main() -> None:
    for figure, out in zip((landscapes(), regions()), sys.argv[1:], strict=True):
        figure.write_html(out, config={"displayModeBar": False}, post_script="document.body.style.margin = 0")


if __name__ == "__main__":
    main()
