"""Collapses are named, and nothing else is."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from latentloom.evaluation import collapse, effective_rank, latent_health, silhouette

N, C = 600, 10


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(n: int = N, c: int = C) -> Tensor:
    return torch.arange(n) % c


def symmetric() -> Tensor:
    """Points that vary, with the mean of every class at the origin."""
    half = random(N // 2, 16).reshape(-1, C, 16)
    return torch.stack([half, -half], 1).reshape(N, 16)


COLLAPSED = {
    "all points in one place": {
        "one point": torch.full((N, 16), 0.3),
        "one point and rounding": 50 + 1e-5 * random(N, 16),
        "one point at the origin": 1e-7 * random(N, 16),
    },
    "rank one": {
        "a line": random(N, 1) * random(1, 16, seed=1) + 3,
        "a line with classes along it": (classes() + 0.1 * random(N))[:, None] * random(1, 16)
        + 0.05 * random(N, 16),
    },
    "all class centres in one place": {
        "labels dealt at random": random(N, 16),
        "far from the origin": random(N, 16) + 20,
        "long": random(N, 16) * torch.logspace(0, -2, 16),
        "mirrored": symmetric(),
    },
}
MADE = [(name, case) for name, cases in COLLAPSED.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), MADE)
def test_collapse_is_named(name: str, case: str) -> None:
    assert (collapse(COLLAPSED[name][case], classes()) or "").startswith(f"{name}: ")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("apart", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("d", [2, 16, 200])
def test_clustered_points_raise_no_alarm(d: int, apart: float, seed: int) -> None:
    z = apart * random(C, d, seed=seed)[classes()] + random(N, d, seed=seed + 100)
    for scale, offset in ((1.0, 0.0), (1e-3, 0.0), (1e3, 10.0), (1.0, 1e3)):
        assert collapse(scale * z + offset, classes()) is None


@pytest.mark.parametrize("seed", range(5))
def test_an_untrained_network_raises_no_alarm(seed: int) -> None:
    x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    with torch.no_grad():
        assert collapse(network(x.float() / 16)[:400], y[:400]) is None


def test_classes_drawn_to_a_point_each_are_no_collapse() -> None:
    assert collapse(torch.eye(C)[classes()], classes()) is None
    two = torch.tensor([[0.0, 0.0], [1.0, 0.0]])[classes(N, 2)]
    assert collapse(two, classes(N, 2)) is None, "two classes that are apart lie on a line"


def test_too_few_points_are_not_judged() -> None:
    few = random(19 * C, 16)
    assert collapse(few, classes(19 * C)) is None
    assert collapse(few[:1], classes(1)) is None
    assert collapse(few * math.nan, classes(19 * C)) is None
    assert collapse(random(N, 16), torch.zeros(N).long()) is None, "one class has one centre"
    assert collapse(random(N, 1), classes()) is not None
    assert "rank one" not in (collapse(random(N, 1), classes()) or ""), "there is but one direction"


def test_only_labelled_points_are_judged() -> None:
    z = torch.cat([torch.zeros(N, 4), random(N, 4)])
    y = torch.cat([classes(), torch.full((N,), -1)])
    assert (collapse(z, y) or "").startswith("all points in one place")


def test_health_holds_the_scores_it_names() -> None:
    z = random(C, 8)[classes()] + random(N, 8, seed=1)
    found = latent_health(z, classes())
    assert list(found) == ["silhouette", "effective_rank", "scatter_ratio", "components"]
    assert found["silhouette"] == pytest.approx(silhouette(z, classes()).item()), (
        "all points are in the sample"
    )
    assert found["effective_rank"] == effective_rank(z).item()


def test_silhouette_of_many_is_that_of_a_sample_which_stays_the_same() -> None:
    y = classes(3000)
    z = 2 * random(C, 8)[y] + random(3000, 8, seed=1)
    first, whole = latent_health(z, y)["silhouette"], silhouette(z, y).item()
    assert first == latent_health(z, y)["silhouette"] != whole
    assert first == pytest.approx(whole, abs=0.02)


def test_health_of_points_that_are_not_finite_is_nan() -> None:
    assert all(
        math.isnan(value) for value in latent_health(torch.full((50, 4), math.nan), classes(50)).values()
    )
