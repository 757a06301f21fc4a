"""Loss terms: pure functions of tensors, registered under their own names.

Tensors come by position, options by keyword. A term is defined on every batch: where there is nothing
to compare it is 0 with the graph kept, never NaN; rows labelled -1 count as absent. Half types are
raised to float32.
"""

from latentloom.losses._table import TERMS, TermInfo, find_term, term
from latentloom.losses.angular import adacos, arcface, cosface, sphereface
from latentloom.losses.classification import cross_entropy
from latentloom.losses.clusters import center, latent_boost, magnet
from latentloom.losses.generative import kl, reconstruction, unit_kl
from latentloom.losses.pairs import contrastive, n_pair, supcon, triplet
from latentloom.losses.regularisers import centering, decorrelation, unit_variance
from latentloom.losses.semantic import semantic_anchor, semantic_triplet
from latentloom.losses.targets import class_proximity, comparison, cosine_target, euclidean_target, push_pull

__all__ = [
    "TERMS",
    "TermInfo",
    "adacos",
    "arcface",
    "center",
    "centering",
    "class_proximity",
    "comparison",
    "contrastive",
    "cosface",
    "cosine_target",
    "cross_entropy",
    "decorrelation",
    "euclidean_target",
    "find_term",
    "kl",
    "latent_boost",
    "magnet",
    "n_pair",
    "push_pull",
    "reconstruction",
    "semantic_anchor",
    "semantic_triplet",
    "sphereface",
    "supcon",
    "term",
    "triplet",
    "unit_kl",
    "unit_variance",
]
