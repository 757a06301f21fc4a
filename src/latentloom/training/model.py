"""The model of a run, from its configuration and its training images."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.config import Model as ModelConfig
from latentloom.config import Names, Prior, Train
from latentloom.data import default_encoder, image_shape
from latentloom.encoders import (
    ENCODERS,
    Gaussian,
    LabelEmbeddings,
    Model,
    Standardise,
    build_decoder,
    build_encoder,
    build_model,
    measured_standardise,
    paper_standardise,
)
from latentloom.evaluation import class_means
from latentloom.latent.geometry import evenly
from latentloom.latent.mixtures import VampPrior, fitted_mixture, sphere_mixture
from latentloom.latent.priors import Hypercube, UnitGaussian
from latentloom.latent.priors import Prior as AnyPrior
from latentloom.names.asked import asked_group_vectors, asked_vectors, check_asked
from latentloom.names.coarse import coarse_of
from latentloom.names.matrix import read_matrix
from latentloom.names.vectors import NO_DIRECTION, NoVectorError, centre
from latentloom.records import versions
from latentloom.training.classifier import attached_encoder, check_fits, classifier_from
from latentloom.training.latents import read_latents
from latentloom.values import ImageSet


@dataclass(frozen=True)
class Given:
    """What of a model comes from images and texts and is not drawn at random."""

    standardise: Standardise
    labels: LabelEmbeddings | None
    class_embeddings: Tensor | bool  # (C, d), or whether there are any
    classifier: nn.Module | None = None  # a user's, in place of an encoder


def model_for(config: Train, train: ImageSet) -> Model:
    """The model that a configuration asks for, standardised by its training images."""
    shape = image_shape(train.images)
    check_fits(config.model)
    c = with_encoder(config, shape[1])
    by_paper = c.normalise == "paper"
    standardise = paper_standardise(config.data.name) if by_paper else measured_standardise(_sample(train))
    labels = label_head(c.label_embeddings, train, config.seed)
    given = Given(
        standardise,
        labels,
        _start(c, labels),
        None if c.function is None else classifier_from(c.function, len(train.class_names)),
    )
    model = assembled(c, shape, len(train.class_names), given, config.seed)
    if model.gaussian is not None:
        model.prior = prior_for(c.prior, model, model.gaussian.mean.out_features, train)
    return model


def with_encoder(config: Train, size: int) -> ModelConfig:
    """The model's section of a configuration, for images of this size, with the encoder's name for auto."""
    c = config.model
    if c.function is not None:
        return c
    name = default_encoder(config.data.name, size) if c.encoder == "auto" else c.encoder
    check_choice("encoder", name, ENCODERS)
    return replace(c, encoder=name)


def description(config: Train, train: ImageSet) -> dict[str, Any]:
    """What stands beside the weights of a run: what they are of, and how images are prepared for them."""
    shape = image_shape(train.images)
    return {
        "data": train.name,
        "class_names": train.class_names,
        "coarse_names": train.coarse_names,
        "images": list(shape),
        "resize": config.data.resize,
        "model": asdict(with_encoder(config, shape[1])),
        "versions": versions(),
    }


def assembled(c: ModelConfig, shape: tuple[int, int, int], classes: int, given: Given, seed: int) -> Model:
    """Encoder, heads and decoder; the prior is left out."""
    channels, size, _ = shape
    wanted = _latent_dim(c.latent_dim, given.labels)
    drawn = c.prior.kind != "none"
    projected = None if drawn else wanted  # a Gaussian has a linear layer for each of its two halves
    if given.classifier is None:
        encoder, own = _encoder(c, channels, size, projected, given), ENCODERS[c.encoder].latent_dim
    else:
        encoder, own = attached_encoder(given.classifier, c, shape, classes, given.standardise, projected)
    latent_dim = wanted or own
    has_logits = given.classifier is not None and c.classifier == "linear"
    return build_model(
        encoder,
        latent_dim=latent_dim,
        classes=classes,
        standardise=given.standardise,
        classifier="none" if has_logits else c.classifier,
        class_embeddings=given.class_embeddings,
        tied=c.embeddings_tied,
        learned_centres=c.learned_centres,
        label_embeddings=given.labels,
        gaussian=Gaussian(own, latent_dim, seed) if drawn else None,
        decoder=None if c.decoder is None else build_decoder(c.decoder, channels, size, latent_dim),
        pullback=c.pullback,
    )


def _encoder(c: ModelConfig, channels: int, size: int, latent_dim: int | None, given: Given) -> nn.Module:
    return build_encoder(
        c.encoder,
        channels,
        size,
        latent_dim,
        stem=c.stem,
        pretrained=c.pretrained,
        weights=c.weights,
        project=given.labels is not None,
    )


def label_head(config: Names, train: ImageSet, seed: int) -> LabelEmbeddings | None:
    """The head of what class names mean, and names of groups where the images have coarse labels."""
    check_asked(config)
    if config.source == "none":
        return None
    fine, coarse, origin = vectors_for(config, train)
    if config.centred:
        mean = fine.double().mean(0)
        coarse = None if coarse is None else _centred_groups(coarse, mean)
        fine = centre(fine, train.class_names, mean)
    groups = coarse_of(train)
    return LabelEmbeddings(
        fine,
        coarse,
        groups,
        learned_balance=config.learned_balance and groups is not None,
        seed=seed,
        origin=origin,
    )


def vectors_for(config: Names, train: ImageSet) -> tuple[Tensor, Tensor | None, str]:
    """Vectors of the classes (C, d) and of their groups (G, d) or None, not centred; and their origin.

    Where the names of groups have no vectors, as of a bare matrix, or without the text model that would
    read them, each group has the mean of its classes; one without a class that of all.
    """
    fine, groups = asked_vectors(config, train.class_names), coarse_of(train)
    origin = f"{fine.model}, {fine.revision}"
    if groups is None:
        return fine.vectors, None, origin
    if not fine.bare and train.coarse_names:
        with suppress(NoVectorError):
            return fine.vectors, asked_group_vectors(config, train.coarse_names).vectors, origin
    count = len(train.coarse_names) or int(groups.max()) + 1
    means = class_means(fine.vectors, groups, count)
    means = torch.where(means.isnan(), fine.vectors.double().mean(0), means)
    return fine.vectors, means.float(), f"{origin}; of groups the means of their classes"


def _centred_groups(coarse: Tensor, mean: Tensor) -> Tensor:
    """Directions of groups from the mean of the classes; a group that lies there keeps its own."""
    away = (coarse.double() - mean).norm(dim=1) >= NO_DIRECTION
    found = coarse.clone()
    found[away] = centre(coarse[away], (), mean)
    return found


def _latent_dim(asked: int | None, labels: LabelEmbeddings | None) -> int | None:
    """The dimension to project to: that of the label embeddings, or the one asked for; None is none."""
    d = asked if labels is None else labels.vectors.shape[1]
    if asked not in (None, d):
        raise UserError(
            f"the label embeddings have {d} dimensions, and so must latents; got model.latent_dim {asked}, "
            "leave it out"
        )
    return d


def _start(config: ModelConfig, labels: LabelEmbeddings | None) -> Tensor | bool:
    """What class embeddings start at; label embeddings as long as draws of N(0, 1) are."""
    if config.embeddings_from is None:
        return config.class_embeddings
    if config.embeddings_from != "names":
        return read_matrix(config.embeddings_from, "class embeddings")[0]
    if labels is None:
        raise UserError(
            "class embeddings were to start at the label embeddings, and there are none; add "
            "--model.label_embeddings.source names"
        )
    return labels.vectors * math.sqrt(labels.vectors.shape[1])


def prior_for(config: Prior, model: Model, latent_dim: int, train: ImageSet) -> AnyPrior:
    """The prior over latents (n, latent_dim) that a configuration asks for."""
    if config.components < 1:
        raise UserError(f"a prior wants at least one component, got {config.components}")
    match config.kind:
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
    return plain_prior(config, latent_dim)


def plain_prior(config: Prior, latent_dim: int) -> AnyPrior:
    """A prior that numbers alone define."""
    match config.kind:
        case "unit":
            return UnitGaussian(latent_dim)
        case "hypercube":
            return Hypercube(latent_dim, side=config.side, logvar=config.logvar)
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


def _sample(train: ImageSet, most: int = 2000) -> Tensor:
    """Training images, evenly chosen, as floats in [0, 1]: (n, c, h, w)."""
    rows = evenly(len(train), most)
    images = train.images
    chosen = (
        images[rows] if isinstance(images, Tensor) else torch.stack([images.decode(r) for r in rows.tolist()])
    )
    return chosen.float() / 255
