"""The principal directions of a batch, against NumPy's SVD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom.latent.projection import principal

Rows = tuple[Tensor, Tensor]


def draw(n: int, d: int, rank: int | None = None, dtype: torch.dtype = torch.float64) -> Rows:
    """Points longer than wide, far from the origin; every seventh row does not count and is far out."""
    g = torch.Generator().manual_seed(n + d)
    k = rank or min(n, d)
    long = torch.linspace(0, 3, k, dtype=torch.float64).neg().exp()
    z = torch.randn(n, k, generator=g, dtype=torch.float64) * long
    z = z @ torch.randn(k, d, generator=g, dtype=torch.float64) + 3
    keep = torch.arange(n) % 7 != 3
    return torch.where(keep[:, None], z, 50 * z.flip(0)).to(dtype), keep


def by_svd(z: np.ndarray, share: float) -> np.ndarray:
    """Projector on the fewest leading directions with the share of the variance, (d, d)."""
    _, s, v = np.linalg.svd(z - z.mean(0), full_matrices=False)
    s = np.where(s > s.max(initial=0) * 1e-9, s, 0)
    enough = np.cumsum(s**2) >= share * (s**2).sum() * (1 - 1e-12)
    count = min(int(enough.argmax()) + 1, int((s > 0).sum()))
    return v[:count].T @ v[:count]


def kept(basis: Tensor) -> int:
    return int((basis != 0).any(0).sum())


MISTAKES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "rows that do not count": lambda z, keep, share: by_svd(z, share),
    "not centred": lambda z, keep, share: by_svd(np.vstack([z[keep], -z[keep]]), share),
    "share of the root of the variance": lambda z, keep, share: by_svd(z[keep], share**0.5),
    "the last directions": lambda z, keep, share: np.eye(z.shape[1]) - by_svd(z[keep], 1 - share),
}
SIZES = {"wide": (40, 6), "tall": (12, 30), "square": (15, 15)}


SHARES = (0.3, 0.5, 0.8, 0.95)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", SHARES)
def test_spans_what_the_svd_spans(size: str, share: float) -> None:
    z, keep = draw(*SIZES[size])
    basis = principal(z, keep, share)
    assert basis.shape == (z.shape[1], min(z.shape))
    expected = by_svd(z[keep].numpy(), share)
    assert kept(basis) == round(np.trace(expected))
    np.testing.assert_allclose((basis @ basis.mT).numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed_at_some_share(size: str, mistake: str) -> None:
    z, keep = draw(*SIZES[size])
    found = [principal(z, keep, share) for share in SHARES]
    wrong = [MISTAKES[mistake](z.numpy(), keep.numpy(), share) for share in SHARES]
    assert not all(np.allclose(b @ b.mT, w, atol=1e-8) for b, w in zip(found, wrong, strict=True))


@pytest.mark.parametrize("size", SIZES)
def test_columns_are_orthonormal_and_fall_in_variance(size: str) -> None:
    z, keep = draw(*SIZES[size])
    basis = principal(z.requires_grad_(), keep, 0.95)
    assert not basis.requires_grad
    gram = basis.mT @ basis
    assert_close(gram, torch.diag((torch.arange(len(gram)) < kept(basis)).double()), atol=1e-9, rtol=0)
    variance = (z[keep] @ basis).var(0)[: kept(basis)]
    assert (variance.diff() <= 0).all()


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_all_of_the_variance_is_the_rank(n: int, d: int) -> None:
    z, keep = draw(n, d)
    basis = principal(z, keep, 1.0)
    assert kept(basis) == np.linalg.matrix_rank((z[keep] - z[keep].mean(0)).numpy())
    centred = z[keep] - z[keep].mean(0)
    assert_close(centred @ basis @ basis.mT, centred)


@pytest.mark.parametrize("share", [0.9, 1.0])
@pytest.mark.parametrize(("n", "d"), [(40, 8), (12, 30)])
def test_rank_deficient_batch(n: int, d: int, share: float) -> None:
    z, keep = draw(n, d, rank=3)
    basis = principal(z, keep, share)
    expected = by_svd(z[keep].numpy(), share)
    assert kept(basis) == round(np.trace(expected)) <= 3
    np.testing.assert_allclose((basis @ basis.mT).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("share", [0.95, 1.0])
def test_float32_counts_as_float64_does(share: float) -> None:
    for n, d in ((40, 6), (128, 300)):
        z, keep = draw(n, d)
        assert kept(principal(z.float(), keep, share)) == kept(principal(z, keep, share))


def test_one_direction_of_known_sign_and_size() -> None:
    z = torch.tensor([[1.0, 1], [3, 1], [5, 1], [100, 70]])
    basis = principal(z, torch.tensor([True, True, True, False]), 0.95)
    assert_close(basis.abs(), torch.tensor([[1.0, 0], [0, 0]]))


def test_share_met_exactly_takes_no_more() -> None:
    z = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]], dtype=torch.float64)
    assert kept(principal(z, torch.ones(4, dtype=torch.bool), 0.9)) == 1
    assert kept(principal(z, torch.ones(4, dtype=torch.bool), 0.91)) == 2


@pytest.mark.parametrize("what", ["equal points", "no row that counts", "one row that counts"])
@pytest.mark.parametrize("d", [3, 9])
def test_without_variance_there_is_no_direction(what: str, d: int) -> None:
    z = torch.full((5, d), 0.1) if what == "equal points" else torch.arange(5.0 * d).reshape(5, d)
    keep = {"equal points": [1] * 5, "no row that counts": [0] * 5, "one row that counts": [0, 1, 0, 0, 0]}[
        what
    ]
    basis = principal(z, torch.tensor(keep, dtype=torch.bool), 0.95)
    assert basis.shape == (d, min(5, d))
    assert (basis == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("d", [3, 9])
def test_what_is_not_a_number_does_not_raise(bad: float, d: int) -> None:
    z, keep = draw(6, d)
    z[0, 1] = bad
    principal(z, keep, 0.95)
