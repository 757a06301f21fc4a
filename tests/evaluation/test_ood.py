"""Confidences against their formulas, the area under the curve against counted pairs, and their lines."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import (
    centre_confidence,
    energy_confidence,
    label_confidence,
    maximum_softmax,
    ood_findings,
    separation,
)
from latentloom.values import Latent

Vector = list[float]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(p: Vector, q: Vector) -> float:
    return sum(a * b for a, b in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)


def euclidean(p: Vector, places: list[Vector]) -> float:
    return -min(math.dist(p, q) for q in places)


def angular(p: Vector, places: list[Vector]) -> float:
    return -min(1 - cosine(p, q) for q in places)


def softmax(row: Vector) -> float:
    return max(math.exp(v) for v in row) / sum(math.exp(v) for v in row)


def log_sum(row: Vector) -> float:
    return math.log(sum(math.exp(v) for v in row))


def pairs(inside: Vector, outside: Vector, *, tied: float = 0.5) -> float:
    won = [1.0 if a > b else tied if a == b else 0.0 for a in inside for b in outside]
    return sum(won) / len(won)


@pytest.mark.parametrize(
    ("confidence", "naive", "mistakes"),
    [
        (maximum_softmax, softmax, {"largest logit": max, "energy": log_sum}),
        (energy_confidence, log_sum, {"largest logit": max, "its sign": lambda row: -log_sum(row)}),
    ],
)
def test_confidence_of_logits(confidence, naive, mistakes: dict[str, Callable[[Vector], float]]) -> None:
    logits = random(6, 4)
    found = confidence(logits).tolist()
    assert found == pytest.approx([naive(row) for row in logits.tolist()])
    for mistake, wrong in mistakes.items():
        assert found != pytest.approx([wrong(row) for row in logits.tolist()], rel=1e-4), mistake


@pytest.mark.parametrize(
    ("confidence", "naive", "other"),
    [(centre_confidence, euclidean, angular), (label_confidence, angular, euclidean)],
)
def test_confidence_of_distances(confidence, naive, other) -> None:
    z, places = random(6, 3), random(4, 3, seed=1)
    found = confidence(z, places).tolist()
    assert found == pytest.approx([naive(p, places.tolist()) for p in z.tolist()])
    mistakes = {
        "the other distance": other,
        "the farthest": lambda p, q: min(naive(p, [place]) for place in q),
        "the first": lambda p, q: naive(p, q[:1]),
        "squared": lambda p, q: -(naive(p, q) ** 2),
    }
    for mistake, wrong in mistakes.items():
        assert found != pytest.approx([wrong(p, places.tolist()) for p in z.tolist()], rel=1e-4), mistake


def test_confidence_at_its_ends() -> None:
    places = torch.tensor([[1.0, 0.0], [0.0, 2.0], [math.nan, math.nan]])
    assert centre_confidence(places[:2], places).tolist() == [0, 0]
    assert label_confidence(places[:2] * 7, places).tolist() == [0, 0]
    assert label_confidence(torch.zeros(1, 2), places).item() == -1
    assert label_confidence(-places[:1], places[:1]).item() == -2
    assert energy_confidence(torch.full((1, 3), 1e4)).item() == pytest.approx(1e4 + math.log(3))


@pytest.mark.parametrize("steps", [3, 1000])
def test_area_is_the_share_of_pairs_with_ties_counting_half(steps: int) -> None:
    inside, outside = (random(30) * steps + 0.5 * steps).round(), (random(20, seed=1) * steps).round()
    lists = inside.tolist(), outside.tolist()
    value = separation(inside, outside)
    assert value == pytest.approx(pairs(*lists))
    assert value != pytest.approx(pairs(*reversed(lists)))
    if steps == 3:
        assert value != pytest.approx(pairs(*lists, tied=0.0))
        assert value != pytest.approx(pairs(*lists, tied=1.0))


def test_area_at_its_ends() -> None:
    low, high = torch.zeros(3), torch.tensor([1.0, 2.0])
    assert (separation(high, low), separation(low, high), separation(low, low[:2])) == (1.0, 0.0, 0.5)
    assert math.isnan(separation(high, torch.tensor([0.0, math.nan])))
    assert math.isnan(separation(torch.tensor([math.inf, 1.0]), low))


@pytest.mark.parametrize(("inside", "outside"), [(0, 3), (3, 0)])
def test_nothing_to_tell_apart_is_refused(inside: int, outside: int) -> None:
    with pytest.raises(UserError, match=f"inside and outside the distribution, got {inside} and {outside}"):
        separation(torch.zeros(inside), torch.zeros(outside))


def latents(n: int, *, away: float, seed: int) -> Latent:
    """Points about three places, moved away from them; the logits are minus half the squared distances."""
    places = 3 * torch.eye(3, dtype=torch.float64)
    z = places[torch.arange(n) % 3] + random(n, 3, seed=seed) - away
    return Latent(
        {"z": z, "y": torch.arange(n) % 3, "logits": -torch.cdist(z, places).square() / 2},
        {"class_centres": places, "label_embeddings": places},
    )


def test_lines_of_each_confidence_and_domain() -> None:
    inside = latents(60, away=0.0, seed=0)
    outside = {"near": latents(40, away=1.0, seed=1), "far": latents(50, away=4.0, seed=2)}
    found = ood_findings(inside, outside, split="test")
    names = ("max_softmax", "energy", "nearest_centre", "nearest_label")
    assert found.keys() == {f"ood/{name}_auroc/{domain}" for name in names for domain in outside}
    for domain, others in outside.items():
        for name, confidence in {"max_softmax": maximum_softmax, "energy": energy_confidence}.items():
            expected = pairs(confidence(inside.logits).tolist(), confidence(others.logits).tolist())
            assert found[f"ood/{name}_auroc/{domain}"].value == pytest.approx(expected)
        for name, confidence in {"centre": centre_confidence, "label": label_confidence}.items():
            places = inside["class_centres"]
            expected = pairs(confidence(inside.z, places).tolist(), confidence(others.z, places).tolist())
            assert found[f"ood/nearest_{name}_auroc/{domain}"].value == pytest.approx(expected)
    line = found["ood/nearest_centre_auroc/far"]
    assert (line.better, line.low, line.high) == ("higher", 0.0, 1.0)
    assert "distance to the nearest class centre; 60 images of test against 50 of far" in line.protocol
    assert line.value > found["ood/nearest_centre_auroc/near"].value > 0.5


def test_distances_are_to_the_references_of_the_inside() -> None:
    inside, others = latents(60, away=0.0, seed=0), latents(50, away=4.0, seed=1)
    moved = Latent(others.samples, {key: rows - 4.0 for key, rows in others.shared.items()})
    names = ["ood/nearest_centre_auroc/far", "ood/nearest_label_auroc/far"]
    found, same = (ood_findings(inside, {"far": far}, split="test") for far in (others, moved))
    assert [found[name] for name in names] == [same[name] for name in names]


def test_what_is_not_there_is_left_out() -> None:
    inside, others = latents(9, away=0.0, seed=0), latents(9, away=2.0, seed=1)
    bare = Latent({"z": inside.z, "y": inside.y}, {"class_centres": inside["class_centres"]})
    assert ood_findings(bare, {"far": others}, split="test").keys() == {"ood/nearest_centre_auroc/far"}
    assert ood_findings(inside, {}, split="test") == {}
