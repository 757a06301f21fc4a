"""Scores of the linear head: how often right, and how well it knows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation._table import checked_rows, score
from latentloom.evaluation.blocks import all_finite, blocks
from latentloom.evaluation.certainty import expected_calibration_error, softmax_confidence


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """1 where the largest logit is at the class, else 0, (n,) float64; nan for unlabelled images.

    nan for all where a labelled row of logits is not finite.
    """
    values = torch.full(y.shape, math.nan, dtype=torch.float64, device=y.device)
    rows, labels = checked_rows(logits, y)
    if all_finite(rows, labels):
        right = predicted_classes(rows, labels) == labels[labels >= 0]
        values[y >= 0] = right.to(y.device, torch.float64)
    return values


def predicted_classes(logits: Tensor, y: Tensor) -> Tensor:
    """The class with the largest logit, of each labelled image, (n,)."""
    found = [rows.argmax(1) for rows, _ in blocks(logits, y)]
    return torch.cat(found) if found else y[:0]


@score(better="higher", low=0.0, high=1.0, per_image=correct, in_blocks=True)
def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of images whose largest logit is at their class.

    mean over i of [argmax(logits[i]) == y[i]]

    Degenerate: of logits that are equal the first counts as the largest.
    """
    return correct(logits, y).nanmean()


@score(better="higher", low=0.0, high=1.0, per_image=correct, in_blocks=True)
def micro_f1(logits: Tensor, y: Tensor) -> Tensor:
    """F1 of all classes taken together; with one label per image it equals accuracy.

    2 TP / (2 TP + FP + FN), each summed over the classes.

    Degenerate: of logits that are equal the first counts as the largest.
    """
    hits, predicted, actual = _tallies(predicted_classes(logits, y), y[y >= 0])
    return 2 * hits.sum() / (predicted + actual).sum()


@score(better="higher", low=0.0, high=1.0, in_blocks=True)
def macro_f1(logits: Tensor, y: Tensor) -> Tensor:
    """F1 of each class, averaged: small classes count as much as large ones.

    mean over classes j of 2 TP[j] / (2 TP[j] + FP[j] + FN[j])

    Degenerate: classes that are neither in y nor predicted are left out.
    """
    return macro_f1_of(predicted_classes(logits, y), y[y >= 0])


def macro_f1_of(predicted: Tensor, y: Tensor) -> Tensor:
    """Macro-F1 of predicted classes (..., n) against y of the same shape, (...); see `macro_f1`."""
    hits, predictions, actual = _tallies(predicted, y)
    present = (predictions + actual) > 0
    return (2 * hits / (predictions + actual).clamp_min(1)).sum(-1) / present.sum(-1)


@score(better="lower", low=0.0, high=1.0, in_blocks=True)
def calibration_error(logits: Tensor, y: Tensor, *, bins: int = 15) -> Tensor:
    """Expected calibration error: how far confidence is from accuracy.

    sum over bins b of |B[b]| / n * |accuracy(B[b]) - confidence(B[b])|, the images binned by their
    largest softmax probability into (0, 1/bins], .., (1 - 1/bins, 1].

    Degenerate: empty bins count nothing. It has no interval: resampling moves it up, not only about.

    Paper: Naeini et al. 2015, Obtaining well calibrated probabilities, AAAI; with 15 bins Guo et al. 2017,
    arXiv:1706.04599.
    """
    parts = [softmax_confidence(rows) for rows, _ in blocks(logits, y)]
    predicted, confidence = (torch.cat(some) for some in zip(*parts, strict=True))
    return expected_calibration_error(confidence, predicted == y[y >= 0], bins=bins)


def _tallies(predicted: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How often each class is predicted rightly, predicted, and there: (..., C) float64 each."""
    classes = int(torch.maximum(predicted.max(), y.max())) + 1
    none = torch.zeros(*y.shape[:-1], classes, dtype=torch.float64, device=y.device)
    one = torch.ones_like(y, dtype=torch.float64)
    hits = none.scatter_add(-1, y, (predicted == y).to(torch.float64))
    return hits, none.scatter_add(-1, predicted, one), none.scatter_add(-1, y, one)
