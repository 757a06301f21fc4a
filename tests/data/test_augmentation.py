from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandomResizedCrop, functional

from latentloom.data.augmentation import (
    AUGMENTATIONS,
    UNSIGNED,
    Place,
    _by_policy,
    autoaugment,
    autoaugment_imagenet,
    crop,
    flip,
    resized_crop,
)


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


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_no_image_shares_in_what_happens_to_another(name, channels):
    x, fn = noise(b=64, c=channels, h=16, w=16), AUGMENTATIONS[name]
    other = x.clone()
    other[10:20] = 255 - other[10:20]
    same = (fn(x, generator()) == fn(other, generator())).flatten(1).all(1)
    assert same[:10].all()
    assert same[20:].all()
    assert not same[10:20].all()
    alike = fn(x[:1].expand(64, -1, -1, -1), generator())
    assert len({tuple(image.flatten().tolist()) for image in alike}) > 1


# resized-crop against torchvision's function for one image, by trying every window


SIDE = 8
WINDOWS = [
    (top, left, height, width)
    for height, width in product(range(1, SIDE + 1), repeat=2)
    for top, left in product(range(SIDE - height + 1), range(SIDE - width + 1))
]


def found_windows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(top, left, height, width) of the window that each y shows of the one image x; (n, 4)."""
    made = torch.stack([functional.resized_crop(x, *window, [SIDE, SIDE]) for window in WINDOWS])
    off = torch.cdist(y.flatten(1).float(), made.flatten(1).float(), p=float("inf"))
    least = off.min(1)
    assert least.values.max() <= 1  # both round
    return torch.tensor(WINDOWS)[least.indices]


def test_resized_crop_shows_windows_as_torchvision_draws_and_stretches_them():
    n, image = 4000, noise(1, 1, SIDE, SIDE)[0]
    ours = found_windows(image, resized_crop(image.expand(n, -1, -1, -1), generator()))
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(n)])

    def measures(windows: torch.Tensor) -> list[torch.Tensor]:
        return [*windows.T, windows[:, 2:].prod(1), windows[:, 3] - windows[:, 2]]

    def alike(theirs: torch.Tensor) -> float:
        return min(
            ks_2samp(a, b, method="asymp").pvalue
            for a, b in zip(measures(ours), measures(theirs), strict=True)
        )

    assert alike(theirs) > 0.01
    for scale, shape in (([0.2, 1], [3 / 4, 4 / 3]), ([0.08, 1], [1 / 2, 2]), ([0.08, 0.8], [3 / 4, 4 / 3])):
        wrong = [RandomResizedCrop.get_params(image, scale, shape) for _ in range(n)]
        assert alike(torch.tensor(wrong)) < 1e-3
    assert alike(theirs * torch.tensor([0, 1, 1, 1])) < 1e-3
    assert alike(theirs[:, [0, 1, 2, 2]]) < 1e-3


def test_a_window_of_another_place_or_size_would_be_seen():
    image = noise(1, 1, SIDE, SIDE)[0]
    y = functional.resized_crop(image, 2, 1, 3, 4, [SIDE, SIDE])[None]
    assert found_windows(image, y).tolist() == [[2, 1, 3, 4]]
    with pytest.raises(AssertionError):
        found_windows(image, y.flip(2))


@pytest.mark.parametrize(("h", "w"), [(100, 1), (1, 1)])  # a width of 1 is too much, or rounds to 0
def test_where_no_window_fits_the_image_stays_whole(h, w):
    x = noise(50, 1, h, w)
    assert torch.equal(resized_crop(x, generator()), x)


# autoaugment against torchvision's transform for one image

Pair = tuple[tuple[str, float, int | None], ...]
NEVER = ("Invert", 0.0, None)
SHIFTS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
LEVELS = {
    **dict.fromkeys([*SHIFTS, "Brightness", "Color", "Contrast", "Sharpness", *UNSIGNED], range(10)),
    **{name: [None] for name in ("AutoContrast", "Equalize", "Invert")},
}


def picture(channels: int, h: int = 12, w: int = 16) -> torch.Tensor:
    """An image with dark and light, few of whose pixels are alike."""
    ramp = torch.linspace(30, 200, h * w).reshape(1, h, w) + torch.tensor([0, 20, -25])[:channels, None, None]
    return (ramp + noise(1, channels, h, w)[0] / 8).to(torch.uint8)


def torchvisions(image: torch.Tensor, n: int, pairs: list[Pair]) -> torch.Tensor:
    """What n calls of its transform make of the image, with this table of pairs."""
    transform = AutoAugment()
    transform.policies = pairs
    torch.manual_seed(0)
    return torch.stack([transform(image) for _ in range(n)])


def every_one_is_among(images: torch.Tensor, others: torch.Tensor) -> bool:
    """Up to one grey level, for both round."""
    off = torch.cdist(images.flatten(1).float(), others.flatten(1).float(), p=float("inf"))
    return bool((off.min(1).values <= 1).all())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEVELS)
def test_operations_are_torchvisions_at_every_level_and_in_both_directions(name, channels):
    image = picture(channels)
    for level in LEVELS[name]:
        pair = ((name, 1.0, level), NEVER)
        expected = torchvisions(image, 12, [pair])
        found = _by_policy(image.expand(12, -1, -1, -1), [pair], generator())
        assert every_one_is_among(found, expected)
        assert every_one_is_among(expected, found)
    if name not in ("AutoContrast", "Equalize", "Invert") and (name, channels) != ("Color", 1):
        assert not every_one_is_among(torchvisions(image, 12, [((name, 1.0, 4), NEVER)]), found)


def test_the_second_operation_follows_the_first():
    image, pair = picture(3), (("Rotate", 1.0, 9), ("TranslateX", 1.0, 6))
    found = _by_policy(image.expand(20, -1, -1, -1), [pair], generator())
    assert every_one_is_among(found, torchvisions(image, 20, [pair]))
    assert not every_one_is_among(found, torchvisions(image, 20, [pair[::-1]]))
    assert len(found.unique(dim=0)) == 4  # either may go either way


def probability_alike(a: torch.Tensor, b: torch.Tensor) -> float:
    """The least p of Kolmogorov-Smirnov tests on the mean, on a corner, and on how steep the images are."""
    measures: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x.mean((1, 2, 3)),
        lambda x: x[:, 0, :3, :3].mean((1, 2)),
        lambda x: x.diff(dim=3).abs().mean((1, 2, 3)),
    ]
    # Whole numbers, for a grey level of rounding would tell the same outcomes apart.
    return min(
        ks_2samp(measure(a.float()).round(), measure(b.float()).round()).pvalue for measure in measures
    )


@pytest.mark.parametrize(
    ("fn", "policy"),
    [(autoaugment, AutoAugmentPolicy.CIFAR10), (autoaugment_imagenet, AutoAugmentPolicy.IMAGENET)],
)
def test_pairs_are_drawn_as_often_as_torchvision_draws_them(fn, policy):
    n, image = 1500, picture(3)
    ours = fn(image.expand(n, -1, -1, -1), generator())
    pairs = AutoAugment(policy).policies
    assert probability_alike(ours, torchvisions(image, n, pairs)) > 0.01
    always = [tuple((name, 1.0, level) for name, _, level in pair) for pair in pairs]
    for wrong in (
        AutoAugment(AutoAugmentPolicy.SVHN).policies,
        pairs[:12],
        always,
        [(a, NEVER) for a, _ in pairs],
    ):
        assert probability_alike(ours, torchvisions(image, n, wrong)) < 1e-3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_changed_alike_whichever_part_of_the_batch_it_is_in(name):
    x, fn = noise(b=40), AUGMENTATIONS[name]
    whole = fn(x, generator())
    parts = [slice(0, 23), slice(23, 23), slice(23, 24), slice(24, 40)]
    assert torch.equal(torch.cat([fn(x[part], generator(), Place(40, part)) for part in parts]), whole)
    assert not torch.equal(torch.cat([fn(x[part], generator()) for part in parts]), whole)
