"""The one contract: model(x) -> Latent."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from latentloom import losses
from latentloom.checks import UserError
from latentloom.encoders import (
    Centres,
    ClassEmbeddings,
    Linear,
    Model,
    Standardise,
    build_encoder,
    build_model,
    parameter_groups,
)
from latentloom.evaluation import nearest
from latentloom.values import Latent

HALF = torch.full((1,), 0.5)


def digits_model(latent_dim: int | None = None, learned_centres: bool = False) -> Model:
    torch.manual_seed(0)
    return build_model(
        build_encoder("mlp", 1, 8, latent_dim),
        latent_dim=latent_dim or 64,
        classes=10,
        standardise=Standardise(HALF, HALF),
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
            build_encoder("mlp", 1, 8, 7),
            latent_dim=7,
            classes=10,
            standardise=Standardise(0 * HALF, 3 * HALF),
            learned_centres=True,
        )
    assert not torch.equal(other(x).logits, model(x).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x).logits, model(x).logits)
    assert torch.equal(other(x)["centres"], model(x)["centres"])


def test_convolutions_run_channels_last() -> None:
    network = build_encoder("small_cnn", 3, 10)
    model = build_model(network, latent_dim=64, classes=2, standardise=Standardise(HALF, HALF))
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


def embedded(classifier: str = "euclidean", start: torch.Tensor | bool = True) -> Model:
    return build_model(
        build_encoder("mlp", 1, 8, 7),
        latent_dim=7,
        classes=10,
        standardise=Standardise(HALF, HALF),
        classifier=classifier,
        class_embeddings=start,
    )


@pytest.mark.parametrize(("classifier", "metric"), [("euclidean", "euclidean"), ("cosine", "cosine")])
def test_class_embeddings_alone_classify(classifier: str, metric: str) -> None:
    model, x = embedded(classifier), torch.rand(50, 1, 8, 8)
    with torch.no_grad():
        model.heads["class_embeddings"].vectors.copy_(model(x).z[:10])
    latent = model(x)
    expected = nearest(latent.z.detach(), latent["class_embeddings"].detach(), metric)
    assert latent.logits.argmax(1).tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 1
    assert "linear" not in model.heads


def test_class_embeddings_beside_a_linear_head_leave_the_logits_to_it() -> None:
    latent = embedded("linear")(torch.rand(2, 1, 8, 8))
    assert latent.logits.shape == (2, 10)
    assert latent["class_embeddings"].shape == (10, 7)


def test_class_embeddings_start_at_given_vectors_or_at_random_ones() -> None:
    start = torch.arange(70.0).reshape(10, 7)
    vectors = embedded(start=start).heads["class_embeddings"].vectors
    assert torch.equal(vectors, start)
    assert vectors.data_ptr() != start.data_ptr()
    torch.manual_seed(0)
    drawn = ClassEmbeddings(500, 40).vectors
    assert drawn.mean().abs() < 0.05
    assert (drawn.std() - 1).abs() < 0.05


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(10, 6), r"class embeddings must be \(10, 7\).*got \(10, 6\)"),
        (torch.full((10, 7), torch.nan), "must be finite"),
    ],
)
def test_class_embeddings_that_cannot_be_started_at(start: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        embedded(start=start)


def test_a_classifier_by_class_embeddings_needs_some() -> None:
    with pytest.raises(UserError, match="and the model has none"):
        embedded("cosine", start=False)


def test_points_of_classes_have_a_learning_rate_of_their_own_and_no_weight_decay() -> None:
    model = embedded("linear")
    rest, points = parameter_groups(model, weight_decay=0.1, heads_lr=0.5)
    assert [p is model.heads["class_embeddings"].vectors for p in points["params"]] == [True]
    assert (points["weight_decay"], points["lr"], rest["weight_decay"]) == (0.0, 0.5, 0.1)
    assert "lr" not in rest
    assert len(rest["params"]) + 1 == len(list(model.parameters()))
    assert len(parameter_groups(digits_model(), weight_decay=0.1)) == 1
    torch.optim.AdamW([rest, points])
