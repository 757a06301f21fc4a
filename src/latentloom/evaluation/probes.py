"""Classifiers fitted on training latents that are left as they are; what they predict elsewhere."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

STEPS = 300  # of L-BFGS at the most; latents of trained classifiers take 10 to 100


def stratified_rows(y: Tensor, limit: int, seed: int) -> Tensor:
    """At most `limit` rows drawn at random, of every class its share to within one row; sorted.

    Unlabelled rows are left out.
    """
    rows = (y >= 0).nonzero()[:, 0].cpu()
    shuffled = rows[torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))]
    by_class = shuffled[y.cpu()[shuffled].argsort(stable=True)]
    wanted = min(limit, len(rows))
    return by_class[torch.arange(wanted) * len(rows) // max(wanted, 1)].sort().values.to(y.device)


def knn_predictions(train_z: Tensor, train_y: Tensor, z: Tensor, *, k: int = 5) -> Tensor:
    """The most frequent class among the k nearest training points, for each row of z (n, d): (n,).

    Euclidean and exact; of classes equally frequent the smallest number. Training rows without a
    label are left out; with fewer than k of them all are neighbours.
    """
    from sklearn.neighbors import KNeighborsClassifier

    points, labels = _labelled(train_z, train_y)
    probe = KNeighborsClassifier(min(k, len(labels)), algorithm="brute").fit(points, labels)
    return torch.from_numpy(probe.predict(_array(z))).to(z.device)


def linear_predictions(train_z: Tensor, train_y: Tensor, z: Tensor) -> Tensor:
    """What logistic regression predicts for each row of z (n, d): (n,).

    Fitted on training latents of which every coordinate is brought to mean 0 and variance 1, with
    scikit-learn's penalty |W|^2 / 2, by L-BFGS until the largest slope is below 1e-4 or 300 steps are
    done. Training rows without a label are left out; of one class, that class is predicted.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    points, labels = _labelled(train_z, train_y)
    if len(np.unique(labels)) == 1:
        return torch.full((len(z),), int(labels[0]), device=z.device)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    # On processors that others use too, threads that wait for each other take 50 times as long as one.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit of steps is part of the probe
        probe.fit(points, labels)
    return torch.from_numpy(probe.predict(_array(z))).to(z.device)


def _labelled(z: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return _array(z[y >= 0]), y[y >= 0].cpu().numpy()


def _array(z: Tensor) -> np.ndarray:
    """In float64: the solver's line search can fail in float32."""
    return z.detach().cpu().double().numpy()
