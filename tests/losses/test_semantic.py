"""Losses of the names of classes: against loops, against mistakes, and what follows from their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from cases import Case, each, shuffled
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from latentloom.checks import UserError
from latentloom.config import Term
from latentloom.losses import TERMS, semantic_anchor, semantic_triplet
from latentloom.objective import Objective
from latentloom.values import Latent

Point = list[float]
Plain = dict[str, Any]  # the tensors of a scene as lists


def scene() -> dict[str, Tensor]:
    """Nine points in four dimensions, five classes, one of them in no group and one in no row, three groups.

    No length is 1; one row is unlabelled; classes have 1, 2, 2, 3 and 0 rows.
    """
    g = torch.Generator().manual_seed(2)
    labels, groups = (torch.randn(n, 4, generator=g, dtype=torch.float64) + 0.4 for n in (5, 3))
    y = torch.tensor([2, 0, 1, 3, -1, 2, 1, 3, 3])
    z = 0.6 * labels[y] + torch.randn(9, 4, generator=g, dtype=torch.float64)
    return {
        "z": z.requires_grad_(),
        "label_embeddings": labels.requires_grad_(),
        "y": y,
        "coarse_embeddings": groups.requires_grad_(),
        "coarse_of": torch.tensor([0, 2, -1, 1, 1]),
        "balance": torch.tensor([0.4, -0.9], dtype=torch.float64, requires_grad=True),
        "noise": torch.tensor([0.1, 0.3, 0.6, 0.76, 0.2, 0.99, 0.0, 0.45, 0.24], dtype=torch.float64),
    }


def plain(tensors: dict[str, Tensor]) -> Plain:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


# References: plain loops over plain numbers


def distance(a: Point, b: Point, lengths: str = "both") -> float:
    """1 - cos; `lengths`: which of them are divided by."""
    divide = {"both": math.hypot(*a) * math.hypot(*b), "b": math.hypot(*b), "a": math.hypot(*a), "none": 1}
    return 1 - sum(p * q for p, q in zip(a, b, strict=True)) / divide[lengths]


def softmaxed(logits: Point) -> Point:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def naive_anchor(
    s: Plain,
    *,
    shares: Point | None = None,
    lengths: str = "both",
    ungrouped: str = "fine",
    summed: bool = False,
    rows: int | None = None,
) -> float:
    """`shares`: of class and group, no groups without; `ungrouped`: what rows in no group count."""
    values = []
    for z, k in zip(s["z"], s["y"], strict=True):
        if k < 0:
            continue
        g = s["coarse_of"][k]
        fine = distance(z, s["label_embeddings"][k], lengths)
        if shares is None or (g < 0 and ungrouped == "fine"):
            values.append(fine)
        elif g >= 0 or ungrouped == "last":
            values.append(shares[0] * fine + shares[1] * distance(z, s["coarse_embeddings"][g], lengths))
        elif ungrouped == "share":
            values.append(shares[0] * fine)
    return math.fsum(values) / (1 if summed else rows or len(values))


def learned(s: Plain, **mistake: Any) -> float:
    return naive_anchor(s, shares=softmaxed(s["balance"]), **mistake)


def naive_triplet(
    s: Plain,
    *,
    margin: float = 0.2,
    random: bool = False,
    by_distance: bool = False,
    own: bool = False,
    rivals: str = "all",
    lengths: str = "both",
    sign: float = 1,
    skip: bool = True,
    over: str = "every",
    hinge: bool = True,
    even: str = "pairs",
) -> float:
    """`over`: what the mean is over; `skip`: the drawn class is counted among the others; `even`: the mean
    distance that margins are relative to, over pairs of classes, pairs in the batch, or all C x C."""
    labels, every = s["label_embeddings"], range(len(s["label_embeddings"]))
    pairs = [(i, j) for i in every for j in every if i != j or even == "square"]
    if even == "batch":
        pairs = [(i, j) for i in s["y"] for j in every if i != j and i >= 0]
    mean = math.fsum(distance(labels[i], labels[j]) for i, j in pairs) / max(1, len(pairs))
    values, rows = [], 0
    for z, k, noise in zip(s["z"], s["y"], s["noise"], strict=True):
        if k < 0:
            continue
        rows += 1
        others = [j for j in every if (own or j != k) and (rivals == "all" or j in s["y"])]
        if random:
            order = others if skip else list(every)
            others = [order[math.floor(noise * len(order))]]
        for j in others:
            wanted = margin * distance(labels[k], labels[j]) / mean if by_distance else margin
            near, far = (distance(z, labels[i], lengths) for i in (k, j))
            value = wanted + sign * (near - far)
            values.append(max(0.0, value) if hinge else value)
    if over == "active":
        return math.fsum(values) / sum(value > 0 for value in values)
    return math.fsum(values) / {"every": len(values), "rows": rows, "classes": rows * 5, "none": 1}[over]


GROUPS = ("coarse_embeddings", "coarse_of")
DRAWN, RELATIVE = partial(naive_triplet, random=True), partial(naive_triplet, by_distance=True)


def mixed(s: Plain, **changed: Any) -> float:
    """The anchor with a coarse weight of 0.3."""
    return naive_anchor(s, **{"shares": [0.7, 0.3], **changed})


def with_labels_shuffled(naive: Callable[..., float]) -> Callable[..., float]:
    return lambda s: naive({**s, "y": shuffled(s["y"])})


CASES: dict[str, Case] = {
    "anchor": Case(
        "semantic_anchor",
        naive_anchor,
        {
            "labels shuffled": with_labels_shuffled(naive_anchor),
            "points not normalised": partial(naive_anchor, lengths="b"),
            "labels not normalised": partial(naive_anchor, lengths="a"),
            "similarity for distance": lambda s: 1 - naive_anchor(s),
            "summed": partial(naive_anchor, summed=True),
            "the unlabelled row in the mean": partial(naive_anchor, rows=9),
            "half of it": lambda s: naive_anchor(s) / 2,
        },
    ),
    "anchor and groups": Case(
        "semantic_anchor",
        mixed,
        {
            "no groups": naive_anchor,
            "shares exchanged": partial(mixed, shares=[0.3, 0.7]),
            "even shares": partial(mixed, shares=[0.5, 0.5]),
            "shares that add up to more": partial(mixed, shares=[1.0, 0.3]),
            "rows in no group left out": partial(mixed, ungrouped="out"),
            "rows in no group at their share": partial(mixed, ungrouped="share"),
            "rows in no group in the last": partial(mixed, ungrouped="last"),
            "groups not normalised": partial(mixed, lengths="a"),
            "groups of other classes": lambda s: mixed({**s, "coarse_of": shuffled(s["coarse_of"])}),
        },
        {"coarse_weight": 0.3},
        GROUPS,
    ),
    "anchor by default": Case(
        "semantic_anchor",
        partial(naive_anchor, shares=[0.5, 0.5]),
        {"group alone": partial(naive_anchor, shares=[0, 1]), "a weight of 0.3": mixed},
        {},
        GROUPS,
    ),
    "anchor and learned balance": Case(
        "semantic_anchor",
        learned,
        {
            "logits for shares": lambda s: naive_anchor(s, shares=s["balance"]),
            "shares exchanged": lambda s: naive_anchor(s, shares=softmaxed(s["balance"])[::-1]),
            "the fixed weight": mixed,
            "rows in no group at their share": partial(learned, ungrouped="share"),
        },
        {"coarse_weight": 0.3},
        (*GROUPS, "balance"),
    ),
    "triplet": Case(
        "semantic_triplet",
        naive_triplet,
        {
            "labels shuffled": with_labels_shuffled(naive_triplet),
            "the own class a rival": partial(naive_triplet, own=True),
            "rivals of the batch alone": partial(naive_triplet, rivals="present"),
            "no margin": partial(naive_triplet, margin=0),
            "points not normalised": partial(naive_triplet, lengths="b"),
            "labels not normalised": partial(naive_triplet, lengths="a"),
            "near and far exchanged": partial(naive_triplet, sign=-1),
            "no hinge": partial(naive_triplet, hinge=False),
            "summed over the rivals": partial(naive_triplet, over="rows"),
            "mean over all classes": partial(naive_triplet, over="classes"),
            "mean over what counts": partial(naive_triplet, over="active"),
            "summed": partial(naive_triplet, over="none"),
            "one drawn": DRAWN,
        },
    ),
    "triplet random": Case(
        "semantic_triplet",
        partial(DRAWN, margin=0.5),
        {
            "all": partial(naive_triplet, margin=0.5),
            "the own class not skipped": partial(DRAWN, margin=0.5, skip=False),
            "another draw": lambda s: DRAWN({**s, "noise": s["noise"][::-1]}, margin=0.5),
            "the default margin": DRAWN,
            "summed": partial(DRAWN, margin=0.5, over="none"),
        },
        {"margin": 0.5, "negatives": "random"},
        ("noise",),
    ),
    "triplet by distance": Case(
        "semantic_triplet",
        RELATIVE,
        {
            "even margins": naive_triplet,
            "over the mean of all C x C": partial(RELATIVE, even="square"),
            "over the mean of the batch": partial(RELATIVE, even="batch"),
            "mean over all classes": partial(RELATIVE, over="classes"),
        },
        {"by_distance": True},
    ),
    "triplet random by distance": Case(
        "semantic_triplet",
        partial(DRAWN, by_distance=True),
        {"even margins": DRAWN, "all": RELATIVE},
        {"by_distance": True, "negatives": "random"},
        ("noise",),
    ),
}

every_case, every_mistake = each(CASES)


def evaluate(name: str, tensors: dict[str, Tensor]) -> Tensor:
    case = CASES[name]
    return TERMS[case.term].fn(
        *(tensors[key] for key in ("z", "label_embeddings", "y", *case.extra)), **case.options
    )


def value_agrees(name: str, naive: Callable[..., float]) -> None:
    assert_close(evaluate(name, scene()).item(), naive(plain(scene())), rtol=1e-9, atol=1e-12)


@every_case
def test_value_is_that_of_the_loop(name: str) -> None:
    value_agrees(name, CASES[name].naive)


@every_mistake
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        value_agrees(name, CASES[name].mistakes[mistake])


@every_case
def test_gradient_is_true(name: str) -> None:
    tensors = scene()
    learned = [key for key, tensor in tensors.items() if tensor.requires_grad]

    def value(*moved: Tensor) -> Tensor:
        kept = sum(0 * tensor.sum() for tensor in moved)  # of those that the case does not read
        return evaluate(name, {**tensors, **dict(zip(learned, moved, strict=True))}) + kept

    assert torch.autograd.gradcheck(value, [tensors[key] for key in learned])


def test_every_term_of_names_has_a_case_with_mistakes() -> None:
    own = {name for name, info in TERMS.items() if info.fn.__module__ == "latentloom.losses.semantic"}
    assert {case.term for case in CASES.values()} == own
    assert all(case.mistakes for case in CASES.values())


# What follows from the formulas


def test_anchor_lies_between_0_and_2() -> None:
    s = scene()
    y = s["y"].clamp_min(0)
    ends = [
        semantic_anchor(sign * 3 * s["label_embeddings"][y], s["label_embeddings"], y).item()
        for sign in (1, -1)
    ]
    assert_close(ends, [0.0, 2.0], rtol=0, atol=1e-12)
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        z = torch.randn(1, 4, generator=g)
        values = semantic_anchor(z, s["label_embeddings"], y[:1], s["coarse_embeddings"], torch.arange(5) % 3)
        assert 0 < values < 2


def test_anchor_is_0_only_where_the_point_has_both_directions() -> None:
    e, g = torch.eye(3, dtype=torch.float64)[:2], torch.eye(3, dtype=torch.float64)[1:2]
    index = torch.tensor([0])

    def value(z: list[float], labels: Tensor) -> float:
        point = torch.tensor([z], dtype=torch.float64)
        groups = torch.zeros(len(labels), dtype=torch.int64)
        return semantic_anchor(point, labels, index, g, groups, coarse_weight=0.4).item()

    assert value([0, 5.0, 0], 2 * g) == 0
    assert value([5.0, 0, 0], e) == pytest.approx(0.4)
    assert value([0, 5.0, 0], e) == pytest.approx(0.6)
    least = 1 - math.hypot(0.6, 0.4)  # at the direction of b e + b' g
    assert value([0.6, 0.4, 0], e) == pytest.approx(least)
    around = [value([math.cos(angle), math.sin(angle), 0], e) for angle in torch.linspace(0, 6, 50).tolist()]
    assert min(around) >= least


def test_learned_balance_is_drawn_to_what_is_nearer() -> None:
    """With shares b, b' and losses f, g, the slopes of the logits are b (f - L) and b' (g - L)."""
    s = scene()
    rows = (s["y"] >= 0) & (s["coarse_of"][s["y"]] >= 0)
    z, y = (s[key][rows] for key in ("z", "y"))
    both = s["coarse_embeddings"], s["coarse_of"]
    loss = semantic_anchor(z, s["label_embeddings"], y, *both, s["balance"])
    slope = torch.autograd.grad(loss, s["balance"])[0].tolist()
    losses = [semantic_anchor(z, s["label_embeddings"], y, *both, coarse_weight=w).item() for w in (0, 1)]
    shares = softmaxed(s["balance"].tolist())
    assert_close(slope, [b * (each - loss.item()) for b, each in zip(shares, losses, strict=True)])
    assert_close(sum(shares), 1.0)


@pytest.mark.parametrize("gap", [0.199, 0.2, 0.201, 1.0])
def test_triplet_is_0_from_a_gap_of_the_margin(gap: float) -> None:
    """In the plane with labels at right angles, cos to the own label is larger than to the other by `gap`."""
    angle = math.pi / 4 - math.asin(gap / math.sqrt(2))
    z = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    value = semantic_triplet(7 * z, torch.eye(2, dtype=torch.float64), torch.tensor([0])).item()
    assert value == pytest.approx(max(0.0, 0.2 - gap), abs=1e-12)


def test_all_negatives_are_the_mean_of_the_random_ones() -> None:
    s = scene()
    inputs, wanted = [s["z"], s["label_embeddings"]], semantic_triplet(s["z"], s["label_embeddings"], s["y"])
    drawn = [
        semantic_triplet(*inputs, s["y"], torch.full((9,), (k + 0.5) / 4), negatives="random")
        for k in range(4)
    ]
    mean = torch.stack(drawn).mean()
    assert_close([mean, *torch.autograd.grad(mean, inputs)], [wanted, *torch.autograd.grad(wanted, inputs)])
    assert len({round(value.item(), 9) for value in drawn}) == 4


@pytest.mark.parametrize("own", range(4))
def test_every_other_class_is_drawn_alike(own: int) -> None:
    """The label that the point is moved away from, for noise over the whole of [0, 1)."""
    labels = torch.eye(4, dtype=torch.float64, requires_grad=True)
    seen = []
    for noise in [0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-24, 1.0]:  # 1 is what half types may round to
        z, y = torch.ones(1, 4, dtype=torch.float64), torch.tensor([own])
        value = semantic_triplet(z, labels, y, torch.tensor([noise]), negatives="random")
        moved = torch.autograd.grad(value, labels)[0].abs().sum(1) > 0
        seen += [k for k in range(4) if moved[k] and k != own]
    others = [k for k in range(4) if k != own]
    assert seen == [others[0]] * 2 + [others[1]] * 2 + [others[2]] * 3


def test_margins_by_distance_leave_what_means_the_like() -> None:
    """The mean of the margins is the margin; that to a label of the same direction is 0."""
    labels = torch.tensor([[1.0, 0], [3, 0], [0, 1]], dtype=torch.float64)  # distances 0, 1, 1
    z, y = torch.zeros(3, 2, dtype=torch.float64), torch.arange(3)
    assert semantic_triplet(z, labels, y, by_distance=True).item() == pytest.approx(0.2)
    assert semantic_triplet(labels, labels, y, by_distance=True).item() == pytest.approx(0)
    assert semantic_triplet(labels, labels, y).item() == pytest.approx(0.2 * 2 / 6)


@every_case
def test_lengths_do_not_matter(name: str) -> None:
    s = scene()
    longer = {key: (5 * t if t.ndim == 2 else t) for key, t in s.items()}
    assert_close(evaluate(name, longer), evaluate(name, s))


# At the edges


@pytest.mark.parametrize("rows", [slice(0, 0), slice(4, 5)])
@every_case
def test_nothing_labelled_is_zero_with_the_graph_kept(name: str, rows: slice) -> None:
    s = scene()
    few = {key: tensor[rows] if len(tensor) == 9 else tensor for key, tensor in s.items()}
    value = evaluate(name, few)
    assert value == 0
    slopes = torch.autograd.grad(value, [s["z"], s["label_embeddings"]])
    assert all((slope == 0).all() for slope in slopes)


@pytest.mark.parametrize(
    "options",
    [{}, {"negatives": "random"}, {"by_distance": True}, {"negatives": "random", "by_distance": True}],
)
def test_one_class_has_no_other_name(options: dict[str, Any]) -> None:
    s = scene()
    y = torch.zeros(9, dtype=torch.int64)
    value = semantic_triplet(s["z"], s["label_embeddings"][:1], y, s["noise"], **options)
    assert value == 0
    assert (torch.autograd.grad(value, s["z"])[0] == 0).all()


def test_a_point_in_the_origin_is_at_1_from_every_label() -> None:
    s = scene()
    z = torch.zeros(9, 4, dtype=torch.float64, requires_grad=True)
    groups = s["coarse_embeddings"], s["coarse_of"]
    anchor = semantic_anchor(z, s["label_embeddings"], s["y"], *groups)
    assert anchor == 1
    triplet = semantic_triplet(z, s["label_embeddings"], s["y"])
    assert_close(triplet.item(), 0.2)
    assert (torch.autograd.grad(anchor + triplet, z)[0] == 0).all()


@pytest.mark.parametrize("options", [{}, {"by_distance": True}])
def test_labels_all_alike_are_defined(options: dict[str, Any]) -> None:
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = semantic_triplet(z, torch.ones(6, 4), torch.tensor([0, 5, 3]), **options)
    assert value.item() == pytest.approx(0 if options else 0.2, abs=1e-6)
    assert torch.autograd.grad(value, z)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_case
def test_half_types_and_autocast_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    halves = {key: t.detach().to(dtype) if t.is_floating_point() else t for key, t in scene().items()}
    halves["noise"] = scene()["noise"]
    wholes = {key: t.float() if t.is_floating_point() else t for key, t in halves.items()}
    with torch.autocast("cpu", dtype):
        assert_close(evaluate(name, halves), evaluate(name, wholes), rtol=0, atol=0)
    assert evaluate(name, halves).dtype == torch.float32


@every_case
def test_a_matrix_of_another_precision_will_do(name: str) -> None:
    s = scene()
    single = evaluate(name, {**s, "z": s["z"].float()})
    double = evaluate(
        name, {**s, **{key: s[key].float() for key in ("label_embeddings", "coarse_embeddings")}}
    )
    assert_close([single.double(), double.double()], [evaluate(name, s)] * 2, rtol=1e-5, atol=1e-6)


class Kept(TorchDispatchMode):
    """All bytes put into new tensors, backward pass included."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        if isinstance(out, Tensor) and out.untyped_storage().data_ptr() not in given:
            self.bytes += out.untyped_storage().nbytes()
        return out


@pytest.mark.parametrize("options", [{}, {"by_distance": True}, {"negatives": "random"}])
def test_memory_for_many_classes(options: dict[str, Any]) -> None:
    """100,000 classes at batch 256 take n C and C d of 98 and 147 MiB: within 4 GiB if nothing were freed."""
    n, classes, d, scale = 256, 1000, 384, 100
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels, y = torch.randn(classes, d, generator=torch.Generator().manual_seed(1)), torch.arange(n)
    with Kept() as seen:
        semantic_triplet(z, labels, y, torch.zeros(n), **options).backward()
    assert 4 * n * classes < seen.bytes
    assert scale * seen.bytes < 4 * 2**30


# Mistakes of the caller


def test_misspelt_and_impossible_options() -> None:
    s = scene()
    inputs = s["z"], s["label_embeddings"], s["y"]
    with pytest.raises(UserError, match=r"no negatives 'al'; did you mean 'all'"):
        semantic_triplet(*inputs, negatives="al")  # type: ignore[arg-type]
    for margin in (-0.1, math.nan, math.inf):
        with pytest.raises(UserError, match=rf"margin must be a finite number >= 0, got {margin}"):
            semantic_triplet(*inputs, margin=margin)
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(UserError, match=rf"coarse_weight must lie in \[0, 1\], got {weight}; 0 leaves"):
            semantic_anchor(*inputs, s["coarse_embeddings"], s["coarse_of"], coarse_weight=weight)


@pytest.mark.parametrize("noise", [None, torch.zeros(8), torch.zeros(9, 1)])
def test_random_negatives_without_a_number_per_row(noise: Tensor | None) -> None:
    s = scene()
    got = "none" if noise is None else str(tuple(noise.shape))
    with pytest.raises(UserError) as caught:
        semantic_triplet(s["z"], s["label_embeddings"], s["y"], noise, negatives="random")
    assert f"takes noise (9,), a number in [0, 1) per row, got {got}; a model with the head" in str(
        caught.value
    )
    assert "negatives 'all' needs none" in str(caught.value)


@pytest.mark.parametrize("groups", [None, torch.zeros(5), torch.zeros(9, dtype=torch.int64)])
def test_coarse_embeddings_without_the_groups_of_classes(groups: Tensor | None) -> None:
    s = scene()
    got = "none" if groups is None else f"{groups.dtype} {tuple(groups.shape)}"
    with pytest.raises(UserError) as caught:
        semantic_anchor(s["z"], s["label_embeddings"], s["y"], s["coarse_embeddings"], groups)
    assert f"coarse_of must be integer (5,), the group of each class, got {got};" in str(caught.value)


def test_groups_without_embeddings_count_nothing() -> None:
    s = scene()
    inputs = s["z"], s["label_embeddings"], s["y"]
    assert_close(semantic_anchor(*inputs, None, s["coarse_of"]), semantic_anchor(*inputs))


def test_balance_of_a_wrong_shape() -> None:
    s = scene()
    tensors = [s[key] for key in ("z", "label_embeddings", "y", "coarse_embeddings", "coarse_of")]
    with pytest.raises(UserError, match=r"balance must be \(2,\), logits of class and group, got \(3,\)"):
        semantic_anchor(*tensors, torch.ones(3))


SHAPES = {
    "other dimensions": torch.zeros(5, 3),
    "no row": torch.zeros(0, 4),
    "a vector": torch.zeros(4),
    "integers": torch.zeros(5, 4, dtype=torch.int64),
}


@pytest.mark.parametrize("what", SHAPES)
def test_embeddings_of_a_wrong_shape(what: str) -> None:
    s, wrong = scene(), SHAPES[what]
    message = f"must be floating (rows, 4), as long as z, got {wrong.dtype} {tuple(wrong.shape)}; the head"
    for value in (
        lambda: semantic_anchor(s["z"], wrong, s["y"]),
        lambda: semantic_triplet(s["z"], wrong, s["y"]),
        lambda: semantic_anchor(s["z"], s["label_embeddings"], s["y"], wrong, s["coarse_of"]),
    ):
        with pytest.raises(UserError) as caught:
            value()
        assert message in str(caught.value)


def test_objective_hands_over_what_there_is() -> None:
    s = scene()
    latent = Latent({"z": s["z"], "y": s["y"]}, {"label_embeddings": s["label_embeddings"]})
    objective = Objective({"semantic_anchor": 1.0, "semantic_triplet": Term(options={"margin": 0.4})})
    assert objective.reads_labels == {"semantic_anchor": True, "semantic_triplet": True}
    inputs = s["z"], s["label_embeddings"], s["y"]
    alone = semantic_anchor(*inputs) + semantic_triplet(*inputs, margin=0.4)
    assert_close(objective(latent).total, alone)
    more = latent.with_shared(**{key: s[key] for key in ("coarse_embeddings", "coarse_of", "balance")})
    assert_close(objective(more).parts["semantic_anchor"], evaluate("anchor and learned balance", s).detach())
