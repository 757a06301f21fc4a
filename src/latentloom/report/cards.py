"""The card of a run, or of a file of latents from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentloom.checks import UserError
from latentloom.config import Names
from latentloom.evaluation.arrays import card_of
from latentloom.evaluation.reading import Points, read_labels, read_lines, read_points
from latentloom.names.asked import asked_vectors
from latentloom.names.matrix import read_matrix
from latentloom.records import load_record
from latentloom.training.folder import RECORD
from latentloom.values import Card


def card_at(
    path: Path,
    *,
    labels: Path | None = None,
    train: Path | None = None,
    centres: Path | None = None,
    class_names: Path | None = None,
) -> Card:
    """The card of a run's folder, or of a file of latents, ours or not.

    Args:
        path: a run's folder, or a file as `read_points` takes it. Of a table with a column split, the
            rows of train are its training split, and the card is of the others.
        labels: the class of each point, where the file has none; see `read_labels`.
        train: another file, the training split of the same model, with labels.
        centres: class centres (C, d) in a .npy or .safetensors file, as a run leaves them.
        class_names: a text with a class in each line, in the order of their numbers. What they mean is
            then compared with where they lie.
    """
    extra = {"labels": labels, "train": train, "centres": centres, "class-names": class_names}
    if path.is_dir():
        if given := [name for name, value in extra.items() if value is not None]:
            raise UserError(f"a run has a card of its own, taken with its labels; leave out --{given[0]}")
        return load_record(path / RECORD).card
    points = read_points(path)
    y = _labels_of(points, path) if labels is None else read_labels(labels)
    known: dict[str, Any] = {}
    if class_names is not None:
        names = read_lines(class_names)
        known |= {
            "class_names": names,
            "label_embeddings": asked_vectors(Names(source="names"), names).vectors,
        }
    if centres is not None:
        known["centres"] = read_matrix(centres, "class centres")[0]
    judged, trained = _split(points, np.asarray(y), path)
    if train is not None:
        others = read_points(train)
        trained = (others.z, _labels_of(others, train))
    try:
        return card_of(*judged, train=trained, split=path.name, **known)
    except UserError as error:
        error.add_note(f"in {path}")
        raise


def _labels_of(points: Points, path: Path) -> np.ndarray:
    if points.y is None:
        raise UserError(f"{path} has points and no labels; give a file of them with --labels, .npy or .txt")
    return points.y


def _split(
    points: Points, y: np.ndarray, path: Path
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None]:
    """What is judged, and the training split, where the file holds both."""
    z, trained = points.z, points.trained
    if len(y) != len(z):
        raise UserError(f"{path} has {len(z):,} points, and there are {len(y):,} labels; give one for each")
    if trained is None or trained.all() or not trained.any():
        return (z, y), None
    return (z[~trained], y[~trained]), (z[trained], y[trained])
