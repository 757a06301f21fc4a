"""A classifier of the user's own in place of an encoder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.config import Model as ModelConfig
from latentloom.encoders import Standardise, attach, layers
from latentloom.encoders.tap import in_evaluation

SHOWN = 20  # layers that an error names
# Fields that say how an encoder of ours is made.
OURS = ("stem", "pretrained", "weights")


def check_fits(c: ModelConfig) -> None:
    """Refuse fields that only an encoder of ours has beside a classifier of the user's, and the reverse."""
    default = ModelConfig()
    if c.function is None:
        if c.layer is not None:
            raise UserError(
                f"model.layer {c.layer!r} is one of a classifier of your own; add --model module:function"
            )
        return
    if asked := [name for name in OURS if getattr(c, name) != getattr(default, name)]:
        raise UserError(
            f"model.{asked[0]} is of an encoder of latentloom, and --model {c.function} stands in its place; "
            "leave one of them out"
        )


Function = Callable[[int], nn.Module]


def classifier_from(given: str | Function, classes: int) -> nn.Module:
    """The module that a function gives for this number of classes.

    One named "module:function" is looked for where Python looks, and in the working directory.
    """
    function = _named(given) if isinstance(given, str) else given
    made = function(classes)
    if not isinstance(made, nn.Module):
        name = given if isinstance(given, str) else "the function"
        raise UserError(f"{name} gives {type(made).__name__} for {classes}, wanted a torch.nn.Module")
    return made


def _named(name: str) -> Function:
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise UserError(f"--model {name}: wanted module:function, as in my_networks:small_net")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the user's own module imports
        raise UserError(
            f"--model {name}: there is no module {error.name!r}, neither in {here} nor among those installed"
        ) from error
    offered = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
    check_choice(f"function of {module}", function, offered)
    named: Function = getattr(found, function)
    return named


def attached_encoder(
    classifier: nn.Module,
    c: ModelConfig,
    shape: tuple[int, int, int],
    classes: int,
    standardise: Standardise,
    projected: int | None,
) -> tuple[nn.Module, int]:
    """A classifier with a tap, standardised images -> z and logits; and the dimension of what the tap gives.

    Args:
        classifier: standardised images (n, c, h, w) -> logits (n, C).
        c: names the layers, and how they are read.
        shape: channels, height and width of images.
        classes: C.
        standardise: what images pass before.
        projected: the dimension that z is projected to; None leaves it as the layers give it.
    """
    example: Tensor = standardise(torch.zeros(2, *shape))
    if c.layer is None:
        raise UserError(
            f"say which layer of {c.function} gives the latent, with --model.layer NAME; there are "
            f"{_listed(classifier, example)}"
        )
    layer = [str(name) for name in c.layer] if isinstance(c.layer, list) else str(c.layer)
    tapped = attach(classifier, layer, read=c.read, pool=c.pool, channels=c.channels, example=example)
    with in_evaluation(tapped), torch.no_grad():
        latent = tapped(example)
    if latent["logits"].shape != (2, classes):
        raise UserError(
            f"{c.function} gives {tuple(latent['logits'].shape)} for 2 images, wanted (2, {classes}), a "
            f"logit per class; it is called with the number of classes, {classes}"
        )
    own = latent.z.shape[1]
    if projected is not None:
        tapped.projection = nn.Linear(own, projected)
    return tapped, own


def _listed(classifier: nn.Module, example: Tensor) -> str:
    """Layers with the shape that each gives for an image, the last ones."""
    shapes = [f"{name} {shape[1:]}" for name, shape in layers(classifier, example).items()]
    return ", ".join(shapes[-SHOWN:]) + ("" if len(shapes) <= SHOWN else ", and more before them")
