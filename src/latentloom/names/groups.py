"""Groups of classes derived from what their names mean, for those who have no coarse labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.names.coarse import CoarseMap, write_groups
from latentloom.names.vectors import unit_rows

ALIKE = 1e-9  # cosine distances and silhouettes that differ by less are the same
BAR = 40  # columns of a silhouette of 1
LINES = 16  # numbers of groups that are shown, and the one that was taken


@dataclass(frozen=True)
class Derived:
    """Groups that label embeddings suggest."""

    groups: CoarseMap
    silhouettes: Mapping[int, float]  # by number of groups, 2 to C - 1

    def __str__(self) -> str:
        taken, classes = len(self.groups.names), len(self.groups.coarse_of)
        return f"{taken} groups of {classes} classes, silhouette {self.silhouettes[taken]:.4f}"


def derive_groups(vectors: Tensor, class_names: Sequence[str], groups: int | None = None) -> Derived:
    """Groups of classes whose label embeddings lie together.

    Agglomerative clustering of unit vectors with Ward's linkage: again and again the two groups are joined
    that add least to the sum of squared distances of vectors from the mean of their group. That sum is,
    of unit vectors, the size of each group times its mean cosine distance. The number of groups, unless
    given, has the greatest mean silhouette (cosine) of 2 to C - 1; the fewest of equals. A group is
    called by the member whose vector is nearest the mean; groups are in the order of their first classes.

    Of the class names of CIFAR-100 (all-MiniLM-L6-v2), Ward's linkage makes 35 groups, 6 of one class
    alone, that share more with the official 20 (adjusted mutual information 0.50) than the 53 of average
    linkage (29 of one class; 0.43) or the 42 of complete linkage (12; 0.44). Of 28 groups of the birds of
    CUB-200, average linkage puts 84 of 200 classes in one, Ward's 25.

    Deterministic. Memory C^2; time C^2 for the clustering, C^3 for all silhouettes: 12 s for 1,000 classes.

    Args:
        vectors: one for each class, (C, d), of any length but 0.
        class_names: (C,), all different.
        groups: how many, 2 to C - 1.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import pdist, squareform

    _check_number(groups, class_names)
    rows = unit_rows(vectors.detach().cpu(), class_names, "what is to be grouped")
    unit: np.ndarray = rows.numpy()
    distances = pdist(unit, "cosine").clip(min=0.0)
    if distances.max() < ALIKE:
        raise UserError(f"the vectors of all {len(unit)} classes are one; vectors that differ can be grouped")
    counts = range(2, len(unit))
    cuts = cut_tree(linkage(unit, "ward"), list(counts))  # (C, C - 2)
    silhouettes = _silhouettes(squareform(distances), cuts, counts)
    taken = groups or next(k for k in counts if silhouettes[k] > max(silhouettes.values()) - ALIKE)
    return Derived(_named(cuts[:, taken - 2], unit, class_names), silhouettes)


def suggest_groups(vectors: Tensor, class_names: Sequence[str], out: Path, groups: int | None = None) -> str:
    """Write derived groups to a YAML file, to be edited, and give the text that shows them for review.

    Args:
        vectors, class_names, groups: see `derive_groups`.
        out: a file that is not there yet.
    """
    derived = derive_groups(vectors, class_names, groups)
    advice = f"rename groups and move classes as you like, then train with --data.coarse {out}"
    write_groups(out, derived.groups, class_names, f"{derived}\n{advice}")
    return f"{groups_text(derived, class_names)}\n\nwritten to {out}; {advice}"


def groups_text(derived: Derived, class_names: Sequence[str]) -> str:
    """What there is to review: the members of each group, then the silhouette by number of groups."""
    members = derived.groups.members(class_names)
    width = max(map(len, members))
    listed = [f"{name:{width}}  {', '.join(names)}" for name, names in members.items()]
    return "\n".join([f"{derived}", "", *listed, "", *_curve(derived)])


def _curve(derived: Derived) -> list[str]:
    """A line with a bar for some numbers of groups, the one that was taken among them."""
    taken, most = len(derived.groups.names), max(derived.silhouettes)
    some = {*np.geomspace(2, most, LINES).round().astype(int).tolist(), taken}
    lines = ["groups  silhouette"]
    for k in sorted(some):
        value = derived.silhouettes[k]
        bar = "#" * round(BAR * max(value, 0.0))
        lines.append(f"{k:6}  {value:10.4f}  {bar}{' <' if k == taken else ''}")
    return lines


def _check_number(groups: int | None, class_names: Sequence[str]) -> None:
    classes = len(class_names)
    if classes < 3:
        raise UserError(f"got {classes} classes; wanted at least 3, of which to make groups")
    if groups is not None and not 2 <= groups < classes:
        raise UserError(f"{groups} groups of {classes} classes were asked for; wanted 2 to {classes - 1}")


def _silhouettes(distances: np.ndarray, cuts: np.ndarray, counts: Sequence[int]) -> dict[int, float]:
    """The mean silhouette of each cut, by its number of groups."""
    from sklearn.metrics import silhouette_score

    return {
        k: float(silhouette_score(distances, cut, metric="precomputed"))
        for k, cut in zip(counts, cuts.T, strict=True)
    }


def _named(cut: np.ndarray, unit: np.ndarray, class_names: Sequence[str]) -> CoarseMap:
    """The groups of a cut, each called by its most central member."""
    names = []
    for group in range(int(cut.max()) + 1):
        members = np.flatnonzero(cut == group)
        nearness: Any = unit[members] @ unit[members].mean(0)
        # Of a pair both are as near; rounding is not to choose.
        names.append(class_names[members[np.flatnonzero(nearness > nearness.max() - ALIKE)[0]]])
    return CoarseMap(tuple(names), torch.from_numpy(cut.astype(np.int64)))
