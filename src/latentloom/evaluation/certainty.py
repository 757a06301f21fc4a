"""Certainty: how sure a classifier is, whether the sure are right, and as often as they say."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.evaluation._table import labelled_rows
from latentloom.latent.geometry import Metric, nearness

REACH = 14.0  # temperatures are looked for within exp(+-14), a million, of the spread of the logits


def distance_logits(z: Tensor, reference: Tensor, metric: Metric = "euclidean") -> Tensor:
    """How near each point is to each class, as logits (n, C), float64.

    euclidean  -|z - c|^2, at most 0
    cosine     z.c / (|z||c|), in [-1, 1]; 0 where either has length 0

    Their softmax at temperature T is the probability of each class where all classes are as frequent
    and spread alike around their references: normally, with variance T/2 in each coordinate, or on the
    sphere by von Mises and Fisher, with concentration 1/T.

    Args:
        z: points, (n, d).
        reference: a point per class, (C, d): class embeddings or class centres. A class whose row is
            not finite is absent, and has logit -inf.
        metric: euclidean or cosine.
    """
    check_choice("metric", metric, get_args(Metric))
    if z.ndim != 2 or reference.ndim != 2 or z.shape[1] != reference.shape[1]:
        raise UserError(
            f"wanted points (n, d) and a reference (C, d) of the same d, got {tuple(z.shape)} and "
            f"{tuple(reference.shape)}; flatten maps with flatten(1)"
        )
    present = reference.isfinite().all(1)
    if not present.any():
        raise UserError(
            f"no row of the reference {tuple(reference.shape)} is finite; give a point for at least one class"
        )
    points, classes = z.detach().double(), reference.detach().double().masked_fill(~present[:, None], 0.0)
    return nearness(points, classes, metric).masked_fill(~present, -math.inf)


def softmax_confidence(logits: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The class with the largest logit (n,), and its softmax probability (n,) in [1/C, 1], float64.

    max over j of softmax(logits / T)[j]

    Of logits that are equal the first counts as the largest. With one class the confidence is 1; for
    a row that holds nan it is nan.

    Args:
        logits: (n, C), of a linear head or of `distance_logits`.
        temperature: T > 0; above 1 it makes less certain. It changes no prediction.
    """
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature must be above 0 and finite, got {temperature}; see fitted_temperature")
    exact = logits.detach().double()  # in float32 many are certain to the last digit, and cannot be ranked
    return exact.argmax(1), (exact / temperature).softmax(1).amax(1)


def distance_confidence(
    z: Tensor, reference: Tensor, metric: Metric = "euclidean", *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The nearest class of each point (n,), and how certain it is (n,) in [1/C, 1], float64.

    max over j of softmax(distance_logits(z, reference, metric) / T)[j]

    The confidence rises with how much nearer the nearest class is than the others. A point far from
    all of them can be certain: it says which class, not whether it is one of them.

    Degenerate: 1/C where all classes are as near, and the first is predicted; 1 with one class.

    Args:
        z: points, (n, d).
        reference: a point per class, (C, d); classes with a row that is not finite are left out.
        metric: euclidean or cosine.
        temperature: T > 0, for euclidean in squared units of z, so that no value suits all spaces;
            `fitted_temperature(distance_logits(z, reference, metric), y)` on validation latents.
    """
    return softmax_confidence(distance_logits(z, reference, metric), temperature=temperature)


def fitted_temperature(logits: Tensor, y: Tensor) -> float:
    """The temperature at which the softmax of logits gives labels the highest likelihood.

    argmin over T of mean over i of -log softmax(logits[i] / T)[y[i]]

    The mean is convex in 1/T, so it has one valley, which is searched along log T. Fit it on
    validation images: training images are too often right.

    Degenerate: where every image is right the mean falls as T does, and T is small enough for it to
    be 0 to rounding; where the logits are no better than chance, T is a million times their spread;
    1 where they do not differ at all.

    Args:
        logits: (n, C); -inf for absent classes.
        y: classes, (n,); -1 is unlabelled and left out.

    Paper: Guo et al. 2017, On calibration of modern neural networks, sec. 4.2, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    rows, labels = labelled_rows(logits, y)
    _check_reachable(rows, labels)
    below = rows.amax(1, keepdim=True) - rows
    spread = below[below.isfinite()].mean().item()
    if spread == 0:
        return 1.0

    def loss(log_temperature: float) -> float:
        return torch.nn.functional.cross_entropy(rows / math.exp(log_temperature), labels).item()

    middle = math.log(spread)
    found = minimize_scalar(loss, bounds=(middle - REACH, middle + REACH), method="bounded")
    return math.exp(found.x)


def risk_coverage(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Error rate of the surest images, for every share of them: (coverage, risk), (g,) float64 each.

    For each of the g confidences t that occur, the highest first

        coverage  share of images with confidence >= t, in (0, 1], rising to 1
        risk      share of these that are wrong, in [0, 1]; the last is the error rate of all

    Images of one confidence enter together, since nothing says which of them to trust first.

    Degenerate: one point, (1, error rate), where all are equally sure.

    Args:
        confidence: (n,), any number that is higher for the surer, such as minus a distance.
        right: whether the prediction is, (n,) bool.

    Paper: El-Yaniv and Wiener 2010, On the foundations of noise-free selective classification, JMLR 11.
    """
    _check_confidence(confidence, right)
    levels, level = torch.unique(confidence.double(), return_inverse=True)  # the lowest first
    images = level.bincount(minlength=len(levels)).flip(0).cumsum(0)
    errors = level[~right].bincount(minlength=len(levels)).flip(0).cumsum(0)
    return images.double() / len(right), errors.double() / images


def area_under_risk_coverage(confidence: Tensor, right: Tensor) -> Tensor:
    """Mean error rate over all coverages, in [0, 1]; lower is better.

    sum over g of (coverage[g] - coverage[g-1]) * risk[g]

    Without equal confidences this is the mean, over k = 1 .. n, of the error rate of the k surest
    images. It falls with the error rate itself: at an error rate e it is e where all are equally sure,
    and about e + (1 - e) log(1 - e) where every wrong image is less sure than every right one. So
    compare it between classifiers that are right as often.

    Degenerate: 0 where all are right, 1 where all are wrong, whatever the confidence.

    Args:
        confidence: (n,), any number that is higher for the surer.
        right: whether the prediction is, (n,) bool.

    Paper: Geifman et al. 2019, Bias-reduced uncertainty estimation, arXiv:1805.08206.
    """
    coverage, risk = risk_coverage(confidence, right)
    return (coverage.diff(prepend=coverage.new_zeros(1)) * risk).sum()


def expected_calibration_error(confidence: Tensor, right: Tensor, *, bins: int = 15) -> Tensor:
    """Expected calibration error: how far confidence is from accuracy, in [0, 1]; lower is better.

    sum over bins b of |B[b]| / n * |accuracy(B[b]) - mean confidence(B[b])|, the images binned by
    confidence into (0, 1/bins], .., (1 - 1/bins, 1], and 0 into the first.

    Degenerate: empty bins count nothing. It is 0 where the confidence is the accuracy for every image,
    which tells none from another: read it with `area_under_risk_coverage`. With few images it is above
    0 by chance alone.

    Args:
        confidence: probabilities that the predictions are right, (n,) in [0, 1].
        right: whether they are, (n,) bool.
        bins: of equal width.

    Paper: Naeini et al. 2015, Obtaining well calibrated probabilities, AAAI; with 15 bins Guo et al. 2017,
    arXiv:1706.04599.
    """
    _check_confidence(confidence, right)
    if bins < 1 or confidence.min() < 0 or confidence.max() > 1:
        raise UserError(
            f"wanted confidences in [0, 1] and at least one bin, got {confidence.min():g} to "
            f"{confidence.max():g} and {bins} bins; of distances take distance_confidence"
        )
    sure = confidence.double()
    bin_of = (sure * bins).ceil().long().clamp_min(1) - 1
    gaps = right.double() - sure
    return gaps.new_zeros(bins).index_add(0, bin_of, gaps).abs().sum() / len(right)


def _check_reachable(logits: Tensor, labels: Tensor) -> None:
    """Refuse labels that no temperature makes likely."""
    if not len(labels) or logits.isnan().any() or (logits == math.inf).any():
        raise UserError(
            f"wanted at least one labelled image and logits without nan or inf, got {tuple(logits.shape)}"
            " with a label; look at what made them"
        )
    classes = (logits > -math.inf).all(0).nonzero()[:, 0]
    if lost := sorted(set(labels.tolist()) - set(classes.tolist())):
        raise UserError(
            f"the logits have no class {lost[0]}, which images have as their label; leave these images out, "
            "or give the class a reference"
        )


def _check_confidence(confidence: Tensor, right: Tensor) -> None:
    """Refuse anything but a finite confidence, and whether it is right, of at least one image."""
    if confidence.ndim != 1 or confidence.shape != right.shape or not len(right):
        raise UserError(
            "wanted a confidence (n,), and whether it is right (n,), of at least one image, got "
            f"{tuple(confidence.shape)} and {tuple(right.shape)}"
        )
    if right.dtype != torch.bool:
        raise UserError(f"right must be bool, got {right.dtype}; pass predicted == y")
    if not confidence.isfinite().all():
        raise UserError("confidence must be finite, got nan or inf; look at the latents it is taken from")
