"""Probes of partly labelled data under two protocols: fitted on all training labels, or on the given ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.evaluation.probes import knn_predictions, linear_predictions, stratified_rows
from latentloom.values import Finding

Protocol = Literal["all-labels", "given-labels"]
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]

NEIGHBOURS = 5  # scikit-learn's own, as in SAFIR


@dataclass(frozen=True)
class ProbeScore:
    """What a classifier fitted on frozen latents makes of others."""

    accuracy: float  # 0 to 1, higher is better
    ami: float  # adjusted mutual information of predictions and labels; 1 if equal, 0 by chance
    rows: int  # training latents that it was fitted on
    classes: int  # that these have; of the others none can be predicted
    protocol: Protocol


def probe_scores(
    train_z: Tensor,
    train_y: Tensor,
    given_y: Tensor,
    z: Tensor,
    y: Tensor,
    *,
    protocol: Protocol = "all-labels",
    seed: int = 0,
) -> dict[str, ProbeScore]:
    """Accuracy and adjusted mutual information of four probes: knn, random_forest, mlp and linear.

    Args:
        train_z: training latents, (n, d).
        train_y: all labels of the training images, (n,); -1 is unlabelled.
        given_y: those of them that training has seen, (n,); -1 for the others.
        z, y: latents (m, d) and labels (m,) to judge on; unlabelled rows are left out.
        protocol: "all-labels" fits the probes on train_y: how well the classes lie apart, which needs
            labels that were withheld in training. "given-labels" fits them on given_y alone: what can be
            had with these labels.
        seed: of the random forest and the MLP.

    Returns:
        A score for each probe. A class without a label to fit on is never predicted, so its images count
        as wrong. Of one class, that class is predicted everywhere. Latents that are not finite give nan.

    Paper: SAFIR, which does not say what its classifiers are fitted on; its figures can only be had with
    "all-labels".
    """
    check_choice("protocol", protocol, get_args(Protocol))
    fit_y = train_y if protocol == "all-labels" else given_y
    fitted, judged = fit_y >= 0, y >= 0
    rows, classes = int(fitted.sum()), len(set(fit_y[fitted].tolist()))
    if not rows or not judged.any():
        raise UserError(
            f"the protocol {protocol} needs a label to fit on and one to judge by, got {rows} of training "
            f"images and {int(judged.sum())} of others; keep more labels"
        )
    finite = bool(train_z[fitted].isfinite().all() and z[judged].isfinite().all())
    scores = {}
    for name, predict in _probes(rows, classes, seed).items():
        found = agreement(y[judged], predict(train_z, fit_y, z[judged])) if finite else (math.nan, math.nan)
        scores[name] = ProbeScore(*found, rows, classes, protocol)
    return scores


def protocol_findings(
    train_z: Tensor,
    train_y: Tensor,
    given_y: Tensor,
    z: Tensor,
    y: Tensor,
    *,
    split: str,
    limit: int = 10_000,
    seed: int = 0,
) -> dict[str, Finding]:
    """`probe_scores` by both protocols, as lines of a card.

    Named "all-labels/knn_accuracy", "given-labels/knn_ami" and so on.

    Args:
        train_z, train_y, given_y, z, y: as in `probe_scores`.
        split: name of the one judged on.
        limit: training latents that a probe is fitted on at the most, stratified.
        seed: of the choice, the random forest and the MLP.
    """
    found = {}
    both: tuple[tuple[Protocol, Tensor], ...] = (("all-labels", train_y), ("given-labels", given_y))
    for protocol, fit_y in both:
        rows = stratified_rows(fit_y, limit, seed)
        scores = probe_scores(train_z[rows], fit_y[rows], fit_y[rows], z, y, protocol=protocol, seed=seed)
        for probe, score in scores.items():
            on = f"{probe} on {score.rows:,} training latents, {protocol}; {len(y):,} images of {split}"
            found[f"{protocol}/{probe}_accuracy"] = Finding(
                score.accuracy, "higher", 0.0, 1.0, f"accuracy of {on}"
            )
            found[f"{protocol}/{probe}_ami"] = Finding(
                score.ami, "higher", -1.0, 1.0, f"adjusted mutual information of {on}"
            )
    return found


def agreement(y: Tensor, predicted: Tensor) -> tuple[float, float]:
    """Accuracy, and adjusted mutual information, of predicted and true labels, both (n,), n >= 1.

    The second is (I - E[I]) / (mean of the two entropies - E[I]), E over random labels of the same
    counts. Where either has a single class there is no information to share, and it is 0.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    right = (y == predicted).double().mean().item()
    if 1 in (len(set(y.tolist())), len(set(predicted.tolist()))):
        return right, 0.0
    return right, float(adjusted_mutual_info_score(y.cpu().numpy(), predicted.cpu().numpy()))


def forest_predictions(train_z: Tensor, train_y: Tensor, z: Tensor, *, seed: int = 0) -> Tensor:
    """What a random forest of 100 trees predicts for each row of z (n, d): (n,).

    scikit-learn's, with its defaults. Training rows without a label are left out.
    """
    from sklearn.ensemble import RandomForestClassifier

    return _fitted(RandomForestClassifier(random_state=seed), train_z, train_y, z)


def mlp_predictions(train_z: Tensor, train_y: Tensor, z: Tensor, *, seed: int = 0) -> Tensor:
    """What a network with one hidden layer of 100 predicts for each row of z (n, d): (n,).

    scikit-learn's, with its defaults (Adam, 200 epochs at the most), fitted on coordinates brought to mean
    0 and variance 1. Training rows without a label are left out.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit of epochs is part of the probe
        return _fitted(network, train_z, train_y, z)


def _probes(rows: int, classes: int, seed: int) -> dict[str, Predict]:
    """Each probe by its name.

    More neighbours than a class has rows would outvote it: with a row per class, five of them always
    disagree. So k is 5 unless the classes have fewer rows than that on average.
    """
    k = min(NEIGHBOURS, max(1, rows // classes))
    return {
        "knn": partial(knn_predictions, k=k),
        "random_forest": partial(forest_predictions, seed=seed),
        "mlp": partial(mlp_predictions, seed=seed),
        "linear": linear_predictions,
    }


def _fitted(classifier: Any, train_z: Tensor, train_y: Tensor, z: Tensor) -> Tensor:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    labelled = train_y >= 0
    fitted_z, judged_z = (points.detach().cpu().double().numpy() for points in (train_z[labelled], z))
    # On processors that others use too, threads that wait for each other take 50 times as long as one.
    with threadpool_limits(1):
        classifier.fit(fitted_z, train_y[labelled].cpu().numpy())
        return torch.from_numpy(classifier.predict(judged_z)).to(z.device)
