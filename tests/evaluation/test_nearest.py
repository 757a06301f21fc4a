"""Class centres, the nearest of some points, and what is told of each class."""

from __future__ import annotations

import math
import statistics
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import class_centres, class_geometry, class_means, nearest


def points(n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes, called 0, 4 and 5, that overlap."""
    g = torch.Generator().manual_seed(seed)
    row = torch.randint(3, (n,), generator=g)
    corners = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 3.46]])
    return corners[row] + 3 * torch.randn(n, 2, generator=g), torch.tensor([0, 4, 5])[row]


def test_class_centres_as_measured_by_hand() -> None:
    z, y = points()
    classes, centres, row = class_centres(z, y)
    assert classes[row].tolist() == y.tolist()
    means = {c: [statistics.fmean(axis) for axis in z[y == c].T.tolist()] for c in (0, 4, 5)}
    torch.testing.assert_close(centres, torch.tensor(list(means.values())))


def test_class_means_have_a_row_for_every_class() -> None:
    z, y = points()
    y[3:6] = -1
    means = class_means(z, y, 7)
    assert means.shape == (7, 2)
    assert means.isnan().all(1).tolist() == [label not in (0, 4, 5) for label in range(7)]
    torch.testing.assert_close(means[4], z[y == 4].double().mean(0))


def dot(p: list[float], q: list[float]) -> float:
    return sum(a * b for a, b in zip(p, q, strict=True))


def naive_nearest(z: Tensor, reference: Tensor, *, cosine: bool) -> list[int]:
    def far(p: list[float], q: list[float]) -> float:
        if not cosine:
            return math.dist(p, q)
        return -dot(p, q) / (math.hypot(*p) * math.hypot(*q))

    places = reference.tolist()
    return [min(range(len(places)), key=lambda k: far(p, places[k])) for p in z.tolist()]


def test_nearest_as_measured_by_hand() -> None:
    z, reference = points()[0], points(9, seed=1)[0]
    by_distance, by_angle = (naive_nearest(z, reference, cosine=cosine) for cosine in (False, True))
    assert nearest(z, reference).tolist() == by_distance
    assert nearest(z, reference, "cosine").tolist() == by_angle
    assert by_distance != by_angle


def test_nearest_by_cosine_is_nearest_by_distance_of_unit_vectors() -> None:
    z, reference = points()[0], points(9, seed=1)[0]
    unit = torch.nn.functional.normalize
    assert nearest(z, reference, "cosine").tolist() == nearest(unit(z), unit(reference)).tolist()


def test_a_class_without_a_centre_is_never_the_nearest() -> None:
    z, reference = points()[0], points(9, seed=1)[0]
    found = nearest(z, reference)
    without = reference.index_fill(0, torch.tensor([0, int(found.mode().values)]), math.nan)
    assert not {0, int(found.mode().values)} & set(nearest(z, without).tolist())


def test_blocks_change_nothing() -> None:
    z, reference = points()[0], points(9, seed=1)[0]
    whole = nearest(z, reference).tolist()
    with patch.dict(nearest.__globals__, {"BLOCK": 20}):
        assert nearest(z, reference).tolist() == whole


@pytest.mark.parametrize(
    ("reference", "metric", "message"),
    [
        (torch.zeros(3, 5), "euclidean", r"wanted a reference point \(C, 2\) per class, got \(3, 5\)"),
        (torch.zeros(2), "euclidean", "wanted a reference point"),
        (torch.full((3, 2), math.nan), "euclidean", "no reference point is finite"),
        (torch.zeros(3, 2), "cosin", "did you mean 'cosine'"),
    ],
)
def test_what_cannot_be_compared(reference: Tensor, metric: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        nearest(points()[0], reference, metric)  # type: ignore[arg-type]


def test_figures_of_each_class_as_measured_by_hand() -> None:
    z, y = points()
    y[3] = -1
    g = class_means(*points(60, seed=1), 6)
    found = class_geometry(z, y, g)
    middle = [statistics.fmean(axis) for axis in g[[0, 4, 5]].T.tolist()]
    for label in (0, 4, 5):
        own, centre = z[y == label].tolist(), g[label].tolist()
        others = [g[other].tolist() for other in (0, 4, 5) if other != label]
        assert found["images"][label] == len(own)
        expected = {
            "cluster_size": statistics.median(math.dist(p, centre) for p in own),
            "centre_distance": math.dist(centre, middle),
            "nearest_centre": min(math.dist(centre, other) for other in others),
            "centre_cosine": statistics.median(
                dot(p, centre) / (math.hypot(*p) * math.hypot(*centre)) for p in own
            ),
        }
        for name, value in expected.items():
            assert found[name][label].item() == pytest.approx(value, rel=1e-6), name
    assert found["images"].tolist() == [(y == label).sum() for label in range(6)]
    assert all(found[name][[1, 2, 3]].isnan().all() for name in found if name != "images")
