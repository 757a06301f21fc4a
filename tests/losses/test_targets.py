"""Losses of class embeddings: against loops, against mistakes, and what follows from their formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from cases import Case, each, with_labels_shuffled
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from latentloom.checks import UserError
from latentloom.config import Schedule, Term
from latentloom.losses import (
    TERMS,
    class_proximity,
    comparison,
    cosine_target,
    euclidean_target,
    push_pull,
    targets,
)
from latentloom.objective import Objective
from latentloom.values import Latent

Point = list[float]
Points = list[Point]
Labels = list[int]
Inputs = tuple[Tensor, Tensor, Tensor]


def many() -> Inputs:
    """Nine points in three dimensions; classes of 2, 1, 3, 0 and 2 rows, and a row unlabelled."""
    return _scene([2, 0, 1, 2, -1, 4, 0, 2, 4])


def few() -> Inputs:
    """Fewer rows than classes."""
    return _scene([4, 1, -1, 4])


def _scene(labels: Labels) -> Inputs:
    g = torch.Generator().manual_seed(5)
    c = torch.randn(5, 3, generator=g, dtype=torch.float64) + torch.tensor([1.0, 0, -2])
    y = torch.tensor(labels)
    z = c[y] + 0.8 * torch.randn(len(labels), 3, generator=g, dtype=torch.float64) + 0.2
    return z.requires_grad_(), c.requires_grad_(), y


SCENES = {"many": many, "few": few}


# References: plain loops over plain numbers


def labelled(z: Points, y: Labels) -> Iterator[tuple[Point, int]]:
    return ((point, label) for point, label in zip(z, y, strict=True) if label >= 0)


def collected(values: list[float], reduction: str, rows: int | None = None) -> float:
    return math.fsum(values) / ((rows or len(values)) if reduction == "mean" else 1)


def middle(points: Points) -> Point:
    return [math.fsum(axis) / len(points) for axis in zip(*points, strict=True)]


def naive_euclidean(
    z: Points, c: Points, y: Labels, *, reduction: str = "mean", power: int = 2, rows: int | None = None
) -> float:
    return collected([math.dist(e, c[k]) ** power for e, k in labelled(z, y)], reduction, rows)


def naive_cosine(
    z: Points, c: Points, y: Labels, *, reduction: str = "mean", lengths: bool = True, rows: int | None = None
) -> float:
    values = []
    for e, k in labelled(z, y):
        dot = sum(p * q for p, q in zip(e, c[k], strict=True))
        length = math.hypot(*e) * math.hypot(*c[k])
        values.append(1 - (dot / length if lengths else dot))
    return collected(values, reduction, rows)


def naive_proximity(
    z: Points,
    c: Points,
    y: Labels,
    *,
    r: float = 2.5,
    reduction: str = "mean",
    power: int = 1,
    eps: float = 1.0,
    own: bool = False,
    rivals: str = "all",
    times: float = 1,
    per: str = "row",
) -> float:
    """`own`: a class is its own rival; `rivals`: all or those in the batch; `per`: row or class."""
    values, seen = [], set()
    for e, k in labelled(z, y):
        others = [j for j in range(len(c)) if (own or j != k) and (rivals == "all" or j in y)]
        crowding = sum(1 / (math.dist(c[k], c[j]) ** power + eps) for j in others)
        push = 0 if per == "class" and k in seen else r * times * crowding
        values.append(math.dist(e, c[k]) ** 2 + push)
        seen.add(k)
    return collected(values, reduction)


def naive_push_pull(
    z: Points,
    c: Points,
    y: Labels,
    *,
    r: float = 0.95,
    margin: float | None = None,
    reduction: str = "mean",
    dims: int = 1,
    power: int = 2,
    spread: int = 3,
    mean: Point | None = None,
) -> float:
    """Literal without a margin; `dims`: what it is divided by; `mean`: instead of that of the embeddings."""
    values = []
    m = mean or middle(c)
    for e, k in labelled(z, y):
        pull, push = math.dist(e, c[k]) ** 2, math.dist(e, m) ** power
        if margin is not None:
            push = -max(0.0, (margin * math.sqrt(spread)) ** power - push)
        values.append((pull - r * push) / dims)
    return collected(values, reduction)


def naive_comparison(
    z: Points,
    c: Points,
    y: Labels,
    *,
    reduction: str = "mean",
    power: int = 2,
    own: bool = False,
    rivals: str = "all",
    origin: str = "point",
    odds: bool = False,
) -> float:
    """`origin`: from where the rivals' distance is taken; `odds`: the rival's distance alone divides."""
    values = []
    for e, k in labelled(z, y):
        near = math.dist(e, c[k]) ** power
        for j in range(len(c)):
            if (own or j != k) and (rivals == "all" or j in y):
                far = math.dist(e if origin == "point" else c[k], c[j]) ** power
                values.append(near / (far if odds else near + far + 1e-8))
    return math.fsum(values) / (sum(k >= 0 for k in y) if reduction == "mean" else 1)


SQUARED = partial(naive_proximity, power=2, eps=1e-8)
BOUNDED = partial(naive_push_pull, margin=1.2)

CASES: dict[str, Case] = {
    "euclidean_target": Case(
        "euclidean_target",
        naive_euclidean,
        {
            "labels shuffled": with_labels_shuffled(naive_euclidean),
            "not squared": partial(naive_euclidean, power=1),
            "summed": partial(naive_euclidean, reduction="sum"),
            "the unlabelled row in the mean": partial(naive_euclidean, rows=9),
            "halved": lambda z, c, y: naive_euclidean(z, c, y) / 2,
            "mean over coordinates": lambda z, c, y: naive_euclidean(z, c, y) / 3,
        },
    ),
    "euclidean_target summed": Case(
        "euclidean_target",
        partial(naive_euclidean, reduction="sum"),
        {"mean": naive_euclidean},
        {"reduction": "sum"},
    ),
    "cosine_target": Case(
        "cosine_target",
        naive_cosine,
        {
            "labels shuffled": with_labels_shuffled(naive_cosine),
            "lengths left out": partial(naive_cosine, lengths=False),
            "sign": lambda z, c, y: 2 - naive_cosine(z, c, y),
            "summed": partial(naive_cosine, reduction="sum"),
            "the unlabelled row in the mean": partial(naive_cosine, rows=9),
        },
    ),
    "cosine_target summed": Case(
        "cosine_target", partial(naive_cosine, reduction="sum"), {"mean": naive_cosine}, {"reduction": "sum"}
    ),
    "class_proximity": Case(
        "class_proximity",
        naive_proximity,
        {
            "labels shuffled": with_labels_shuffled(naive_proximity),
            "the distance squared": partial(naive_proximity, power=2),
            "the eps of the paper": partial(naive_proximity, eps=1e-8),
            "the own class a rival": partial(naive_proximity, own=True),
            "rivals of the batch alone": partial(naive_proximity, rivals="present"),
            "once per class": partial(naive_proximity, per="class"),
            "every pair of classes once": partial(naive_proximity, times=0.5),
            "mean over the rivals": partial(naive_proximity, times=0.25),
            "summed": partial(naive_proximity, reduction="sum"),
            "r of 1": partial(naive_proximity, r=1.0),
        },
        {"r": 2.5},
    ),
    "class_proximity code": Case(
        "class_proximity",
        partial(naive_proximity, reduction="sum"),
        {"mean": naive_proximity, "the distance squared": partial(SQUARED, reduction="sum")},
        {"r": 2.5, "variant": "code"},
    ),
    "class_proximity code, mean": Case(
        "class_proximity",
        naive_proximity,
        {"summed": partial(naive_proximity, reduction="sum")},
        {"r": 2.5, "variant": "code", "reduction": "mean"},
    ),
    "class_proximity paper": Case(
        "class_proximity",
        partial(SQUARED, reduction="sum"),
        {
            "mean": SQUARED,
            "the distance plain": partial(naive_proximity, eps=1e-8, reduction="sum"),
            "the eps of the code": partial(SQUARED, eps=1.0, reduction="sum"),
            "once per class": partial(SQUARED, per="class", reduction="sum"),
        },
        {"r": 2.5, "variant": "paper"},
    ),
    "push_pull": Case(
        "push_pull",
        BOUNDED,
        {
            "labels shuffled": with_labels_shuffled(BOUNDED),
            "literal": naive_push_pull,
            "r of 1": partial(BOUNDED, r=1.0),
            "a margin of 2": partial(BOUNDED, margin=2.0),
            "a margin that knows no dimensions": partial(BOUNDED, spread=1),
            "lengths in the hinge": partial(BOUNDED, power=1),
            "mean of the points": lambda z, c, y: BOUNDED(z, c, y, mean=middle(z)),
            "mean of the classes in the batch": lambda z, c, y: BOUNDED(
                z, c, y, mean=middle([c[k] for k in sorted(set(y) - {-1})])
            ),
            "mean of the rows' embeddings": lambda z, c, y: BOUNDED(
                z, c, y, mean=middle([c[k] for k in y if k >= 0])
            ),
            "no mean": partial(BOUNDED, mean=[0.0, 0, 0]),
            "summed": partial(BOUNDED, reduction="sum"),
        },
        {"margin": 1.2},
    ),
    "push_pull paper": Case(
        "push_pull",
        partial(naive_push_pull, r=0.7, reduction="sum"),
        {
            "mean": partial(naive_push_pull, r=0.7),
            "r of 0.95": partial(naive_push_pull, reduction="sum"),
            "bounded": partial(BOUNDED, r=0.7, reduction="sum"),
        },
        {"r": 0.7, "variant": "paper"},
    ),
    "push_pull code": Case(
        "push_pull",
        partial(naive_push_pull, dims=3),
        {
            "mean over rows alone": naive_push_pull,
            "summed": partial(naive_push_pull, dims=3, reduction="sum"),
        },
        {"variant": "code"},
    ),
    "comparison": Case(
        "comparison",
        naive_comparison,
        {
            "labels shuffled": with_labels_shuffled(naive_comparison),
            "not squared": partial(naive_comparison, power=1),
            "the own class a rival": partial(naive_comparison, own=True),
            "rivals of the batch alone": partial(naive_comparison, rivals="present"),
            "rivals seen from the own embedding": partial(naive_comparison, origin="embedding"),
            "the rival's distance alone divides": partial(naive_comparison, odds=True),
            "summed": partial(naive_comparison, reduction="sum"),
            "mean over the rivals": lambda z, c, y: naive_comparison(z, c, y) / 4,
        },
    ),
    "comparison summed": Case(
        "comparison",
        partial(naive_comparison, reduction="sum"),
        {"mean": naive_comparison},
        {"reduction": "sum"},
    ),
}

every_case, every_mistake = each(CASES)


def evaluate(name: str, inputs: Inputs) -> Tensor:
    return TERMS[CASES[name].term].fn(*inputs, **CASES[name].options)


def value_agrees(name: str, naive: Callable[..., float], inputs: Inputs) -> None:
    expected = naive(*(tensor.tolist() for tensor in inputs))
    assert_close(evaluate(name, inputs).item(), expected, rtol=1e-9, atol=1e-12)


def differences(naive: Callable[..., float], z: Tensor, c: Tensor, y: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of a reference in every coordinate of the points, then of the embeddings."""
    both = [*z.tolist(), *c.tolist()]
    slopes = []
    for row, axis in itertools.product(range(len(both)), range(z.shape[1])):
        found = []
        for by in (step, -step):
            moved = [list(point) for point in both]
            moved[row][axis] += by
            found.append(naive(moved[: len(z)], moved[len(z) :], y.tolist()))
        slopes.append((found[0] - found[1]) / (2 * step))
    return torch.tensor(slopes, dtype=torch.float64).reshape(-1, z.shape[1])


def gradient_agrees(name: str, naive: Callable[..., float], inputs: Inputs) -> None:
    found = torch.autograd.grad(evaluate(name, inputs), inputs[:2])
    assert_close(torch.cat(found), differences(naive, *inputs), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scene", SCENES)
@every_case
def test_value_is_that_of_the_loop(name: str, scene: str) -> None:
    value_agrees(name, CASES[name].naive, SCENES[scene]())


@pytest.mark.parametrize("scene", SCENES)
@every_case
def test_gradient_is_that_of_the_loop(name: str, scene: str) -> None:
    gradient_agrees(name, CASES[name].naive, SCENES[scene]())


@every_mistake
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        value_agrees(name, CASES[name].mistakes[mistake], many())


@pytest.mark.parametrize("name", ["push_pull", "push_pull paper"])
def test_a_mean_held_still_is_noticed(name: str) -> None:
    inputs = many()
    still = partial(CASES[name].naive, mean=middle(inputs[1].tolist()))
    value_agrees(name, still, inputs)
    with pytest.raises(AssertionError):
        gradient_agrees(name, still, inputs)


@every_case
def test_gradient_is_true(name: str) -> None:
    z, c, y = many()
    assert torch.autograd.gradcheck(lambda z, c: evaluate(name, (z, c, y)), (z, c))


def test_every_term_of_class_embeddings_has_a_case_with_mistakes() -> None:
    # The angular terms have theirs in test_angular.py.
    own = {name for name, info in TERMS.items() if info.fn.__module__ == "latentloom.losses.targets"}
    assert {case.term for case in CASES.values()} == own
    assert all(case.mistakes for case in CASES.values())


# Many classes

BLOCKED = [name for name in CASES if CASES[name].term in ("class_proximity", "comparison")]
of_blocks = pytest.mark.parametrize("name", BLOCKED)


@pytest.mark.parametrize("block", [1, 7, 10, 25, 44])
@pytest.mark.parametrize("scene", SCENES)
@of_blocks
def test_blocks_of_classes_change_nothing(
    name: str, scene: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, blocks = SCENES[scene](), []
    whole = evaluate(name, inputs)
    slopes = torch.autograd.grad(whole, inputs[:2])
    compute = targets._recomputed
    monkeypatch.setattr(targets, "_recomputed", lambda *args: blocks.append(1) or compute(*args))
    monkeypatch.setattr(targets, "BLOCK", block)
    parts = evaluate(name, inputs)
    rows = 5 if CASES[name].term == "class_proximity" and scene == "many" else len(inputs[2])
    width = max(1, block // rows)
    assert len(blocks) == (math.ceil(5 / width) if width < 5 else 0)
    assert_close(parts, whole)
    assert_close(torch.autograd.grad(parts, inputs[:2]), slopes)


class Largest(TorchDispatchMode):
    """The most bytes that one operation has put into one tensor, backward pass included."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, Tensor)]
        self.bytes = max([self.bytes, *(tensor.untyped_storage().nbytes() for tensor in found)])
        return out


def bytes_of(name: str, inputs: Inputs) -> tuple[int, int]:
    """Of the largest tensor, and of all that the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with Largest() as seen:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = evaluate(name, inputs)
        value.backward()
    return seen.bytes, sum(kept.values())


@of_blocks
def test_memory_is_bounded_for_many_classes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n, classes, d = 16, 20_000, 2
    c = torch.randn(classes, d, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n)
    inputs = c[y].clone().requires_grad_(), c.requires_grad_(), y
    monkeypatch.setattr(targets, "BLOCK", 2**15)
    assert all(found <= 10 * 4 * classes for found in bytes_of(name, inputs))
    monkeypatch.setattr(targets, "BLOCK", n * classes)
    assert all(found >= 4 * n * classes for found in bytes_of(name, inputs))


# What follows from the formulas


def slope(value: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, of))


@pytest.mark.parametrize("r", [0.0, 0.3, 0.95])
def test_literal_push_pull_at_its_optimum(r: float) -> None:
    _, c, y = many()
    y = y.clamp_min(0)
    m = c.mean(0)
    best = (m + (c - m) / (1 - r))[y].detach().requires_grad_()
    value = push_pull(best, c, y, r=r, variant="paper")
    assert_close(value, -r / (1 - r) * (c - m)[y].square().sum())
    assert slope(value, best)[0].abs().max() < 1e-12


def test_literal_push_pull_has_no_bound_and_the_default_has() -> None:
    _, c, y = many()
    y = y.clamp_min(0)
    out = c - c.mean(0)
    literal, bounded = (
        [
            push_pull(scale * 20 * out[y], scale * out, y, variant=variant).item()
            for scale in (1, 10, 100, 1000)
        ]
        for variant in ("paper", "default")
    )
    assert_close(literal, [literal[0] * scale**2 for scale in (1, 10, 100, 1000)])
    assert literal[0] < -100
    assert min(bounded) >= 0


def descended(steps: int, **options: Any) -> tuple[float, Tensor, Tensor]:
    z, c, y = many()
    z, c = z.detach().requires_grad_(), c.detach().requires_grad_()
    sgd = torch.optim.SGD([z, c], lr=0.05)
    for _ in range(steps):
        sgd.zero_grad()
        push_pull(z, c, y, reduction="sum", **options).backward()
        sgd.step()
    return push_pull(z, c, y, reduction="sum", **options).item(), z[y >= 0].detach(), c.detach()


def test_descent_of_push_pull_runs_away_only_in_print() -> None:
    values = [descended(steps, variant="paper")[0] for steps in (50, 100, 200, 400)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < -1e6
    value, z, c = descended(400, margin=2.0)
    assert 0 <= value < 1e-6
    assert ((z - c.mean(0)).norm(dim=1) > 0.999 * 2 * math.sqrt(3)).all()


def test_push_pull_is_the_literal_one_within_the_margin() -> None:
    z, c, y = many()
    inside, literal = (
        push_pull(z, c, y, reduction="mean", margin=50.0, variant=variant) for variant in ("default", "paper")
    )
    assert_close(inside - literal, torch.tensor(0.95 * 3 * 50.0**2, dtype=torch.float64))
    assert_close(slope(inside, z, c), slope(literal, z, c))


def test_push_pull_beyond_the_margin_is_the_pull() -> None:
    z, c, y = many()
    outside, pull = push_pull(z, c, y, margin=0.01), euclidean_target(z, c, y)
    assert_close([outside, *slope(outside, z, c)], [pull, *slope(pull, z, c)])


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_comparison_lies_below_the_number_of_rivals(scale: float) -> None:
    g = torch.Generator().manual_seed(0)
    c, z = (torch.randn(n, 2, generator=g, dtype=torch.float64) for n in (6, 200))
    rows = [comparison(scale * point[None], c, torch.tensor([0])).item() for point in z]
    assert min(rows) >= 0
    assert max(rows) < 5
    assert max(rows) > 4 if scale == 1.0 else max(rows) > 1


def test_comparison_in_the_middle_and_on_the_embedding() -> None:
    c = torch.eye(6, dtype=torch.float64, requires_grad=True)
    centre = torch.full((1, 6), 1 / 6, dtype=torch.float64)
    assert_close(comparison(centre, c, torch.tensor([3])).item(), 2.5, rtol=1e-7, atol=0)
    assert comparison(c.detach(), c, torch.arange(6)) == 0


def test_comparison_where_point_own_and_rival_meet() -> None:
    z, c = torch.ones(3, 2, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    value = comparison(z, c, torch.tensor([0, 1, 3]))
    assert value == 0
    assert all((found == 0).all() for found in slope(value, z, c))


def test_pair_of_embeddings_is_pushed_less_in_print() -> None:
    """24 times less at the distance that 1300 dimensions give at the start."""
    distance = math.sqrt(2 * 1300)
    pushes = []
    for variant in ("code", "paper"):
        c = torch.tensor([[0.0], [distance]], dtype=torch.float64, requires_grad=True)
        value = class_proximity(c.detach(), c, torch.tensor([0, 1]), r=1.0, variant=variant)
        pushes.append(slope(value, c)[0].abs().max().item())
    assert 24 < pushes[0] / pushes[1] < 25


def test_embeddings_that_meet_explode_in_print_alone() -> None:
    def worst(variant: str) -> tuple[float, float]:
        found = []
        for distance in [0.0, *torch.logspace(-6, 2, 200, dtype=torch.float64).tolist()]:
            c = torch.tensor([[0.0], [distance]], dtype=torch.float64, requires_grad=True)
            value = class_proximity(c[:1].detach(), c, torch.tensor([0]), r=1.0, variant=variant)
            found.append((value.item(), slope(value, c)[0].abs().max().item()))
        return tuple(map(max, zip(*found, strict=True)))  # type: ignore[return-value]

    assert_close(worst("paper"), (1e8, 6.5e11), rtol=2e-2, atol=0)
    assert worst("default") <= (1.0, 1.0)


@pytest.mark.parametrize(("d", "classes"), [(300, 10), (300, 60), (1200, 10)])
def test_push_balances_the_pull_where_its_docstring_says(d: int, classes: int) -> None:
    """The force along the embeddings changes its sign within 20 % of that r; points are still at 0."""
    c = torch.randn(classes, d, generator=torch.Generator().manual_seed(0)).requires_grad_()
    z, y = torch.zeros(classes, d), torch.arange(classes)
    balance = 3 * d**1.5 / (classes - 1)
    forces = [-(slope(class_proximity(z, c, y, r=k * balance), c)[0] * c).sum() for k in (0.8, 1.2)]
    assert forces[0] < 0 < forces[1]


def test_cosine_sees_no_length() -> None:
    z, c, y = many()
    assert_close(cosine_target(3 * z, 0.1 * c, y), cosine_target(z, c, y))
    assert cosine_target(torch.zeros(2, 3), c.detach().float(), torch.tensor([0, 4])) == 1


def test_a_point_for_all_is_a_minimum_of_the_targets() -> None:
    z, c, y = torch.ones(9, 3), torch.ones(5, 3), many()[2]
    assert euclidean_target(z, c, y) == 0
    assert class_proximity(z, c, y) > 0
    assert push_pull(z, c, y) > 0


# At the edges


@pytest.mark.parametrize("labels", [[], [-1, -1]])
@every_case
def test_nothing_labelled_is_zero_with_the_graph_kept(name: str, labels: Labels) -> None:
    _, c, _ = many()
    z = torch.ones(len(labels), 3, dtype=torch.float64, requires_grad=True)
    value = evaluate(name, (z, c, torch.tensor(labels, dtype=torch.int64)))
    assert value == 0
    assert all((found == 0).all() for found in slope(value, z, c))


@every_case
def test_one_class_has_no_rival(name: str) -> None:
    z, c, _ = many()
    y = torch.zeros(9, dtype=torch.int64)
    value = evaluate(name, (z, c[:1], y))
    value_agrees(name, CASES[name].naive, (z, c[:1], y))
    assert all(found.isfinite().all() for found in slope(value, z, c))
    if CASES[name].term == "comparison":
        assert value == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("apart", [0.0, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("variant", ["default", "paper", "code"])
@pytest.mark.parametrize("term", [class_proximity, push_pull])
def test_finite_at_an_r_of_a_million(
    term: Callable[..., Tensor], variant: str, apart: float, dtype: torch.dtype
) -> None:
    z, c, y = many()
    z, c = ((apart * tensor.detach() + 1).to(dtype).float().requires_grad_() for tensor in (z, c))
    value = term(z.to(dtype), c.to(dtype), y, r=1e6, variant=variant)
    assert value.dtype == torch.float32
    assert value.isfinite()
    float32 = term(z, c, y, r=1e6, variant=variant)
    assert all(found.isfinite().all() for found in slope(float32, z, c))


# Mistakes of the caller


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
def test_strength_that_is_no_strength(bad: float) -> None:
    inputs = many()
    for term in (class_proximity, push_pull):
        with pytest.raises(
            UserError, match=rf"r must be a finite number >= 0, got {bad}; 0 leaves the push out"
        ):
            term(*inputs, r=bad)
    with pytest.raises(UserError, match=f"margin must be a finite number >= 0, got {bad}"):
        push_pull(*inputs, margin=bad)


def test_without_strength_there_is_no_push() -> None:
    inputs = many()
    for term in (class_proximity, push_pull):
        assert_close(term(*inputs, r=0.0), euclidean_target(*inputs))
    assert_close(push_pull(*inputs, margin=0.0), euclidean_target(*inputs))


SHAPES = {
    "other dimensions": (torch.zeros(5, 4), r"float32 \(5, 4\)"),
    "no row": (torch.zeros(0, 3), r"float32 \(0, 3\)"),
    "a vector": (torch.zeros(3), r"float32 \(3,\)"),
    "integers": (torch.zeros(5, 3, dtype=torch.int64), r"int64 \(5, 3\)"),
}


@pytest.mark.parametrize("what", SHAPES)
@pytest.mark.parametrize("name", sorted({case.term for case in CASES.values()}))
def test_embeddings_of_a_wrong_shape(name: str, what: str) -> None:
    wrong, got = SHAPES[what]
    message = rf"class_embeddings must be floating \(C, 3\), a row per class, got torch.{got}; the head"
    with pytest.raises(UserError, match=message):
        TERMS[name].fn(torch.zeros(2, 3), wrong, torch.tensor([0, 1]))


@pytest.mark.parametrize("name", sorted({case.term for case in CASES.values()}))
def test_misspelt_options_and_tensors_in_another_order(name: str) -> None:
    z, c, y = many()
    with pytest.raises(UserError, match=r"no reduction 'men'; did you mean 'mean'"):
        TERMS[name].fn(z, c, y, reduction="men")
    with pytest.raises(UserError, match=r"y must be integer \(9,\), got torch.float64 \(5, 3\)"):
        TERMS[name].fn(z, y, c)
    with pytest.raises(UserError, match="flatten maps"):
        TERMS[name].fn(z[:, :, None], c, y)
    if "variant" in TERMS[name].options:
        with pytest.raises(UserError, match=r"no variant 'papers'; did you mean 'paper'"):
            TERMS[name].fn(z, c, y, variant="papers")


def test_objective_hands_over_embeddings_and_a_schedule() -> None:
    z, c, y = many()
    objective = Objective({"class_proximity": Term(options={"r": Schedule("linear", 4.0, -4.0)})})
    latent = Latent({"z": z, "y": y}, {"class_embeddings": c})
    assert_close(objective(latent, 0.25).total, class_proximity(z, c, y, r=2.0))
    with pytest.raises(UserError, match="r must be a finite number >= 0, got -4"):
        objective(latent, 1.0)
