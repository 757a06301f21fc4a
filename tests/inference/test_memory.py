"""How many images are taken at a time."""

from __future__ import annotations

import torch
from torch import nn

from latentloom.inference import images_at_once
from latentloom.inference.memory import ON_CPU


def test_four_of_the_largest_maps_fill_the_room():
    image = torch.zeros(1, 64, 64)
    widths = 512
    model = nn.Sequential(nn.Conv2d(1, widths, 1), nn.Conv2d(widths, 2, 1))
    assert images_at_once(model, image) == ON_CPU // (4 * widths * 64 * 64 * 4) == 32


def test_small_networks_take_256_and_the_largest_one(monkeypatch):
    image = torch.zeros(1, 8, 8)
    assert images_at_once(nn.Flatten(), image) == 256
    monkeypatch.setattr("latentloom.inference.memory.ON_CPU", 10)
    assert images_at_once(nn.Flatten(), image) == 1


def test_leaves_no_hook():
    model = nn.Flatten()
    images_at_once(model, torch.zeros(1, 8, 8))
    assert not model._forward_hooks
