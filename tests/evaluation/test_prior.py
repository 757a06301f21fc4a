"""Agreement of classes and the components of a prior."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score

from latentloom.evaluation.prior import component_findings
from latentloom.latent.mixtures import Mixture
from latentloom.latent.priors import Hypercube, UnitGaussian


def test_classes_on_the_vertices_agree_with_them_fully() -> None:
    prior = Hypercube(2)
    means, _ = prior.components()
    y = torch.arange(40) % 4
    z = means[y.roll(1)] * 0.7
    found = component_findings(prior, z, y.roll(1), split="test")["component_ami"]
    assert found.value == pytest.approx(1.0)
    assert "4 components; 40 images of test" in found.protocol


def test_it_is_that_of_the_nearest_component_where_all_are_alike() -> None:
    g = torch.Generator().manual_seed(0)
    means, z = torch.randn(5, 3, generator=g), torch.randn(60, 3, generator=g)
    y = torch.randint(-1, 4, (60,), generator=g)
    value = component_findings(Mixture(means, -1.0), z, y, split="test")["component_ami"].value
    nearest = [min(range(5), key=lambda k: (point - means[k]).norm().item()) for point in z[y >= 0]]
    assert value == pytest.approx(adjusted_mutual_info_score(y[y >= 0].tolist(), nearest))
    assert value != pytest.approx(adjusted_mutual_info_score(y.tolist(), [0] * 60), abs=1e-3)


def test_there_is_nothing_to_say_of_one_component_or_of_too_many_or_without_labels() -> None:
    z, y = torch.randn(8, 13), torch.arange(8) % 2
    assert component_findings(UnitGaussian(13), z, y, split="test") == {}
    assert component_findings(Hypercube(13), z, y, split="test") == {}
    assert component_findings(Mixture(torch.eye(2, 13)), z, y - 5, split="test") == {}
