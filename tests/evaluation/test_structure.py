"""Scores of structure at the hard points; the silhouette against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples as sklearn_samples
from sklearn.metrics import silhouette_score as sklearn_silhouette
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import (
    centre_distance,
    cluster_size,
    components,
    effective_rank,
    scatter_ratio,
    silhouette,
    silhouette_samples,
    size_to_distance,
    structure,
)

CLOSE = 1e-5


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.randn(classes, d, generator=g)[y] + torch.randn(n, d, generator=g), y


def exact(z: Tensor, y: Tensor) -> np.ndarray:
    """scikit-learn on distances measured coordinate by coordinate."""
    return sklearn_samples(cdist(z.double(), z.double()), y.numpy(), metric="precomputed")


@pytest.mark.parametrize(("n", "d", "classes"), [(200, 5, 4), (500, 64, 10), (60, 2048, 3), (150, 1, 100)])
def test_silhouette_equals_that_of_scikit_learn(n: int, d: int, classes: int) -> None:
    z, y = blobs(n, d, classes)
    assert silhouette(z, y).item() == pytest.approx(sklearn_silhouette(z.numpy(), y.numpy()), abs=CLOSE)
    np.testing.assert_allclose(silhouette_samples(z, y), exact(z, y), atol=CLOSE)


def test_silhouette_with_class_names_that_leave_gaps() -> None:
    z, y = blobs(80, 3, 4)
    names = torch.tensor([1000, 7, 0, 31])[y]
    assert silhouette(z, names).item() == pytest.approx(
        sklearn_silhouette(z.numpy(), names.numpy()), abs=CLOSE
    )


@pytest.mark.parametrize("block", [1, 4, 49, 10_000])
def test_silhouette_does_not_depend_on_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = blobs(50, 3, 4)
    z[:20] = z[:20].sign() + 1e6  # also of those that are measured again
    monkeypatch.setattr(structure, "BLOCK", block)
    np.testing.assert_allclose(silhouette_samples(z, y), exact(z, y), atol=CLOSE)


@st.composite
def hard_points(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few distinct points, so duplicates; constant features; classes of one; any offset and scale."""
    n, d = draw(st.integers(3, 25)), draw(st.integers(1, 4))
    grid = draw(arrays(np.int64, (n, d), elements=st.integers(-3, 3))).astype(np.float64)
    offset, scale = draw(st.sampled_from([0.0, 1.0, 1e3, -1e6])), draw(st.sampled_from([1e-6, 0.1, 1.0, 1e4]))
    grid[:, draw(st.integers(0, d - 1))] *= draw(st.sampled_from([0.0, 1.0, 1e-4]))
    grid[draw(st.integers(0, n - 1))] *= draw(st.sampled_from([1.0, 1e8]))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, 4)).filter(lambda y: 1 < len(set(y)) < len(y)))
    return torch.from_numpy(grid * scale + offset).float(), torch.from_numpy(labels)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(hard_points())
def test_silhouette_of_hard_points(points: tuple[Tensor, Tensor]) -> None:
    z, y = points
    np.testing.assert_allclose(silhouette_samples(z, y), exact(z, y), atol=CLOSE)
    assert silhouette(z, y).item() == pytest.approx(exact(z, y).mean(), abs=CLOSE)


def test_classes_that_share_one_far_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding in a product of coordinates would give such points any silhouette but 0."""
    g = torch.Generator().manual_seed(0)
    near, far = torch.randn(2, 20, 40, generator=g, dtype=torch.float64)
    z, y = torch.cat([near, 1e3 * far[:1].expand(6, 40)]), torch.tensor([0] * 20 + [1, 2] * 3)
    assert silhouette_samples(z, y)[20:].tolist() == [0.0] * 6
    monkeypatch.setattr(structure, "RESOLVED", 0.0)
    assert silhouette_samples(z, y)[20:].abs().max() > 0.1


@pytest.mark.parametrize(
    ("z", "y", "value"),
    [
        ([[1.0], [2.0], [3.0]], [0, 0, 0], -1.0),  # one class
        ([[1.0], [2.0], [3.0]], [0, 1, 2], 0.0),  # each point its own class
        ([[5.0]] * 4, [0, 0, 1, 1], 0.0),  # all in one place
        ([[0.0], [0.0], [9.0], [9.0]], [0, 0, 1, 1], 1.0),  # classes drawn to a point
        ([[0.0], [9.0], [0.0], [9.0]], [0, 0, 1, 1], -0.5),
    ],
)
def test_silhouette_where_little_can_be_compared(z: list[list[float]], y: list[int], value: float) -> None:
    assert silhouette(torch.tensor(z), torch.tensor(y)).item() == pytest.approx(value)


def test_silhouettes_are_nan_where_unlabelled_and_for_all_where_one_is_not_finite() -> None:
    z, y = torch.tensor([[0.0], [1.0], [math.nan], [5.0], [6.0]]), torch.tensor([0, 0, -1, 1, 1])
    assert silhouette_samples(z, y).isnan().tolist() == [False, False, True, False, False]
    assert silhouette_samples(z, y.clamp_min(0)).isnan().all()
    assert silhouette_samples(z, torch.full((5,), -1)).isnan().all()


@pytest.mark.parametrize("offset", [0.0, 0.5, 1e5])
def test_ends_of_the_ranges(offset: float) -> None:
    y = torch.tensor([0, 0, 1, 1, 2])
    place = torch.full((5, 3), offset + 0.1)
    apart = torch.eye(3)[y] + offset
    together = torch.full((5, 3), offset)
    together[:4, 0] += torch.tensor([-1.0, 1.0, -2.0, 2.0])  # all means in one place
    for z, ratio in ((place, math.inf), (together, math.inf), (apart, 0.0)):
        assert (size_to_distance(z, y).item(), scatter_ratio(z, y).item()) == (ratio, ratio)
    assert (cluster_size(place, y).item(), centre_distance(place, y).item()) == (0.0, 0.0)
    assert (cluster_size(apart, y).item(), cluster_size(together, y).item()) == (0.0, 1.0)
    assert (effective_rank(place).item(), components(place).item()) == (1.0, 0.0)
    assert effective_rank(together).item() == pytest.approx(1.0)
    assert components(together).item() == 1.0


def test_dimensions_that_are_used_alike_all_count() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    assert effective_rank(corners).item() == pytest.approx(4.0)
    assert components(corners).item() == 4
    assert effective_rank(corners * torch.tensor([1, 1, 0, 0])).item() == pytest.approx(2.0)


def test_more_dimensions_than_points() -> None:
    z, _ = blobs(6, 40, 2)
    padded = torch.cat([z, torch.zeros(6, 40)], 1)
    assert 1 < effective_rank(z).item() <= 5
    assert effective_rank(padded).item() == pytest.approx(effective_rank(z).item())
    assert components(padded).item() == components(z).item()


@pytest.mark.parametrize(
    ("z", "y", "said"),
    [
        (torch.zeros(3, 2, 2), torch.zeros(3).long(), r"\(3, 2, 2\)"),
        (torch.zeros(3, 2).long(), torch.zeros(3).long(), "floating"),
        (torch.zeros(3, 2), torch.zeros(4).long(), r"\(4,\)"),
        (torch.zeros(3, 2), torch.zeros(3), "integer"),
    ],
)
def test_wrong_shapes_are_refused(z: Tensor, y: Tensor, said: str) -> None:
    with pytest.raises(UserError, match=said):
        silhouette(z, y)
