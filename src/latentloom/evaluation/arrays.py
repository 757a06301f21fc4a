"""The card of points from anywhere: of images, texts or sounds, whatever made them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from latentloom.checks import UserError, unknown
from latentloom.evaluation.card import take_card
from latentloom.evaluation.semantics import check_classes, hit_rate_ceiling
from latentloom.values import Card, Latent

Array: TypeAlias = Tensor | ArrayLike
BLOCK = 2**22  # numbers that are looked at together, so that a mapped file need not fit in memory
NO_CLASS = ("", "None", "nan")  # for a name: unlabelled


def card_of(
    z: Array,
    y: Array,
    *,
    logits: Array | None = None,
    train: tuple[Array, Array] | None = None,
    centres: Array | None = None,
    class_names: Sequence[str] | None = None,
    label_embeddings: Array | None = None,
    coarse_of: Array | None = None,
    split: str = "latents",
    bootstrap: int = 1000,
    seed: int = 0,
) -> Card:
    """The card of latents that were made elsewhere: `take_card` of tensors, NumPy arrays or lists.

    Args:
        z: finite points, (n, d). A file that NumPy has mapped to memory is left there.
        y: the class of each point, (n,): whole numbers, below 0 where unlabelled, or names.
        logits: what a classifier makes of each point, (n, C).
        train: points and classes of the training split, for class centres and probes.
        centres: of the classes, (C, d), where there is no training split.
        class_names: (C,), in the order of what is given per class; unless given, that of the alphabet.
        label_embeddings: vectors of what the classes mean, (C, e).
        coarse_of: number of the group of each class, (C,); -1 for none.
        split: what the card calls the points.
        bootstrap, seed: as in `take_card`.

    >>> print(f"{card_of([[0], [1], [10], [11]], ['cat', 'cat', 'dog', 'dog']).value('silhouette'):.4f}")
    0.8997
    """
    if train is not None and centres is not None:
        raise UserError("class centres are those of train; leave out either train or centres")
    per_class = _per_class(centres, label_embeddings, coarse_of)
    samples = {"z": _matrix(z, "z")} | ({} if logits is None else {"logits": _matrix(logits, "logits")})
    named = [y] if train is None else [y, train[1]]
    labels = _labels(named, class_names, numbered=bool(per_class) or logits is not None)
    latent = Latent({**samples, "y": labels[0]}, per_class)
    _check(latent, "")
    known = None
    if train is not None:
        known = Latent({"z": _matrix(train[0], "z of train"), "y": labels[1]})
        _check(known, " of train")
    card = take_card(latent, known, split=split, bootstrap=bootstrap, seed=seed)
    return card if coarse_of is None else _with_ceiling(card, per_class["coarse_of"])


def _per_class(
    centres: Array | None, label_embeddings: Array | None, coarse_of: Array | None
) -> dict[str, Tensor]:
    """What is given of it, by its name in a `Latent`."""
    matrices = {"class_centres": centres, "label_embeddings": label_embeddings}
    found = {name: _matrix(array, name) for name, array in matrices.items() if array is not None}
    if coarse_of is not None:
        found["coarse_of"] = _whole_numbers(_array(coarse_of, "coarse_of"), "coarse_of")
    return found


def _with_ceiling(card: Card, coarse_of: Tensor) -> Card:
    """The card with the highest hit rate that the groups allow as the end of its range."""
    hit_rate = replace(card.findings["hit_rate"], high=hit_rate_ceiling(coarse_of))
    return replace(card, findings={**card.findings, "hit_rate": hit_rate})


def _array(array: Array, name: str) -> np.ndarray:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    try:
        return np.asarray(array)
    except ValueError as error:
        raise UserError(f"{name} has rows of different lengths; give a table of numbers") from error


def _matrix(array: Array, name: str) -> Tensor:
    """Points (n, d), floating; of an array that holds such, the same memory."""
    found = _array(array, name)
    if found.dtype.kind not in "fiu" or found.ndim != 2 or 0 in found.shape:
        raise UserError(
            f"{name} must be numbers (n, d), at least one row of one, got {found.dtype} {found.shape}; "
            "flatten maps with z.reshape(len(z), -1)"
        )
    if found.dtype not in (np.float16, np.float32, np.float64):
        found = found.astype(np.float32)
    with warnings.catch_warnings():
        # Of memory that must not be written to, as of a mapped file; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(found))


def _whole_numbers(array: np.ndarray, name: str) -> Tensor:
    if array.dtype.kind == "f" and np.isnan(array).any():  # what tables make of a column with gaps
        filled = np.nan_to_num(array, nan=-1.0)
        array = filled.astype(np.int64) if (filled == filled.round()).all() else array
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise UserError(
            f"{name} must be whole numbers or names (n,), got {array.dtype} {array.shape}; "
            "from one-hot, give argmax(1)"
        )
    return torch.from_numpy(array.astype(np.int64))


def _labels(parts: Sequence[Array], class_names: Sequence[str] | None, *, numbered: bool) -> list[Tensor]:
    """Labels of each part, (n,) int64, -1 where unlabelled; `numbered` is true where numbers are rows."""
    arrays = [_array(part, "y") for part in parts]
    if all(array.dtype.kind in "OUS" and array.ndim == 1 for array in arrays):
        return _numbers_of_names([array.astype(str) for array in arrays], class_names)
    labels = [_whole_numbers(array, "y").clamp_min(-1) for array in arrays]
    if numbered or class_names is not None:
        return labels
    # Numbers may be anything, and scores count up to the largest.
    whole = torch.cat(labels)
    known = torch.unique(whole[whole >= 0])
    dense = torch.where(whole >= 0, torch.searchsorted(known, whole), -1)
    return [*torch.split(dense, [len(part) for part in labels])]


def _numbers_of_names(parts: Sequence[np.ndarray], class_names: Sequence[str] | None) -> list[Tensor]:
    found = {str(name) for part in parts for name in np.unique(part)} - {*NO_CLASS}
    names = sorted(found) if class_names is None else [*class_names]
    if strange := sorted(found - {*names}):
        raise unknown("class", strange[0], names)
    number: Mapping[str, int] = {name: row for row, name in enumerate(names)}
    return [torch.tensor([number.get(name, -1) for name in part.tolist()]) for part in parts]


def _check(latent: Latent, of: str) -> None:
    """Refuse labels of another length, rows that are not finite, and classes without a row."""
    z, y = latent.z, latent.y
    for name, tensor in latent.samples.items():
        if len(tensor) != len(z):
            raise UserError(f"z{of} has {len(z):,} rows and {name}{of} {len(tensor):,}; give one for each")
    blocks = torch.split(z, max(1, BLOCK // z.shape[1]))
    bad = torch.cat([~block.isfinite().all(1) for block in blocks]).nonzero()[:, 0]
    if len(bad):
        raise UserError(
            f"z{of} has nan or infinity in {len(bad):,} of {len(z):,} rows, first in row {int(bad[0])} "
            "(from 0); leave these rows out, with their labels"
        )
    for name, tensor in latent.shared.items():
        check_classes(tensor, y, name)
    if "logits" in latent and int(y.max()) >= latent.logits.shape[1]:
        raise UserError(
            f"logits have {latent.logits.shape[1]} columns, but there is a class {int(y.max())}; "
            "give a column for every class, numbered from 0"
        )
