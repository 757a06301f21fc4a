"""Errors say what came, what was wanted and what to do."""

from __future__ import annotations

import pytest
import torch

from latentloom.checks import UserError, check_labelled, reason, unknown


def test_a_reason_is_text_whatever_it_quotes() -> None:
    assert reason(OSError("no type \x0e\x1b[2J. More")) == "no type ??[2J"


def test_misspelt_name_gets_a_suggestion() -> None:
    error = unknown("term", "magnte", iter(["triplet", "magnet", "center"]))
    assert isinstance(error, UserError)
    assert str(error) == "no term 'magnte'; did you mean 'magnet'? known: center, magnet, triplet"


def test_name_that_is_like_no_other_gets_the_list() -> None:
    assert str(unknown("term", "xyz", ["b", "a"])) == "no term 'xyz'; known: a, b"


def test_mistakes_of_users_are_value_errors() -> None:
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [torch.int64, torch.int32, torch.uint8])
def test_points_with_labels_pass(dtype: torch.dtype, labels: torch.dtype) -> None:
    for n in (0, 1, 5):
        check_labelled(torch.zeros(n, 3, dtype=dtype), torch.zeros(n, dtype=labels))


@pytest.mark.parametrize(
    ("z", "came"),
    [
        (torch.zeros(4), r"torch.float32 \(4,\)"),
        (torch.zeros(4, 3, 2, 2), r"torch.float32 \(4, 3, 2, 2\)"),
        (torch.zeros(4, 3, dtype=torch.int64), r"torch.int64 \(4, 3\)"),
    ],
)
def test_points_of_another_shape_or_type(z: torch.Tensor, came: str) -> None:
    with pytest.raises(UserError, match=rf"z must be floating \(n, d\), got {came}; flatten maps"):
        check_labelled(z, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("y", "came"),
    [
        (torch.zeros(3, dtype=torch.int64), r"torch.int64 \(3,\)"),
        (torch.zeros(4, 10, dtype=torch.int64), r"torch.int64 \(4, 10\)"),
        (torch.zeros(4), r"torch.float32 \(4,\)"),
    ],
)
def test_labels_of_another_shape_or_type(y: torch.Tensor, came: str) -> None:
    with pytest.raises(UserError, match=rf"y must be integer \(4,\), got {came}; from one-hot"):
        check_labelled(torch.zeros(4, 3), y)
