"""A trained model, built again from its weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from latentloom.config import Model as ModelConfig
from latentloom.config import Prior
from latentloom.encoders import LabelEmbeddings, Model, Standardise
from latentloom.latent.mixtures import Mixture, VampPrior
from latentloom.latent.priors import Prior as AnyPrior
from latentloom.training.model import Given, assembled, plain_prior


def rebuilt(
    c: ModelConfig,
    shape: tuple[int, int, int],
    classes: int,
    weights: Mapping[str, Tensor],
    classifier: nn.Module | None = None,
) -> Model:
    """The trained model that has these weights, in evaluation mode; nothing else of its run is needed.

    What `model_for` takes from images and texts is among the weights. Weights that lack a tensor raise
    KeyError, those of another model RuntimeError.

    Args:
        c: what the run asked for, with the name of its encoder; see `with_encoder`.
        shape: channels, height and width of images.
        classes: C.
        weights: the state of the model.
        classifier: the user's own that the run was given, with any weights.
    """
    given = Given(
        Standardise(weights["encoder.0.mean"], weights["encoder.0.std"]),
        _labels_among(weights),
        weights.get("heads.class_embeddings.vectors", False),
        classifier,
    )
    with torch.random.fork_rng(devices=[]):  # what is drawn is replaced, and nobody should notice
        model = assembled(replace(c, pretrained=False, weights=None), shape, classes, given, seed=0)
        model.prior = _prior_among(weights, c.prior, model)
    model.to(given.standardise.mean.dtype).load_state_dict(weights)  # float64 where it was trained so
    return model.eval()


def _labels_among(weights: Mapping[str, Tensor]) -> LabelEmbeddings | None:
    """The head of label embeddings that a model of these weights has."""
    prefix = "heads.label_embeddings."
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        return None
    coarse, groups = found.get("coarse_vectors"), found.get("coarse_of")
    return LabelEmbeddings(found["vectors"], coarse, groups, learned_balance="balance" in found)


def _prior_among(weights: Mapping[str, Tensor], config: Prior, model: Model) -> AnyPrior | None:
    """The prior that a model of these weights has."""
    match config.kind:
        case "none":
            return None
        case "sphere" | "fitted":
            learned = config.kind == "sphere" and config.learned
            names = ("prior.means", "prior.logvars", "prior.log_weights")
            means, logvars, log_weights = (weights[name] for name in names)
            return Mixture(means, logvars, log_weights.exp(), learned=learned)
        case "vamp":
            return VampPrior(weights["prior.pseudo_inputs"], model.posterior, fresh=config.fresh)
    return plain_prior(config, weights["gaussian.mean.bias"].shape[0])
