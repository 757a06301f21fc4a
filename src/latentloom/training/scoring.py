"""What is measured on validation after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.evaluation import SCORES, class_geometry, class_means, collapse, latent_health
from latentloom.evaluation.health import posterior_collapse
from latentloom.evaluation.probes import knn_predictions
from latentloom.latent.posterior import active_units
from latentloom.values import Direction, Latent

FITTED = (
    "knn_accuracy"  # a classifier that is fitted on training latents; slow, so only where it is monitored
)
# Taken after every epoch where the model has what they read.
WATCHED = (
    "accuracy",
    "nearest_embedding_accuracy",
    "nearest_embedding_cosine_accuracy",
    "nearest_centre_accuracy",
    "nearest_centre_cosine_accuracy",
    "cluster_size",
    "centre_distance",
    "size_to_distance",
    "centre_spacing",
    "centre_cosine",
)


@dataclass(frozen=True)
class Measured:
    """One epoch on the validation images."""

    scores: dict[str, float]
    classes: dict[str, Tensor]  # figures of each class, (C,)
    alarm: str | None  # what collapsed, if anything did


@dataclass(frozen=True)
class Scoring:
    """Scores of the validation latents: classifiers, geometry, health, and the one that is monitored."""

    monitor: str
    training_latents: Callable[[nn.Module], Latent]  # of a sample of the training images
    classes: int
    coarse_of: Tensor | None = None  # (C,), the group of each class

    def __post_init__(self) -> None:
        check_choice("score to monitor", self.monitor, [*SCORES, FITTED])

    @property
    def better(self) -> Direction:
        """Which way the monitored score improves."""
        return "higher" if self.monitor == FITTED else SCORES[self.monitor].better

    def __call__(self, latent: Latent, model: nn.Module) -> Measured:
        """Measure validation latents; class centres are the means of the sample of training latents."""
        train = self.training_latents(model)
        latent = latent.with_shared(class_centres=class_means(train.z, train.y, self.classes))
        if self.coarse_of is not None:
            latent = latent.with_shared(coarse_of=self.coarse_of)
        scores = {name: value(name, latent) for name in WATCHED if readable(name, latent)}
        scores |= latent_health(latent.z, latent.y)
        if self.monitor == FITTED:
            scores[FITTED] = float((knn_predictions(train.z, train.y, latent.z) == latent.y).float().mean())
        elif self.monitor not in scores:
            check_readable(self.monitor, latent)
            scores[self.monitor] = value(self.monitor, latent)
        alarm = collapse(latent.z, latent.y)
        if "mean" in latent:
            scores["active_units"] = active_units(latent["mean"]).item()
            alarm = alarm or posterior_collapse(latent["mean"])
        return Measured(scores, class_geometry(latent.z, latent.y, latent["class_centres"]), alarm)


def readable(name: str, latent: Latent) -> bool:
    """Whether the latent has all that the score needs."""
    return all(key in latent for key in SCORES[name].reads)


def check_readable(name: str, latent: Latent) -> None:
    """Refuse a score of tensors that the model does not give."""
    missing = [key for key in SCORES[name].reads if key not in latent]
    if missing:
        raise UserError(
            f"the score {name!r} reads {missing[0]!r}, which model and data do not give; choose another "
            "--training.monitor, or add what gives it"
        )


def value(name: str, latent: Latent) -> float:
    """The score of that name."""
    info = SCORES[name]
    extra = [latent[key] for key in info.may_read if key in latent]
    return float(info.fn(*(latent[key] for key in info.reads), *extra))
