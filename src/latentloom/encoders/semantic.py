"""A head that holds the vectors of class names, and the noise that picks other names."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders.gaussian import row_noise
from latentloom.latent.geometry import unit
from latentloom.values import Latent

STREAM = 2**32  # added to a seed, so that a Gaussian of the same seed draws other noise
BELOW_ONE = 1 - 2**-24  # the largest float32 below 1


class LabelEmbeddings(nn.Module):
    """The vectors of the names of the classes, and of groups of classes; given, never learned.

    shared["label_embeddings"] (C, d), and with groups shared["coarse_embeddings"] (G, d) and
    shared["coarse_of"] (C,) int64; all in the state dict. Rows are scaled to length 1.

    Args:
        vectors: of the names of the classes, (C, d).
        coarse_vectors: of the names of the groups, (G, d).
        coarse_of: group of each class, (C,), integer in [0, G), or -1 for none.
        learned_balance: also learn how much class and group count: shared["balance"] (2,), logits that
            start at 1 (LARESA, ICLR 2026 submission, Eq. 1).
        seed: of the noise that a model draws for `semantic_triplet`; see `uniform_noise`.
        origin: where the vectors are from, for the record.
    """

    vectors: Tensor
    coarse_vectors: Tensor | None
    coarse_of: Tensor | None

    def __init__(
        self,
        vectors: Tensor,
        coarse_vectors: Tensor | None = None,
        coarse_of: Tensor | None = None,
        *,
        learned_balance: bool = False,
        seed: int = 0,
        origin: str = "",
    ) -> None:
        super().__init__()
        _check_vectors("label embeddings", vectors)
        self.register_buffer("vectors", unit(vectors.float()))
        if (coarse_vectors is None) != (coarse_of is None):
            raise UserError("coarse_vectors and coarse_of go together; give both, or neither")
        if learned_balance and coarse_of is None:
            raise UserError(
                "a learned balance of class and group needs groups; give coarse_vectors, coarse_of"
            )
        if coarse_vectors is not None and coarse_of is not None:
            _check_vectors("coarse embeddings", coarse_vectors, vectors.shape[1])
            _check_groups(coarse_of, len(vectors), len(coarse_vectors))
            coarse_vectors, coarse_of = unit(coarse_vectors.float()), coarse_of.long().clone()
        self.register_buffer("coarse_vectors", coarse_vectors)
        self.register_buffer("coarse_of", coarse_of)
        self.balance = nn.Parameter(torch.ones(2)) if learned_balance else None
        self.seed = seed
        self.origin = origin

    def forward(self, z: Tensor) -> Latent:
        d = self.vectors.shape[1]
        if z.shape[1] != d:
            raise UserError(
                f"z has {z.shape[1]} dimensions and the label embeddings {d}; set --model.latent_dim {d}, or "
                f"give attach a projection, nn.Linear({z.shape[1]}, {d})"
            )
        shared = {
            "label_embeddings": self.vectors,
            "coarse_embeddings": self.coarse_vectors,
            "coarse_of": self.coarse_of,
            "balance": self.balance,
        }
        return Latent({}, {name: tensor for name, tensor in shared.items() if tensor is not None})


def label_embeddings_among(heads: Iterable[nn.Module]) -> LabelEmbeddings | None:
    """The head that holds what the class names mean, if there is one."""
    return next((head for head in heads if isinstance(head, LabelEmbeddings)), None)


def noise_of_names(head: LabelEmbeddings | None, rows: Tensor | None, step: int) -> Latent:
    """samples["noise"] (n,) of `uniform_noise`; nothing without the head or the rows (n,)."""
    if head is None or rows is None:
        return Latent({})
    return Latent({"noise": uniform_noise(rows, step, head.seed)})


def uniform_noise(rows: Tensor, step: int, seed: int) -> Tensor:
    """Noise in [0, 1) for each image at a step, uniform: (n,) float32, on the device of the rows.

    That of `row_noise` through the normal distribution function: a function of seed, step and row alone.

    Args:
        rows: number of each image in its set, (n,) int64.
        step, seed: whole numbers.
    """
    normal = row_noise(seed + STREAM, step, rows, 1)[:, 0]
    noise: Tensor = torch.special.ndtr(normal).clamp_max(BELOW_ONE)
    return noise


def _check_vectors(name: str, vectors: Tensor, d: int | None = None) -> None:
    shape = tuple(vectors.shape)
    if len(shape) != 2 or 0 in shape or not vectors.is_floating_point() or d not in (None, shape[1]):
        wanted = "a row per name" if d is None else f"as long as the label embeddings, {d}"
        raise UserError(f"{name} must be floating (names, d), {wanted}, got {vectors.dtype} {shape}")
    if not vectors.isfinite().all():
        raise UserError(f"{name} must be finite, got nan or inf in row {_first(~vectors.isfinite().all(1))}")
    if not (vectors != 0).any(1).all():
        raise UserError(
            f"{name} must have a direction, got only zeros in row {_first((vectors == 0).all(1))}; "
            "a name without a vector needs another text model, or a vector of yours"
        )


def _check_groups(coarse_of: Tensor, classes: int, groups: int) -> None:
    if coarse_of.shape != (classes,) or coarse_of.is_floating_point():
        raise UserError(
            f"coarse_of must be integer ({classes},), the group of each class, got {coarse_of.dtype} "
            f"{tuple(coarse_of.shape)}"
        )
    if not ((coarse_of >= -1) & (coarse_of < groups)).all():
        raise UserError(
            f"coarse_of must lie in [0, {groups}), or be -1 for a class in no group, got "
            f"{coarse_of.min()} to {coarse_of.max()}"
        )


def _first(rows: Tensor) -> int:
    return int(rows.nonzero()[0])
