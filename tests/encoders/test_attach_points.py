"""What of a layer becomes points: maps, tokens, several layers; and which layers there are."""

from __future__ import annotations

import copy
from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import GoogLeNet, Inception3

from latentloom import Objective
from latentloom.checks import UserError
from latentloom.encoders import attach
from latentloom.encoders.tap import layers

OBJECTIVE = Objective({"cross_entropy": 1.0})


class Given(nn.Module):
    """Its layer `inner` gives what it is given, which `relu` then overwrites; so does the model, of `as_`."""

    def __init__(self, as_: Callable[[Tensor], Any] = lambda logits: logits) -> None:
        super().__init__()
        self.inner, self.relu, self.as_ = nn.Identity(), nn.ReLU(inplace=True), as_

    def forward(self, x: Tensor) -> Any:
        return self.as_(self.relu(self.inner(x)).flatten(1)[:, :2])


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# Points by hand, from numbers of a shape.
MAPS, TOKENS, POINTS, VIDEO, SQUARE = (5, 6, 4, 3), (5, 7, 4), (5, 6), (5, 6, 2, 4, 3), (5, 4, 4, 6)
BY_HAND: dict[tuple[tuple[int, ...], str, str | None], Callable[[Tensor], Tensor]] = {
    (MAPS, "mean", None): lambda x: x.mean(3).mean(2),
    (MAPS, "max", None): lambda x: x.amax(3).amax(2),
    (MAPS, "mean", "last"): lambda x: x.mean(2).mean(1),
    (MAPS, "max", "last"): lambda x: x.amax(2).amax(1),
    (MAPS, "flatten", None): lambda x: x.reshape(5, 72),
    (TOKENS, "mean", None): lambda x: sum(x[:, t] for t in range(7)) / 7,
    (TOKENS, "max", None): lambda x: x.amax(1),
    (TOKENS, "mean", "first"): lambda x: x.mean(2),
    (TOKENS, "max", "first"): lambda x: x.amax(2),
    (TOKENS, "class_token", None): lambda x: x[:, 0],
    (TOKENS, "flatten", None): lambda x: x.reshape(5, 28),
    (VIDEO, "mean", None): lambda x: x.mean(4).mean(3).mean(2),
    (SQUARE, "mean", "last"): lambda x: x.mean(2).mean(1),
    (SQUARE, "max", "first"): lambda x: x.amax(3).amax(2),
    (POINTS, "mean", None): lambda x: x,
    (POINTS, "max", "last"): lambda x: x,
    (POINTS, "flatten", None): lambda x: x,
}


@pytest.mark.parametrize(("shape", "pool", "channels"), BY_HAND)
def test_points_are_those_by_hand(shape: tuple[int, ...], pool: Any, channels: Any) -> None:
    x = numbers(*shape)
    expected = BY_HAND[shape, pool, channels](x.clone())
    z = attach(Given(), "inner", OBJECTIVE, pool=pool, channels=channels)(x).z
    assert x.min() == 0  # overwritten, and z is not
    assert_close(z, expected)


@pytest.mark.parametrize("pool", ["mean", "max", "class_token", "flatten"])
def test_gradient_reaches_through_a_layer_that_is_overwritten(pool: Any) -> None:
    x = numbers(*TOKENS).requires_grad_()
    z = attach(Given(), "inner", OBJECTIVE, pool=pool)(x * 1).z
    (slope,) = torch.autograd.grad(z.sum(), x)
    each = {"mean": 5 * 4, "max": 5 * 4, "class_token": 5 * 4, "flatten": 5 * 7 * 4}[pool]
    assert slope.sum().item() == pytest.approx(each)


def test_square_maps_with_channels_last_are_not_guessed() -> None:
    wanted = r"layer 'inner' gives \(5, 4, 4, 6\), which looks like .*channels='last', or 'first'"
    with pytest.raises(UserError, match=wanted):
        attach(Given(), "inner", OBJECTIVE)(numbers(*SQUARE))
    assert attach(Given(), "inner", OBJECTIVE)(numbers(5, 4, 4, 4)).z.shape == (5, 4)


@pytest.mark.parametrize("shape", [MAPS, POINTS])
def test_class_token_is_one_of_tokens(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"gives \(5, 6.*, and a class token is one of tokens \(n, t, d\)"):
        attach(Given(), "inner", OBJECTIVE, pool="class_token")(numbers(*shape))


@pytest.mark.parametrize(
    ("option", "value", "near"),
    [("pool", "men", "mean"), ("read", "outputs", "output"), ("channels", "lst", "last")],
)
def test_misspelt_choice(option: str, value: str, near: str) -> None:
    with pytest.raises(UserError, match=f"'{value}'; did you mean '{near}'"):
        attach(Given(), "inner", OBJECTIVE, **{option: value})


# Several layers


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)
    )


def test_several_layers_stand_side_by_side() -> None:
    model, x = small(), numbers(6, 3, 4, 4)
    z = attach(model, ["2", "0"], OBJECTIVE)(x).z
    assert_close(z, torch.cat([model[:3](x), model[0](x).mean((2, 3))], 1))
    inputs = attach(model, ("4", "2"), OBJECTIVE, read="input")(x).z
    assert_close(inputs, torch.cat([model[:4](x), model[:2](x)], 1))
    z.square().sum().backward()
    assert all(model[i].weight.grad.abs().sum() > 0 for i in (0, 2))


@pytest.mark.parametrize(
    ("layer", "got"), [([], r"\[\]"), (["0", "0"], r"\['0', '0'\]"), (nn.ReLU(), "ReLU"), ([1], r"\[1\]")]
)
def test_what_is_no_name(layer: Any, got: str) -> None:
    with pytest.raises(UserError, match=f"several different ones, got {got}"):
        attach(small(), layer, OBJECTIVE)


def test_one_of_several_layers_is_misspelt() -> None:
    with pytest.raises(UserError, match="no layer '7'"):
        attach(small(), ["0", "7"], OBJECTIVE)


# Which layers there are


class Many(nn.Module):
    """Layers that can be tapped, and layers that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5))
        self.twice, self.never, self.flat = nn.Identity(), nn.Linear(6, 6), nn.Flatten(0)
        self.recurrent = nn.LSTM(8, 3, batch_first=True)
        self.head = nn.Linear(8, 2)
        self.again = self.head  # one layer of two names
        self.norm.eval()  # as one whose statistics are frozen

    def forward(self, x: Tensor) -> Tensor:
        h = self.twice(self.twice(self.body(self.norm(x))))
        self.flat(h)
        self.recurrent(h[:, None])
        return self.head(h)


def test_layers_that_can_be_tapped_and_their_shapes() -> None:
    model, x = Many(), numbers(5, 6)
    expected = {"norm": (5, 6), "body": (5, 8), "body.0": (5, 8), "body.1": (5, 8), "recurrent": (5, 1, 3)}
    assert layers(model, x) == {**expected, "head": (5, 2), "again": (5, 2)}
    assert layers(model, x, read="input")["head"] == (5, 8)
    for name, shape in layers(model, x).items():
        assert attach(model, name, OBJECTIVE)(x).z.shape == (5, shape[-1])


def test_listing_leaves_no_trace() -> None:
    model, x = Many(), numbers(5, 6)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    layers(model, x)
    with pytest.raises(RuntimeError, match="running_mean"):
        layers(model, x[:, :4])
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(layer._forward_hooks for layer in model.modules())
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [model.training, model.norm.training, model.body.training] == [True, False, True]


def test_misspelt_layer_is_answered_with_shapes() -> None:
    with pytest.raises(UserError, match=r"no layer 'body.2'; did you mean 'body.1'\?") as caught:
        attach(Many(), "body.2", OBJECTIVE, example=numbers(5, 6))
    message = str(caught.value)
    assert "body.1 (5, 8), " in message
    assert "never" not in message
    assert "latentloom.encoders.layers(model, x)" in message
    with pytest.raises(UserError, match=r"like it: .*head \(5, 8\)"):
        attach(Many(), "heat", OBJECTIVE, example=numbers(5, 6), read="input")


def test_layers_of_a_compiled_model_are_refused() -> None:
    with pytest.raises(UserError, match="attach first"):
        layers(torch.compile(small(), backend="eager"), numbers(5, 3, 4, 4))


def test_way_to_read_layers_is_checked() -> None:
    with pytest.raises(UserError, match="no way to read a layer 'in'"):
        layers(small(), numbers(5, 3, 4, 4), read="in")


# What models give beside a tensor

AS: dict[str, Callable[[Tensor], Any]] = {
    "named tuple": lambda x: namedtuple("Both", ["logits", "aux"])(x, x + 1),
    "mapping": lambda x: {"aux": x + 1, "logits": x},
    "attribute": lambda x: SimpleNamespace(logits=x, aux=x + 1),
}


@pytest.mark.parametrize("kind", AS)
def test_logits_are_found_by_their_name(kind: str) -> None:
    x = numbers(*POINTS)
    latent = attach(Given(AS[kind]), "inner", OBJECTIVE)(x.clone())
    assert torch.equal(latent.logits, x.relu()[:, :2])
    assert layers(Given(AS[kind]), x.clone())["inner"] == POINTS


@pytest.mark.parametrize(
    ("kind", "as_"),
    {"tuple": lambda x: (x, x), "dict": lambda x: {"out": x}, "NoneType": lambda x: None}.items(),
)
def test_models_without_logits_are_refused(kind: str, as_: Callable[[Tensor], Any]) -> None:
    with pytest.raises(UserError, match=rf"the model gives {kind}, wanted logits: .*as \.logits; wrap"):
        attach(Given(as_), "inner", OBJECTIVE)(numbers(*POINTS))


@pytest.mark.parametrize(("build", "size"), [(Inception3, 299), (GoogLeNet, 224)])
def test_auxiliary_logits_of_torchvision_are_left_out(build: Callable[..., nn.Module], size: int) -> None:
    with torch.device("meta"):  # shapes alone, at no cost
        model = build(num_classes=5, aux_logits=True, init_weights=False).train()
        latent = attach(model, "fc", OBJECTIVE, read="input")(torch.rand(2, 3, size, size))
    assert latent.logits.shape == (2, 5)
    assert latent.z.shape == (2, model.fc.in_features)


def test_model_of_hugging_face() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    size = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "intermediate_size": 16}
    config = ViTConfig(**size, num_hidden_layers=1, num_attention_heads=2, num_labels=3)
    model, x = ViTForImageClassification(config).eval(), torch.rand(2, 3, 16, 16)
    whole = model(x, output_hidden_states=True)
    latent = attach(model, "vit", OBJECTIVE, pool="class_token")(x)  # gives an output of several tensors
    assert torch.equal(latent.logits, whole.logits)
    assert_close(model.classifier(latent.z), whole.logits)
