"""The one contract: model(x) -> Latent."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from latentloom import losses
from latentloom.checks import UserError
from latentloom.encoders import Centres, Linear, Model, build_model
from latentloom.values import Latent

HALF = torch.full((1,), 0.5)


def digits_model(latent_dim: int | None = None, learned_centres: bool = False) -> Model:
    torch.manual_seed(0)
    return build_model(
        "mlp",
        channels=1,
        size=8,
        classes=10,
        mean=HALF,
        std=HALF,
        latent_dim=latent_dim,
        learned_centres=learned_centres,
    )


@pytest.mark.parametrize(("latent_dim", "expected"), [(None, 64), (64, 64), (7, 7)])
def test_images_become_a_latent(latent_dim: int | None, expected: int) -> None:
    model = digits_model(latent_dim, learned_centres=True)
    latent = model(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    assert isinstance(latent, Latent)
    assert {name: tuple(t.shape) for name, t in latent.samples.items()} == {
        "z": (5, expected),
        "logits": (5, 10),
    }
    assert {name: tuple(t.shape) for name, t in latent.shared.items()} == {"centres": (10, expected)}


def test_logits_are_a_linear_function_of_z() -> None:
    model = digits_model()
    latent = model(torch.rand(5, 1, 8, 8))
    layer = model.heads["linear"].layer
    assert_close(latent.logits, latent.z @ layer.weight.T + layer.bias)


def test_images_are_taken_as_they_are() -> None:
    model, x = digits_model(), torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    assert_close(model(x).z, model(x.float() / 255).z)
    assert_close(model(x).z, model.encoder[1]((x / 255 - 0.5) / 0.5))


def test_centres_are_absent_unless_asked_for() -> None:
    model = digits_model()
    assert model(torch.rand(2, 1, 8, 8)).shared == {}
    assert not any("centres" in name for name, _ in model.named_parameters())


def test_learned_centres_are_parameters_that_the_loss_moves() -> None:
    model = digits_model(learned_centres=True)
    latent = model(torch.rand(4, 1, 8, 8))
    points = dict(model.named_parameters())["heads.centres.points"]
    assert latent["centres"] is points
    losses.center(latent.z, torch.tensor([3, 3, 0, 7]), latent["centres"]).backward()
    moved = points.grad.abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == [0, 3, 7]


def test_weights_make_the_same_model_again() -> None:
    model, x = digits_model(7, learned_centres=True), torch.rand(3, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = build_model(
            "mlp",
            channels=1,
            size=8,
            classes=10,
            mean=0 * HALF,
            std=3 * HALF,
            latent_dim=7,
            learned_centres=True,
        )
    assert not torch.equal(other(x).logits, model(x).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x).logits, model(x).logits)
    assert torch.equal(other(x)["centres"], model(x)["centres"])


def test_convolutions_run_channels_last() -> None:
    model = build_model("small_cnn", channels=3, size=10, classes=2, mean=HALF, std=HALF)
    weights = [p for p in model.parameters() if p.ndim == 4]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_latent_dim_of_nothing() -> None:
    with pytest.raises(UserError, match="latent_dim must be at least 1"):
        digits_model(latent_dim=0)


def test_any_heads_on_any_encoder() -> None:
    model = Model(nn.Flatten(), {"a": Linear(4, 2), "b": Centres(4, 2)})
    x = torch.rand(3, 1, 2, 2)
    latent = model(x)
    assert torch.equal(latent.z, x.flatten(1))
    assert set(latent.samples) | set(latent.shared) == {"z", "logits", "centres"}
    assert len(list(model.parameters())) == 3
