"""Scores of the head against scikit-learn, and their intervals' per-image values."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from latentloom.evaluation import accuracy, calibration_error, macro_f1, micro_f1
from latentloom.evaluation.classification import correct, macro_f1_of


def predictions(n: int = 200, classes: int = 6) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes - 2, (n,), generator=g)  # two classes are never there
    logits = torch.randn(n, classes, generator=g) + 2 * torch.eye(classes)[y]
    logits[:, -1] = -9.0  # and one of them is never predicted
    return logits, y


def test_scikit_learn_agrees() -> None:
    logits, y = predictions()
    predicted = logits.argmax(1)
    assert accuracy(logits, y).item() == pytest.approx(metrics.accuracy_score(y, predicted))
    for fn, average in ((micro_f1, "micro"), (macro_f1, "macro")):
        assert fn(logits, y).item() == pytest.approx(metrics.f1_score(y, predicted, average=average))


def test_micro_f1_equals_accuracy_and_macro_f1_does_not() -> None:
    logits, y = predictions()
    assert micro_f1(logits, y).item() == pytest.approx(accuracy(logits, y).item())
    assert macro_f1(logits, y).item() != pytest.approx(accuracy(logits, y).item(), rel=1e-3)


def test_macro_f1_of_many_resamples_is_that_of_each() -> None:
    logits, y = predictions()
    rows = torch.randint(len(y), (7, len(y)), generator=torch.Generator().manual_seed(1))
    rows[3] = rows[3, 0]  # a single class
    together = macro_f1_of(logits.argmax(1)[rows], y[rows])
    assert together.tolist() == pytest.approx([macro_f1(logits[r], y[r]).item() for r in rows])


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [(0.8, 0.8, 0.0), (0.8, 0.5, 0.3), (0.6, 1.0, 0.4)],
)
def test_calibration_error_by_hand(confidence: float, right: float, error: float) -> None:
    logits = torch.tensor([[math.log(confidence), math.log(1 - confidence)]] * 10, dtype=torch.float64)
    y = (torch.arange(10) >= 10 * right).long()
    assert calibration_error(logits, y).item() == pytest.approx(error)


def test_certain_and_right_is_calibrated() -> None:
    assert calibration_error(1e4 * torch.eye(3), torch.arange(3)).item() == 0.0
    assert calibration_error(1e4 * torch.eye(3), torch.tensor([1, 2, 0])).item() == 1.0


def test_correct_is_nan_where_unlabelled_and_for_all_where_one_is_not_finite() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [math.inf, 0.0]])
    values = correct(logits, torch.tensor([0, 1, -1]))
    assert values.tolist()[:2] == [1.0, 0.0]
    assert values[2].isnan()
    assert correct(logits, torch.tensor([0, 1, 0])).isnan().all()
