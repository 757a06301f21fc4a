"""What a latent says of its images, against plain arithmetic."""

from __future__ import annotations

import math

import pytest
import torch

from latentloom.inference import load, predictions
from latentloom.inference.predicting import centre_logits
from latentloom.values import Latent

Z = [[3.0, 4.0], [0.0, -2.0], [1.0, 0.5]]
LOGITS = [[0.5, 2.0], [1.0, -1.0], [-2.0, -2.5]]
CENTRES = [[0.0, -1.0], [1.0, 1.0]]
EMBEDDINGS = [[1.0, 1.0], [-2.0, 1.0]]
NAMES = [[0.6, 0.8], [0.0, 1.0]]


def latent():
    shared = {"class_centres": CENTRES, "class_embeddings": EMBEDDINGS, "label_embeddings": NAMES}
    return Latent(
        {"z": torch.tensor(Z), "logits": torch.tensor(LOGITS)},
        {name: torch.tensor(points) for name, points in shared.items()},
    )


def cosine_distance(a, b):
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_columns_are_what_they_say():
    found = predictions(latent(), ("cat", "dog"))
    classes = [1, 0, 0]
    assert found.y.tolist() == classes
    assert found.labels == ("dog", "cat", "cat")
    exps = [[math.exp(value) for value in row] for row in LOGITS]
    wanted = {
        "probability": [max(row) / sum(row) for row in exps],
        "distance_to_centre": [math.dist(z, CENTRES[k]) for z, k in zip(Z, classes, strict=True)],
        "distance_to_class_embedding": [math.dist(z, EMBEDDINGS[k]) for z, k in zip(Z, classes, strict=True)],
        "distance_to_label_embedding": [
            cosine_distance(z, NAMES[k]) for z, k in zip(Z, classes, strict=True)
        ],
        "ood": [-math.log(sum(row)) for row in exps],
    }
    columns = found.columns()
    assert list(columns) == ["label", *wanted]
    for name, values in wanted.items():
        assert columns[name].tolist() == pytest.approx(values, abs=1e-6), name


def test_a_model_that_classifies_by_the_cosine_is_measured_by_it(untrained):
    found = predictions(latent(), ("cat", "dog"), "cosine").to_class_embedding
    assert found[0] == pytest.approx(cosine_distance(Z[0], EMBEDDINGS[1]), abs=1e-6)
    folder, _ = untrained("cosine-target")
    model = load(folder)
    seen = model.embed(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    row = model.predictions(seen)
    wanted = cosine_distance(seen.z[0].tolist(), model.class_embeddings[row.y[0]].tolist())
    assert row.to_class_embedding[0] == pytest.approx(wanted, abs=1e-5)


def test_what_a_model_lacks_is_left_out():
    bare = Latent(latent().samples, {"class_centres": torch.tensor(CENTRES)})
    assert list(predictions(bare, ("cat", "dog")).columns()) == [
        "label",
        "probability",
        "distance_to_centre",
        "ood",
    ]


def test_without_a_classifier_the_nearest_centre_is_the_class(untrained):
    centres = torch.randn(10, 64)
    centres[4] = math.nan
    folder, _ = untrained(
        "dml-triplet", ("model.classifier", "none"), ("model.latent_dim", "64"), centres=centres
    )
    model = load(folder)
    x = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    seen = model.embed(x)
    for z, y, row in zip(seen.z.tolist(), model.predict(x).y.tolist(), seen.logits, strict=True):
        squared = {k: math.dist(z, centres[k].tolist()) ** 2 for k in range(10) if k != 4}
        assert y == min(squared, key=squared.get)
        assert row[4] == -math.inf
        assert -row[3].item() == pytest.approx(squared[3], rel=1e-4)


def test_the_score_rises_where_no_class_is_near():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near, far = torch.tensor([[0.1, 0.1]]), torch.tensor([[9.0, 9.0]])
    scores = [
        predictions(
            Latent({"z": z, "logits": centre_logits(z, centres)}, {"class_centres": centres}), tuple("abc")
        ).ood
        for z in (near, far)
    ]
    assert scores[0] < scores[1]
