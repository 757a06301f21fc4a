"""Which labels are kept, and batches balanced over the classes that have any."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentloom.checks import UserError
from latentloom.data.labels import absent_classes, balanced_rows, class_rows, keep_labels
from latentloom.data.splits import stratified_order

TEN = torch.arange(6000) % 10
UNEVEN = torch.tensor([0] * 60 + [1] * 30 + [2] * 10 + [-1] * 20)

lossy = pytest.mark.filterwarnings("ignore:left without a label")
either = pytest.mark.parametrize("stratified", [True, False])


def kept(y: Tensor, amount: int | float, seed: int = 0, stratified: bool = True) -> list[int]:
    """Rows that keep their label; the labels are checked on the way."""
    partial = keep_labels(y, amount, seed=seed, stratified=stratified)
    rows = (partial >= 0).nonzero()[:, 0].tolist()
    assert partial.shape == y.shape
    assert [partial[row] for row in rows] == [y[row] for row in rows]
    assert set(partial.tolist()) <= {-1, *(y[row].item() for row in rows)}
    return rows


@lossy
@either
@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.data())
def test_as_many_as_were_asked_for(stratified: bool, labels: list[int], data: st.DataObject) -> None:
    there = sum(label >= 0 for label in labels)
    if there:
        amount = data.draw(st.integers(1, there))
        assert len(kept(torch.tensor(labels), amount, stratified=stratified)) == amount


@lossy
@either
@pytest.mark.parametrize(("share", "rows"), [(0.001, 6), (0.01, 60), (0.1, 600), (1.0, 6000), (0.00013, 1)])
def test_shares_are_rounded_to_rows(share: float, rows: int, stratified: bool) -> None:
    assert len(kept(TEN, share, stratified=stratified)) == rows


def test_a_share_is_of_the_labelled_rows() -> None:
    assert len(kept(UNEVEN, 0.5)) == 50
    assert kept(UNEVEN, 1.0) == kept(UNEVEN, 100) == list(range(100))
    with pytest.warns(UserWarning, match="left without a label: 2 of 3 classes"):
        assert len(kept(UNEVEN, 1)) == 1


@lossy
@either
def test_more_labels_are_the_same_and_others(stratified: bool) -> None:
    amounts = [set(kept(TEN, n, stratified=stratified)) for n in (6, 60, 600, 6000)]
    assert all(fewer < more for fewer, more in pairwise(amounts))


def test_the_choice_is_not_the_one_of_validation_images() -> None:
    """Both are made with the seed of the run."""
    assert kept(TEN, 60, seed=3) != stratified_order(TEN, 3)[:60].sort().values.tolist()


@lossy
@either
def test_the_choice_follows_the_seed_alone(stratified: bool) -> None:
    torch.manual_seed(0)
    first = kept(TEN, 60, 3, stratified)
    torch.manual_seed(1)
    assert kept(TEN, 60, 3, stratified) == first
    assert len({tuple(kept(TEN, 60, seed, stratified)) for seed in range(5)}) == 5


def excess(y: Tensor, amount: int, stratified: bool, seed: int) -> float:
    """By how many labels the class that is favoured most has more than its share."""
    counts, whole = Counter(y[kept(y, amount, seed, stratified)].tolist()), Counter(y[y >= 0].tolist())
    return max(counts[label] - amount * n / whole.total() for label, n in whole.items())


@lossy
def test_stratified_favours_no_class_and_plain_does() -> None:
    amounts = (3, 10, 37, 60)
    assert max(excess(UNEVEN, n, True, seed) for n in amounts for seed in range(10)) <= 1 + 1e-9
    assert max(excess(UNEVEN, n, False, seed) for n in amounts for seed in range(10)) > 3


@lossy
@either
def test_no_row_is_preferred(stratified: bool) -> None:
    """Each of 20 rows of 2 classes is kept in about a quarter of 600 choices."""
    y = torch.tensor([0, 1] * 10)
    times = Counter(row for seed in range(600) for row in kept(y, 5, seed, stratified))
    assert len(times) == 20
    assert all(abs(n - 150) < 5 * (600 * 0.25 * 0.75) ** 0.5 for n in times.values())


def test_six_labels_of_ten_classes() -> None:
    """Stratified they are of six classes; at random 10 * 0.9^6 = 5.3 are absent on average."""
    with pytest.warns(UserWarning, match=r"label: 4 of 10 classes \(\d, \d, \d, \d\)"):
        assert len(absent_classes(keep_labels(TEN, 6, seed=0), 10)) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        absent = [
            len(absent_classes(keep_labels(TEN, 6, seed=seed, stratified=False), 10)) for seed in range(200)
        ]
    assert sum(absent) / 200 == pytest.approx(5.3, abs=0.3)
    assert min(absent) >= 4


def test_a_warning_names_only_classes_that_were_there() -> None:
    with pytest.warns(UserWarning, match="left without a label") as said:
        partial = keep_labels(torch.tensor([5] * 10 + [2]), 1, seed=0)
    (lost,) = {2, 5} - set(partial.tolist())
    assert str(said[0].message) == f"left without a label: 1 of 2 classes ({lost})"
    assert said[0].filename == __file__


def test_as_many_labels_as_classes_are_enough_and_nothing_is_said() -> None:
    assert absent_classes(keep_labels(TEN, 10, seed=0), 10) == []


def test_absent_classes_are_counted_by_hand() -> None:
    assert absent_classes(torch.tensor([-1, 4, 0, 4]), 6) == [1, 2, 3, 5]
    assert absent_classes(torch.tensor([-1, -1]), 2) == [0, 1]


@pytest.mark.parametrize(
    ("amount", "complaint"),
    [
        (101, "101 keeps 101 of 100 labels; wanted at least one, and no more than there are"),
        (0, "0 keeps 0 of 100 labels"),
        (-6, "-6 keeps -6 of 100 labels"),
        (0.004, "0.004 keeps 0 of 100 labels"),
        (0.0, r"a share of the labels in \(0, 1\], got 0.0"),
        (1.5, r"a share of the labels in \(0, 1\], got 1.5; write a number of labels without a point"),
        (-0.1, r"a share of the labels in \(0, 1\], got -0.1"),
        (float("nan"), "got nan"),
        (True, "a number of labels or a share of them, got True"),
        ("60", "a number of labels or a share of them, got '60'"),
    ],
)
def test_impossible_amounts(amount: float, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        keep_labels(UNEVEN, amount, seed=0)


def test_no_labels_to_keep() -> None:
    with pytest.raises(UserError, match="1 keeps 1 of 0 labels"):
        keep_labels(torch.full((5,), -1), 1, seed=0)


def test_rows_of_each_class() -> None:
    y = torch.tensor([7, -1, 2, 7, 7, -1, 2, 0])
    assert [rows.tolist() for rows in class_rows(y)] == [[7], [2, 6], [0, 3, 4]]
    assert class_rows(torch.tensor([-1, -1])) == []


Batcher = Callable[[int], list[int]]


def check_balanced(y: Tensor, size: int, batches: Iterable[list[int]]) -> None:
    """Counts of any two classes differ by four at the most, and a batch holds two rows of some class."""
    labels = [label for label in y.unique().tolist() if label >= 0]
    for batch in batches:
        assert len(batch) == size
        counts = Counter(y[row].item() for row in batch)
        assert counts.keys() <= set(labels)
        assert max(counts[label] for label in labels) - min(counts[label] for label in labels) <= 4
        assert size < 2 or max(counts.values()) >= 2


def check_even(y: Tensor, drawn: list[int]) -> None:
    """Within a class no row is had a second time more often than another, but for the pass that is on."""
    times = Counter(drawn)
    for label in y[y >= 0].unique():
        often = [times[row] for row in (y == label).nonzero()[:, 0].tolist()]
        assert max(often) - min(often) <= 1


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batches_are_balanced_and_no_row_is_left_behind(size: int) -> None:
    by_class = class_rows(UNEVEN)
    batches = [balanced_rows(by_class, size, seed=0, step=k).tolist() for k in range(200 // size + 2)]
    check_balanced(UNEVEN, size, batches)
    check_even(UNEVEN, [row for batch in batches for row in batch])


def test_the_checks_see_batches_that_are_not_balanced_or_even() -> None:
    g = torch.Generator().manual_seed(0)
    plain = [torch.randperm(100, generator=g)[:64].tolist() for _ in range(5)]  # as the classes are
    with pytest.raises(AssertionError):
        check_balanced(UNEVEN, 64, plain)
    one_each = [[0, 60, 90]]
    with pytest.raises(AssertionError):
        check_balanced(UNEVEN, 3, one_each)
    with_replacement = torch.randint(60, (200,), generator=g).tolist()
    with pytest.raises(AssertionError):
        check_even(UNEVEN, with_replacement)


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 2**64), st.integers(0, 1000))
def test_a_batch_is_a_cut_of_one_sequence(size: int, seed: int, step: int) -> None:
    """So a run that goes on at a step has the batches it would have had, and nothing is kept."""
    by_class = class_rows(UNEVEN)
    one_by_one = [
        balanced_rows(by_class, 1, seed=seed, step=place).item()
        for place in range(size * step, size * (step + 1))
    ]
    assert balanced_rows(by_class, size, seed=seed, step=step).tolist() == one_by_one


def test_order_is_random_in_classes_and_rows_and_follows_the_seed() -> None:
    y = torch.arange(400) % 40
    by_class = class_rows(y)
    first = balanced_rows(by_class, 80, seed=0, step=0)
    assert not torch.equal(first, balanced_rows(by_class, 80, seed=1, step=0))
    assert not torch.equal(first, balanced_rows(by_class, 80, seed=0, step=5))
    met = set()  # classes that are ever in a batch with class 0, where a batch holds 10 of 40
    for step in range(200):
        labels = set(y[balanced_rows(by_class, 20, seed=0, step=step)].tolist())
        met |= labels if 0 in labels else set()
    assert len(met) == 40


def test_every_pass_over_a_class_has_its_own_order() -> None:
    by_class = class_rows(torch.zeros(20, dtype=torch.int64))
    passes = {tuple(balanced_rows(by_class, 20, seed=0, step=k).tolist()) for k in range(10)}
    assert len(passes) == 10
    assert all(sorted(one) == list(range(20)) for one in passes)


def test_a_class_of_one_row_gives_it_again() -> None:
    y = torch.tensor([0, 0, 0, 0, 1])
    rows = balanced_rows(class_rows(y), 12, seed=0, step=0).tolist()
    assert rows.count(4) == 6
    assert all(rows.count(row) in (1, 2) for row in range(4))


@pytest.mark.parametrize(("y", "size"), [([-1, -1], 4), ([0, 1], 0)])
def test_no_batch_to_make(y: list[int], size: int) -> None:
    with pytest.raises(UserError, match=f"at least one labelled row, got size {size}"):
        balanced_rows(class_rows(torch.tensor(y)), size, seed=0, step=0)
