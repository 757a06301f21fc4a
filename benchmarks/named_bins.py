"""Regression by named bins: a number is a class that has neighbours.

    python benchmarks/named_bins.py

The target of scikit-learn's diabetes data (442 patients, ten measurements, progression 25 to 346) is cut
into ten bins of as many patients each. A small network learns them as classes, with cross-entropy alone or
with anchors to an embedding of each bin, and predicts the mean of the bins' medians by their probabilities.
Embeddings: of the bins' names ("progression from 25 to 60", all-MiniLM-L6-v2), on an arc in their order,
and on the arc in the wrong order.

Forty splits in halves; the weight of the anchors, of 0.1, 1 and 10, is the best on a third of the training
half. Splits share patients, so the intervals are narrower than those of new patients.
docs/results/named-bins.md gets the mean absolute error on the other half, and what the embedding changes,
paired over the splits.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from latentloom import Objective, attach
from latentloom.encoders import LabelEmbeddings
from latentloom.evaluation.statistics import paired_difference
from latentloom.files import write_text
from latentloom.names.vectors import label_vectors

BINS, SPLITS, WEIGHTS, STEPS = 10, 40, (0.1, 1.0, 10.0), 200
ALONE = "cross-entropy alone"


def main() -> None:
    torch.set_num_threads(1)
    x, target = load_diabetes(return_X_y=True)
    edges = np.quantile(target, np.linspace(0, 1, BINS + 1))
    data = torch.from_numpy(x).float() * 20, torch.from_numpy(target).float()
    rows = [split.tolist() for split in (torch.randperm(len(target), generator=g) for g in generators())]
    errors = {
        name: [error_of(data, edges, split, vectors) for split in rows]
        for name, vectors in embeddings(edges).items()
    }
    lines = ["| embeddings of the bins | mean absolute error | against none |", "| --- | ---: | --- |"]
    for name, found in errors.items():
        lines.append(
            f"| {name} | {np.mean(found):.2f} ± {np.std(found, ddof=1):.2f} | {change(errors, name)} |"
        )
    print("\n".join(lines))
    write_text(Path("docs/results/named-bins.md"), "\n".join(lines) + "\n")


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(SPLITS)]


def embeddings(edges: np.ndarray) -> dict[str, Tensor | None]:
    """What stands for the bins, (BINS, d) each."""
    angles = torch.linspace(0, math.pi, BINS)
    arc = torch.stack([angles.cos(), angles.sin()], 1)
    names = [f"progression from {low:.0f} to {high:.0f}" for low, high in itertools.pairwise(edges)]
    wrong = torch.randperm(BINS, generator=torch.Generator().manual_seed(0))
    return {
        ALONE: None,
        "names": label_vectors(names, centred=True).vectors,
        "an arc, in order": arc,
        "an arc, in the wrong order": arc[wrong],
    }


def error_of(
    data: tuple[Tensor, Tensor], edges: np.ndarray, rows: list[int], vectors: Tensor | None
) -> float:
    """The mean absolute error on the second half of the rows, at the weight that is best on validation."""
    half, third = len(rows) // 2, len(rows) // 3
    weight = 0.0
    if vectors is not None:
        tried = {w: fitted_error(data, edges, rows[:third], rows[third:half], vectors, w) for w in WEIGHTS}
        weight = min(tried, key=lambda w: tried[w])
    return fitted_error(data, edges, rows[:half], rows[half:], vectors, weight)


def fitted_error(
    data: tuple[Tensor, Tensor],
    edges: np.ndarray,
    train: list[int],
    test: list[int],
    vectors: Tensor | None,
    weight: float,
) -> float:
    x, target = data
    y = torch.from_numpy(np.clip(np.searchsorted(edges, target, side="right") - 1, 0, BINS - 1))
    medians = torch.stack([target[train][y[train] == k].median() for k in range(BINS)])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, BINS))
    terms = {"cross_entropy": 1.0} | ({"semantic_anchor": weight} if vectors is not None else {})
    heads = {} if vectors is None else {"names": LabelEmbeddings(vectors)}
    projection = None if vectors is None else nn.Linear(32, vectors.shape[1])
    aligned = attach(model, "1", Objective(terms), heads=heads, projection=projection)
    adam = torch.optim.Adam(aligned.parameters(), lr=1e-2)
    for _ in range(STEPS):
        adam.zero_grad()
        aligned.objective(aligned(x[train]).with_samples(y=y[train])).total.backward()
        adam.step()
    with torch.no_grad():
        predicted = model(x[test]).softmax(1) @ medians
    return float((predicted - target[test]).abs().mean())


def change(errors: dict[str, list[float]], name: str) -> str:
    if name == ALONE:
        return "–"
    found = paired_difference(errors[name], errors[ALONE])
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


if __name__ == "__main__":
    main()
