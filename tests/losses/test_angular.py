"""CosFace, ArcFace, SphereFace, AdaCos: against loops, mistakes and pytorch-metric-learning."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from cases import Case, with_labels_shuffled
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.losses import TERMS, adacos, angular, arcface, cosface, sphereface

Point = list[float]
Points = list[Point]
Labels = list[int]
Inputs = tuple[Tensor, Tensor, Tensor]

ANGULAR = sorted(name for name, info in TERMS.items() if info.fn.__module__ == angular.__name__)


def spread() -> Inputs:
    """Ten points at 14 to 176 degrees to their classes, one of them unlabelled; no row of class 3."""
    return _scene([2, 0, 1, 2, -1, 4, 0, 2, 4, 1], [0.25, 0.7, 1.2, 1.9, 1.0, 2.5, 2.72, 3.07, 1.4, 0.9])


def near() -> Inputs:
    """No more rows than classes, all near to their own."""
    return _scene([4, 1, -1, 4, 0], [0.2, 0.5, 0.7, 0.1, 0.4])


def _scene(labels: Labels, angles: list[float]) -> Inputs:
    """Points of lengths 0.5 to 2 at these angles to the embeddings of their classes, in three dimensions."""
    g = torch.Generator().manual_seed(5)
    c = torch.randn(5, 3, generator=g, dtype=torch.float64) + torch.tensor([0.5, 0, -1])
    y, angle = torch.tensor(labels), torch.tensor(angles, dtype=torch.float64)[:, None]
    along = normalize(c[y])
    across = torch.linalg.cross(along, torch.randn(len(y), 3, generator=g, dtype=torch.float64))
    length = 0.5 + 1.5 * torch.rand(len(y), 1, generator=g, dtype=torch.float64)
    z = length * (angle.cos() * along + angle.sin() * normalize(across))
    return z.requires_grad_(), c.requires_grad_(), y


# References: plain loops over plain numbers


def cosine(a: Point, b: Point) -> float:
    return math.fsum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def angle_between(a: Point, b: Point) -> float:
    return math.acos(max(-1.0, min(1.0, cosine(a, b))))


def naive(
    z: Points,
    c: Points,
    y: Labels,
    *,
    own: Callable[[float], float] = math.cos,
    rival: Callable[[float], float] = math.cos,
    scale: float = 30.0,
    length: Callable[[Point, Point], float] = lambda point, embedding: 1.0,
    rows: int | None = None,
) -> float:
    """`own`, `rival`: logit of an angle before the scale; `length`: a factor; `rows`: divide the sum."""
    lost = []
    for point, label in zip(z, y, strict=True):
        if label >= 0:
            logits = []
            for k, embedding in enumerate(c):
                angle = angle_between(point, embedding)
                logits.append(scale * length(point, embedding) * (own if k == label else rival)(angle))
            lost.append(math.log(math.fsum(math.exp(logit - logits[label]) for logit in logits)))
    return math.fsum(lost) / (rows or len(lost))


def guarded(angle: float, *, margin: float = 0.5, beyond: float = 1.0, until: float | None = None) -> float:
    """`beyond`: share of the second form's margin; `until`: the angle up to which the first form counts."""
    if angle <= (math.pi - margin if until is None else until):
        return math.cos(angle + margin)
    return math.cos(angle) - beyond * margin * math.sin(margin)


def psi(angle: float, *, margin: float = 4, fall: float = 2.0, turn: bool = True) -> float:
    """Piece by piece; `fall`: between pieces, `turn`: every other piece is turned over."""
    piece = max(j for j in range(10) if j * math.pi / margin <= angle)
    sign = -1 if turn and piece in (1, 3, 5) else 1
    return sign * math.cos(margin * angle) - fall * piece


def point_length(point: Point, embedding: Point) -> float:
    return math.hypot(*point)


def naive_scale(
    z: Points,
    c: Points,
    y: Labels,
    *,
    start: float | None = None,
    dynamic: bool = True,
    own: bool = False,
    among: Callable[[list[float]], float] = statistics.median_low,
    cap: float = math.pi / 4,
    crowd: Callable[[list[float]], float] = statistics.fmean,
    batches: int = 1,
    unlabelled: bool = False,
) -> float:
    """`own`: the own class in B; `among`: which angle; `batches`: how often the scale is carried on."""
    s = math.sqrt(2) * math.log(max(len(c) - 1, 2)) if start is None else start
    rows = [(point, label) for point, label in zip(z, y, strict=True) if label >= 0 or unlabelled]
    angle = among([angle_between(point, c[label]) for point, label in rows])
    for _ in range(batches if dynamic else 0):
        b = crowd(
            [
                math.fsum(math.exp(s * cosine(point, c[k])) for k in range(len(c)) if own or k != label)
                for point, label in rows
            ]
        )
        s = math.log(max(b, 2.0)) / math.cos(min(cap, angle))
    return s


def naive_adacos(z: Points, c: Points, y: Labels, **how: Any) -> float:
    return naive(z, c, y, scale=naive_scale(z, c, y, **how))


COSFACE = partial(naive, own=lambda angle: math.cos(angle) - 0.35)
ARCFACE = partial(naive, own=guarded)
SPHEREFACE = partial(naive, own=psi, scale=1.0, length=point_length)
FIXED = partial(naive_adacos, dynamic=False)

CASES: dict[str, Case] = {
    "cosface": Case(
        "cosface",
        COSFACE,
        {
            "labels shuffled": with_labels_shuffled(COSFACE),
            "margin left out": naive,
            "margin added": partial(naive, own=lambda angle: math.cos(angle) + 0.35),
            "margin on the angle": partial(naive, own=lambda angle: math.cos(angle + 0.35)),
            "margin on every class": partial(COSFACE, rival=lambda angle: math.cos(angle) - 0.35),
            "margin outside the scale": partial(naive, own=lambda angle: math.cos(angle) - 0.35 / 30),
            "a scale of 64": partial(COSFACE, scale=64.0),
            "lengths of the points": partial(COSFACE, length=point_length),
            "lengths of the embeddings": partial(COSFACE, length=lambda point, e: math.hypot(*e)),
            "summed": lambda z, c, y: COSFACE(z, c, y, rows=1),
            "the unlabelled row in the mean": lambda z, c, y: COSFACE(z, c, y, rows=len(y)),
        },
    ),
    "cosface scale 5": Case(
        "cosface",
        partial(naive, own=lambda angle: math.cos(angle) - 0.1, scale=5.0),
        {"a scale of 30": partial(naive, own=lambda angle: math.cos(angle) - 0.1)},
        {"margin": 0.1, "scale": 5.0},
    ),
    "arcface": Case(
        "arcface",
        ARCFACE,
        {
            "labels shuffled": with_labels_shuffled(ARCFACE),
            "no second form": partial(naive, own=lambda angle: math.cos(angle + 0.5)),
            "second form without its margin": partial(naive, own=partial(guarded, beyond=0.0)),
            "second form from a right angle": partial(naive, own=partial(guarded, until=math.pi / 2)),
            "margin subtracted": partial(naive, own=partial(guarded, margin=-0.5)),
            "margin on the cosine": partial(naive, own=lambda angle: math.cos(angle) - 0.5),
            "margin in degrees": partial(naive, own=partial(guarded, margin=math.radians(0.5))),
            "margin on every class": partial(ARCFACE, rival=guarded),
            "a scale of 64": partial(ARCFACE, scale=64.0),
            "lengths of the points": partial(ARCFACE, length=point_length),
            "the unlabelled row in the mean": lambda z, c, y: ARCFACE(z, c, y, rows=len(y)),
        },
    ),
    "arcface scale 5": Case(
        "arcface",
        partial(naive, own=partial(guarded, margin=1.0), scale=5.0),
        {"a margin of 0.5": partial(ARCFACE, scale=5.0)},
        {"margin": 1.0, "scale": 5.0},
    ),
    "sphereface": Case(
        "sphereface",
        SPHEREFACE,
        {
            "labels shuffled": with_labels_shuffled(SPHEREFACE),
            "lengths left out": partial(naive, own=psi, scale=1.0),
            "lengths of both": partial(
                SPHEREFACE, length=lambda point, e: math.hypot(*point) * math.hypot(*e)
            ),
            "not continued": partial(SPHEREFACE, own=lambda angle: math.cos(4 * angle)),
            "pieces not turned over": partial(SPHEREFACE, own=partial(psi, turn=False)),
            "pieces that fall by 1": partial(SPHEREFACE, own=partial(psi, fall=1.0)),
            "a margin of 3": partial(SPHEREFACE, own=partial(psi, margin=3)),
            "margin on every class": partial(SPHEREFACE, rival=psi),
            "the unlabelled row in the mean": lambda z, c, y: SPHEREFACE(z, c, y, rows=len(y)),
        },
    ),
    "sphereface margin 2.7": Case(
        "sphereface",
        partial(SPHEREFACE, own=partial(psi, margin=2.7), scale=3.0),
        {
            "the whole part of the margin": partial(SPHEREFACE, own=partial(psi, margin=2), scale=3.0),
            "a scale of 1": partial(SPHEREFACE, own=partial(psi, margin=2.7)),
        },
        {"margin": 2.7, "scale": 3.0},
    ),
    "adacos": Case(
        "adacos",
        naive_adacos,
        {
            "labels shuffled": with_labels_shuffled(naive_adacos),
            "fixed": FIXED,
            "the own class in B": partial(naive_adacos, own=True),
            "B of the whole batch": partial(naive_adacos, crowd=math.fsum),
            "B of the worst row": partial(naive_adacos, crowd=max),
            "B of one more batch": partial(naive_adacos, batches=2),
            "the mean angle": partial(naive_adacos, among=statistics.fmean),
            "the greater of two middle angles": partial(naive_adacos, among=statistics.median_high),
            "angles beyond pi/4": partial(naive_adacos, cap=math.pi / 2 - 0.01),
            "always pi/4": partial(naive_adacos, among=lambda angles: math.pi / 4),
            "the unlabelled row in the scale": partial(naive_adacos, unlabelled=True),
        },
    ),
    "adacos after another batch": Case(
        "adacos", partial(naive_adacos, start=7.0), {"from s0": naive_adacos}, {"scale": 7.0}
    ),
    "adacos fixed": Case(
        "adacos",
        FIXED,
        {
            "labels shuffled": with_labels_shuffled(FIXED),
            "dynamic": naive_adacos,
            "log C": partial(FIXED, start=math.sqrt(2) * math.log(5)),
            "without the root of 2": partial(FIXED, start=math.log(4)),
            "lengths of the points": lambda z, c, y: naive(
                z, c, y, scale=math.sqrt(2) * math.log(4), length=point_length
            ),
        },
        {"variant": "fixed"},
    ),
}

every_case = pytest.mark.parametrize("name", CASES)
every_term = pytest.mark.parametrize("name", ANGULAR)


def evaluate(name: str, inputs: Inputs, **instead: Any) -> Tensor:
    return TERMS[CASES[name].term].fn(*inputs, **{**CASES[name].options, **instead})


def slopes(value: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, of))


def plain(inputs: Inputs) -> list[Any]:
    return [tensor.tolist() for tensor in inputs]


def agrees(name: str, reference: Callable[..., float]) -> None:
    for inputs in (spread(), near()):
        assert_close(evaluate(name, inputs).item(), reference(*plain(inputs)), rtol=1e-8, atol=1e-12)


@every_case
def test_value_is_that_of_the_loop(name: str) -> None:
    agrees(name, CASES[name].naive)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, case in CASES.items() for mistake in case.mistakes]
)
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        agrees(name, CASES[name].mistakes[mistake])


@every_case
def test_gradient_is_true(name: str) -> None:
    z, c, y = spread()
    still = {"variant": "fixed"} if CASES[name].term == "adacos" else {}
    assert torch.autograd.gradcheck(lambda z, c: evaluate(name, (z, c, y), **still), (z, c))


def test_no_gradient_passes_through_the_scale_of_adacos() -> None:
    z, c, y = spread()
    s = naive_scale(*plain((z, c, y)))
    found, still = adacos(z, c, y), adacos(z, c, y, scale=s, variant="fixed")
    assert_close([found, *slopes(found, z, c)], [still, *slopes(still, z, c)])


def test_every_angular_term_has_a_case_with_mistakes() -> None:
    assert sorted({case.term for case in CASES.values()}) == ANGULAR
    assert all(case.mistakes for case in CASES.values())


# pytorch-metric-learning


def value_and_slopes_of_rival(rival: Any, inputs: Inputs) -> list[Tensor]:
    z, c, y = inputs
    rival.W = torch.nn.Parameter(c.detach().T.clone())
    value = rival(z, y)
    of_z, of_w = torch.autograd.grad(value, (z, rival.W))
    return [value.detach(), of_z, of_w.T]


def all_labelled() -> Inputs:
    z, c, y = spread()
    return z, c, torch.where(y < 0, 3, y)


@pytest.mark.parametrize("margin", [0.0, 0.35, 0.8])
@pytest.mark.parametrize("scale", [8.0, 64.0])
def test_cosface_equals_pytorch_metric_learning(margin: float, scale: float) -> None:
    from pytorch_metric_learning.losses import CosFaceLoss

    z, c, y = all_labelled()
    value = cosface(z, c, y, margin=margin, scale=scale)
    rival = CosFaceLoss(5, 3, margin=margin, scale=scale)
    assert_close([value, *slopes(value, z, c)], value_and_slopes_of_rival(rival, (z, c, y)))


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
@pytest.mark.parametrize("scale", [8.0, 64.0])
def test_arcface_equals_pytorch_metric_learning_in_degrees(margin: float, scale: float) -> None:
    from pytorch_metric_learning.losses import ArcFaceLoss

    z, c, y = all_labelled()
    value = arcface(z, c, y, margin=margin, scale=scale)
    rival = ArcFaceLoss(5, 3, margin=math.degrees(margin), scale=scale)
    assert_close([value, *slopes(value, z, c)], value_and_slopes_of_rival(rival, (z, c, y)))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of the rival
@pytest.mark.parametrize("margin", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_sphereface_equals_pytorch_metric_learning_for_whole_margins(margin: int, scale: float) -> None:
    from pytorch_metric_learning.losses import SphereFaceLoss

    z, c, y = all_labelled()
    value = sphereface(z, c, y, margin=margin, scale=scale)
    rival = SphereFaceLoss(5, 3, margin=margin, scale=scale)
    assert_close([value, *slopes(value, z, c)], value_and_slopes_of_rival(rival, (z, c, y)))


# What follows from the formulas


def own_logit(term: Callable[..., Tensor], angles: Tensor, **options: float) -> Tensor:
    """a of each angle, found from the loss beside one rival at a right angle, whose logit is 0."""
    c = torch.tensor([[3.0, 0, 0], [0, 0, 2]], dtype=torch.float64)
    points = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], 1)
    rows = [term(point[None], c, torch.tensor([0]), scale=1.0, **options) for point in points]
    return -torch.stack(rows).expm1().log()


GRID = torch.linspace(0, math.pi, 181, dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.1, 0.5, math.pi / 2])
def test_arcface_falls_with_the_angle_and_jumps_once(margin: float) -> None:
    found = own_logit(arcface, GRID, margin=margin)
    assert (found.diff() < 1e-12).all()
    edge = torch.tensor([math.pi - margin - 1e-9, math.pi - margin + 1e-9], dtype=torch.float64)
    before, after = own_logit(arcface, edge, margin=margin).tolist()
    assert_close(before, -1.0)
    assert_close(before - after, math.cos(margin) + margin * math.sin(margin) - 1)
    assert not ((GRID + margin).cos().diff() < 1e-12).all()


@pytest.mark.parametrize("margin", [1.0, 1.5, 2.0, 3.3, 4.0])
def test_psi_falls_with_the_angle_without_a_jump(margin: float) -> None:
    found = own_logit(sphereface, GRID, margin=margin)
    assert (found.diff() < 1e-12).all()
    assert found.diff().abs().max() <= margin * GRID[1] + 1e-9
    assert_close(found[0].item(), 1.0)
    if margin.is_integer():
        assert_close(found[-1].item(), 1 - 2 * margin)


@pytest.mark.parametrize("margin", [0.0, 0.35, 1.0])
def test_margin_of_cosface_is_the_same_at_every_angle(margin: float) -> None:
    assert_close(own_logit(cosface, GRID, margin=margin), GRID.cos() - margin)


def test_without_margin_all_are_one_softmax() -> None:
    z, c, y = all_labelled()
    expected = cross_entropy(7 * normalize(z) @ normalize(c).T, y)
    assert_close(cosface(z, c, y, margin=0.0, scale=7.0), expected)
    assert_close(arcface(z, c, y, margin=0.0, scale=7.0), expected)
    assert_close(adacos(z, c, y, scale=7.0, variant="fixed"), expected)
    assert_close(sphereface(normalize(z), c, y, margin=1.0, scale=7.0), expected)
    assert_close(sphereface(z, c, y, margin=1.0), cross_entropy(z @ normalize(c).T, y))


@pytest.mark.parametrize(("term", "none"), [(cosface, 0.0), (arcface, 0.0), (sphereface, 1.0)])
def test_margins_cost(term: Callable[..., Tensor], none: float) -> None:
    assert term(*spread()) > term(*spread(), margin=none)


@every_term
def test_lengths_are_left_out_but_those_of_points_in_sphereface(name: str) -> None:
    z, c, y = spread()
    value = TERMS[name].fn(z, c, y)
    assert_close(TERMS[name].fn(z, 0.1 * c, y), value)
    if name == "sphereface":
        assert_close(TERMS[name].fn(3 * z, c, y), TERMS[name].fn(z, c, y, scale=3.0))
    else:
        assert_close(TERMS[name].fn(3 * z, c, y), value)


@every_term
def test_origin_is_at_a_right_angle_to_all(name: str) -> None:
    c, y = torch.eye(3), torch.tensor([1])
    z = torch.zeros(1, 3, requires_grad=True)
    value = TERMS[name].fn(z, c, y)
    expected = {"cosface": 30 * 0.35, "arcface": 30 * math.sin(0.5)}.get(name, 0.0)
    assert_close(value.item(), math.log(1 + 2 * math.exp(expected)), rtol=1e-6, atol=0)
    assert slopes(value, z)[0].isfinite().all()


# At the ends of the angle


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [2.0, -0.5])
@every_term
def test_gradient_is_bounded_on_the_embedding_and_opposite(
    name: str, side: float, dtype: torch.dtype
) -> None:
    _, c, _ = spread()
    c = c.detach().to(dtype).requires_grad_()
    z, y = (side * c.detach()).requires_grad_(), torch.arange(5)
    value = TERMS[name].fn(z, c, y)
    bound = 2 * 30 / min(c.norm(dim=1).min().item(), z.norm(dim=1).min().item())
    assert all(found.abs().max() <= bound for found in slopes(value, z, c))


def of_small_angle(dtype: torch.dtype, term: Callable[..., Tensor]) -> Tensor:
    angle = torch.tensor(1e-4, dtype=torch.float64)
    z = torch.stack([angle.cos(), angle.sin()])[None].to(dtype).requires_grad_()
    c = torch.tensor([[1.0, 0], [0.6, 0.8]], dtype=dtype)
    return slopes(term(z, c, torch.tensor([0])), z)[0].double()


def arcface_by_arccos(z: Tensor, c: Tensor, y: Tensor) -> Tensor:
    cosines = normalize(z) @ normalize(c).T
    own = torch.arange(len(c)) == y[:, None]
    return cross_entropy(30 * torch.where(own, (cosines.acos() + 0.5).cos(), cosines), y)


def test_float32_sees_a_small_angle_that_arccos_does_not() -> None:
    expected = of_small_angle(torch.float64, arcface)
    assert_close(expected, of_small_angle(torch.float64, arcface_by_arccos), rtol=1e-3, atol=1e-6)
    assert_close(of_small_angle(torch.float32, arcface), expected, rtol=1e-3, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_close(of_small_angle(torch.float32, arcface_by_arccos), expected, rtol=1e-3, atol=1e-6)


# The scale of AdaCos


def test_scale_of_adacos_where_other_classes_are_at_right_angles() -> None:
    """There B is C - 1 whatever the scale before: one step is all steps."""
    c, y = torch.eye(6, dtype=torch.float64), torch.arange(6)
    s = math.log(5)
    for start in (None, 1.0, 40.0):
        found = adacos(c, c, y, scale=start).item()
        assert_close(found, math.log(1 + 5 * math.exp(-s)))


def test_one_step_of_the_scale_is_near_to_many_in_many_dimensions() -> None:
    g = torch.Generator().manual_seed(0)
    c = torch.randn(10, 64, generator=g, dtype=torch.float64)
    y = torch.arange(15) % 10
    inputs = c[y] + 0.3 * torch.randn(15, 64, generator=g, dtype=torch.float64), c, y
    found = adacos(*inputs).item()
    assert_close(found, naive_adacos(*plain(inputs), batches=6), rtol=0.05, atol=0)
    with pytest.raises(AssertionError):
        assert_close(found, FIXED(*plain(inputs)), rtol=0.05, atol=0)


@pytest.mark.parametrize("variant", ["dynamic", "fixed"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes_have_a_scale_too(classes: int, variant: str) -> None:
    """On a circle, evenly spread: two classes would have the scale 0, or a negative one."""
    turn = 2 * math.pi * torch.arange(classes, dtype=torch.float64) / classes
    c = torch.stack([turn.cos(), turn.sin()], 1)
    y = torch.arange(classes)
    well, badly = (adacos(z, c, y, variant=variant).item() for z in (c, -c))
    expected = naive_adacos(*plain((c, c, y)), dynamic=variant == "dynamic")
    assert_close(well, expected)
    assert well < math.log(classes) < badly if classes > 1 else well == badly == 0


# At the edges


@pytest.mark.parametrize("labels", [[], [-1, -1]])
@every_case
def test_nothing_labelled_is_zero_with_the_graph_kept(name: str, labels: Labels) -> None:
    _, c, _ = spread()
    z = torch.ones(len(labels), 3, dtype=torch.float64, requires_grad=True)
    value = evaluate(name, (z, c, torch.tensor(labels, dtype=torch.int64)))
    assert value == 0
    assert all((found == 0).all() for found in slopes(value, z, c))


@every_case
def test_one_class_has_no_rival(name: str) -> None:
    z, c, y = spread()
    value = evaluate(name, (z, c[:1], y.clamp_max(0)))
    assert value == 0
    assert all((found == 0).all() for found in slopes(value, z, c))


@every_term
def test_point_and_embedding_both_in_the_origin(name: str) -> None:
    z, c = torch.zeros(2, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    value = TERMS[name].fn(z, c, torch.tensor([0, 3]))
    assert value.isfinite()
    assert all(found.isfinite().all() for found in slopes(value, z, c))


# Mistakes of the caller


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@every_term
def test_scale_that_is_no_scale(name: str, bad: float) -> None:
    with pytest.raises(UserError, match=f"scale must be a finite number > 0, got {bad}; it multiplies"):
        TERMS[name].fn(*spread(), scale=bad)


MARGINS = {
    "cosface": ([-0.1, math.nan, math.inf], ">= 0 and finite, got {}; it is taken from the cosine"),
    "arcface": ([-0.1, math.nan, 28.6], ">= 0 and <= 1.571, got {}; it is in radians: 28.6 degrees are 0.5"),
    "sphereface": ([0.9, math.nan, math.inf], ">= 1 and finite, got {}; it multiplies the angle"),
}


@pytest.mark.parametrize(
    ("name", "bad"), [(name, bad) for name, (bads, _) in MARGINS.items() for bad in bads]
)
def test_margin_that_is_no_margin(name: str, bad: float) -> None:
    with pytest.raises(UserError, match="margin must be " + MARGINS[name][1].format(bad)):
        TERMS[name].fn(*spread(), margin=bad)


def test_misspelt_variant_of_adacos() -> None:
    with pytest.raises(UserError, match=r"no variant 'dynamics'; did you mean 'dynamic'"):
        adacos(*spread(), variant="dynamics")


@pytest.mark.parametrize("shape", [(5, 4), (0, 3), (3,)])
@every_term
def test_wrong_shapes_and_tensors_in_another_order(name: str, shape: tuple[int, ...]) -> None:
    z, c, y = spread()
    with pytest.raises(UserError, match=r"class_embeddings must be floating \(C, 3\), a row per class"):
        TERMS[name].fn(z, torch.zeros(shape, dtype=torch.float64), y)
    with pytest.raises(UserError, match=r"y must be integer \(10,\), got torch.float64 \(5, 3\)"):
        TERMS[name].fn(z, y, c)
