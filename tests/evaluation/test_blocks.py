"""Scores of points that are read some rows at a time are those of all points together."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentloom.evaluation import SCORES, blocks, class_means, cosine, geometry, nearest, take_card
from latentloom.evaluation.health import collapse
from latentloom.values import Latent

WHOLE = {"silhouette", "coarse_silhouette"}  # measured over all pairs, and sampled where there are many
READ_IN_BLOCKS = sorted(SCORES.keys() - WHOLE)


def scene(n: int = 200, d: int = 6, classes: int = 9) -> Latent:
    """Classes of unequal size that overlap, off the origin, in float32; every seventh row has no label."""
    g = torch.Generator().manual_seed(0)
    y = (torch.rand(n, generator=g).square() * classes).long()
    places = torch.randn(classes, d, generator=g) + 3
    z = places[y] + torch.randn(n, d, generator=g)
    z[5] = 0.0
    logits = torch.randn(n, classes, generator=g)
    y[3::7] = -1
    z[3::7], logits[3::7] = 1e6, 1e6
    return Latent(
        {"z": z, "y": y, "logits": logits},
        {
            "class_embeddings": places + 0.1,
            "class_centres": places,
            "label_embeddings": torch.randn(classes, 4, generator=g),
            "coarse_of": torch.arange(classes) % 3,
            "coarse_embeddings": torch.randn(3, 4, generator=g),
        },
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of a few rows; and how many numbers were raised to float64 at a time."""
    raised: list[int] = []
    exact = blocks.exact

    def counting(points: Tensor) -> Tensor:
        raised.append(points.numel())
        return exact(points)

    monkeypatch.setattr(blocks, "exact", counting)
    monkeypatch.setattr(blocks, "BLOCK", 40)
    monkeypatch.setattr(blocks, "LOOKED_AT", 4)
    for module in (geometry, cosine):
        monkeypatch.setattr(module, "BLOCK", 20)
    monkeypatch.setitem(nearest.__globals__, "BLOCK", 20)
    return raised


def value(name: str, latent: Latent, more: bool) -> float:
    info = SCORES[name]
    return info.fn(*(latent[key] for key in (*info.reads, *(info.may_read if more else ())))).item()


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("name", READ_IN_BLOCKS)
def test_blocks_change_no_score_and_bound_what_is_held(
    name: str, more: bool, request: pytest.FixtureRequest
) -> None:
    latent = scene()
    whole = value(name, latent, more)
    raised = request.getfixturevalue("small")
    assert value(name, latent, more) == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert math.isfinite(whole)
    assert len(raised) > 10 or more, "not in blocks"  # of centres that are given some scores read no point
    assert max(raised, default=0) <= 9 * 6, "more than a block, or a row per class, in float64 at a time"


def test_blocks_change_no_card(request: pytest.FixtureRequest) -> None:
    latent, train = scene(), scene(150)
    whole = take_card(latent, train, split="test", bootstrap=100)
    request.getfixturevalue("small")
    found = take_card(latent, train, split="test", bootstrap=100)
    for name, finding in whole.findings.items():
        assert found.value(name) == pytest.approx(finding.value, rel=1e-9), name
        assert found.findings[name].interval == (finding.interval and pytest.approx(finding.interval)), name


def test_moments_are_those_of_their_formulas(small: list[int]) -> None:
    latent = scene()
    kept = latent.y >= 0
    z, y = latent.z[kept].double().numpy(), latent.y[kept].numpy()
    centres = {k: z[y == k].mean(0) for k in np.unique(y)}
    means = class_means(latent.z, latent.y, 11).numpy()
    assert np.isnan(means[9:]).all()
    np.testing.assert_allclose(means[list(centres)], list(centres.values()), rtol=1e-12)
    away = z - np.stack([centres[k] for k in y])
    between = sum((y == k).sum() * ((centre - z.mean(0)) ** 2).sum() for k, centre in centres.items())
    assert value("scatter_ratio", latent, False) == pytest.approx((away**2).sum() / between, rel=1e-12)
    spread = np.linalg.svd(latent.z.double().numpy() - latent.z.double().numpy().mean(0))[1] ** 2
    shares = spread / spread.sum()
    assert value("effective_rank", latent, False) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert value("cluster_size", latent, False) == pytest.approx(np.median(np.linalg.norm(away, axis=1)))


def test_a_number_that_is_not_finite_is_seen_in_every_block(small: list[int]) -> None:
    latent = scene()
    for row in (0, 100, 198):
        z = latent.z.clone()
        z[row] = math.inf
        assert math.isnan(SCORES["scatter_ratio"].fn(z, latent.y).item())
        assert collapse(z, latent.y) is None


def test_a_column_that_is_far_and_constant_stays_constant(small: list[int]) -> None:
    z = torch.full((200, 3), 0.1)
    z[:, 0] = torch.arange(200) / 7
    assert value("effective_rank", Latent({"z": z, "y": torch.arange(200) % 4}), False) == 1.0
    assert value("scatter_ratio", Latent({"z": z[:, 1:], "y": torch.arange(200) % 4}), False) == math.inf


def test_fewer_points_than_dimensions(small: list[int]) -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(8, 30, generator=g, dtype=torch.float64)
    spread = np.linalg.svd((z - z.mean(0)).numpy())[1] ** 2
    found = value("components", Latent({"z": z, "y": torch.zeros(8, dtype=torch.int64)}), False)
    assert found == next(k for k in range(1, 9) if spread[:k].sum() >= 0.95 * spread.sum())


GROWTH = """
import sys
import numpy as np
import torch
from latentloom.evaluation import blocks, sampling, take_card
from latentloom.values import Latent

def peak():
    with open("/proc/self/status") as file:  # of getrusage that of the process before it is the least
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))

torch.set_num_threads(1)
blocks.BLOCK = sampling.BLOCK = 2**18
z, y = np.load(sys.argv[1], mmap_mode="c"), np.arange(50_000) % 20

def card(rows):
    shared = {"class_centres": torch.ones(20, 512), "label_embeddings": torch.eye(20)}
    latent = Latent({"z": torch.from_numpy(z[:rows]), "y": torch.from_numpy(y[:rows])}, shared)
    take_card(latent, None, split="test", bootstrap=0, exact=100, sample=50)

card(1000)
before = peak()
card(50_000)
print((peak() - before) / z.nbytes)
"""


def test_the_card_takes_little_more_memory_than_the_file_that_is_read(tmp_path: Path) -> None:
    """A copy in float64 would be twice the file, beside its pages that are in memory."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "z.npy", rng.standard_normal((50_000, 512), np.float32))
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "z.npy")]
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=at_once)
    assert 0.5 < float(done.stdout) < 1.4, "times the file"
