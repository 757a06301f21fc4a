"""Zero-shot accuracy against a loop, at its ends, and what may be asked."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import held_out, nearest_embedding_cosine_accuracy, zero_shot_accuracy

HELD = torch.tensor([5, 1, 4])
Vector = list[float]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Ninety points about the names of seven classes, of any length; one in ten is unlabelled."""
    embeddings = random(7, 4) + 0.5
    y = torch.arange(90) * 3 % 7
    z = (embeddings[y] + 1.2 * random(90, 4, seed=1)) * random(90, 1, seed=2).exp()
    return z, torch.where(torch.arange(90) % 10 == 3, -1, y), embeddings


def cosine(p: Vector, q: Vector) -> float:
    return sum(a * b for a, b in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)


def nearness(p: Vector, q: Vector) -> float:
    return -math.dist(p, q)


def naive(
    among: list[int],
    asked: list[int],
    near: Callable[[Vector, Vector], float] = cosine,
    *,
    of_all: bool = False,
    names: list[int] | None = None,
) -> float:
    z, y, embeddings = (rows.tolist() for rows in scene())
    found = [
        (names or among)[max(range(len(among)), key=lambda i, p=p: near(p, embeddings[among[i]]))] == k
        for p, k in zip(z, y, strict=True)
        if k in asked
    ]
    return sum(found) / (sum(k >= 0 for k in y) if of_all else len(found))


@pytest.mark.parametrize("generalised", [False, True])
def test_agrees_with_the_loop_and_with_no_mistake(generalised: bool) -> None:
    value = zero_shot_accuracy(*scene(), HELD, generalised=generalised).item()
    held, every = HELD.tolist(), list(range(7))
    among, other = (every, held) if generalised else (held, every)
    assert value == pytest.approx(naive(among, held))
    mistakes = {
        "among the others": naive(other, held),
        "by distance": naive(among, held, nearness),
        "images of all classes": naive(among, every),
        "out of all images": naive(among, held, of_all=True),
        "classes in another order": naive(among, held, names=among[1:] + among[:1]),
    }
    for mistake, wrong in mistakes.items():
        assert value != pytest.approx(wrong, rel=1e-4), mistake


def test_generalised_over_all_classes_is_the_accuracy_of_the_nearest_name() -> None:
    z, y, embeddings = scene()
    assert zero_shot_accuracy(z, y, embeddings, torch.arange(7), generalised=True) == (
        nearest_embedding_cosine_accuracy(z, y, embeddings)
    )


def test_order_of_the_held_out_classes_and_half_types_do_not_matter() -> None:
    z, y, embeddings = scene()
    value = zero_shot_accuracy(z, y, embeddings, HELD)
    assert zero_shot_accuracy(z, y, embeddings, HELD.flip(0)) == value
    assert zero_shot_accuracy(z.half(), y, embeddings.half(), HELD.int()).item() == pytest.approx(
        value.item(), abs=0.05
    )


def test_ends_chance_and_harder_among_all() -> None:
    z, y, embeddings = scene()
    assert zero_shot_accuracy(embeddings[y], y, embeddings, HELD).item() == 1
    assert zero_shot_accuracy(-embeddings[HELD[[0, 1]]], HELD[[0, 1]], embeddings, HELD[:2]).item() == 0
    assert zero_shot_accuracy(z, y, embeddings, HELD, generalised=True) < zero_shot_accuracy(
        z, y, embeddings, HELD
    )
    noise, labels = random(3000, 4, seed=5), HELD[torch.arange(3000) % 3]
    assert zero_shot_accuracy(noise, labels, embeddings, HELD).item() == pytest.approx(1 / 3, abs=0.05)


def test_points_that_are_not_finite_give_nan_where_they_are_asked_of() -> None:
    z, y, embeddings = scene()
    z[y == 0] = math.nan
    assert not zero_shot_accuracy(z, y, embeddings, HELD).isnan()
    z[y == 5] = math.nan
    assert zero_shot_accuracy(z, y, embeddings, HELD).isnan()


def test_a_draw_is_its_seed_s_and_without_replacement() -> None:
    drawn = held_out(100, 10, seed=0)
    assert drawn.tolist() == held_out(100, 10, seed=0).tolist() == sorted({*drawn.tolist()})
    assert len(drawn) == 10
    assert drawn.min() >= 0
    assert drawn.max() < 100
    assert drawn.tolist() != held_out(100, 10, seed=1).tolist()
    assert {k for seed in range(40) for k in held_out(6, 2, seed).tolist()} == set(range(6))


@pytest.mark.parametrize(("classes", "count"), [(10, 1), (10, 9), (10, 0), (3, 2)])
def test_too_few_classes_are_refused(classes: int, count: int) -> None:
    with pytest.raises(UserError, match=f"cannot hold out {count} of {classes} classes"):
        held_out(classes, count, seed=0)


@pytest.mark.parametrize("classes", [[], [1, 1], [1, 7], [-1, 2]])
def test_held_out_classes_that_are_none_are_refused(classes: list[int]) -> None:
    with pytest.raises(UserError, match="wanted different held-out classes from 0 to 6"):
        zero_shot_accuracy(*scene(), torch.tensor(classes, dtype=torch.long))


def test_no_image_of_the_held_out_classes_is_refused() -> None:
    z, y, embeddings = scene()
    with pytest.raises(UserError, match=r"no image is of the held-out classes \[5\]"):
        zero_shot_accuracy(z[y != 5], y[y != 5], embeddings, torch.tensor([5]))


def test_a_latent_space_of_other_dimension_is_refused() -> None:
    z, y, embeddings = scene()
    with pytest.raises(UserError, match="reference point"):
        zero_shot_accuracy(z, y, embeddings[:, :3], HELD)
