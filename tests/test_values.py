"""The values that travel from images to report."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import latentloom
from latentloom import values
from latentloom.values import Card, Finding, ImageSet, Latent

Z, Y, CENTRES = torch.eye(3), torch.tensor([0, 1, -1]), torch.ones(2, 3)


def latent() -> Latent:
    return Latent({"z": Z, "y": Y, "logits": 2 * Z}, {"centres": CENTRES})


def test_tensors_are_found_by_name() -> None:
    assert latent().z is latent()["z"] is latent().get("z") is Z
    assert latent().y is latent()["y"] is Y
    assert torch.equal(latent().logits, 2 * Z)
    assert latent()["centres"] is latent().get("centres") is CENTRES


def test_what_is_not_there() -> None:
    assert "centres" in latent()
    assert "cluster" not in latent()
    assert latent().get("cluster") is None
    with pytest.raises(KeyError, match="cluster"):
        latent()["cluster"]


def test_samples_are_added_to_a_copy() -> None:
    old = latent()
    new = old.with_samples(row=torch.arange(3), y=Y + 1, cluster=None)
    assert set(new.samples) == {"z", "y", "logits", "row"}
    assert torch.equal(new.y, Y + 1)
    assert new.shared is old.shared
    assert set(old.samples) == {"z", "y", "logits"}
    assert old.y is Y


def test_every_value_is_frozen() -> None:
    kinds = [kind for kind in vars(values).values() if dataclasses.is_dataclass(kind)]
    assert {kind.__name__ for kind in kinds} >= {"ImageSet", "Latent", "Breakdown", "Card", "Record"}
    assert all(kind.__dataclass_params__.frozen for kind in kinds)


def test_images_are_counted_by_their_labels() -> None:
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    assert len(ImageSet("toy", images, Y, ("cat", "dog"))) == 3


def test_card_gives_a_value_by_name() -> None:
    card = Card("test", 10, {"accuracy": Finding(0.9, "higher", 0.0, 1.0, "10 test images")})
    assert card.value("accuracy") == 0.9


def test_public_names_are_where_the_package_says() -> None:
    assert all(getattr(latentloom, name) is not None for name in latentloom.__all__)
    assert latentloom.Latent is Latent
    assert set(latentloom.__all__) <= set(dir(latentloom))
    with pytest.raises(AttributeError, match="has no attribute 'tripet'"):
        latentloom.tripet  # noqa: B018
