"""Scores of meaning against loops written from their formulas, libraries, and mistakes they must notice."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr
from score_case import Case
from sklearn.metrics import silhouette_samples as sklearn_samples
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import (
    SCORES,
    class_means,
    coarse_accuracy,
    coarse_silhouette,
    coarse_spearman,
    cosine_silhouette_samples,
    geometry,
    hit_rate,
    hit_rate_ceiling,
    semantic_pearson,
    semantic_spearman,
    semantics,
    severity,
    silhouette_cosine,
)

Point = list[float]
Points = list[Point]
Labels = list[int]
Far = Callable[[Point, Point], float]
Matrix = list[list[float]]
IMAGES = {"z", "logits"}
CLASSES, GROUPS = 9, [0, 0, 1, 1, 2, 2, 2, -1, 3]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene() -> dict[str, Tensor]:
    """Sixty points of eight of nine classes, unequally many, off the origin; one in nine is unlabelled.

    The groups have 2, 1 (the other of its classes has no point), 3 and 1 classes; one class has none.
    """
    y = torch.arange(60) * 7 % 11 % CLASSES
    y = torch.where(y == 3, 0, y)
    embeddings, noise = random(CLASSES, 6, seed=1) + 0.7, random(60, 6, seed=2)
    z = embeddings[y] + 1.5 * noise * (1 + y[:, None] / 4) + 2
    return {
        "z": z,
        "y": torch.where(torch.arange(60) % 9 == 4, -1, y),
        "logits": 1.5 * torch.eye(CLASSES, dtype=torch.float64)[y] + random(60, CLASSES, seed=3),
        "label_embeddings": embeddings,
        "coarse_embeddings": embeddings[[0, 2, 4, 8]] + 0.5 * random(4, 6, seed=4),
        "coarse_of": torch.tensor(GROUPS),
    }


def mean(points: Points) -> Point:
    return [math.fsum(axis) / len(points) for axis in zip(*points, strict=True)]


def means(z: Points, y: Labels) -> dict[int, Point]:
    return {k: mean([p for p, own in zip(z, y, strict=True) if own == k]) for k in sorted(set(y))}


def dot(p: Point, q: Point) -> float:
    return math.fsum(a * b for a, b in zip(p, q, strict=True))


def away(p: Point, q: Point) -> float:
    return 1 - dot(p, q) / (math.hypot(*p) * math.hypot(*q))


def grouped(labels: Labels, coarse_of: Labels) -> Labels:
    """The group of each label; a class of none is a group of its own."""
    return [coarse_of[k] if coarse_of[k] >= 0 else 1000 + k for k in labels]


def share_of_hits(centres: Mapping[int, Point], coarse_of: Labels, *, far: Far = math.dist, itself=False):
    hits = []
    for k, centre in centres.items():
        others = [j for j in centres if itself or j != k]
        nearest = min(others, key=lambda j, centre=centre: far(centre, centres[j]))
        hits.append(len({*grouped([k, nearest], coarse_of)}) == 1)
    return statistics.fmean(hits)


def naive_hits(z: Points, y: Labels, coarse_of: Labels, *, far: Far = math.dist, itself=False) -> float:
    return share_of_hits(means(z, y), coarse_of, far=far, itself=itself)


def hits_of_points(z: Points, y: Labels, coarse_of: Labels) -> float:
    points = dict(enumerate(z))
    return share_of_hits(points, grouped(y, coarse_of))


def naive_silhouette(z: Points, y: Labels, *, far: Far = math.dist) -> float:
    found = []
    for i, p in enumerate(z):
        to = {k: [far(p, q) for j, q in enumerate(z) if y[j] == k and j != i] for k in set(y)}
        own = to.pop(y[i])
        if not own:
            found.append(0.0)
            continue
        a, b = statistics.fmean(own), min(map(statistics.fmean, to.values()))
        found.append((b - a) / max(a, b))
    return statistics.fmean(found)


def euclidean_of_directions(p: Point, q: Point) -> float:
    return math.dist(*([x / math.hypot(*v) for x in v] for v in (p, q)))


def pearson(a: Point, b: Point) -> float:
    a, b = ([x - statistics.fmean(values) for x in values] for values in (a, b))
    return dot(a, b) / (math.hypot(*a) * math.hypot(*b))


def ranks(values: Point) -> Point:
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def spearman(a: Point, b: Point) -> float:
    return pearson(ranks(a), ranks(b))


def pairs_once(classes: Labels) -> list[tuple[int, int]]:
    return list(itertools.combinations(classes, 2))


def and_itself(classes: Labels) -> list[tuple[int, int]]:
    return list(itertools.product(classes, classes))


@dataclass(frozen=True)
class Correlated:
    """How two kinds of distances of classes go together, and what may be mistaken in it."""

    by: Callable[[Point, Point], float]
    pairs: Callable[[Labels], list[tuple[int, int]]] = pairs_once
    latent: Far = math.dist
    semantic: Far = away

    def of(self, centres: Mapping[int, Point], embeddings: Points) -> float:
        pairs = self.pairs(list(centres))
        apart = [self.latent(centres[j], centres[k]) for j, k in pairs]
        unlike = [round(self.semantic(embeddings[j], embeddings[k]), 6) for j, k in pairs]
        return self.by(apart, unlike)

    def fine(self, z: Points, y: Labels, embeddings: Points) -> float:
        return self.of(means(z, y), embeddings)

    def coarse(self, z: Points, y: Labels, coarse_of: Labels, embeddings: Points) -> float:
        rows = [(p, coarse_of[k]) for p, k in zip(z, y, strict=True) if coarse_of[k] >= 0]
        return self.of(means([p for p, _ in rows], [g for _, g in rows]), embeddings)


def mean_of_class_means(z: Points, y: Labels, coarse_of: Labels, embeddings: Points, by) -> float:
    rows = [(centre, coarse_of[k]) for k, centre in means(z, y).items() if coarse_of[k] >= 0]
    return Correlated(by).of(means([p for p, _ in rows], [g for _, g in rows]), embeddings)


def argmax(row: Point) -> int:
    return max(range(len(row)), key=row.__getitem__)


def naive_severity(
    logits: Points, y: Labels, embeddings: Points, *, every: bool = False, far: Far = away
) -> float:
    rows = [(argmax(row), k) for row, k in zip(logits, y, strict=True)]
    return statistics.fmean(far(embeddings[p], embeddings[k]) for p, k in rows if every or p != k)


def naive_coarse_accuracy(logits: Points, y: Labels, coarse_of: Labels) -> float:
    predicted = grouped([argmax(row) for row in logits], coarse_of)
    return statistics.fmean(p == g for p, g in zip(predicted, grouped(y, coarse_of), strict=True))


def fine_mistakes(by, other) -> Mapping[str, Callable[..., float]]:
    return {
        "both triangles and the diagonal": Correlated(by, pairs=and_itself).fine,
        "with the diagonal": Correlated(
            by, pairs=lambda c: list(itertools.combinations_with_replacement(c, 2))
        ).fine,
        "cosine in the latent space": Correlated(by, latent=away).fine,
        "similarity for distance": Correlated(by, semantic=lambda p, q: 1 - away(p, q)).fine,
        "the other correlation": Correlated(other).fine,
        "embeddings in another order": lambda z, y, e: Correlated(by).fine(z, y, e[1:] + e[:1]),
    }


def coarse_mistakes(by, other) -> Mapping[str, Callable[..., float]]:
    return {
        "both triangles and the diagonal": Correlated(by, pairs=and_itself).coarse,
        "cosine in the latent space": Correlated(by, latent=away).coarse,
        "the other correlation": Correlated(other).coarse,
        "embeddings in another order": lambda z, y, g, e: Correlated(by).coarse(z, y, g, e[1:] + e[:1]),
        "fine classes": lambda z, y, g, e: Correlated(by).fine(z, [k % 4 for k in y], e),
    }


CASES = {
    "hit_rate": Case(
        naive_hits,
        {
            "the centre itself": lambda z, y, g: naive_hits(z, y, g, itself=True),
            "by angle": lambda z, y, g: naive_hits(z, y, g, far=away),
            "the farthest": lambda z, y, g: naive_hits(z, y, g, far=lambda p, q: -math.dist(p, q)),
            "points, not classes": hits_of_points,
            "empty classes miss": lambda z, y, g: naive_hits(z, y, g) * len(set(y)) / len(g),
            "only classes of a group": lambda z, y, g: share_of_hits(
                {k: c for k, c in means(z, y).items() if g[k] >= 0}, g
            ),
        },
    ),
    "silhouette_cosine": Case(
        lambda z, y: naive_silhouette(z, y, far=away),
        {
            "Euclidean": naive_silhouette,
            "Euclidean of directions": lambda z, y: naive_silhouette(z, y, far=euclidean_of_directions),
            "labels shuffled": lambda z, y: naive_silhouette(z, sorted(y), far=away),
        },
    ),
    "coarse_silhouette": Case(
        lambda z, y, g: naive_silhouette(z, grouped(y, g)),
        {
            "fine": lambda z, y, g: naive_silhouette(z, y),
            "cosine": lambda z, y, g: naive_silhouette(z, grouped(y, g), far=away),
            "classes of no group together": lambda z, y, g: naive_silhouette(z, [max(g[k], 0) for k in y]),
        },
    ),
    "coarse_silhouette_cosine": Case(
        lambda z, y, g: naive_silhouette(z, grouped(y, g), far=away),
        {
            "fine": lambda z, y, g: naive_silhouette(z, y, far=away),
            "Euclidean": lambda z, y, g: naive_silhouette(z, grouped(y, g)),
            "Euclidean of directions": lambda z, y, g: naive_silhouette(
                z, grouped(y, g), far=euclidean_of_directions
            ),
        },
    ),
    "semantic_spearman": Case(Correlated(spearman).fine, fine_mistakes(spearman, pearson)),
    "semantic_pearson": Case(
        Correlated(pearson).fine,
        {
            **fine_mistakes(pearson, spearman),
            "Euclidean in meaning": Correlated(pearson, semantic=math.dist).fine,
        },
    ),
    "coarse_spearman": Case(Correlated(spearman).coarse, coarse_mistakes(spearman, pearson)),
    "coarse_pearson": Case(
        Correlated(pearson).coarse,
        {
            **coarse_mistakes(pearson, spearman),
            "Euclidean in meaning": Correlated(pearson, semantic=math.dist).coarse,
            "classes count alike": lambda *given: mean_of_class_means(*given, pearson),
        },
    ),
    "severity": Case(
        naive_severity,
        {
            "over all predictions": lambda logits, y, e: naive_severity(logits, y, e, every=True),
            "Euclidean": lambda logits, y, e: naive_severity(logits, y, e, far=math.dist),
            "similarity": lambda logits, y, e: naive_severity(logits, y, e, far=lambda p, q: 1 - away(p, q)),
            "lengths left in": lambda logits, y, e: naive_severity(
                logits, y, e, far=lambda p, q: 1 - dot(p, q)
            ),
        },
    ),
    "coarse_accuracy": Case(
        naive_coarse_accuracy,
        {
            "fine": lambda logits, y, g: statistics.fmean(
                argmax(row) == k for row, k in zip(logits, y, strict=True)
            ),
            "only what is wrong": lambda logits, y, g: statistics.fmean(
                g[argmax(row)] == g[k] for row, k in zip(logits, y, strict=True) if argmax(row) != k
            ),
        },
    ),
}


def test_every_score_has_a_case() -> None:
    assert CASES.keys() == {name for name, info in SCORES.items() if info.fn.__module__ == semantics.__name__}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_loop_and_with_no_mistake(name: str) -> None:
    reads, tensors = SCORES[name].reads, scene()
    value = SCORES[name].fn(*(tensors[key] for key in reads)).item()
    kept = {key: rows[tensors["y"] >= 0] if key in {*IMAGES, "y"} else rows for key, rows in tensors.items()}
    lists = [kept[key].tolist() for key in reads]
    assert value == pytest.approx(CASES[name].naive(*lists), rel=1e-9)
    for mistake, wrong in CASES[name].mistakes.items():
        assert value != pytest.approx(wrong(*lists), rel=1e-4), mistake


def test_centres_that_are_given_stand_for_those_of_the_points() -> None:
    tensors = scene()
    z, y, groups, embeddings = (tensors[key] for key in ("z", "y", "coarse_of", "label_embeddings"))
    train = class_means(z + 3 * random(60, 6, seed=9), y, CLASSES)[:8]  # one row fewer than embeddings
    centres = {k: train[k].tolist() for k in range(len(train)) if train[k].isfinite().all()}
    assert 2 < len(centres) < CLASSES
    found = {
        hit_rate: (groups, share_of_hits(centres, GROUPS)),
        semantic_spearman: (embeddings, Correlated(spearman).of(centres, embeddings.tolist())),
        semantic_pearson: (embeddings, Correlated(pearson).of(centres, embeddings.tolist())),
    }
    for fn, (given, expected) in found.items():
        assert fn(z, y, given, train).item() == pytest.approx(expected)
        assert fn(z, y, given).item() != pytest.approx(expected, rel=1e-4)


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    y = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    return random(classes, d, seed=seed + 1)[y] + random(n, d, seed=seed + 2), y


@pytest.mark.parametrize(("n", "d", "classes"), [(200, 5, 4), (300, 64, 10), (60, 1, 3), (150, 3, 100)])
def test_silhouettes_by_cosine_equal_those_of_scikit_learn(n: int, d: int, classes: int) -> None:
    z, y = blobs(n, d, classes)
    z[::20] = 0.0  # of which scikit-learn takes the cosine as 0 too
    theirs = sklearn_samples(z.numpy(), y.numpy(), metric="cosine")
    np.testing.assert_allclose(cosine_silhouette_samples(z, y), theirs, atol=1e-9)
    assert silhouette_cosine(z, y).item() == pytest.approx(theirs.mean())


def test_silhouettes_by_cosine_of_narrow_cones_keep_their_digits() -> None:
    """Where 1 - cos is 1e-18, it cannot be had by subtraction."""
    _, y = blobs(60, 3, 3)
    tilt = 1e-9 * (random(3, 3, seed=1)[y] + 0.3 * random(60, 3, seed=2))
    tilt[:, 0] = 0.0
    z = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) + tilt
    found = silhouette_cosine(z, y).item()
    points = tilt.tolist()  # 1 - cos is half of the squared distance there
    assert found == pytest.approx(
        naive_silhouette(points, y.tolist(), far=lambda p, q: math.dist(p, q) ** 2), rel=1e-5
    )


@pytest.mark.parametrize(
    ("z", "y", "value"),
    [
        ([[1.0, 0.0], [2.0, 0.1]], [0, 0], -1.0),  # one class
        ([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]], [0, 1, 2], 0.0),  # each point its own class
        ([[0.1, 0.3], [0.7, 2.1], [0.2, 0.6], [1.0, 3.0]], [0, 0, 1, 1], 0.0),  # one direction
        ([[1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [0.0, 4.0]], [0, 0, 1, 1], 1.0),  # a direction for each class
        ([[0.0, 0.0]] * 4, [0, 0, 1, 1], 0.0),  # the origin
    ],
)
def test_silhouette_by_cosine_where_little_can_be_compared(z: Matrix, y: Labels, value: float) -> None:
    points = torch.tensor(z, dtype=torch.float64)
    assert silhouette_cosine(points, torch.tensor(y)).item() == pytest.approx(value, abs=1e-12)


def test_silhouettes_by_cosine_are_nan_where_unlabelled_and_for_all_where_one_is_not_finite() -> None:
    z, y = random(5, 2), torch.tensor([0, 0, -1, 1, 1])
    z[2] = math.nan
    assert cosine_silhouette_samples(z, y).isnan().tolist() == [False, False, True, False, False]
    assert cosine_silhouette_samples(z, y.clamp_min(0)).isnan().all()


def test_scipy_and_scikit_learn_agree() -> None:
    z, y = blobs(400, 6, 12)
    embeddings = random(12, 6, seed=1) + 0.5 * random(12, 6, seed=7)
    centres = class_means(z, y, 12)
    apart, unlike = pdist(centres), pdist(embeddings, "cosine")
    assert semantic_spearman(z, y, embeddings).item() == pytest.approx(spearmanr(apart, unlike).statistic)
    assert semantic_pearson(z, y, embeddings).item() == pytest.approx(
        pearsonr(apart, unlike).statistic, abs=1e-5
    )
    groups = torch.arange(12) % 4
    nearest = NearestNeighbors(n_neighbors=1).fit(centres.numpy()).kneighbors(return_distance=False)[:, 0]
    assert hit_rate(z, y, groups).item() == (groups[nearest] == groups).double().mean().item()


@pytest.mark.parametrize("block", [1, 25, 10_000])
def test_blocks_do_not_change_the_hit_rate(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = scene()
    whole = hit_rate(*(tensors[key] for key in ("z", "y", "coarse_of")))
    monkeypatch.setattr(geometry, "BLOCK", block)
    assert hit_rate(*(tensors[key] for key in ("z", "y", "coarse_of"))) == whole


@pytest.mark.parametrize(
    ("sizes", "ceiling"),
    [([2, 2], 1.0), ([1, 4], 0.8), ([1] * 5 + [15] * 13, 0.975), ([1, 1, 1], 0.0)],  # the third as CUB-200
)
def test_hits_reach_their_ceiling_and_no_more(sizes: list[int], ceiling: float) -> None:
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    assert hit_rate_ceiling(groups) == ceiling
    z = torch.stack([100.0 * groups, torch.arange(len(groups))], 1)
    assert hit_rate(z, torch.arange(len(groups)), groups).item() == ceiling


def test_the_ceiling_of_some_classes_and_without_groups() -> None:
    assert hit_rate_ceiling(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 3])) == pytest.approx(2 / 3)
    assert hit_rate_ceiling(torch.tensor([-1, -1, 1, 1])) == 0.5


def test_equal_distances_share_their_rank() -> None:
    """Vectors of groups alone: all pairs within groups are alike, and all between them."""
    embeddings = torch.eye(3)[[0, 0, 1, 1, 2, 2]] + 1e-8 * random(6, 3).float()
    z, y = random(6, 4), torch.arange(6)
    unlike = [float(j // 2 != k // 2) for j, k in itertools.combinations(range(6), 2)]
    expected = spearman(pdist(z).tolist(), unlike)
    assert semantic_spearman(z, y, embeddings).item() == pytest.approx(expected)
    ordinal = [sorted(range(15), key=unlike.__getitem__).index(i) for i in range(15)]
    assert pearson(ranks(pdist(z).tolist()), ordinal) != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("fn", [semantic_spearman, semantic_pearson])
def test_what_does_not_vary_goes_with_nothing(fn: Callable[..., Tensor]) -> None:
    z, y, embeddings = random(6, 8), torch.arange(6), random(6, 8, seed=1)
    orthogonal = torch.linalg.qr(random(8, 8)).Q[:6]
    assert fn(z, y, orthogonal).item() == 0
    assert fn(orthogonal, y, embeddings).item() == 0
    assert fn(z[:2], y[:2], embeddings).item() == 0
    assert fn(z, y, embeddings).item() != 0


def test_centres_that_lie_as_the_names_do_correlate_fully() -> None:
    places = torch.nn.functional.normalize(random(20, 5))
    y = torch.arange(40) % 20
    assert semantic_spearman(places[y] * 3 + 1, y, places).item() == pytest.approx(1)
    assert 0.9 < semantic_pearson(places[y] * 3 + 1, y, places).item() < 1
    assert semantic_spearman(places[y] * 3 + 1, y, places[torch.randperm(20)]).item() < 0.9


def test_of_many_classes_an_even_choice_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y, embeddings = random(9, 4), torch.arange(9), random(9, 4, seed=1)
    chosen = torch.tensor([0, 2, 4, 6, 8])
    expected = semantic_spearman(z[chosen], torch.arange(5), embeddings[chosen])
    monkeypatch.setattr(semantics, "LARGEST", 5)
    assert semantic_spearman(z, y, embeddings) == expected


def test_groups_without_a_class_and_classes_without_a_group_are_left_out() -> None:
    tensors = scene()
    given = [tensors[key] for key in ("z", "y", "coarse_of", "coarse_embeddings")]
    found = coarse_spearman(*given)
    more = torch.cat([given[3], 9 * random(2, 6)])
    assert coarse_spearman(*given[:3], more) == found
    assert coarse_spearman(given[0], given[1], torch.full((CLASSES,), -1), given[3]) == 0


def test_severity_without_a_mistake_and_between_opposites() -> None:
    y, opposite = torch.tensor([0, 1, 0]), torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    logits = torch.eye(2)[y]
    assert severity(logits, y, opposite).item() == 0
    assert severity(-logits, y, opposite).item() == 2
    assert severity(torch.cat([logits, -logits]), torch.cat([y, y]), opposite).item() == 2


def test_an_image_is_in_the_right_group_if_its_class_is() -> None:
    logits, y = torch.eye(3)[[0, 1, 2, 2]], torch.tensor([0, 0, 0, 2])
    assert coarse_accuracy(logits, y, torch.tensor([0, 0, 1])).item() == 0.75
    assert coarse_accuracy(logits, y, torch.tensor([-1, -1, -1])).item() == 0.5
    assert coarse_accuracy(logits, y, torch.tensor([0, 0, 0])).item() == 1


@pytest.mark.parametrize("name", CASES)
def test_classes_that_are_not_described_are_refused(name: str) -> None:
    short = {"label_embeddings", "coarse_of"} & {*SCORES[name].reads}
    for key in short:
        tensors = scene() | {key: scene()[key][:4]}
        with pytest.raises(UserError, match=r"4 rows, but there is a class 8; give a row for every class"):
            SCORES[name].fn(*(tensors[read] for read in SCORES[name].reads))


def test_groups_that_are_not_described_are_refused() -> None:
    tensors = scene()
    with pytest.raises(UserError, match="matrix of embeddings has 3 rows, but there is a class 3"):
        coarse_spearman(tensors["z"], tensors["y"], tensors["coarse_of"], tensors["coarse_embeddings"][:3])


def test_silhouette_of_groups_leaves_unlabelled_points_out() -> None:
    z, y = random(6, 2), torch.tensor([0, 1, 2, 3, -1, -1])
    groups = torch.tensor([0, 0, 1, 1])
    assert coarse_silhouette(z, y, groups) == coarse_silhouette(z[:4], y[:4], groups)
