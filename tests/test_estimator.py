"""The classifier in the manner of scikit-learn: its checks, images, recipes, what it refuses."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from latentloom.checks import UserError
from latentloom.config import Term
from latentloom.estimator import LatentClassifier


@parametrize_with_checks([LatentClassifier(epochs=8, batch=16)])
def test_scikit_learn_has_no_objection(estimator: Any, check: Any) -> None:
    check(estimator)


def digits(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    pixels, y = load_digits(return_X_y=True)
    return pixels[:n].reshape(-1, 8, 8), y[:n]


def test_images_of_any_layout_are_learned() -> None:
    images, y = digits()
    byte = (images * 15.9375).astype(np.uint8)
    fitted = [
        LatentClassifier(epochs=10, batch=32).fit(each[:400], y[:400])
        for each in (images, images[:, None], byte)
    ]
    for classifier, each in zip(fitted, (images, images[:, None], byte), strict=True):
        assert classifier.score(each[400:], y[400:]) > 0.8
        assert classifier.transform(each[:5]).shape == (5, 64)
    assert (fitted[0].transform(images) == fitted[1].transform(images[:, None])).all()
    assert fitted[0].loss_curve_[-1] < fitted[0].loss_curve_[0]


def test_convolutions_take_square_images() -> None:
    images, y = digits(200)
    larger = np.kron(images, np.ones((2, 2)))
    classifier = LatentClassifier(encoder="small_cnn", latent_dim=8, epochs=10, batch=20).fit(larger, y)
    assert classifier.transform(larger).shape == (200, 8)
    assert classifier.score(larger, y) > 0.5


def test_the_seed_decides_and_global_state_is_left_alone() -> None:
    images, y = digits(100)
    found = []
    for place, seed in enumerate((0, 0, 1)):
        torch.manual_seed(place)
        state = torch.get_rng_state()
        found.append(LatentClassifier(epochs=1, random_state=seed).fit(images, y).transform(images))
        assert torch.equal(torch.get_rng_state(), state)
    first, again, other = found
    assert (first == again).all()
    assert not (first == other).any()


@pytest.mark.parametrize(
    "given",
    [
        {"recipe": "euclidean-target"},
        {"recipe": "cosface"},
        {"terms": {"supcon": 1.0}},
        {"terms": {"euclidean_target": 1.0}},
        {"terms": {"cross_entropy": 1.0, "triplet": Term(0.5, {"margin": 0.2})}},
        {"recipe": "center", "latent_dim": 5},
    ],
)
def test_recipes_and_terms_bring_their_heads(given: dict[str, Any]) -> None:
    images, y = digits(300)
    classifier = LatentClassifier(**given, epochs=15, batch=50).fit(images, y)
    assert classifier.score(images, y) > 0.9
    assert np.allclose(classifier.predict_proba(images).sum(1), 1)
    z = classifier.transform(images)
    assert np.allclose(classifier.class_centres_[3], z[y == 3].mean(0))


def test_terms_that_alternate_and_weightings_that_learn_are_trained(tmp_path: Any) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("objective: {weighting: softmax, terms: {cross_entropy: {}, supcon: {}}}")
    images, y = digits(300)
    assert LatentClassifier(str(recipe), epochs=10).fit(images, y).score(images, y) > 0.9
    recipe.write_text(
        "objective: {alternate: batch, terms: {cross_entropy: {}, decorrelation: {weight: 0.01}}}"
    )
    by_batch = LatentClassifier(str(recipe), epochs=10).fit(images, y)
    assert by_batch.score(images, y) > 0.8
    recipe.write_text(
        "objective: {alternate: epoch, terms: {cross_entropy: {}, decorrelation: {weight: 0.01}}}"
    )
    curve = LatentClassifier(str(recipe), epochs=4).fit(images, y).loss_curve_
    assert min(curve[0::2]) > max(curve[1::2])  # cross-entropy counts in every second epoch
    assert by_batch.loss_curve_ != curve


def test_it_stands_in_a_pipeline_and_is_kept(tmp_path: Any) -> None:
    pixels, y = load_digits(return_X_y=True)
    names = np.array([f"digit {label}" for label in y[:500]])
    whole = make_pipeline(StandardScaler(), LatentClassifier(epochs=20, batch=25))
    assert cross_val_score(whole, pixels[:500], names, cv=2).min() > 0.8
    classifier = LatentClassifier(epochs=2).fit(pixels[:200], names[:200])
    kept = pickle.loads(pickle.dumps(classifier))
    assert (kept.predict(pixels) == classifier.predict(pixels)).all()
    assert classifier.get_feature_names_out()[1] == "latentclassifier1"


X, LABELS = digits(30)
REFUSED: dict[str, tuple[dict[str, Any], np.ndarray, str]] = {
    "no epoch": ({"epochs": 0}, X, "epochs must be at least 1"),
    "a misspelt recipe": ({"recipe": "latent-bost"}, X, "did you mean 'latent-boost'"),
    "a misspelt encoder": ({"encoder": "resnet81"}, X, "did you mean 'resnet18'"),
    "a recipe with a decoder": ({"recipe": "vae"}, X, "reads .* which LatentClassifier does not have"),
    "features for convolutions": ({"encoder": "small_cnn"}, X.reshape(30, -1), "takes square images"),
    "images that are not square": ({"encoder": "small_cnn"}, X[:, :, :5], "takes square images"),
    "a loss that bursts": ({"lr": 1e30, "epochs": 5}, X, "the loss is not finite in epoch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_one_clear_message(name: str) -> None:
    given, images, said = REFUSED[name]
    with pytest.raises(UserError, match=said):
        LatentClassifier(**given).fit(images, LABELS)


def test_rows_of_another_shape_are_refused() -> None:
    classifier = LatentClassifier(epochs=1).fit(X, LABELS)
    with pytest.raises(UserError, match=r"a row of X has the shape \(8, 7\), and had \(8, 8\) in fit"):
        classifier.predict(X[:, :, :7])
