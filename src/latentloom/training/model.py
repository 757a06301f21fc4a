"""The model of a run, from its configuration and its training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.config import Prior, Train
from latentloom.data import default_encoder, image_shape
from latentloom.encoders import (
    ENCODERS,
    Gaussian,
    Model,
    build_decoder,
    build_encoder,
    build_model,
    measured_standardise,
    paper_standardise,
)
from latentloom.latent.mixtures import VampPrior, fitted_mixture, sphere_mixture
from latentloom.latent.priors import Hypercube, UnitGaussian
from latentloom.latent.priors import Prior as AnyPrior
from latentloom.training.latents import read_latents
from latentloom.values import ImageSet


def model_for(config: Train, train: ImageSet) -> Model:
    """The model that a configuration asks for, standardised by its training images."""
    c = config.model
    channels, size, _ = image_shape(train.images)
    name = default_encoder(config.data.name, size) if c.encoder == "auto" else c.encoder
    check_choice("encoder", name, ENCODERS)
    by_paper = c.normalise == "paper"
    standardise = paper_standardise(config.data.name) if by_paper else measured_standardise(_sample(train))
    latent_dim, drawn = c.latent_dim or ENCODERS[name].latent_dim, c.prior.kind != "none"
    # A Gaussian has a linear layer of its own for each of its two halves.
    ends_in = None if drawn else c.latent_dim
    model = build_model(
        build_encoder(name, channels, size, ends_in, stem=c.stem, pretrained=c.pretrained, weights=c.weights),
        latent_dim=latent_dim,
        classes=len(train.class_names),
        standardise=standardise,
        classifier=c.classifier,
        class_embeddings=c.class_embeddings if c.embeddings_from is None else _vectors(c.embeddings_from),
        learned_centres=c.learned_centres,
        gaussian=Gaussian(ENCODERS[name].latent_dim, latent_dim, config.seed) if drawn else None,
        decoder=None if c.decoder is None else build_decoder(c.decoder, channels, size, latent_dim),
        pullback=c.pullback,
    )
    if drawn:
        model.prior = prior_for(c.prior, model, latent_dim, train)
    return model


def prior_for(config: Prior, model: Model, latent_dim: int, train: ImageSet) -> AnyPrior:
    """The prior over latents (n, latent_dim) that a configuration asks for."""
    if config.components < 1:
        raise UserError(f"a prior wants at least one component, got {config.components}")
    match config.kind:
        case "unit":
            return UnitGaussian(latent_dim)
        case "hypercube":
            return Hypercube(latent_dim, side=config.side, logvar=config.logvar)
        case "sphere":
            return sphere_mixture(
                config.components,
                latent_dim,
                radius=config.radius,
                logvar=config.logvar,
                learned=config.learned,
            )
        case "vamp":
            return VampPrior(_sample(train, config.components), model.posterior, fresh=config.fresh)
        case "fitted":
            return fitted_mixture(_latents(config.latents, latent_dim), config.components)
    raise UserError("the model has no prior; set --model.prior.kind")


def _latents(path: str | None, latent_dim: int) -> Tensor:
    """Latents of another run, (n, latent_dim)."""
    if path is None:
        raise UserError("a fitted prior wants latents to be fitted on; set --model.prior.latents")
    try:
        z = read_latents(Path(path))
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        raise UserError(
            f"cannot read latents from {path}: {error}; wanted a .parquet of a run, or .npy"
        ) from error
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise UserError(
            f"{path} holds latents {tuple(z.shape)}, and the model has {latent_dim} dimensions; "
            "set --model.latent_dim to those of the file"
        )
    return z


def _vectors(path: str) -> Tensor:
    """A vector per class from a file, (C, d)."""
    try:
        if path.endswith(".safetensors"):
            (vectors,) = load_file(path).values()
            return vectors
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError, SafetensorError) as error:
        raise UserError(
            f"cannot read class embeddings from {path}: {error}; wanted a .npy file, or a .safetensors file "
            "of one tensor, with a row per class"
        ) from error


def _sample(train: ImageSet, most: int = 2000) -> Tensor:
    """Training images, evenly chosen, as floats in [0, 1]: (n, c, h, w)."""
    rows = torch.linspace(0, len(train) - 1, min(len(train), most)).long()
    images = train.images
    chosen = (
        images[rows] if isinstance(images, Tensor) else torch.stack([images.decode(r) for r in rows.tolist()])
    )
    return chosen.float() / 255
