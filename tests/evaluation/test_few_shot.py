"""Few-shot accuracy against a loop over episodes, and what an episode may draw."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import mean_interval
from latentloom.evaluation.few_shot import _draws, few_shot_accuracy

METRICS = ("euclidean", "cosine")
Vector = list[float]
Draws = list[list[list[int]]]  # rows, by episode and class, the queries first


def scene() -> tuple[Tensor, Tensor]:
    """96 labelled points of the classes 7, 8 and 9, of unequal lengths, and 24 without a label."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 3 + 7
    z = 1.5 * torch.eye(3, 4)[y - 7] + torch.randn(120, 4, generator=g)
    lengths = 4 * torch.rand(120, 1, generator=g) + 0.1
    return (z * lengths).double(), torch.where(torch.arange(120) % 5 == 0, -1, y)


def mean(vectors: list[Vector]) -> Vector:
    return [math.fsum(axis) / len(vectors) for axis in zip(*vectors, strict=True)]


def scaled(v: Vector) -> Vector:
    return [x / math.hypot(*v) for x in v]


def angle(a: Vector, b: Vector) -> float:
    return math.acos(sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b))


def naive(z: Tensor, draws: Draws, queries: int, metric: str, *, lengths: bool = False) -> list[float]:
    """Accuracy of each episode, one query after the other."""
    points, found = z.tolist(), []
    far = angle if metric == "cosine" else math.dist
    for episode in draws:
        supports = [[points[row] for row in rows[queries:]] for rows in episode]
        if metric == "cosine" and not lengths:
            supports = [[scaled(v) for v in support] for support in supports]
        means = [mean(support) for support in supports]
        asked = [(points[row], own) for own, rows in enumerate(episode) for row in rows[:queries]]
        nearest = [min(range(len(means)), key=lambda j, p=p: far(p, means[j])) for p, _ in asked]
        found.append(statistics.fmean(j == own for j, (_, own) in zip(nearest, asked, strict=True)))
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shots", [1, 5])
def test_agrees_with_the_loop_and_with_no_mistake(metric: str, shots: int) -> None:
    z, y = scene()
    options = {"shots": shots, "episodes": 20, "queries": 6, "seed": 3}
    labelled = (y >= 0).nonzero()[:, 0]
    draws = labelled[_draws(y[labelled], **options)].tolist()
    ours = few_shot_accuracy(z, y, metric=metric, **options).tolist()
    assert ours == pytest.approx(naive(z, draws, 6, metric))
    mistakes = {
        "the other metric": naive(z, draws, 6, METRICS[metric == "euclidean"]),
        "queries are the support": naive(z, [[r[::-1] for r in e] for e in draws], shots, metric),
        "episodes in another order": naive(z, draws[::-1], 6, metric),
    }
    if metric == "cosine" and shots > 1:
        mistakes["long images count more"] = naive(z, draws, 6, metric, lengths=True)
    for mistake, values in mistakes.items():
        assert ours != pytest.approx(values, rel=1e-3), mistake


def test_draws_are_disjoint_labelled_and_of_their_class() -> None:
    y = torch.tensor([4, 2, 9] * 10 + [2] * 7)
    draws = _draws(y, shots=3, queries=6, episodes=50, seed=0)
    assert draws.shape == (50, 3, 9)
    assert all(y[draws[:, j]].unique().tolist() == [label] for j, label in enumerate((2, 4, 9)))
    assert all(len(set(rows)) == 27 for rows in draws.flatten(1).tolist())
    assert sorted(set(draws.flatten().tolist())) == list(range(len(y))), "every image has its turn"
    assert len({tuple(rows) for rows in draws.flatten(1).tolist()}) == 50, "no two episodes are the same"


def test_the_smallest_class_limits_the_queries_of_all() -> None:
    y = torch.tensor([0] * 4 + [1] * 50)
    assert _draws(y, shots=3, queries=15, episodes=2, seed=0).shape == (2, 2, 4)


def test_draws_follow_the_seed_and_more_shots_are_asked_the_same() -> None:
    y = torch.arange(90) % 3
    one, five = (_draws(y, shots=k, queries=15, episodes=10, seed=0) for k in (1, 5))
    assert one.equal(five[..., :16])
    assert one.equal(_draws(y, shots=1, queries=15, episodes=10, seed=0))
    assert not one.equal(_draws(y, shots=1, queries=15, episodes=10, seed=1))


@pytest.mark.parametrize("metric", METRICS)
def test_more_shots_are_better_and_shuffled_labels_are_chance(metric: str) -> None:
    z, y = scene()
    one, five = (few_shot_accuracy(z, y, shots=k, metric=metric) for k in (1, 5))
    low, high = mean_interval((five - one).tolist()) or (0.0, 0.0)
    assert 0 < low < high < 1
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    assert few_shot_accuracy(z, shuffled, shots=1, metric=metric).mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("metric", METRICS)
def test_points_in_one_place_are_chance_and_points_apart_are_all_right(metric: str) -> None:
    y = torch.arange(80) % 4
    for place in (torch.zeros(80, 3), torch.full((80, 3), 0.1)):
        assert few_shot_accuracy(place, y, shots=5, metric=metric).unique().tolist() == [0.25]
    assert few_shot_accuracy(torch.eye(4)[y], y, shots=5, metric=metric).unique().tolist() == [1.0]


def test_points_that_are_not_finite_give_nan_unless_they_are_unlabelled() -> None:
    z, y = scene()
    spoilt = torch.where((y == -1)[:, None], math.nan, z)
    assert few_shot_accuracy(spoilt, y, shots=1).equal(few_shot_accuracy(z, y, shots=1))
    z[1, 0] = math.inf
    assert few_shot_accuracy(z, y, shots=1, episodes=7).isnan().tolist() == [True] * 7


def test_what_cannot_be_drawn_is_refused() -> None:
    z, y = torch.randn(12, 2), torch.tensor([7] * 8 + [9] * 4)
    with pytest.raises(UserError, match="class 9 has 4 labelled images, wanted at least 6 for 5 shots"):
        few_shot_accuracy(z, y, shots=5)
    assert few_shot_accuracy(z, y, shots=3).shape == (100,)
    for labels in (torch.zeros(12).long(), torch.full((12,), -1)):
        with pytest.raises(UserError, match="at least two classes, got"):
            few_shot_accuracy(z, labels, shots=1)
    for wrong in ({"shots": 0}, {"shots": 1, "episodes": 0}, {"shots": 1, "queries": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            few_shot_accuracy(z, y, **wrong)
    with pytest.raises(UserError, match="did you mean 'cosine'"):
        few_shot_accuracy(z, y, shots=1, metric="cosin")
