"""What is measured on validation after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from latentloom.checks import unknown
from latentloom.evaluation import SCORES, accuracy, collapse, latent_health
from latentloom.evaluation.nearest import nearest_centre_predictions
from latentloom.evaluation.probes import knn_predictions
from latentloom.values import Direction, Latent

# Accuracies of classifiers that are fitted on training latents.
FITTED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "nearest_centre_accuracy": nearest_centre_predictions,
    "knn_accuracy": knn_predictions,
}


@dataclass(frozen=True)
class Scoring:
    """Scores of the validation latents: accuracy, health, and the one that is monitored."""

    monitor: str
    training_latents: Callable[[nn.Module], Latent]  # of a sample of the training images

    def __post_init__(self) -> None:
        if self.monitor not in SCORES and self.monitor not in FITTED:
            raise unknown("score to monitor", self.monitor, [*SCORES, *FITTED])

    @property
    def better(self) -> Direction:
        """Which way the monitored score improves."""
        return "higher" if self.monitor in FITTED else SCORES[self.monitor].better

    def __call__(self, latent: Latent, model: nn.Module) -> tuple[dict[str, float], str | None]:
        """Scores by name, and what collapsed, if anything did."""
        scores = {"accuracy": float(accuracy(latent.logits, latent.y)), **latent_health(latent.z, latent.y)}
        if self.monitor in FITTED:
            train = self.training_latents(model)
            predicted = FITTED[self.monitor](train.z, train.y, latent.z)
            scores[self.monitor] = float((predicted == latent.y).float().mean())
        elif self.monitor not in scores:
            info = SCORES[self.monitor]
            scores[self.monitor] = float(info.fn(*(latent[name] for name in info.reads)))
        return scores, collapse(latent.z, latent.y)
