"""Every score against loops written from its formula, and against mistakes the comparison must catch."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from score_case import Case
from torch import Tensor

from latentloom.evaluation import SCORES, semantics

Points = list[list[float]]
Labels = list[int]
PER_CLASS = ("class_embeddings", "class_centres")


def scene() -> dict[str, Tensor]:
    """Fifteen points in three dimensions, far from the origin and longer than wide.

    The classes 0, 1, 2, 5 and 6 have 5, 4, 3, 1 and 1 rows, interleaved; one row is unlabelled.
    """
    g = torch.Generator().manual_seed(2)
    y = torch.tensor([2, 0, 1, 5, 0, 2, -1, 0, 1, 2, 0, 1, 1, 0, 6])
    z = torch.randn(len(y), 3, generator=g, dtype=torch.float64)
    z = (z + torch.stack([y == 0, y == 1, y == 2], 1)) * torch.tensor([2.0, 1.0, 0.3]) + 7
    logits = torch.randn(len(y), 8, generator=g, dtype=torch.float64) - torch.tensor(
        [0, 0, 0, 9, -1, 0, 0, 9]
    )
    # A seed at which no mistake below happens to give as many hits as the classifier.
    places = torch.Generator().manual_seed(126)
    near = torch.stack([z[y == k].mean(0) if (y == k).any() else z[k] for k in range(7)])
    return {
        "z": z,
        "y": y,
        "logits": logits + 1.5 * torch.nn.functional.one_hot(y % 8, 8),
        **{key: near + 0.7 * torch.randn(7, 3, generator=places, dtype=torch.float64) for key in PER_CLASS},
    }


def mean(points: Points) -> list[float]:
    return [math.fsum(axis) / len(points) for axis in zip(*points, strict=True)]


def members(z: Points, y: Labels) -> dict[int, Points]:
    return {label: [p for p, own in zip(z, y, strict=True) if own == label] for label in sorted(set(y))}


def naive_silhouette(z: Points, y: Labels, *, selves: int = 1, alone: float = 0.0) -> float:
    found = []
    for i, (p, label) in enumerate(zip(z, y, strict=True)):
        mates = [math.dist(p, q) for j, q in enumerate(z) if y[j] == label and j != i]
        others = [[math.dist(p, q) for q in qs] for name, qs in members(z, y).items() if name != label]
        if not mates:
            found.append(alone)
            continue
        a, b = sum(mates) / (len(mates) + 1 - selves), min(sum(ds) / len(ds) for ds in others)
        found.append((b - a) / max(a, b))
    return sum(found) / len(found)


def to_own_mean(z: Points, y: Labels) -> list[float]:
    means = {label: mean(points) for label, points in members(z, y).items()}
    return [math.dist(p, means[label]) for p, label in zip(z, y, strict=True)]


def naive_cluster_size(z: Points, y: Labels) -> float:
    return statistics.median(to_own_mean(z, y))


def centre_distances(z: Points, y: Labels, *, weighted: bool = False) -> list[float]:
    means = [mean(points) for points in members(z, y).values()]
    middle = mean(z) if weighted else mean(means)
    return [math.dist(m, middle) for m in means]


def naive_spacing(z: Points, y: Labels, *, ordered: bool = False) -> float:
    means = [mean(points) for points in members(z, y).values()]
    pairs = itertools.product(means, means) if ordered else itertools.combinations(means, 2)
    return statistics.mean(math.dist(a, b) for a, b in pairs)


def cosine(p: list[float], q: list[float]) -> float:
    return sum(a * b for a, b in zip(p, q, strict=True)) / (math.hypot(*p) * math.hypot(*q))


def cosines_to_own_mean(z: Points, y: Labels) -> list[float]:
    means = {label: mean(points) for label, points in members(z, y).items()}
    return [cosine(p, means[label]) for p, label in zip(z, y, strict=True)]


def nearness(p: list[float], q: list[float]) -> float:
    return -math.dist(p, q)


def share_right(
    z: Points, y: Labels, places: Points, near: Callable[[list[float], list[float]], float] = nearness
) -> float:
    return statistics.mean(
        argmax([near(p, q) for q in places]) == label for p, label in zip(z, y, strict=True)
    )


def share_right_by_angle(z: Points, y: Labels, places: Points) -> float:
    return share_right(z, y, places, cosine)


WRONG_PLACES: Mapping[str, Callable[..., float]] = {
    "the farthest": lambda z, y, places: share_right(z, y, places, math.dist),
    "classes in another order": lambda z, y, places: share_right(z, y, places[1:] + places[:1]),
}


def naive_scatter_ratio(z: Points, y: Labels, *, weighted: bool = True) -> float:
    groups = members(z, y)
    within = sum(math.dist(p, mean(points)) ** 2 for points in groups.values() for p in points)
    between = [(len(p) if weighted else 1) * math.dist(mean(p), mean(z)) ** 2 for p in groups.values()]
    return within / sum(between)


def variances(z: Points, *, centred: bool = True) -> list[float]:
    points = np.array(z)
    values = np.linalg.svd(points - points.mean(0) if centred else points, compute_uv=False) ** 2
    return [value / sum(values) for value in values]


def exp_entropy(shares: list[float]) -> float:
    return math.prod(p**-p for p in shares if p > 0)


def naive_components(shares: list[float], share: float = 0.95) -> int:
    return next(k for k in range(1, len(shares) + 1) if sum(shares[:k]) >= share)


def argmax(row: list[float]) -> int:
    return max(range(len(row)), key=row.__getitem__)


def hits(logits: Points, y: Labels) -> list[bool]:
    return [argmax(row) == label for row, label in zip(logits, y, strict=True)]


def f1s(logits: Points, y: Labels) -> dict[int, tuple[int, int, int]]:
    """Of every class that is there or predicted: right, wrongly predicted, missed."""
    predicted = [argmax(row) for row in logits]
    pairs = list(zip(predicted, y, strict=True))
    return {
        c: (
            sum(p == c == t for p, t in pairs),
            sum(p == c != t for p, t in pairs),
            sum(p != c == t for p, t in pairs),
        )
        for c in {*predicted, *y}
    }


def f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / (2 * right + wrong + missed)


def naive_calibration(logits: Points, y: Labels, *, bins: int = 15, signed: bool = False) -> float:
    table: dict[int, list[float]] = {}
    for row, hit in zip(logits, hits(logits, y), strict=True):
        confidence = 1 / sum(math.exp(value - max(row)) for value in row)
        table.setdefault(math.ceil(confidence * bins), []).append(hit - confidence)
    gaps = [sum(values) if signed else abs(sum(values)) for values in table.values()]
    return abs(sum(gaps)) / len(y)


CASES = {
    "silhouette": Case(
        naive_silhouette,
        {
            "the point itself among its mates": lambda z, y: naive_silhouette(z, y, selves=0),
            "points alone in their class are perfect": lambda z, y: naive_silhouette(z, y, alone=1.0),
            "labels shuffled": lambda z, y: naive_silhouette(z, sorted(y)),
            "squared distances": lambda z, y: naive_silhouette([[v**2 for v in p] for p in z], y),
        },
    ),
    "cluster_size": Case(
        naive_cluster_size,
        {
            "mean, not median": lambda z, y: statistics.mean(to_own_mean(z, y)),
            "lower median": lambda z, y: statistics.median_low(to_own_mean(z, y)),
            "upper median": lambda z, y: statistics.median_high(to_own_mean(z, y)),
            "labels shuffled": lambda z, y: naive_cluster_size(z, sorted(y)),
        },
    ),
    "centre_distance": Case(
        lambda z, y: statistics.mean(centre_distances(z, y)),
        {
            "median, not mean": lambda z, y: statistics.median(centre_distances(z, y)),
            "from the mean of points": lambda z, y: statistics.mean(centre_distances(z, y, weighted=True)),
        },
    ),
    "size_to_distance": Case(
        lambda z, y: naive_cluster_size(z, y) / statistics.mean(centre_distances(z, y)),
        {"upside down": lambda z, y: statistics.mean(centre_distances(z, y)) / naive_cluster_size(z, y)},
    ),
    "centre_spacing": Case(
        naive_spacing,
        {
            "a centre with itself": lambda z, y: naive_spacing(z, y, ordered=True),
            "to the mean": lambda z, y: statistics.mean(centre_distances(z, y)),
        },
    ),
    "centre_cosine": Case(
        lambda z, y: statistics.median(cosines_to_own_mean(z, y)),
        {
            "mean, not median": lambda z, y: statistics.mean(cosines_to_own_mean(z, y)),
            "labels shuffled": lambda z, y: statistics.median(cosines_to_own_mean(z, sorted(y))),
        },
    ),
    "nearest_embedding_accuracy": Case(share_right, WRONG_PLACES | {"by angle": share_right_by_angle}),
    "nearest_embedding_cosine_accuracy": Case(
        share_right_by_angle, WRONG_PLACES | {"by distance": share_right}
    ),
    "nearest_centre_accuracy": Case(share_right, WRONG_PLACES | {"by angle": share_right_by_angle}),
    "nearest_centre_cosine_accuracy": Case(share_right_by_angle, WRONG_PLACES | {"by distance": share_right}),
    "scatter_ratio": Case(
        naive_scatter_ratio,
        {
            "classes count alike": lambda z, y: naive_scatter_ratio(z, y, weighted=False),
            "upside down": lambda z, y: 1 / naive_scatter_ratio(z, y),
        },
    ),
    "effective_rank": Case(
        lambda z: exp_entropy(variances(z)),
        {
            "not centred": lambda z: exp_entropy(variances(z, centred=False)),
            "no exp": lambda z: math.log(exp_entropy(variances(z))),
            "singular values": lambda z: exp_entropy(
                [math.sqrt(v) / sum(map(math.sqrt, variances(z))) for v in variances(z)]
            ),
        },
    ),
    "components": Case(
        lambda z: naive_components(variances(z)),
        {
            "not centred": lambda z: naive_components(variances(z, centred=False)),
            "99 %": lambda z: naive_components(variances(z), 0.99),
            "one short": lambda z: naive_components(variances(z)) - 1,
        },
    ),
    "accuracy": Case(
        lambda logits, y: sum(hits(logits, y)) / len(y),
        {"a count": lambda logits, y: sum(hits(logits, y))},
    ),
    "micro_f1": Case(
        lambda logits, y: f1(*map(sum, zip(*f1s(logits, y).values(), strict=True))),
        {"macro": lambda logits, y: statistics.mean(f1(*c) for c in f1s(logits, y).values())},
    ),
    "macro_f1": Case(
        lambda logits, y: statistics.mean(f1(*c) for c in f1s(logits, y).values()),
        {
            "micro": lambda logits, y: f1(*map(sum, zip(*f1s(logits, y).values(), strict=True))),
            "classes of y alone": lambda logits, y: statistics.mean(f1(*f1s(logits, y)[c]) for c in set(y)),
            "every logit a class": lambda logits, y: sum(f1(*c) for c in f1s(logits, y).values()) / 8,
        },
    ),
    "calibration_error": Case(
        naive_calibration,
        {
            "ten bins": lambda logits, y: naive_calibration(logits, y, bins=10),
            "over- and underconfidence cancel": lambda logits, y: naive_calibration(logits, y, signed=True),
        },
    ),
}


# Those of meaning have their cases in a file of their own.
HERE = {name: info for name, info in SCORES.items() if info.fn.__module__ != semantics.__name__}


def test_every_score_has_a_case() -> None:
    assert CASES.keys() == HERE.keys()


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_loop_and_with_no_mistake(name: str) -> None:
    reads, tensors = SCORES[name].reads, scene()
    value = SCORES[name].fn(*(tensors[key] for key in reads)).item()
    rows = tensors["y"] >= 0 if "y" in reads else slice(None)
    lists = [(tensors[key] if key in PER_CLASS else tensors[key][rows]).tolist() for key in reads]
    assert value == pytest.approx(CASES[name].naive(*lists), rel=1e-9)
    for mistake, wrong in CASES[name].mistakes.items():
        assert value != pytest.approx(wrong(*lists), rel=1e-4), mistake


GIVEN_CENTRES: dict[str, Callable[[Points, Labels, Points], float]] = {
    "cluster_size": lambda z, y, g: statistics.median(math.dist(p, g[k]) for p, k in zip(z, y, strict=True)),
    "centre_distance": lambda z, y, g: statistics.mean(math.dist(c, mean(g)) for c in g),
    "size_to_distance": lambda z, y, g: (
        GIVEN_CENTRES["cluster_size"](z, y, g) / GIVEN_CENTRES["centre_distance"](z, y, g)
    ),
    "centre_spacing": lambda z, y, g: statistics.mean(
        math.dist(a, b) for a, b in itertools.combinations(g, 2)
    ),
    "centre_cosine": lambda z, y, g: statistics.median(cosine(p, g[k]) for p, k in zip(z, y, strict=True)),
}


def test_every_score_of_given_centres_has_a_case() -> None:
    assert GIVEN_CENTRES.keys() == {name for name, info in HERE.items() if info.may_read}


@pytest.mark.parametrize("name", GIVEN_CENTRES)
def test_takes_the_centres_it_is_given(name: str) -> None:
    tensors = scene()
    z, y, g = (tensors[key] for key in ("z", "y", "class_centres"))
    found = SCORES[name].fn(z, y, g).item()
    assert found == pytest.approx(GIVEN_CENTRES[name](z[y >= 0].tolist(), y[y >= 0].tolist(), g.tolist()))
    assert found != pytest.approx(SCORES[name].fn(z, y).item(), rel=1e-4)
