"""The card: all scores, each with what is needed to read it."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache

import pytest
import torch

from latentloom.evaluation import (
    SCORES,
    class_means,
    knn_predictions,
    linear_predictions,
    take_card,
)
from latentloom.records import card_from_json, card_to_json
from latentloom.values import Card, Finding, Latent

PROBES = {
    "knn_accuracy": knn_predictions,
    "linear_probe_accuracy": linear_predictions,
}
NEAREST = {name for name in SCORES if name.startswith("nearest_")}
SILHOUETTES = {name for name in SCORES if "silhouette" in name}
WITH_INTERVAL = {"accuracy", "coarse_accuracy", "micro_f1", "macro_f1", *SILHOUETTES, *NEAREST, *PROBES}


def latents(n: int = 120, seed: int = 0) -> Latent:
    """Three classes that overlap, one row in ten unlabelled; the rule of the logits is the true one."""
    g = torch.Generator().manual_seed(seed)
    middles = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    y = torch.randint(3, (n,), generator=g)
    z = middles[y] + torch.randn(n, 3, generator=g)
    y[::10] = -1
    return Latent(
        {"z": z, "y": y, "logits": -torch.cdist(z, middles)},
        {
            "class_embeddings": middles + 0.5,
            "label_embeddings": torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]),
            "coarse_of": torch.tensor([0, 0, 1]),
            "coarse_embeddings": torch.eye(2),
        },
    )


@cache
def card() -> Card:
    return take_card(latents(), latents(200, seed=1), split="test", bootstrap=200)


def test_every_score_is_on_the_card_with_its_value_direction_and_range() -> None:
    assert card().findings.keys() == {*SCORES, *PROBES}
    assert (card().split, card().images) == ("test", 120)
    train = latents(200, seed=1)
    ours = latents().with_shared(class_centres=class_means(train.z, train.y, 3))
    for name, info in SCORES.items():
        found = card().findings[name]
        expected = info.fn(*(ours[key] for key in (*info.reads, *info.may_read))).item()
        assert found.value == pytest.approx(expected), name
        by_centres = "class_centres" in (*info.reads, *info.may_read)
        assert ("class centres of training latents" in found.protocol) == by_centres
        assert (found.better, found.low, found.high) == (info.better, info.low, info.high)


def test_probes_are_fitted_on_training_latents_and_scored_on_the_split() -> None:
    ours, train = latents(), latents(200, seed=1)
    rows = ours.y >= 0
    for name, predict in PROBES.items():
        right = predict(train.z, train.y, ours.z[rows]) == ours.y[rows]
        assert card().value(name) == pytest.approx(right.double().mean().item())
        own = predict(ours.z, ours.y, ours.z[rows]) == ours.y[rows]
        assert card().value(name) != pytest.approx(own.double().mean().item()), (
            "fitted on what it is scored on"
        )


def test_intervals_hold_the_value_and_say_how_they_came_about() -> None:
    for name, found in card().findings.items():
        assert (found.interval is not None) == (name in WITH_INTERVAL), name
        if found.interval:
            low, high = found.interval
            assert found.low <= low < found.value < high <= found.high
            assert "200 resamples" in found.protocol
        assert ("120" if SCORES.get(name, SCORES["silhouette"]).reads == ("z",) else "108") in found.protocol
        assert "images of test" in found.protocol


def test_interval_of_an_accuracy_is_about_two_standard_errors_wide() -> None:
    for name in ("accuracy", "macro_f1"):
        found = take_card(latents(2000), None, split="test", bootstrap=500).findings[name]
        error = math.sqrt(found.value * (1 - found.value) / 1800)
        assert found.interval is not None
        assert found.interval[1] - found.interval[0] == pytest.approx(3.92 * error, rel=0.2)


def test_what_is_not_there_is_left_out() -> None:
    z, y = latents().z, latents().y
    assert take_card(Latent({"z": z, "y": y}), None, split="test").findings.keys() == {
        name
        for name, info in SCORES.items()
        if not {"logits", *latents().shared, "class_centres"} & {*info.reads}
    }
    alone = take_card(Latent({"z": z, "y": y}), None, split="test").findings["cluster_size"]
    assert alone.value == pytest.approx(SCORES["cluster_size"].fn(z, y).item())
    assert "class centres of the same latents" in alone.protocol
    unlabelled = Latent({"z": z, "y": torch.full_like(y, -1)})
    assert not take_card(unlabelled, latents(), split="test").findings.keys() & PROBES.keys()
    assert not take_card(latents(), unlabelled, split="test").findings.keys() & PROBES.keys()
    assert take_card(unlabelled, None, split="test").value("silhouette") == -1.0
    assert all(
        f.interval is None for f in take_card(latents(), None, split="t", bootstrap=0).findings.values()
    )


def test_the_same_seed_gives_the_same_card_and_the_limit_is_kept() -> None:
    ours, train = latents(), latents(200, seed=1)
    assert card() == take_card(ours, train, split="test", bootstrap=200)
    few = take_card(ours, train, split="test", bootstrap=200, probe_limit=9)
    assert few.value("knn_accuracy") != card().value("knn_accuracy")
    assert "(9 of them)" in few.findings["knn_accuracy"].protocol
    other = take_card(ours, train, split="test", bootstrap=200, seed=1)
    assert other.findings["accuracy"].interval != card().findings["accuracy"].interval


def test_points_that_are_not_finite_give_nan_without_intervals() -> None:
    broken = latents()
    broken = dataclasses.replace(broken, samples={**broken.samples, "z": broken.z * math.nan})
    for ours, train in ((broken, latents()), (latents(), broken)):
        found = take_card(ours, train, split="test").findings
        assert all(math.isnan(found[name].value) and found[name].interval is None for name in PROBES)
    found = take_card(broken, None, split="test").findings
    assert math.isnan(found["silhouette"].value)
    assert found["accuracy"].value == card().value("accuracy")


def test_card_survives_json() -> None:
    odd = Finding(math.nan, "lower", -math.inf, math.inf, "odd", (math.nan, math.inf))
    whole = Card("test", 3, {**card().findings, "odd": odd})
    again = card_from_json(json.loads(json.dumps(card_to_json(whole), allow_nan=False)))
    assert repr(again) == repr(whole)
    assert card_from_json(card_to_json(card())) == card()


def test_table_is_aligned_and_narrow() -> None:
    lines = str(card()).splitlines()
    assert lines[0] == "test: 120 images"
    assert [line.split()[0] for line in lines[2:]] == list(card().findings)
    assert max(map(len, lines)) <= 80
    accuracy = card().findings["accuracy"]
    assert accuracy.interval is not None
    low, high = accuracy.interval
    assert lines[2].split() == [
        "accuracy",
        f"{accuracy.value:.4f}",
        f"{low:.4f}",
        "to",
        f"{high:.4f}",
        "↑",
        "0",
        "to",
        "1",
    ]
    assert len({line.find("↑") + line.find("↓") for line in lines[2:]}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.1235"), (-12.3456, "-12.346"), (math.inf, "inf"), (4e7, "40000000.0")]
)
def test_numbers_keep_few_decimals(value: float, text: str) -> None:
    table = str(Card("s", 1, {"a": Finding(value, "lower", 0.0, 1.0, "")}))
    assert table.splitlines()[2].split() == ["a", text, "–", "↓", "0", "to", "1"]


# Too many images for all pairs


def test_of_many_images_silhouettes_and_probes_are_those_of_a_stratified_sample() -> None:
    ours, train = latents(600), latents(200, seed=1)
    exact = take_card(ours, train, split="test", bootstrap=200).findings
    few = take_card(ours, train, split="test", bootstrap=200, exact=300, sample=100).findings
    sampled = {"silhouette", "coarse_silhouette", *PROBES}
    for name, found in few.items():
        assert (found == exact[name]) == (name not in sampled), name
        assert ("stratified sample" in found.protocol) == (name in sampled), name
    for name in sampled:
        found, interval = few[name], few[name].interval
        assert interval is not None
        assert interval[0] < exact[name].value < interval[1]
        assert interval[1] - interval[0] > 1.2 * (exact[name].interval[1] - exact[name].interval[0])  # type: ignore[index]
        assert f"a stratified sample of {300 if name in PROBES else 100}" in found.protocol
        assert "540 images of test" in found.protocol


def test_as_many_images_as_are_measured_exactly_are_not_sampled() -> None:
    asked = {"split": "test", "bootstrap": 0, "sample": 10}
    labelled = int((latents().y >= 0).sum())
    assert take_card(latents(), None, exact=labelled, **asked) == take_card(latents(), None, **asked)  # type: ignore[arg-type]
    few = take_card(latents(), None, exact=labelled - 1, **asked)  # type: ignore[arg-type]
    assert "sample of 10" in few.findings["silhouette"].protocol


def test_of_many_classes_the_silhouettes_are_sampled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = int((latents().y >= 0).sum())
    monkeypatch.setattr(
        "latentloom.evaluation.card.SUMS", labelled * 3 - 1
    )  # of three classes, in two groups
    few = take_card(latents(), None, split="test", bootstrap=0, sample=10)
    assert "sample of 10" in few.findings["silhouette"].protocol
    assert "sample of" not in few.findings["coarse_silhouette"].protocol
