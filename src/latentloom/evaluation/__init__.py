"""How much structure a latent space has, measured honestly."""

from latentloom.evaluation._table import SCORES, ScoreInfo, find_score, score
from latentloom.evaluation.card import take_card
from latentloom.evaluation.certainty import (
    area_under_risk_coverage,
    distance_confidence,
    distance_logits,
    expected_calibration_error,
    fitted_temperature,
    risk_coverage,
    softmax_confidence,
)
from latentloom.evaluation.classification import accuracy, calibration_error, macro_f1, micro_f1
from latentloom.evaluation.few_shot import few_shot_accuracy
from latentloom.evaluation.geometry import (
    centre_cosine,
    centre_distance,
    centre_spacing,
    class_geometry,
    cluster_size,
    size_to_distance,
)
from latentloom.evaluation.health import collapse, latent_health
from latentloom.evaluation.nearest import (
    class_means,
    nearest,
    nearest_centre_accuracy,
    nearest_centre_cosine_accuracy,
    nearest_embedding_accuracy,
    nearest_embedding_cosine_accuracy,
)
from latentloom.evaluation.ood import (
    centre_confidence,
    energy_confidence,
    label_confidence,
    maximum_softmax,
    ood_findings,
    separation,
)
from latentloom.evaluation.probes import knn_predictions, linear_predictions
from latentloom.evaluation.protocols import ProbeScore, probe_scores, protocol_findings
from latentloom.evaluation.semantics import (
    coarse_accuracy,
    coarse_pearson,
    coarse_silhouette,
    coarse_silhouette_cosine,
    coarse_spearman,
    cosine_silhouette_samples,
    hit_rate,
    hit_rate_ceiling,
    semantic_pearson,
    semantic_spearman,
    severity,
    silhouette_cosine,
)
from latentloom.evaluation.statistics import (
    PairedDifference,
    bootstrap_interval,
    bootstrap_interval_of,
    mean_interval,
    paired_difference,
)
from latentloom.evaluation.structure import (
    components,
    effective_rank,
    scatter_ratio,
    silhouette,
    silhouette_samples,
)
from latentloom.evaluation.zero_shot import held_out, zero_shot_accuracy
from latentloom.latent.geometry import class_centres

__all__ = [
    "SCORES",
    "PairedDifference",
    "ProbeScore",
    "ScoreInfo",
    "accuracy",
    "area_under_risk_coverage",
    "bootstrap_interval",
    "bootstrap_interval_of",
    "calibration_error",
    "centre_confidence",
    "centre_cosine",
    "centre_distance",
    "centre_spacing",
    "class_centres",
    "class_geometry",
    "class_means",
    "cluster_size",
    "coarse_accuracy",
    "coarse_pearson",
    "coarse_silhouette",
    "coarse_silhouette_cosine",
    "coarse_spearman",
    "collapse",
    "components",
    "cosine_silhouette_samples",
    "distance_confidence",
    "distance_logits",
    "effective_rank",
    "energy_confidence",
    "expected_calibration_error",
    "few_shot_accuracy",
    "find_score",
    "fitted_temperature",
    "held_out",
    "hit_rate",
    "hit_rate_ceiling",
    "knn_predictions",
    "label_confidence",
    "latent_health",
    "linear_predictions",
    "macro_f1",
    "maximum_softmax",
    "mean_interval",
    "micro_f1",
    "nearest",
    "nearest_centre_accuracy",
    "nearest_centre_cosine_accuracy",
    "nearest_embedding_accuracy",
    "nearest_embedding_cosine_accuracy",
    "ood_findings",
    "paired_difference",
    "probe_scores",
    "protocol_findings",
    "risk_coverage",
    "scatter_ratio",
    "score",
    "semantic_pearson",
    "semantic_spearman",
    "separation",
    "severity",
    "silhouette",
    "silhouette_cosine",
    "silhouette_samples",
    "size_to_distance",
    "softmax_confidence",
    "take_card",
    "zero_shot_accuracy",
]
