"""The card: every score of a latent space over a split, with all that is needed to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentloom.evaluation._table import SCORES, ScoreInfo
from latentloom.evaluation.blocks import all_finite
from latentloom.evaluation.classification import macro_f1_of, predicted_classes
from latentloom.evaluation.nearest import class_means
from latentloom.evaluation.probes import knn_predictions, linear_predictions, stratified_rows
from latentloom.evaluation.sampling import silhouettes_of
from latentloom.evaluation.semantics import groups_of
from latentloom.evaluation.statistics import Interval, bootstrap_interval, bootstrap_interval_of
from latentloom.values import Card, Finding, Latent

# Accuracies of classifiers that are fitted on training latents: what predicts, and how to say it.
PROBES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]] = {
    "knn_accuracy": (knn_predictions, "accuracy of a vote of the 5 nearest training latents"),
    "linear_probe_accuracy": (
        linear_predictions,
        "accuracy of logistic regression on standardised training latents",
    ),
}

# Scores that measure all pairs of points, and what each takes for the class of a point.
PAIRWISE: dict[str, Callable[[Latent], Tensor]] = {
    "silhouette": lambda latent: latent.y,
    "coarse_silhouette": lambda latent: torch.where(
        latent.y >= 0, groups_of(latent["coarse_of"], latent.y.clamp_min(0)), -1
    ),
}
EXACT = 50_000  # labelled images up to which nothing is sampled
SUMS = 2**27  # images times classes up to which all silhouettes are taken, 1 GiB of summed distances
SAMPLE = 2_000  # of more, those whose silhouettes are taken


def take_card(
    latent: Latent,
    train: Latent | None,
    *,
    split: str,
    bootstrap: int = 1000,
    probe_limit: int = 10_000,
    seed: int = 0,
    exact: int = EXACT,
    sample: int = SAMPLE,
) -> Card:
    """Every score that the latent has the tensors for, and the accuracy of probes.

    Class centres are means over all training latents, or where these are not given over the split itself.

    Of more than `exact` labelled images the silhouettes, whose time grows with n^2, are those of a
    stratified sample, each measured against all images, and probes judge a stratified sample of `exact`;
    the finding says so, and its interval is that of the sample. All other scores are of every image, read
    some at a time, so that the latents may be a file that is mapped to memory.

    Args:
        latent: a whole split, with z (n, d), y (n,) and, where there are any, logits (n, C) and
            class_embeddings (C, d).
        train: the training split, for the class centres and the probes; None leaves the probes out.
        split: its name.
        bootstrap: resamples of the images behind each interval; 0 gives no intervals.
        probe_limit: training latents that probes are fitted on at the most, stratified.
        seed: of the resampling and of every choice of latents.
        exact: labelled images up to which nothing is sampled.
        sample: images whose silhouettes are taken, of more.
    """
    draw = _Draw(bootstrap, seed, exact, sample)
    if train is not None and (train.y >= 0).any():
        classes = int(max(train.y.max(), latent.y.max())) + 1
        latent = latent.with_shared(class_centres=class_means(train.z, train.y, classes))
    found = {
        name: _finding(name, info, latent, split, draw)
        for name, info in SCORES.items()
        if all(key in latent for key in info.reads)
    }
    if train is not None and (train.y >= 0).any() and (latent.y >= 0).any():
        chosen = stratified_rows(train.y, probe_limit, seed)
        found |= _probed(latent, train.z[chosen], train.y[chosen], split, draw)
    return Card(split, len(latent.z), found)


@dataclass(frozen=True)
class _Draw:
    """Intervals from resampled images, and samples of images where there are too many."""

    resamples: int
    seed: int
    exact: int
    sample: int

    def too_many(self, y: Tensor, images: int) -> bool:
        """Whether silhouettes of so many labelled images, of the classes y, have to be sampled."""
        return images > self.exact or images * len(torch.unique(y[y >= 0])) > SUMS

    def mean(self, values: Tensor) -> Interval | None:
        """Of the mean of per-image values; None where there is nothing to resample."""
        if not self.resamples or len(values) < 2 or not values.isfinite().all():
            return None
        return bootstrap_interval(values.cpu().numpy(), self.resamples, self.seed)

    def macro_f1(self, logits: Tensor, y: Tensor) -> Interval | None:
        """Of macro-F1; an image is drawn with what was predicted for it."""
        labels = y[y >= 0].cpu()
        if not self.resamples or len(labels) < 2 or not all_finite(logits, y):
            return None
        pairs = (predicted_classes(logits, y).cpu().numpy(), labels.numpy())
        return bootstrap_interval_of(_macro_f1, *pairs, resamples=self.resamples, seed=self.seed)

    def protocol(self, said: str, images: int, split: str, interval: Interval | None) -> str:
        """What was measured, on what, and how the interval came about."""
        how = f"; interval: {self.resamples} resamples of the images, the latent space held fixed"
        return f"{said}; {images:,} images of {split}{how if interval else ''}"


def _macro_f1(predicted: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    drawn = (torch.from_numpy(np.moveaxis(labels, axis, -1)) for labels in (predicted, y))
    return macro_f1_of(*drawn).numpy()


def _finding(name: str, info: ScoreInfo, latent: Latent, split: str, draw: _Draw) -> Finding:
    tensors = [latent[key] for key in (*info.reads, *(key for key in info.may_read if key in latent))]
    counted = latent.y >= 0 if "y" in info.reads else torch.ones_like(latent.y, dtype=torch.bool)
    said, images = info.title, int(counted.sum())
    if name in PAIRWISE and draw.too_many(PAIRWISE[name](latent), images):
        rows = stratified_rows(latent.y, draw.sample, draw.seed)
        values = silhouettes_of(latent.z, PAIRWISE[name](latent), rows)
        value, interval = values.mean(), draw.mean(values)
        said += f"; of a stratified sample of {len(rows):,}, each measured against all"
    elif info.per_image and images:
        values = info.per_image(*tensors)[counted]
        value, interval = values.mean(), draw.mean(values)  # not measured again for the mean
    else:
        value, interval = info.fn(*tensors), None
    if info is SCORES["macro_f1"]:
        interval = draw.macro_f1(*tensors)
    if "class_centres" in (*info.reads, *info.may_read):
        said += f"; class centres of {'training' if 'class_centres' in latent else 'the same'} latents"
    protocol = draw.protocol(said, images, split, interval)
    return Finding(value.item(), info.better, info.low, info.high, protocol, interval)


def _probed(latent: Latent, train_z: Tensor, train_y: Tensor, split: str, draw: _Draw) -> dict[str, Finding]:
    labelled = int((latent.y >= 0).sum())
    judged = stratified_rows(latent.y, draw.exact, draw.seed)
    z, y = latent.z[judged], latent.y[judged]
    finite = all_finite(z) and all_finite(train_z)
    sampled = f"; judged on a stratified sample of {len(y):,}" if len(y) < labelled else ""
    found = {}
    for name, (predict, said) in PROBES.items():
        right = (predict(train_z, train_y, z) == y).double() if finite else y * torch.nan
        interval = draw.mean(right)
        protocol = draw.protocol(f"{said} ({len(train_y):,} of them){sampled}", labelled, split, interval)
        found[name] = Finding(right.mean().item(), "higher", 0.0, 1.0, protocol, interval)
    return found
