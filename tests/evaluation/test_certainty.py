"""Certainty against loops, scikit-learn and torchmetrics, and against mistakes they must catch."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest
import torch
from sklearn.metrics import precision_recall_curve
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from latentloom.checks import UserError
from latentloom.evaluation import calibration_error as calibration_error_of_logits
from latentloom.evaluation.certainty import (
    area_under_risk_coverage,
    distance_confidence,
    distance_logits,
    expected_calibration_error,
    fitted_temperature,
    risk_coverage,
    softmax_confidence,
)

METRICS = ("euclidean", "cosine")
Curve = list[tuple[float, float]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answers(n: int = 300, *, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Confidences in [0.5, 1], the low ones too high and the high ones too low; few values with `steps`."""
    g = torch.Generator().manual_seed(1)
    sure = 0.5 + 0.5 * torch.rand(n, generator=g, dtype=torch.float64)
    right = torch.rand(n, generator=g, dtype=torch.float64) < (2 * sure - 0.75).clamp_max(0.9)
    return (sure * steps).round() / steps if steps else sure, right


def distance(p: list[float], q: list[float], metric: str) -> float:
    if metric == "euclidean":
        return math.dist(p, q) ** 2
    return -sum(a * b for a, b in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)


@pytest.mark.parametrize("metric", METRICS)
def test_distance_confidence_as_measured_by_hand_and_no_mistake(metric: str) -> None:
    z, reference = random(30, 3) + 2, random(4, 3, seed=1) + 2

    def by_hand(metric: str, temperature: float, power: float = 1.0) -> list[float]:
        found = []
        for p in z.tolist():
            far = [distance(p, q, metric) for q in reference.tolist()]
            shares = [math.exp(-math.copysign(abs(d) ** power, d) / temperature) for d in far]
            found.append(max(shares) / sum(shares))
        return found

    predicted, confidence = distance_confidence(z, reference, metric, temperature=0.7)
    nearest = [
        min(range(4), key=lambda j, p=p: distance(p, reference[j].tolist(), metric)) for p in z.tolist()
    ]
    assert predicted.tolist() == nearest
    assert confidence.tolist() == pytest.approx(by_hand(metric, 0.7))
    other = METRICS[metric == "euclidean"]
    mistakes = {"the other metric": by_hand(other, 0.7), "no temperature": by_hand(metric, 1.0)}
    mistakes["multiplied by the temperature"] = by_hand(metric, 1 / 0.7)
    mistakes["distances not squared, or cosines squared"] = by_hand(
        metric, 0.7, power=0.5 if metric == "euclidean" else 2.0
    )
    for mistake, values in mistakes.items():
        assert confidence.tolist() != pytest.approx(values, rel=1e-3), mistake


@pytest.mark.parametrize("metric", METRICS)
def test_an_absent_class_is_as_if_it_were_not_there(metric: str) -> None:
    z, reference = random(30, 3), random(4, 3, seed=1)
    holed = torch.cat([reference[:1], torch.full((1, 3), math.nan), reference[1:]])
    predicted, confidence = distance_confidence(z, holed, metric)
    there, certain = distance_confidence(z, reference, metric)
    assert predicted.tolist() == torch.tensor([0, 2, 3, 4])[there].tolist()
    torch.testing.assert_close(confidence, certain)
    y = torch.arange(30) % 4
    assert fitted_temperature(
        distance_logits(z, holed, metric), torch.tensor([0, 2, 3, 4])[y]
    ) == pytest.approx(fitted_temperature(distance_logits(z, reference, metric), y), rel=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_that_is_not_finite_spoils_no_other(metric: str) -> None:
    z, reference = random(5, 3), random(4, 3, seed=1)
    whole = distance_confidence(z, reference, metric)[1]
    z[2, 0] = math.nan
    spoilt = distance_confidence(z, reference, metric)[1]
    assert spoilt.isnan().tolist() == [False, False, True, False, False]
    torch.testing.assert_close(spoilt[[0, 1, 3, 4]], whole[[0, 1, 3, 4]])


@pytest.mark.parametrize("metric", METRICS)
def test_classes_as_near_share_the_certainty_and_the_first_is_predicted(metric: str) -> None:
    predicted, confidence = distance_confidence(torch.zeros(2, 3), torch.ones(4, 3), metric)
    assert (predicted.tolist(), confidence.tolist()) == ([0, 0], [0.25, 0.25])
    assert distance_confidence(random(3, 2), random(1, 2), metric)[1].tolist() == [1.0, 1.0, 1.0]


def test_lengths_do_not_matter_to_the_cosine_and_one_of_zero_is_at_right_angles_to_all() -> None:
    z, reference = random(5, 3), random(4, 3, seed=1)
    torch.testing.assert_close(
        distance_logits(7 * z, reference / 3, "cosine"), distance_logits(z, reference, "cosine")
    )
    assert distance_logits(torch.zeros(1, 3), reference, "cosine").tolist() == [[0.0] * 4]


def test_temperature_is_the_most_likely_of_many_and_restores_a_known_one() -> None:
    logits = 3 * random(4000, 5)
    generator = torch.Generator().manual_seed(0)
    labels = (logits / 2.5).softmax(1).multinomial(1, generator=generator)[:, 0]
    found = fitted_temperature(logits, labels)
    assert found == pytest.approx(2.5, rel=0.1)

    def cost(temperature: float) -> float:
        rows = zip((logits / temperature).tolist(), labels.tolist(), strict=True)
        return statistics.fmean(math.log(sum(map(math.exp, row))) - row[label] for row, label in rows)

    assert all(cost(found) < cost(found * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    assert fitted_temperature(1000 * logits, labels) == pytest.approx(1000 * found, rel=1e-4)


def test_fitted_temperature_calibrates_distances_and_changes_no_prediction() -> None:
    y = torch.arange(3000) % 3
    z = 2 * torch.eye(3, 8, dtype=torch.float64)[y] + 1.5 * random(3000, 8)
    centres = 2 * torch.eye(3, 8, dtype=torch.float64)
    temperature = fitted_temperature(distance_logits(z[:1500], centres), y[:1500])
    assert temperature == pytest.approx(2 * 1.5**2, rel=0.15), "twice the variance of a coordinate"
    cold, fitted = (distance_confidence(z[1500:], centres, temperature=t) for t in (1.0, temperature))
    assert cold[0].equal(fitted[0])
    errors = [
        expected_calibration_error(sure, predicted == y[1500:]).item() for predicted, sure in (cold, fitted)
    ]
    assert errors[1] < 0.04 < 0.15 < errors[0]


def test_unlabelled_images_do_not_move_the_temperature() -> None:
    logits, y = random(200, 4), torch.arange(200) % 4
    more = torch.cat([logits, 9 * random(50, 4, seed=1)]), torch.cat([y, torch.full((50,), -1)])
    assert fitted_temperature(*more) == fitted_temperature(logits, y)


def test_temperature_where_there_is_no_best() -> None:
    y = torch.arange(12) % 3
    assert (
        softmax_confidence(torch.eye(3)[y], temperature=fitted_temperature(torch.eye(3)[y], y))[1].min() == 1
    )
    assert fitted_temperature(-torch.eye(3)[y], y) > 1e5, "always wrong"
    assert fitted_temperature(torch.zeros(12, 3), y) == 1.0


def naive_curve(sure: list[float], right: list[bool]) -> Curve:
    """For every confidence that occurs, count the images at least as sure."""
    curve = []
    for level in sorted(set(sure), reverse=True):
        kept = [ok for s, ok in zip(sure, right, strict=True) if s >= level]
        curve.append((len(kept) / len(sure), kept.count(False) / len(kept)))
    return curve


def naive_area(curve: Curve) -> float:
    """Steps from 0, each as high as at its end."""
    return sum((here - before) * risk for (before, _), (here, risk) in pairwise([(0.0, 0.0), *curve]))


@pytest.mark.parametrize("steps", [None, 20, 1])
def test_risk_coverage_agrees_with_counting(steps: int | None) -> None:
    sure, right = answers(steps=steps)
    curve = naive_curve(sure.tolist(), right.tolist())
    coverage, risk = risk_coverage(sure, right)
    assert coverage.tolist() == pytest.approx([c for c, _ in curve])
    assert risk.tolist() == pytest.approx([r for _, r in curve])
    assert area_under_risk_coverage(sure, right).item() == pytest.approx(naive_area(curve))


def test_area_agrees_with_no_mistake() -> None:
    sure, right = answers(steps=20)
    by_row = (sure - 1e-5 * torch.arange(300)).tolist()
    curve = naive_curve(sure.tolist(), right.tolist())
    mistakes = {
        "the least sure first": naive_area(naive_curve((-sure).tolist(), right.tolist())),
        "right taken for wrong": naive_area(naive_curve(sure.tolist(), (~right).tolist())),
        "the first step left out": naive_area(curve) - curve[0][0] * curve[0][1],
        "steps as high as at their start": naive_area([(c, r) for (_, r), (c, _) in pairwise(curve)]),
        "ties in the order of the rows": naive_area(naive_curve(by_row, right.tolist())),
        "every point counts the same": statistics.fmean(r for _, r in curve),
    }
    for mistake, value in mistakes.items():
        assert area_under_risk_coverage(sure, right).item() != pytest.approx(value, rel=1e-3), mistake


@pytest.mark.parametrize("steps", [None, 20])
def test_risk_is_one_less_scikit_learns_precision(steps: int | None) -> None:
    sure, right = answers(steps=steps)
    precision, recall, _ = precision_recall_curve(
        right, sure
    )  # the highest threshold last, then an extra end
    coverage, risk = risk_coverage(sure, right)
    assert risk.flip(0).tolist() == pytest.approx((1 - precision[:-1]).tolist())
    caught = coverage * (1 - risk) * len(right) / right.sum()
    assert caught.flip(0).tolist() == pytest.approx(recall[:-1].tolist())


def test_area_depends_on_neither_the_order_of_the_rows_nor_the_scale_of_the_confidence() -> None:
    sure, right = answers(steps=20)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    area = area_under_risk_coverage(sure, right)
    assert area_under_risk_coverage(sure[order], right[order]) == area
    assert area_under_risk_coverage(sure.log() * 9 - 4, right) == area


def test_area_has_its_ends() -> None:
    n, wrong = 10_000, 1000
    right = torch.arange(n) >= wrong
    best, worst = (area_under_risk_coverage(s * torch.arange(n).double(), right).item() for s in (1, -1))
    assert best == pytest.approx(0.1 + 0.9 * math.log(0.9), abs=1e-4)
    assert area_under_risk_coverage(torch.ones(n), right).item() == pytest.approx(0.1)
    assert worst > 0.3
    for all_of_them, area in ((True, 0.0), (False, 1.0)):
        assert area_under_risk_coverage(random(9), torch.full((9,), all_of_them)).item() == area


def naive_calibration_error(
    sure: list[float], right: list[bool], bins: int, *, weighted: bool = True
) -> float:
    total, used = 0.0, 0
    for b in range(bins):
        inside = [(s, ok) for s, ok in zip(sure, right, strict=True) if b < s * bins <= b + 1 or s == b == 0]
        if inside:
            gap = abs(statistics.fmean(s for s, _ in inside) - statistics.fmean(ok for _, ok in inside))
            total, used = (
                total + gap * (len(inside) if weighted else 1),
                used + (len(inside) if weighted else 1),
            )
    return total / used


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration_error_agrees_with_a_loop_and_with_no_mistake(bins: int) -> None:
    sure, right = answers()
    ours = expected_calibration_error(sure, right, bins=bins).item()
    assert ours == pytest.approx(naive_calibration_error(sure.tolist(), right.tolist(), bins))
    mistakes = {
        "another number of bins": naive_calibration_error(sure.tolist(), right.tolist(), bins + 4),
        "bins count the same": naive_calibration_error(sure.tolist(), right.tolist(), bins, weighted=False),
        "right taken for wrong": naive_calibration_error(sure.tolist(), (~right).tolist(), bins),
    }
    for mistake, value in mistakes.items():
        assert ours != pytest.approx(value, rel=1e-3), mistake


@pytest.mark.parametrize("bins", [5, 15])
def test_torchmetrics_agrees_on_the_calibration_error(bins: int) -> None:
    sure, right = answers()
    theirs = multiclass_calibration_error(
        torch.stack([sure, 1 - sure], 1), (~right).long(), num_classes=2, n_bins=bins
    )
    assert expected_calibration_error(sure, right, bins=bins).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_calibration_error_is_that_of_the_logits_by_their_softmax() -> None:
    logits, y = random(200, 6), torch.arange(200) % 6
    predicted, confidence = softmax_confidence(logits)
    assert expected_calibration_error(confidence, predicted == y).item() == pytest.approx(
        calibration_error_of_logits(logits, y).item()
    )


def test_calibration_error_of_one_bin_is_that_of_the_means() -> None:
    sure, right = answers()
    gap = abs(statistics.fmean(sure.tolist()) - statistics.fmean(right.tolist()))
    assert expected_calibration_error(sure, right, bins=1).item() == pytest.approx(gap)


def test_calibration_error_at_its_ends() -> None:
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    assert expected_calibration_error(torch.ones(4), yes).item() == 0
    assert expected_calibration_error(torch.ones(4), no).item() == 1
    assert expected_calibration_error(torch.zeros(4), no).item() == 0
    assert expected_calibration_error(torch.zeros(4), yes).item() == 1
    assert (
        expected_calibration_error(torch.full((4,), 0.5), torch.tensor([True, False, True, False])).item()
        == 0
    )


def test_near_certainties_are_still_told_apart() -> None:
    _, confidence = softmax_confidence(torch.tensor([[20.0, 0.0], [25.0, 0.0]]))
    assert confidence[0] < confidence[1] < 1


@pytest.mark.parametrize("call", [risk_coverage, area_under_risk_coverage, expected_calibration_error])
def test_confidences_that_say_nothing_are_refused(call) -> None:
    sure, right = answers(5)
    for pair in ((sure[:4], right), (sure[:0], right[:0]), (sure[:, None], right[:, None])):
        with pytest.raises(UserError, match="of at least one image"):
            call(*pair)
    with pytest.raises(UserError, match="pass predicted == y"):
        call(sure, right.long())
    with pytest.raises(UserError, match="must be finite"):
        call(sure * math.nan, right)


def test_confidences_that_are_no_probabilities_have_no_calibration() -> None:
    sure, right = answers(5)
    for wrong in (-sure, 1 + sure):
        with pytest.raises(UserError, match="of distances take distance_confidence"):
            expected_calibration_error(wrong, right)
    with pytest.raises(UserError, match="at least one bin"):
        expected_calibration_error(sure, right, bins=0)


def test_references_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'euclidean'"):
        distance_logits(random(5, 3), random(4, 3), "euclidian")
    for z, reference in ((random(5, 3), random(4, 2)), (random(5), random(4, 5)), (random(5, 3), random(3))):
        with pytest.raises(UserError, match="of the same d"):
            distance_logits(z, reference)
    with pytest.raises(UserError, match="no row of the reference"):
        distance_logits(random(5, 3), random(4, 3) * math.nan)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="temperature must be above 0"):
            distance_confidence(random(5, 3), random(4, 3), temperature=temperature)


def test_labels_that_no_temperature_makes_likely_are_refused() -> None:
    logits, y = random(6, 3), torch.arange(6) % 3
    with pytest.raises(UserError, match="no class 3"):
        fitted_temperature(logits, y + 1)
    with pytest.raises(UserError, match="no class 2"):
        fitted_temperature(logits.index_fill(1, torch.tensor([2]), -math.inf), y)
    for rows, labels in ((logits, torch.full((6,), -1)), (logits * math.nan, y), (logits + math.inf, y)):
        with pytest.raises(UserError, match="at least one labelled image and logits"):
            fitted_temperature(rows, labels)
