"""Latents of whole splits, and clusters within classes."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from latentloom.encoders import Linear, Model
from latentloom.evaluation.reading import read_points
from latentloom.losses import latent_boost, magnet
from latentloom.training.latents import clusters_within_classes, collect, flat_map, write_parquet
from latentloom.values import Latent


@pytest.fixture
def two_modes():
    """A class with two far modes, one on each side of a class with one: (60, 2)."""
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 0.0]]).repeat_interleave(20, 0)
    return centres + 0.3 * torch.randn(60, 2, generator=g), torch.tensor([0] * 40 + [1] * 20)


def test_collect_is_in_order_in_evaluation_mode_and_puts_the_mode_back():
    model = Model(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)), {"linear": Linear(3, 2)})
    x, y = torch.rand(5, 1, 2, 2), torch.arange(5)
    latent = collect(model, [{"x": x[:3], "y": y[:3]}, {"x": x[3:], "y": y[3:]}])
    assert model.training
    assert torch.equal(latent.y, y)
    torch.testing.assert_close(latent.z, model.eval()(x).z)


def test_parquet_holds_the_latents(tmp_path):
    latent = Latent({"z": torch.rand(4, 2), "y": torch.arange(4), "logits": torch.eye(4)})
    write_parquet(tmp_path / "latents.parquet", latent, "test")
    table = pandas.read_parquet(tmp_path / "latents.parquet")
    assert list(table.columns) == ["z_0", "z_1", "latent", "map_x", "map_y", "y", "predicted", "split"]
    torch.testing.assert_close(torch.tensor(table[["z_0", "z_1"]].to_numpy()), latent.z)
    torch.testing.assert_close(torch.tensor(np.stack(table["latent"])), latent.z)
    again = read_points(tmp_path / "latents.parquet")
    assert (again.z == latent.z.numpy()).all()
    assert again.y.tolist() == [0, 1, 2, 3]


def test_parquet_says_classes_by_name_and_nothing_of_those_that_are_unknown(tmp_path):
    latent = Latent({"z": torch.rand(3, 2), "y": torch.tensor([1, -1, 0]), "logits": torch.eye(3, 2)})
    write_parquet(tmp_path / "latents.parquet", latent, "test", ("ape", "bee"))
    table = pandas.read_parquet(tmp_path / "latents.parquet")
    assert table["class"].tolist() == ["bee", "", "ape"]
    assert table["predicted_class"].tolist() == ["ape", "bee", "ape"]
    no_head = Latent({"z": latent.z, "y": latent.y})
    write_parquet(tmp_path / "latents.parquet", no_head, "test", ("ape", "bee"))
    columns = list(pandas.read_parquet(tmp_path / "latents.parquet").columns)
    assert columns == ["z_0", "z_1", "latent", "map_x", "map_y", "y", "class", "split"]


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_flat_map_keeps_the_two_directions_of_largest_variance(d):
    g = torch.Generator().manual_seed(0)
    turned, _ = torch.linalg.qr(torch.randn(d, d, generator=g))
    scaled = torch.randn(200, d, generator=g) * torch.tensor([5.0, 3.0, 1.0, 1.0, 1.0])[:d]
    found = flat_map(100 + scaled @ turned)
    assert found.shape == (2, 200)
    variances = torch.linalg.eigvalsh(torch.cov(scaled.T).reshape(d, d)).flip(0)
    expected = torch.cat([variances, torch.zeros(1)])[:2]
    torch.testing.assert_close(found.var(1), expected, rtol=1e-3, atol=1e-6)
    assert found.mean(1).abs().max() < 1e-3


def test_clusters_find_the_modes_and_stay_within_classes(two_modes):
    z, y = two_modes
    found = clusters_within_classes(z, y, 2, seed=0)
    assert len(set(found[:20].tolist())) == len(set(found[20:40].tolist())) == 1
    assert found[0] != found[20]
    assert not set(found[:40].tolist()) & set(found[40:].tolist())


def test_clusters_of_few_and_of_unlabelled_points():
    found = clusters_within_classes(torch.rand(4, 2), torch.tensor([0, -1, 2, 2]), 3, seed=0)
    assert found[1] == -1
    assert len({int(found[0]), int(found[2]), int(found[3])}) == 3


@pytest.mark.parametrize("loss", [magnet, latent_boost])
def test_a_class_with_two_modes_is_well_placed_only_when_its_clusters_are_known(loss, two_modes):
    z, y = two_modes
    assert loss(z, y, clusters_within_classes(z, y, 2, seed=0)) < 0.1 < 0.9 < loss(z, y)
