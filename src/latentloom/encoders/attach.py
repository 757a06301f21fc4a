"""A latent from any layer of any model."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.encoders.heads import joined
from latentloom.encoders.semantic import label_embeddings_among, noise_of_names
from latentloom.encoders.tap import (
    Channels,
    Pool,
    Read,
    Tap,
    check_layer,
    check_not_compiled,
    logits_of,
    named_layers,
    pooled,
)
from latentloom.values import Latent


class Attached(nn.Module):
    """A model of the one contract around someone's classifier; see `attach`."""

    def __init__(
        self,
        model: nn.Module,
        taps: Sequence[Tap],
        heads: Mapping[str, nn.Module],
        objective: nn.Module | None,
        projection: nn.Module | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.taps = tuple(taps)
        self.heads = nn.ModuleDict(heads)
        self.objective = objective
        self.projection = projection

    def forward(self, x: Tensor, rows: Tensor | None = None, step: int = 0) -> Latent:
        """The latent of images, with the logits of the model inside.

        Args:
            x: what the model takes.
            rows: number of each image in its set, (n,); with them, and with the head `LabelEmbeddings`,
                there is samples["noise"], (n,).
            step: batches seen before.
        """
        logits, points = self._tapped(x)
        if self.projection is not None:
            points = self.projection(points)
        parts = [Latent({"z": points, "logits": logits}), *(head(points) for head in self.heads.values())]
        return joined([*parts, noise_of_names(label_embeddings_among(self.heads.values()), rows, step)])

    def _tapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the model inside, (n, C), and what its layers gave, (n, d)."""
        if not self.taps:
            raise UserError("this model was detached, and no layer gives a latent; attach again")
        for tap in self.taps:
            tap.open()
        try:
            logits = logits_of(self.model(x))
        finally:  # a forward that fails leaves no graph in a tap
            seen = [tap.close() for tap in self.taps]
        _check_logits(logits)
        given = [_once(tap.name, values, logits) for tap, values in zip(self.taps, seen, strict=True)]
        return logits, given[0] if len(given) == 1 else torch.cat(given, 1)

    def detach(self) -> nn.Module:
        """The model inside, the same object, without a hook of this wrapper, which is then of no use."""
        for tap in self.taps:
            tap.remove()
        self.taps = ()
        return self.model


def attach(
    model: nn.Module,
    layer: str | Sequence[str],
    objective: nn.Module | None = None,
    *,
    heads: Mapping[str, nn.Module] | None = None,
    read: Read = "output",
    pool: Pool = "mean",
    channels: Channels | None = None,
    projection: nn.Module | None = None,
    example: Tensor | None = None,
) -> Attached:
    """Make `model(x) -> Latent` of a classifier, with z tapped at one of its layers, or at several.

    The classifier gains no parameter, and its own forward is unchanged; `detach()` gives it back without
    the hooks. Of a layer that gives a tuple, or an output of Hugging Face, the first tensor is taken.

    Args:
        model: (n, ...) -> logits (n, C), or something that has them as `.logits` or under "logits". What
            it gives beside them, such as auxiliary logits, is left out.
        layer: a name of `model.named_modules()`, called once in a forward. Of several names, z is what
            they give side by side, (n, d1 + d2 + ...): terms and scores judge one space.
        objective: kept as `.objective`, so that what it learns is in `parameters()` and `state_dict()`;
            None where something else holds it.
        heads: modules (n, d) -> `Latent` that add parts, e.g. `Centres`, or `LabelEmbeddings` of what the
            class names mean.
        read: take the layer's output, or its first input, e.g. of the classifier's last layer.
        pool: how maps and tokens become points (n, d): mean or max over the places, the first token
            ("class_token"), or all numbers as they come ("flatten"). Points stay as they are.
        channels: where the d numbers of a place stand, for mean and max. Unless given, last in tokens
            (n, t, d), and first in maps (n, c, h, w); square maps with channels last are refused.
        projection: learned with the rest, (n, d of the layers) -> (n, d) of z and the heads, e.g.
            `nn.Linear(64, 384)` for label embeddings of 384 dimensions. The logits do not pass it.
        example: what the model takes; a misspelt layer is then answered with the shapes that others give.
    """
    check_choice("way to read a layer", read, ("output", "input"))
    check_choice("pool", pool, ("mean", "max", "class_token", "flatten"))
    if channels is not None:
        check_choice("place of channels", channels, ("first", "last"))
    check_not_compiled(model)
    names = _names(layer)
    for name in names:
        check_layer(model, name, read, example)
    known = named_layers(model)
    taps = [
        Tap(known[name], name, read, partial(pooled, layer=name, pool=pool, channels=channels))
        for name in names
    ]
    return Attached(model, taps, heads or {}, objective, projection)


def _names(layer: Any) -> list[str]:
    names = [layer] if isinstance(layer, str) else list(layer) if isinstance(layer, Sequence) else []
    if not names or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise UserError(
            "layer must be a name of model.named_modules(), or several different ones, got "
            f"{reprlib.repr(layer)}"
        )
    return names


def _check_logits(logits: Any) -> None:
    if not isinstance(logits, Tensor):
        raise UserError(
            f"the model gives {type(logits).__name__}, wanted logits: a tensor, or something that has one "
            "as .logits; wrap the model in a module whose forward returns its logits"
        )


def _once(layer: str, values: Sequence[Tensor], logits: Tensor) -> Tensor:
    if len(values) != 1:
        raise UserError(
            f"layer {layer!r} ran {len(values)} times in one forward, wanted once; tap a layer that "
            "the model calls exactly once, see latentloom.encoders.layers(model, x)"
        )
    if values[0].shape[:1] != logits.shape[:1]:
        raise UserError(
            f"layer {layer!r} gives {tuple(values[0].shape)} and the model {tuple(logits.shape)}, wanted a "
            "row per image; tap another layer"
        )
    return values[0]
