"""Pictures of what decoders and priors have learned, and the parts of a loss."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from latentloom.report.figures import FIRST, curves, latent_map
from latentloom.report.geometry import LOG
from latentloom.report.maps import Floats, MapData, map_of
from latentloom.report.rows import Runs
from latentloom.training.pictures import Bytes, Pictures, read_pictures

PART, TOTAL = "train/", "train/total"
ACROSS = 10  # images in a row; samples are a square of half that
GAP = 14  # images are a fourteenth of their height apart, and a pixel at least
ROUND = 33  # corners of an ellipse, the first of them twice


@dataclass(frozen=True)
class Generated:
    """What a recipe's decoder and prior give, to draw."""

    pictures: Pictures
    latents: MapData | None  # of the evaluated images, where the latent space is a plane


def generated_of(runs: Runs, folders: Mapping[str, Path]) -> dict[str, Generated]:
    """What decoder and prior of the first run of each recipe give, where it left pictures in its folder."""
    found = {}
    for recipe, records in runs.items():
        pictures = read_pictures(folders[recipe])
        if pictures is not None:
            is_plane = pictures.means.shape[1] == 2
            latents = map_of(records[0], folders[recipe], lambda z: z) if is_plane else None
            found[recipe] = Generated(pictures, latents)
    return found


def sheets(pictures: Pictures) -> dict[str, str]:
    """Kind -> images beside each other as the address of a PNG, for the kinds that there are.

    reconstructions are a row of originals above a row of what the decoder makes of them, walk is a row,
    samples are a square.
    """
    both = np.concatenate([pictures.originals, pictures.reconstructions])
    drawn = {
        "reconstructions": (both, ACROSS),
        "walk": (pictures.walk, ACROSS),
        "samples": (pictures.samples, ACROSS // 2),
    }
    return {kind: png_address(sheet(*images)) for kind, images in drawn.items() if len(images[0])}


def sheet(images: Bytes, columns: int) -> Bytes:
    """Images (n, c, h, w), n > 0, row by row as one of RGBA, (H, W, 4), with nothing between them."""
    _, _, h, w = images.shape
    down, right = (side + max(1, h // GAP) for side in (h, w))
    rows = -(-len(images) // columns)
    whole = np.zeros((rows * down - (down - h), columns * right - (right - w), 4), np.uint8)
    for k, image in enumerate(images):
        top, left = k // columns * down, k % columns * right
        place = whole[top : top + h, left : left + w]
        place[..., :3], place[..., 3] = image.transpose(1, 2, 0), 255  # one channel becomes three
    return whole


def png_address(image: Bytes) -> str:
    """An image (H, W, 4) as a data: address that holds it as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def prior_plane(data: MapData, means: Floats, logvars: Floats) -> go.Figure:
    """The prior among latents in two dimensions, z_0 against z_1, on one scale.

    Args:
        data: latents as they are, coloured by class, with the mean of each class.
        means: of the components, (K, 2): a cross each.
        logvars: their log-variances, (K, 2): an ellipse of one standard deviation each.
    """
    figure = latent_map(data)
    figure.add_traces([_ellipses(means, logvars), _crosses(means)])
    axis = {"visible": True, "zeroline": False, "nticks": 6}
    figure.update_xaxes(title="z_0", **axis).update_yaxes(title="z_1", **axis)
    return figure.update_layout(margin={"l": 44, "r": 8, "t": 12, "b": 40})


def _ellipses(means: Floats, logvars: Floats) -> go.Scatter:
    """All of them as one line that nan interrupts."""
    angle = np.append(np.linspace(0, 2 * np.pi, ROUND), np.nan)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)  # (34, 2)
    points = means[:, None] + np.exp(logvars / 2)[:, None] * circle  # (K, 34, 2)
    x, y = points.reshape(-1, 2).astype(np.float32).T
    line = {"color": FIRST, "width": 1}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name="one standard deviation", hoverinfo="skip")


def _crosses(means: Floats) -> go.Scatter:
    x, y = means.astype(np.float32).T
    marker = {"symbol": "cross-thin", "size": 9, "line": {"width": 2, "color": FIRST}}
    about = "mean of component %{pointNumber}<extra></extra>"
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, name="components", hovertemplate=about)


def loss_parts(runs: Runs) -> dict[str, go.Figure]:
    """Term -> its part of the training loss over epochs, as `curves` draws it.

    The axis is logarithmic where all that is drawn, the bands too, is above 0.
    """
    columns = {key for records in runs.values() for r in records for row in r.history for key in row}
    parts = sorted(key for key in columns if key.startswith(PART) and key != TOTAL)
    drawn = {key.removeprefix(PART): curves(runs, key) for key in parts}
    return {name: _on_fitting_axis(figure) for name, figure in drawn.items() if figure.data}


def _on_fitting_axis(figure: go.Figure) -> go.Figure:
    above_0 = all(np.min(trace.y) > 0 for trace in figure.data)
    return figure.update_yaxes(**LOG) if above_0 else figure
