"""Loss terms: pure functions of tensors, registered under their own names.

Tensors come by position, options by keyword. A term is defined on every batch: where there is nothing
to compare it is 0 with the graph kept, never NaN; rows labelled -1 count as absent. Half types are
raised to float32.
"""

from latentloom.losses._table import TERMS, TermInfo, find_term, term
from latentloom.losses.classification import cross_entropy
from latentloom.losses.clusters import center, latent_boost, magnet
from latentloom.losses.pairs import contrastive, n_pair, triplet

__all__ = [
    "TERMS",
    "TermInfo",
    "center",
    "contrastive",
    "cross_entropy",
    "find_term",
    "latent_boost",
    "magnet",
    "n_pair",
    "term",
    "triplet",
]
