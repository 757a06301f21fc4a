from __future__ import annotations

import pytest
import torch

from latentloom.data.augmentation import AUGMENTATIONS, crop, flip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(b: int = 200, c: int = 3, h: int = 16, w: int = 24) -> torch.Tensor:
    return torch.randint(1, 256, (b, c, h, w), generator=generator(7), dtype=torch.uint8)


def shifted(image: list, down: int, right: int) -> list:
    """Pixel by pixel; what comes from outside is 0."""
    h, w = len(image[0]), len(image[0][0])
    inside = lambda i, j: 0 <= i < h and 0 <= j < w  # noqa: E731
    return [
        [
            [plane[i - down][j - right] if inside(i - down, j - right) else 0 for j in range(w)]
            for i in range(h)
        ]
        for plane in image
    ]


def shifts_of(before: list, after: list, up: int, left: int) -> list[tuple[int, int]]:
    steps = [(down, right) for down in range(-up, up + 1) for right in range(-left, left + 1)]
    return [step for step in steps if shifted(before, *step) == after]


def test_crop_shifts_each_image_by_itself_in_every_direction():
    x = noise(b=300, c=1)
    found = [shifts_of(a, b, 2, 3) for a, b in zip(x.tolist(), crop(x, generator()).tolist(), strict=True)]
    assert all(len(steps) == 1 for steps in found)
    assert len({steps[0] for steps in found}) == 5 * 7


@pytest.mark.parametrize(("side", "most"), [(8, 1), (28, 3), (32, 4), (3, 1)])
def test_crop_goes_as_far_as_an_eighth(side, most):
    x = torch.ones(500, 1, side, side, dtype=torch.uint8)
    zero_rows = (crop(x, generator()).sum((1, 3)) == 0).sum(1)
    assert zero_rows.max() == most


def test_flip_mirrors_half_of_the_images():
    x = noise()
    y = flip(x, generator())
    same = torch.tensor([a.tolist() == b.tolist() for a, b in zip(x, y, strict=True)])
    mirrored = [
        [[row[::-1] for row in plane] for plane in a.tolist()] == b.tolist()
        for a, b in zip(x, y, strict=True)
    ]
    assert (same ^ torch.tensor(mirrored)).all()
    assert 70 < same.sum() < 130


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_keeps_form_and_input_and_follows_its_generator_alone(name):
    x, fn = noise(), AUGMENTATIONS[name]
    kept, before = x.clone(), torch.get_rng_state()
    y = fn(x, generator(1))
    assert (y.shape, y.dtype) == (x.shape, torch.uint8)
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(fn(x, generator(1)), y)
    assert not torch.equal(fn(x, generator(2)), y)
    assert fn(x[:0], generator(1)).shape == (0, 3, 16, 24)
