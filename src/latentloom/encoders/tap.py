"""What passes the layers of someone's model, made into points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice

Read = Literal["output", "input"]
Pool = Literal["mean", "max", "class_token", "flatten"]
Channels = Literal["first", "last"]
Shape = tuple[int, ...]

SHOWN = 8  # layers that an error names


class Tap:
    """Keeps what passes a layer during one forward.

    Args:
        layer: to be tapped.
        name: of the layer, for errors.
        read: its output, or its first input.
        keep: what is made of a value before it is kept.
    """

    def __init__(self, layer: nn.Module, name: str, read: Read, keep: Callable[[Any], Any]) -> None:
        self.name = name
        self.keep = keep
        self.seen: list[Any] | None = None  # None is closed: the model's own forwards leave nothing here
        # Bound methods, not lambdas: they can be pickled, for processes that are spawned.
        if read == "output":
            self.hook = layer.register_forward_hook(self._after)
        else:
            self.hook = layer.register_forward_pre_hook(self._before, with_kwargs=True)

    def _after(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.seen is not None:
            self.seen.append(self.keep(_first(output)))

    def _before(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.seen is not None:
            self.seen.append(self.keep(_first(_first((*inputs, *named.values())))))

    def open(self) -> None:
        """Keep what passes from now on."""
        self.seen = []

    def close(self) -> list[Any]:
        """What passed, a value per call of the layer; the tap then holds no graph."""
        seen, self.seen = self.seen or [], None
        return seen

    def remove(self) -> None:
        """Leave the layer as it was."""
        self.hook.remove()


def _first(value: Any) -> Any:
    """Of a tuple, or of a mapping such as the outputs of Hugging Face, the first."""
    values = tuple(value.values()) if isinstance(value, Mapping) else value
    return values[0] if isinstance(values, tuple | list) and values else value


def logits_of(output: Any) -> Any:
    """What a model gives, or its "logits" where it is a mapping or has them as an attribute."""
    named = output.get("logits", output) if isinstance(output, Mapping) else output
    return getattr(named, "logits", named)


def layers(model: nn.Module, x: Tensor, *, read: Read = "output") -> dict[str, Shape]:
    """The layers of a model that `attach` can tap, each with the shape that it gives.

    Those are the layers that the model calls once and that give a tensor with a row per image. Found by
    one forward in evaluation, without gradient; the model stays as it is.

    Args:
        model: (n, ...) -> logits (n, C).
        x: what the model takes; a few images do.
        read: shapes of outputs, or of first inputs.

    >>> layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(5, 4))
    {'0': (5, 3), '1': (5, 3), '2': (5, 2)}
    """
    check_choice("way to read a layer", read, ("output", "input"))
    check_not_compiled(model)
    taps = [Tap(layer, name, read, _shape) for name, layer in named_layers(model).items()]
    try:
        with in_evaluation(model), torch.no_grad():
            for tap in taps:
                tap.open()
            rows = _shape(logits_of(model(x)))[:1]
    finally:
        seen = {tap.name: tap.close() for tap in taps}
        for tap in taps:
            tap.remove()
    given = {name: shapes[0] for name, shapes in seen.items() if len(shapes) == 1}
    return {name: shape for name, shape in given.items() if len(shape) > 1 and shape[:1] == rows}


def _shape(value: Any) -> Shape:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Flags alone: `eval()` and `train()` of some models do more, and would not put it back."""
    training = {module: module.training for module in model.modules()}
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer by each of its names; one that is used in two places has two."""
    return {name: layer for name, layer in model.named_modules(remove_duplicate=False) if name}


def check_layer(model: nn.Module, name: str, read: Read, example: Tensor | None) -> None:
    """Refuse a name that is not among the layers; with images, say what those of like names give."""
    known = named_layers(model)
    if name in known:
        return
    shapes = None if example is None else layers(model, example, read=read)
    like = get_close_matches(name, known if shapes is None else shapes, n=SHOWN, cutoff=0.0)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(like if shapes is None else (f"{one} {shapes[one]}" for one in like))
    raise UserError(
        f"no layer {name!r}; {hint}like it: {listed}. All of them, with the shapes they give: "
        "latentloom.encoders.layers(model, x)"
    )


def check_not_compiled(model: nn.Module) -> None:
    """Refuse a model in which hooks would never run."""
    if any(map(_is_compiled, model.modules())):
        raise UserError(
            "the model is compiled already, and a layer of it can no longer be tapped; "
            "attach first, then torch.compile what attach returns"
        )


def _is_compiled(module: nn.Module) -> bool:
    # The second is what `module.compile()` sets.
    return isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None


def pooled(value: Any, *, layer: str, pool: Pool, channels: Channels | None) -> Tensor:
    """Points (n, d) of what a layer gives; see `attach`.

    A tensor of its own, never a view: a layer behind that works in place would overwrite it.
    """
    if not isinstance(value, Tensor):
        raise UserError(f"layer {layer!r} gives {type(value).__name__}, wanted a tensor; tap another layer")
    shape = tuple(value.shape)
    if value.ndim < 2:
        raise UserError(f"layer {layer!r} gives {shape}, wanted a row per image; tap another layer")
    if pool == "class_token":
        if value.ndim != 3:
            raise UserError(f"layer {layer!r} gives {shape}, and a class token is one of tokens (n, t, d)")
        return value[:, 0].clone()
    if pool == "flatten" or value.ndim == 2:
        return value.flatten(1).clone()
    last = (channels or _channels(shape, layer)) == "last"
    if pool == "mean":
        return value.mean(tuple(range(1, value.ndim - 1) if last else range(2, value.ndim)))
    # Not amax, whose gradient reads the value again.
    return value.flatten(1, -2).max(1).values if last else value.flatten(2).max(2).values


def _channels(shape: Shape, layer: str) -> Channels:
    if len(shape) == 3:
        return "last"
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        raise UserError(
            f"layer {layer!r} gives {shape}, which looks like (n, height, width, channels); give attach "
            "channels='last', or 'first' if they are (n, channels, height, width)"
        )
    return "first"
