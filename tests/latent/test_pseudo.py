"""Which points get the class of the nearest class centre, against a plain reading of the rule."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentloom.checks import UserError
from latentloom.latent.pseudo import pseudo_labels


def scene(n: int = 60, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes of unequal size, numbered with gaps, a third of the points labelled."""
    g = torch.Generator().manual_seed(seed)
    of = (torch.rand(n, generator=g).square() * classes).long()
    z = torch.randn(n, 2, generator=g, dtype=torch.float64) + 2 * torch.eye(classes, 2)[of]
    return z, torch.where(torch.rand(n, generator=g) < 0.3, 3 * of + 1, -1)


def by_loop(z: Tensor, y: Tensor, share: float) -> list[int]:
    """The classes take their most confident point in turn, until there are enough."""
    centres = {label: z[y == label].mean(0) for label in sorted(set(y.tolist()) - {-1})}
    queues: dict[int, list[tuple[float, int]]] = {label: [] for label in centres}
    unlabelled = [i for i in range(len(y)) if y[i] == -1]
    for i in unlabelled:
        near = sorted((float((z[i] - centre).norm()), label) for label, centre in centres.items())
        queues[near[0][1]].append((near[1][0] / near[0][0] - 1, i))
    found, wanted = [-1] * len(y), round(share * len(unlabelled))
    for queue in queues.values():
        queue.sort(reverse=True)
    while wanted and any(queues.values()):
        turn = sorted(((*queue.pop(0), label) for label, queue in queues.items() if queue), reverse=True)
        for _, i, label in turn[:wanted]:
            found[i] = label
        wanted -= len(turn[:wanted])
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_it_is_the_rule(share: float, seed: int) -> None:
    z, y = scene(seed=seed)
    assert pseudo_labels(z, y, share).tolist() == by_loop(z, y, share)


def test_another_rule_is_noticed() -> None:
    z, y = scene()
    found = pseudo_labels(z, y, 0.3)
    bare = z - z[y >= 0].mean(0)  # about another point the centres are as far, so the rule is the same
    assert pseudo_labels(bare, y, 0.3).tolist() == found.tolist()
    stretched = z * torch.tensor([1.0, 4.0])
    assert by_loop(stretched, y, 0.3) != found.tolist()
    assert by_loop(z, y, 0.2) != found.tolist()


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 50), st.floats(0, 1), st.integers(0, 30))
def test_as_many_as_were_asked_for_and_given_labels_are_left_alone(n: int, share: float, seed: int) -> None:
    z, y = scene(n, seed=seed)
    found = pseudo_labels(z, y, share)
    assert (found.shape, found.dtype) == (y.shape, torch.int64)
    assert (found[y >= 0] == -1).all()
    if len(set(y.tolist()) - {-1}) >= 2:
        assert (found >= 0).sum() == round(share * int((y < 0).sum()))
    assert set(found.tolist()) <= {-1, *y.tolist()}


def test_a_class_that_most_fall_to_is_given_no_more() -> None:
    """Of 90 points near one centre and 10 near another, 10 each; then what is left of the many."""
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    y = torch.tensor([4, 7] + [-1] * 100)
    z = torch.cat([centres, centres[[0] * 90 + [1] * 10] + torch.randn(100, 2, generator=g)])
    counts = [Counter(pseudo_labels(z, y, share).tolist()) for share in (0.1, 0.2, 0.5, 1.0)]
    assert [(count[4], count[7]) for count in counts] == [(5, 5), (10, 10), (40, 10), (90, 10)]


def test_more_are_the_same_and_others() -> None:
    z, y = scene()
    few, many = pseudo_labels(z, y, 0.2), pseudo_labels(z, y, 0.6)
    assert torch.equal(few[few >= 0], many[few >= 0])


def test_confidence_is_a_ratio_and_not_a_difference_of_distances() -> None:
    """A point far out is nearer to one centre by more than a point beside it is, and surer by less."""
    z = torch.tensor([[0.0, 0], [10, 0], [1, 0], [-100, 0], [9.9, 0]])
    assert pseudo_labels(z, torch.tensor([0, 1, -1, -1, -1]), 2 / 3).tolist() == [-1, -1, 0, -1, 1]


def test_a_point_on_a_centre_is_the_surest() -> None:
    z = torch.tensor([[0.0, 0], [4, 0], [0, 0.1], [0, 0], [0, -0.1]])
    assert pseudo_labels(z, torch.tensor([2, 5, -1, -1, -1]), 1 / 3).tolist() == [-1, -1, -1, 2, -1]


def test_scale_and_place_and_rotation_do_not_matter() -> None:
    z, y = scene()
    turn = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(1)).double()).Q
    assert torch.equal(pseudo_labels(1e3 * z @ turn - 7, y, 0.4), pseudo_labels(z, y, 0.4))


def test_order_of_the_points_does_not_matter() -> None:
    z, y = scene()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    assert torch.equal(pseudo_labels(z[order], y[order], 0.4), pseudo_labels(z, y, 0.4)[order])


NOTHING = {
    "no point": (torch.zeros(0, 2), []),
    "no label": (torch.eye(3), [-1, -1, -1]),
    "one class": (torch.eye(3), [5, 5, -1]),
    "none unlabelled": (torch.eye(3), [0, 1, 0]),
    "centres in one place": (torch.tensor([[0.0], [0], [1]]), [0, 1, -1]),
    "all in one place": (torch.zeros(3, 2), [0, 1, -1]),
    "halfway": (torch.tensor([[0.0], [2], [1]]), [0, 1, -1]),
    "no number": (torch.tensor([[0.0], [2], [torch.nan]]), [0, 1, -1]),
    "a centre that is no number": (torch.tensor([[0.0], [torch.nan], [1]]), [0, 1, -1]),
}


@pytest.mark.parametrize("what", NOTHING)
def test_where_nothing_is_nearest_there_is_no_label(what: str) -> None:
    z, y = NOTHING[what]
    labels = torch.tensor(y, dtype=torch.int64)
    assert pseudo_labels(z, labels, 1.0).tolist() == [-1] * len(y)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_more_than_all(share: float) -> None:
    with pytest.raises(UserError, match=r"share of the unlabelled points in \[0, 1\], got"):
        pseudo_labels(*scene(), share)
