"""How much structure a latent space has, measured honestly."""

from latentloom.evaluation._table import SCORES, ScoreInfo, find_score, score
from latentloom.evaluation.card import take_card
from latentloom.evaluation.classification import accuracy, calibration_error, macro_f1, micro_f1
from latentloom.evaluation.health import collapse, latent_health
from latentloom.evaluation.nearest import class_centres, nearest_centre_predictions
from latentloom.evaluation.probes import knn_predictions, linear_predictions
from latentloom.evaluation.statistics import (
    PairedDifference,
    bootstrap_interval,
    bootstrap_interval_of,
    mean_interval,
    paired_difference,
)
from latentloom.evaluation.structure import (
    centre_distance,
    cluster_size,
    components,
    effective_rank,
    scatter_ratio,
    silhouette,
    silhouette_samples,
    size_to_distance,
)

__all__ = [
    "SCORES",
    "PairedDifference",
    "ScoreInfo",
    "accuracy",
    "bootstrap_interval",
    "bootstrap_interval_of",
    "calibration_error",
    "centre_distance",
    "class_centres",
    "cluster_size",
    "collapse",
    "components",
    "effective_rank",
    "find_score",
    "knn_predictions",
    "latent_health",
    "linear_predictions",
    "macro_f1",
    "mean_interval",
    "micro_f1",
    "nearest_centre_predictions",
    "paired_difference",
    "scatter_ratio",
    "score",
    "silhouette",
    "silhouette_samples",
    "size_to_distance",
    "take_card",
]
