"""Every term against loops written from its formula, and against mistakes the comparison must catch."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from cases import Case, shuffled
from torch import Tensor
from torch.testing import assert_close

from latentloom.losses import TERMS

Points = list[list[float]]
Labels = list[int]


def scene() -> dict[str, Any]:
    """Fourteen points in four dimensions, far from the origin and longer than wide.

    The classes have 5, 4, 3 and 1 rows and are interleaved, one row is unlabelled, and the clusters
    have 1, 2 or 3 rows.
    """
    g = torch.Generator().manual_seed(3)
    y = torch.tensor([2, 0, 1, 2, 0, 2, -1, 0, 1, 2, 0, 3, 1, 2])
    stretch = torch.tensor([2.0, 1.0, 0.6, 0.15], dtype=torch.float64)
    middles = torch.tensor([[0, 2, 0, 0], [1, 0, 2, 0], [0, 0, 0, 1], [3, 1, 0, 0], [9, 9, 9, 9]])
    z = torch.randn(len(y), 4, generator=g, dtype=torch.float64) + middles[y]
    return {
        "z": z * stretch + 0.5,
        "y": y,
        "cluster": torch.tensor([7, 1, 4, 8, 3, 7, -1, 1, 4, 8, 3, 5, 6, 7]),
        "centres": torch.randn(4, 4, generator=g, dtype=torch.float64),
    }


def labelled(*columns: list[Any], y: Labels) -> list[list[Any]]:
    return [[value for value, label in zip(column, y, strict=True) if label >= 0] for column in columns]


def mean(points: Points) -> list[float]:
    return [math.fsum(axis) / len(points) for axis in zip(*points, strict=True)]


def average(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(p * q for p, q in zip(a, b, strict=True))


def on_sphere(z: Points) -> Points:
    return [[value / math.sqrt(dot(point, point)) for value in point] for point in z]


def squared(a: list[float], b: list[float]) -> float:
    return math.dist(a, b) ** 2


def naive_cross_entropy(logits: Points, y: Labels, *, smoothing: float = 0.0, absent: bool = False) -> float:
    lost = []
    for row, label in zip(logits, y, strict=True):
        if label >= 0:
            total = math.fsum(math.exp(value) for value in row)
            chosen = [(1 - smoothing) * (k == label) + smoothing / len(row) for k in range(len(row))]
            lost.append(
                -math.fsum(w * math.log(math.exp(v) / total) for w, v in zip(chosen, row, strict=True))
            )
    return math.fsum(lost) / (len(y) if absent else len(lost))


def naive_contrastive(z: Points, y: Labels, *, margin: float = 1.0, power: int = 2) -> float:
    z, y = labelled(z, y, y=y)
    total, pairs = 0.0, 0
    for i, j in itertools.combinations(range(len(z)), 2):
        d = math.dist(z[i], z[j])
        total += d**power if y[i] == y[j] else max(0.0, margin - d) ** power
        pairs += 1
    return total / (2 * pairs)


def naive_contrastive_pml(
    z: Points, y: Labels, *, margin: float = 1.0, zeros: bool = False, sphere: bool = True
) -> float:
    z, y = labelled(z, y, y=y)
    z = on_sphere(z) if sphere else z
    near, far = [], []
    for i, j in itertools.permutations(range(len(z)), 2):
        d = math.dist(z[i], z[j])
        if y[i] == y[j]:
            near.append(d)
        else:
            far.append(max(0.0, margin - d))
    return sum(average([v for v in values if v > 0 or zeros]) for values in (near, far))


def naive_triplet(
    z: Points, y: Labels, *, margin: float = 0.05, sphere: bool = False, zeros: bool = True, power: int = 1
) -> float:
    z, y = labelled(z, y, y=y)
    z = on_sphere(z) if sphere else z
    found = [
        max(0.0, math.dist(z[i], z[j]) ** power - math.dist(z[i], z[k]) ** power + margin)
        for i, j, k in itertools.permutations(range(len(z)), 3)
        if y[i] == y[j] != y[k]
    ]
    return average([value for value in found if value > 0 or zeros])


def naive_n_pair(z: Points, y: Labels, *, sphere: bool = False, swap: bool = False, own: int = 0) -> float:
    z = on_sphere(z) if sphere else z
    rows: dict[int, Points] = {}
    for point, label in zip(z, y, strict=True):
        if label >= 0:
            rows.setdefault(label, []).append(point)
    pairs = [(p[1], p[0]) if swap else (p[0], p[1]) for p in rows.values() if len(p) > 1]
    lost = []
    for i, (anchor, positive) in enumerate(pairs):
        negatives = [pair[own - 1] for j, pair in enumerate(pairs) if j != i]
        lost.append(
            math.log(1 + math.fsum(math.exp(dot(anchor, n) - dot(anchor, positive)) for n in negatives))
        )
    return average(lost)


def naive_supcon(
    z: Points,
    y: Labels,
    *,
    temperature: float = 0.1,
    inside: bool = False,
    sphere: bool = True,
    itself: bool = False,
    rivals_alone: bool = False,
    everyone: bool = False,
) -> float:
    """`itself`: the anchor in the sum; `rivals_alone`: no positive in it; `everyone`: lone ones count 0."""
    z, y = labelled(z, y, y=y)
    z = on_sphere(z) if sphere else z
    lost = []
    for i, anchor in enumerate(z):
        near = [math.exp(dot(anchor, other) / temperature) for other in z]
        mates = [j for j in range(len(z)) if j != i and y[j] == y[i]]
        total = math.fsum(
            value
            for j, value in enumerate(near)
            if (itself or j != i) and not (rivals_alone and y[j] == y[i])
        )
        shares = [near[j] / total for j in mates]
        if inside and mates:
            lost.append(-math.log(average(shares)))
        elif mates or everyone:
            lost.append(-average([math.log(share) for share in shares]))
    return average(lost)


def naive_magnet(
    z: Points,
    y: Labels,
    cluster: Labels | None = None,
    *,
    alpha: float = 1.0,
    hinge: bool = True,
    squared_variance: bool = False,
    lost: int = 1,
    own_class: bool = False,
) -> float:
    z, y, cluster = labelled(z, y, cluster or y, y=y)
    members = {c: [p for p, mine in zip(z, cluster, strict=True) if mine == c] for c in set(cluster)}
    class_of = dict(zip(cluster, y, strict=True))
    centre = {c: mean(points) for c, points in members.items()}
    away = [squared(p, centre[c]) for p, c in zip(z, cluster, strict=True)]
    variance = math.fsum(away) / (len(z) - lost)
    scale = 2 * (variance**2 if squared_variance else variance)
    total = []
    for point, label, mine, d2 in zip(z, y, cluster, away, strict=True):
        rivals = [c for c in centre if c != mine and (own_class or class_of[c] != label)]
        numerator = math.exp(-d2 / scale - alpha)
        denominator = math.fsum(math.exp(-squared(point, centre[c]) / scale) for c in rivals)
        value = -math.log(numerator / denominator)
        total.append(max(0.0, value) if hinge else value)
    return average(total)


def kept_directions(z: np.ndarray, share: float) -> np.ndarray:
    """The fewest leading right singular vectors that carry the share of the variance, as rows."""
    _, s, v = np.linalg.svd(z - z.mean(0), full_matrices=False)
    for count in range(1, len(s) + 1):
        if (s[:count] ** 2).sum() / (s**2).sum() >= share:
            return v[:count]
    return v


def naive_latent_boost(
    z: Points,
    y: Labels,
    cluster: Labels | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    share: float = 0.95,
    variance: str = "pooled",
    of: str = "centre",
    hinge: bool = True,
    eps: float = 0.0,
    alone: bool = False,
    own_class: bool = False,
) -> float:
    """`variance`: pooled, class, or full (class, before the projection); `of`: whose divides a rival."""
    z, y, cluster = labelled(z, y, cluster or y, y=y)
    full, points = z, z
    if share < 1:
        points = (np.array(z) @ kept_directions(np.array(z), share).T).tolist()
    size, class_of = Counter(cluster), dict(zip(cluster, y, strict=True))

    def centres(space: Points) -> dict[int, list[float]]:
        return {g: mean([p for p, c in zip(space, cluster, strict=True) if c == g]) for g in size}

    def scatter(space: Points) -> dict[int, float]:
        middle = centres(space)
        spread = dict.fromkeys(size, 0.0)
        for p, c in zip(space, cluster, strict=True):
            spread[c] += squared(p, middle[c])
        return spread

    spread = scatter(full if variance == "full" else points)
    pooled = math.fsum(spread.values()) / (len(z) - len(size))
    s2 = {g: pooled if variance == "pooled" or size[g] == 1 else spread[g] / (size[g] - 1) for g in size}
    centre, total = centres(points), []
    for point, label, mine in zip(points, y, cluster, strict=True):
        rivals = [g for g in size if g != mine and (own_class or class_of[g] != label)]
        numerator = math.exp(-squared(point, centre[mine]) / (2 * s2[mine]) - alpha)
        denominator = eps + math.fsum(
            math.exp(-beta * squared(point, centre[g]) / (2 * s2[mine if of == "row" else g])) for g in rivals
        )
        value = -math.log(numerator / denominator)
        if size[mine] > 1 or alone:
            total.append(max(0.0, value) if hinge else value)
    return average(total)


def naive_center(
    z: Points,
    y: Labels,
    centres: Points | None = None,
    *,
    apart: float = 0.0,
    half: float = 0.5,
    power: int = 2,
    ordered: bool = False,
    everyone: bool = False,
) -> float:
    """`everyone`: absent classes keep apart as well."""
    z, y = labelled(z, y, y=y)
    present = sorted(set(y))
    if centres is None:
        stand = {c: mean([p for p, label in zip(z, y, strict=True) if label == c]) for c in present}
    else:
        stand = dict(enumerate(centres))
    compact = half * average([math.dist(p, stand[c]) ** power for p, c in zip(z, y, strict=True)])
    pairs = list(itertools.combinations(sorted(stand) if everyone else present, 2))
    gaps = [max(0.0, apart - math.dist(stand[a], stand[b])) ** 2 for a, b in pairs]
    return compact + (2 if ordered else 1) * average(gaps)


def as_class(y: Labels) -> Labels:
    """What a term that does not know of unlabelled rows would see."""
    return [8 if label < 0 else label for label in y]


# The defaults of the default variant of Latent Boost: chosen by measurement, so written here once.
BOOST = partial(naive_latent_boost, alpha=2.0, beta=1.0, share=1.0, variance="pooled", hinge=True, eps=0.0)
PROJECTED = partial(BOOST, alpha=1.0, share=0.95)
LITERAL = partial(naive_latent_boost, alpha=1.0, variance="class", hinge=False, eps=1e-8)

CASES: dict[str, Case] = {
    "cross_entropy": Case(
        "cross_entropy",
        naive_cross_entropy,
        {
            "labels shuffled": lambda z, y: naive_cross_entropy(z, shuffled(y)),
            "summed": lambda z, y: naive_cross_entropy(z, y) * sum(label >= 0 for label in y),
            "the unlabelled row in the mean": partial(naive_cross_entropy, absent=True),
        },
    ),
    "cross_entropy smoothed": Case(
        "cross_entropy",
        partial(naive_cross_entropy, smoothing=0.2),
        {
            "smoothing left out": naive_cross_entropy,
            "the unlabelled row in the mean": partial(naive_cross_entropy, smoothing=0.2, absent=True),
        },
        {"label_smoothing": 0.2},
    ),
    "contrastive": Case(
        "contrastive",
        naive_contrastive,
        {
            "labels shuffled": lambda z, y: naive_contrastive(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: naive_contrastive(z, as_class(y)),
            "not halved": lambda z, y: 2 * naive_contrastive(z, y),
            "not squared": partial(naive_contrastive, power=1),
            "margin left out": partial(naive_contrastive, margin=0.0),
            "on the sphere": lambda z, y: naive_contrastive(on_sphere(z), y),
        },
    ),
    "contrastive margin and power": Case(
        "contrastive",
        partial(naive_contrastive, margin=2.5, power=1),
        {
            "squared": partial(naive_contrastive, margin=2.5),
            "margin of 1": partial(naive_contrastive, power=1),
        },
        {"margin": 2.5, "power": 1},
    ),
    "contrastive pml": Case(
        "contrastive",
        naive_contrastive_pml,
        {
            "zeros in the mean": partial(naive_contrastive_pml, zeros=True),
            "not on the sphere": partial(naive_contrastive_pml, sphere=False),
            "the unlabelled row taken for a class": lambda z, y: naive_contrastive_pml(z, as_class(y)),
            "margin left out": partial(naive_contrastive_pml, margin=0.0),
        },
        {"variant": "pml"},
    ),
    "triplet": Case(
        "triplet",
        naive_triplet,
        {
            "labels shuffled": lambda z, y: naive_triplet(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: naive_triplet(z, as_class(y)),
            "margin left out": partial(naive_triplet, margin=0.0),
            "over the non-zero triplets": partial(naive_triplet, zeros=False),
            "on the sphere": partial(naive_triplet, sphere=True),
            "distances squared": partial(naive_triplet, power=2),
        },
    ),
    "triplet over nonzero": Case(
        "triplet",
        partial(naive_triplet, margin=1.5, zeros=False),
        {
            "over all": partial(naive_triplet, margin=1.5),
            "margin of 0.05": partial(naive_triplet, zeros=False),
        },
        {"margin": 1.5, "over": "nonzero"},
    ),
    "triplet pml": Case(
        "triplet",
        partial(naive_triplet, sphere=True, zeros=False),
        {
            "over all": partial(naive_triplet, sphere=True),
            "not on the sphere": partial(naive_triplet, zeros=False),
            "the unlabelled row taken for a class": lambda z, y: naive_triplet(
                z, as_class(y), sphere=True, zeros=False
            ),
        },
        {"variant": "pml"},
    ),
    "triplet pml over all": Case(
        "triplet",
        partial(naive_triplet, sphere=True),
        {"over the non-zero triplets": partial(naive_triplet, sphere=True, zeros=False)},
        {"variant": "pml", "over": "all"},
    ),
    "n_pair": Case(
        "n_pair",
        naive_n_pair,
        {
            "labels shuffled": lambda z, y: naive_n_pair(z, shuffled(y)),
            "on the sphere": partial(naive_n_pair, sphere=True),
            "anchor and positive swapped": partial(naive_n_pair, swap=True),
            "anchors for negatives": partial(naive_n_pair, own=1),
            "summed": lambda z, y: 3 * naive_n_pair(z, y),
            "the single row of a class as its own positive": lambda z, y: naive_n_pair(
                [*z, z[11]], [*y, y[11]]
            ),
        },
    ),
    "n_pair pml": Case(
        "n_pair",
        partial(naive_n_pair, sphere=True),
        {"not on the sphere": naive_n_pair, "swapped": partial(naive_n_pair, sphere=True, swap=True)},
        {"variant": "pml"},
    ),
    "supcon": Case(
        "supcon",
        naive_supcon,
        {
            "labels shuffled": lambda z, y: naive_supcon(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: naive_supcon(z, as_class(y)),
            "temperature of 0.07": partial(naive_supcon, temperature=0.07),
            "times the temperature": lambda z, y: 0.1 * naive_supcon(z, y),
            "not on the sphere": partial(naive_supcon, sphere=False),
            "the anchor itself in the sum": partial(naive_supcon, itself=True),
            "no positive in the sum": partial(naive_supcon, rivals_alone=True),
            "the anchor without a positive in the mean": partial(naive_supcon, everyone=True),
            "summed": lambda z, y: 12 * naive_supcon(z, y),
            "the mean inside": partial(naive_supcon, inside=True),
        },
    ),
    "supcon in": Case(
        "supcon",
        partial(naive_supcon, inside=True, temperature=0.5),
        {
            "the mean outside": partial(naive_supcon, temperature=0.5),
            "the sum inside": lambda z, y: (
                naive_supcon(z, y, inside=True, temperature=0.5)
                - average([math.log(y.count(k) - 1) for k in y if k >= 0 and y.count(k) > 1])
            ),
            "the unlabelled row taken for a class": lambda z, y: naive_supcon(
                z, as_class(y), inside=True, temperature=0.5
            ),
        },
        {"variant": "in", "temperature": 0.5},
    ),
    "magnet": Case(
        "magnet",
        naive_magnet,
        {
            "labels shuffled": lambda z, y: naive_magnet(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: naive_magnet(z, as_class(y)),
            "alpha left out": partial(naive_magnet, alpha=0.0),
            "no hinge": partial(naive_magnet, hinge=False),
            "divided by N": partial(naive_magnet, lost=0),
            "divided by N less the classes": partial(naive_magnet, lost=4),
            "variance squared": partial(naive_magnet, squared_variance=True),
        },
    ),
    "magnet clusters": Case(
        "magnet",
        partial(naive_magnet, alpha=2.0),
        {
            "clusters ignored": lambda z, y, cluster: naive_magnet(z, y, alpha=2.0),
            "other clusters of the own class repel": partial(naive_magnet, alpha=2.0, own_class=True),
            "alpha of 1": naive_magnet,
        },
        {"alpha": 2.0},
        ("cluster",),
    ),
    "magnet paper": Case(
        "magnet", partial(naive_magnet, hinge=False), {"hinge": naive_magnet}, {"variant": "paper"}
    ),
    "magnet code": Case(
        "magnet",
        partial(naive_magnet, squared_variance=True),
        {
            "variance not squared": naive_magnet,
            "no hinge": partial(naive_magnet, squared_variance=True, hinge=False),
        },
        {"variant": "code"},
    ),
    "latent_boost": Case(
        "latent_boost",
        BOOST,
        {
            "labels shuffled": lambda z, y: BOOST(z, shuffled(y)),
            "variance of each class": partial(BOOST, variance="class"),
            "projection": partial(BOOST, share=0.8),
            "the class of one row in the mean": partial(BOOST, alone=True),
            "alpha of 1": partial(BOOST, alpha=1.0),
            "beta halved": partial(BOOST, beta=0.5),
        },
    ),
    "latent_boost projected": Case(
        "latent_boost",
        PROJECTED,
        {
            "labels shuffled": lambda z, y: PROJECTED(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: PROJECTED(z, as_class(y)),
            "no hinge": partial(PROJECTED, hinge=False),
            "variance of each class": partial(PROJECTED, variance="class"),
            "no projection": partial(PROJECTED, share=1.0),
            "the largest direction alone": partial(PROJECTED, share=0.1),
            "the class of one row in the mean": partial(PROJECTED, alone=True),
            "alpha left out": partial(PROJECTED, alpha=0.0),
            "beta halved": partial(PROJECTED, beta=0.5),
        },
        {"alpha": 1.0, "share": 0.95},
    ),
    "latent_boost clusters": Case(
        "latent_boost",
        partial(BOOST, alpha=3.0, beta=0.4),
        {
            "clusters ignored": lambda z, y, cluster: BOOST(z, y, alpha=3.0, beta=0.4),
            "other clusters of the own class repel": partial(BOOST, alpha=3.0, beta=0.4, own_class=True),
            "beta of 1": partial(BOOST, alpha=3.0),
            "clusters of one row in the mean": partial(BOOST, alpha=3.0, beta=0.4, alone=True),
        },
        {"alpha": 3.0, "beta": 0.4},
        ("cluster",),
    ),
    "latent_boost class variance": Case(
        "latent_boost",
        partial(BOOST, variance="class"),
        {"pooled": BOOST, "own variance for the rivals": partial(BOOST, variance="class", of="row")},
        {"variance": "class"},
    ),
    "latent_boost no hinge": Case(
        "latent_boost",
        partial(BOOST, alpha=1.0, hinge=False, eps=1e-3),
        {
            "hinge": partial(BOOST, alpha=1.0, eps=1e-3),
            "projection": partial(BOOST, alpha=1.0, hinge=False, share=0.8, eps=1e-3),
            "eps left out": partial(BOOST, alpha=1.0, hinge=False),
        },
        {"alpha": 1.0, "hinge": False, "eps": 1e-3},
    ),
    "latent_boost paper": Case(
        "latent_boost",
        LITERAL,
        {
            "the unlabelled row taken for a class": lambda z, y: LITERAL(z, as_class(y)),
            "pooled variance": partial(LITERAL, variance="pooled"),
            "variance before the projection": partial(LITERAL, variance="full"),
            "own variance for the rivals": partial(LITERAL, of="row"),
            "hinge": partial(LITERAL, hinge=True),
            "no projection": partial(LITERAL, share=1.0),
            "the class of one row in the mean": partial(LITERAL, alone=True),
        },
        {"variant": "paper", "alpha": 1.0},
    ),
    "latent_boost paper, far apart": Case(
        "latent_boost",
        partial(LITERAL, alpha=2.0, beta=40.0, share=1.0),
        {
            "no eps": partial(LITERAL, alpha=2.0, beta=40.0, share=1.0, eps=0.0),
            "a larger eps": partial(LITERAL, alpha=2.0, beta=40.0, share=1.0, eps=1e-7),
        },
        {"variant": "paper", "alpha": 2.0, "beta": 40.0, "share": 1.0},
    ),
    "center": Case(
        "center",
        naive_center,
        {
            "labels shuffled": lambda z, y: naive_center(z, shuffled(y)),
            "the unlabelled row taken for a class": lambda z, y: naive_center(z, as_class(y)),
            "not halved": partial(naive_center, half=1.0),
            "not squared": partial(naive_center, power=1),
        },
    ),
    "center learned": Case(
        "center",
        partial(naive_center, apart=2.0),
        {
            "batch means": lambda z, y, centres: naive_center(z, y, apart=2.0),
            "nothing kept apart": naive_center,
            "labels shuffled": lambda z, y, centres: naive_center(z, shuffled(y), centres, apart=2.0),
        },
        {"apart": 2.0},
        ("centres",),
    ),
    "center apart": Case(
        "center",
        partial(naive_center, apart=4.0),
        {
            "nothing kept apart": naive_center,
            "each pair twice": partial(naive_center, apart=4.0, ordered=True),
            "another distance": partial(naive_center, apart=3.0),
        },
        {"apart": 4.0},
    ),
}


def agrees(case: Case, reference: Callable[..., float], inputs: Mapping[str, Tensor]) -> None:
    tensors = [inputs[name] for name in ("z", "y", *case.extra)]
    value = TERMS[case.term].fn(*tensors, **case.options).item()
    expected = reference(*[tensor.tolist() for tensor in tensors])
    assert_close(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_loop(name: str) -> None:
    agrees(CASES[name], CASES[name].naive, scene())


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, case in CASES.items() for mistake in case.mistakes]
)
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        agrees(CASES[name], CASES[name].mistakes[mistake], scene())


def test_learned_centres_of_absent_classes_do_not_keep_apart() -> None:
    inputs = scene() | {"y": torch.where(scene()["y"] == 3, 0, scene()["y"])}
    case = CASES["center learned"]
    agrees(case, case.naive, inputs)
    with pytest.raises(AssertionError):
        agrees(case, partial(naive_center, apart=2.0, everyone=True), inputs)


def test_every_term_has_a_case_with_mistakes() -> None:
    # Those that read class embeddings have theirs in test_targets.py and test_angular.py, those of label
    # embeddings in test_semantic.py, those without labels in test_generative.py and test_regularisers.py.
    elsewhere = {"class_embeddings", "label_embeddings"}
    others = {n for n, info in TERMS.items() if not elsewhere & {*info.reads} and "y" in info.reads}
    assert {case.term for case in CASES.values()} == others
    assert all(case.mistakes for case in CASES.values())
