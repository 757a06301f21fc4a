"""The model of a run, from its configuration and its training images."""

from __future__ import annotations

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.data import default_encoder, image_shape
from latentloom.encoders import (
    ENCODERS,
    Model,
    build_encoder,
    build_model,
    measured_standardise,
    paper_standardise,
)
from latentloom.values import ImageSet


def model_for(config: Train, train: ImageSet) -> Model:
    """The model that a configuration asks for, standardised by its training images."""
    c = config.model
    channels, size, _ = image_shape(train.images)
    name = default_encoder(config.data.name, size) if c.encoder == "auto" else c.encoder
    by_paper = c.normalise == "paper"
    standardise = paper_standardise(config.data.name) if by_paper else measured_standardise(_sample(train))
    return build_model(
        build_encoder(
            name, channels, size, c.latent_dim, stem=c.stem, pretrained=c.pretrained, weights=c.weights
        ),
        latent_dim=c.latent_dim or ENCODERS[name].latent_dim,
        classes=len(train.class_names),
        standardise=standardise,
        classifier=c.classifier,
        class_embeddings=c.class_embeddings if c.embeddings_from is None else _vectors(c.embeddings_from),
        learned_centres=c.learned_centres,
    )


def _vectors(path: str) -> Tensor:
    """A vector per class from a file, (C, d)."""
    try:
        if path.endswith(".safetensors"):
            (vectors,) = load_file(path).values()
            return vectors
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
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
