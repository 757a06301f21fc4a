"""A latent from any layer of any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, unknown
from latentloom.encoders.heads import joined
from latentloom.encoders.semantic import label_embeddings_among, noise_of_names
from latentloom.values import Latent


class Tap:
    """Keeps what passes through a layer during one forward of `Attached`."""

    def __init__(self, layer: nn.Module, name: str, read: Literal["output", "input"]) -> None:
        self.name = name
        self.seen: list[Any] | None = None  # None is closed: the model's own forwards leave nothing here
        # Bound methods, not lambdas: they can be pickled, for processes that are spawned.
        if read == "output":
            layer.register_forward_hook(self._after)
        else:
            layer.register_forward_pre_hook(self._before, with_kwargs=True)

    def _after(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._keep(output)

    def _before(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._keep(next(iter((*inputs, *named.values())), None))

    def _keep(self, value: Any) -> None:
        if self.seen is not None:
            # A copy, since an in-place module right behind would overwrite the value.
            self.seen.append(value.clone() if isinstance(value, Tensor) else value)

    def open(self) -> None:
        """Keep what passes from now on."""
        self.seen = []

    def take(self) -> Any:
        """What passed, once; the tap is closed afterwards and holds no graph."""
        seen, self.seen = self.seen or [], None
        if len(seen) != 1:
            raise UserError(
                f"layer {self.name!r} ran {len(seen)} times in one forward, wanted once; tap a layer that "
                "the model calls exactly once"
            )
        return seen[0]


class Attached(nn.Module):
    """A model of the one contract around someone's classifier; see `attach`."""

    def __init__(
        self,
        model: nn.Module,
        tap: Tap,
        heads: Mapping[str, nn.Module],
        objective: nn.Module,
        projection: nn.Module | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tap = tap
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
        self.tap.open()
        logits = self.model(x)
        z = self.tap.take()
        _check_tapped(z, logits, self.tap.name)
        points = z.flatten(1) if z.ndim != 4 else z.mean((2, 3))
        if self.projection is not None:
            points = self.projection(points)
        parts = [Latent({"z": points, "logits": logits}), *(head(points) for head in self.heads.values())]
        return joined([*parts, noise_of_names(label_embeddings_among(self.heads.values()), rows, step)])


def attach(
    model: nn.Module,
    layer: str,
    objective: nn.Module,
    *,
    heads: Mapping[str, nn.Module] | None = None,
    read: Literal["output", "input"] = "output",
    projection: nn.Module | None = None,
) -> Attached:
    """Make `model(x) -> Latent` of a classifier, with z tapped at one of its layers.

    The classifier gains no parameter and its own forward is unchanged. Maps (n, c, h, w) are averaged
    over their places; other shapes are flattened to (n, d).

    Args:
        model: (n, ...) -> logits (n, C).
        layer: a name of `model.named_modules()`, called once in a forward.
        objective: kept as `.objective`, so that what it learns is in `parameters()` and `state_dict()`.
        heads: modules (n, d) -> `Latent` that add parts, e.g. `Centres`, or `LabelEmbeddings` of what the
            class names mean.
        read: take the layer's output, or its first input, e.g. of the classifier's last layer.
        projection: learned with the rest, (n, d of the layer) -> (n, d) of z and the heads, e.g.
            `nn.Linear(64, 384)` for label embeddings of 384 dimensions. The logits do not pass it.
    """
    if any(map(_is_compiled, model.modules())):
        raise UserError(
            "the model is compiled already, and a layer of it can no longer be tapped; "
            "attach first, then torch.compile what attach returns"
        )
    names = dict(model.named_modules())
    if layer not in names or not layer:
        raise unknown("layer", layer, filter(None, names))
    return Attached(model, Tap(names[layer], layer, read), heads or {}, objective, projection)


def _is_compiled(module: nn.Module) -> bool:
    # The second is what `module.compile()` sets.
    return isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None


def _check_tapped(z: Any, logits: Any, layer: str) -> None:
    if not isinstance(z, Tensor) or not isinstance(logits, Tensor):
        raise UserError(
            f"layer {layer!r} and the model must give tensors, got {type(z).__name__} and "
            f"{type(logits).__name__}"
        )
    if z.ndim < 2 or z.shape[:1] != logits.shape[:1]:
        raise UserError(
            f"layer {layer!r} gives {tuple(z.shape)} and the model {tuple(logits.shape)}, wanted a row "
            "of at least one number per image; tap another layer"
        )
