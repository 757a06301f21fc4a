"""Pictures of what a decoder and a prior have learned, small enough to keep with every run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.data import ordered
from latentloom.data.splits import FIXED_SEED, stratified_order, subset
from latentloom.encoders import Model
from latentloom.encoders.normalise import unit_range
from latentloom.files import atomically
from latentloom.latent.priors import LISTED, Prior
from latentloom.values import Splits

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

PICTURES = "generative.npz"
IMAGES, SAMPLES, STEPS = 10, 25, 10
SIDE = 32  # pixels; larger images are kept at this size
# 512 components in 23 dimensions; with 55 images of 32 x 32 in colour a file stays below 300 kB.
COMPONENTS, NUMBERS = 512, 12_000


@dataclass(frozen=True)
class Pictures:
    """What a decoder and a prior give; empty, with n or K 0, where the model lacks what it takes."""

    originals: Bytes  # (10, c, h, w), of as many classes as there are
    reconstructions: Bytes  # (10, c, h, w), of the same images
    samples: Bytes  # (25, c, h, w), points drawn from the prior, decoded
    walk: Bytes  # (10, c, h, w), a straight way from the first image's latent to the last one's, decoded
    means: Floats  # (K, d), of the prior's components
    logvars: Floats  # (K, d)


def save_pictures(model: Model, splits: Splits, config: Train, folder: Path) -> None:
    """Write `take_pictures` to generative.npz in a run's folder; without decoder and prior write nothing."""
    if model.decoder is None and model.prior is None:
        return
    arrays = vars(take_pictures(model, splits, config))
    with atomically(folder / PICTURES) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_pictures(folder: Path) -> Pictures | None:
    """The pictures of a run's folder; None where the run left none."""
    path = folder / PICTURES
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Pictures(**{field.name: arrays[field.name] for field in fields(Pictures)})
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(
            f"cannot read pictures from {path} ({error}); delete it, and the page goes without"
        ) from error


@torch.no_grad()
def take_pictures(model: Model, splits: Splits, config: Train) -> Pictures:
    """Images of the evaluated split before and after the model, and what its prior and decoder make up.

    The images are the same for every seed and recipe; the samples are a function of the seed.

    Args:
        model: trained; evaluated as in evaluation, and left in the mode it is in.
        splits: the data; of them the split that `config.evaluation` names.
        config: of the run; says whether the decoder gives logits, and the seed.
    """
    was_training = model.training
    model.eval()
    x, y = _few_images(splits, config, next(model.parameters()).device)
    z = model(x).z
    means, logvars = _components(model.prior, z)
    pictures = Pictures(
        originals=_as_bytes(x if model.decoder is not None else x[:0]),
        reconstructions=_decoded(model, z, x, config),
        samples=_decoded(model, _samples(model.prior, z, config.seed), x, config),
        walk=_decoded(model, _walk(z, y), x, config),
        means=means,
        logvars=logvars,
    )
    model.train(was_training)
    return pictures


def _few_images(splits: Splits, config: Train, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], (n, c, h, w), and their classes, (n,), in the order of classes."""
    images = getattr(splits, config.evaluation.split)
    rows = stratified_order(images.labels, FIXED_SEED)[:IMAGES]  # one of each class comes first
    few = subset(images, rows[images.labels[rows].argsort(stable=True)])
    batch = next(ordered(few, IMAGES, device))
    return unit_range(batch["x"]), batch["y"]


def _samples(prior: Prior | None, z: Tensor, seed: int) -> Tensor:
    """Points drawn from the prior, (25, d), by a generator of their own; none without a prior."""
    if prior is None:
        return z[:0]
    return prior.sample(SAMPLES, torch.Generator(z.device).manual_seed(seed))


def _walk(z: Tensor, y: Tensor) -> Tensor:
    """Points on the line between the first and the last, (10, d); none where both are of one class."""
    if y[0] == y[-1]:
        return z[:0]
    share = torch.linspace(0, 1, STEPS, dtype=z.dtype, device=z.device)
    return torch.lerp(z[0], z[-1], share[:, None])


def _decoded(model: Model, z: Tensor, x: Tensor, config: Train) -> Bytes:
    """The images that points stand for, (n, c, h, w), shaped as x; none without a decoder."""
    if model.decoder is None or not len(z):
        return _as_bytes(x[:0])
    options = [term.options for term in config.objective.terms.values()]
    logits = any(own.get("likelihood") == "bernoulli" for own in options)
    return _as_bytes(model.decode(z).sigmoid() if logits else model.decode(z))


def _as_bytes(images: Tensor) -> Bytes:
    """Images of [0, 1] in uint8, at most 32 pixels wide and high; what is outside is cut off."""
    size = [min(side, SIDE) for side in images.shape[2:]]
    if len(images) and size != list(images.shape[2:]):
        images = interpolate(images, size, mode="area")
    pixels: Bytes = (images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return pixels


def _components(prior: Prior | None, z: Tensor) -> tuple[Floats, Floats]:
    """Means and log-variances of the prior's first components, (K, d) each, K at most 512 or 12,000 / d.

    None without a prior, and of a hypercube that has too many to be listed.
    """
    means, logvars = (z[:0], z[:0]) if prior is None or prior.count > LISTED else prior.components()
    most = min(COMPONENTS, NUMBERS // z.shape[1])
    first, second = (part[:most].float().cpu().numpy() for part in (means, logvars))
    return first, second
