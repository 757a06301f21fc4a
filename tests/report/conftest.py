"""Made-up runs; reports need nothing of a real one."""

import dataclasses
import math

import pytest

from latentloom.config import Train
from latentloom.values import Card, Finding, Record


@pytest.fixture
def make_record():
    def make(recipe="baseline", seed=0, scores=None, validation=(0.5, 0.7, 0.6), warnings=(), **columns):
        """A run with these scores, "-name" for lower is better, and ten seconds per epoch."""
        findings = {
            name.lstrip("-"): Finding(value, "lower" if name[0] == "-" else "higher", 0.0, math.inf, "test")
            for name, value in (scores or {"accuracy": 0.9}).items()
        }
        rows = [{"epoch": e, "seconds": 10.0 * (e + 1), "val/accuracy": v} for e, v in enumerate(validation)]
        for key, values in columns.items():
            rows = [row | {key: value} for row, value in zip(rows, values, strict=True)]
        return Record(
            recipe=recipe,
            seed=seed,
            config=dataclasses.asdict(Train()),
            card=Card("test", 360, findings),
            history=rows,
            best_epoch=max(range(len(validation)), key=validation.__getitem__),
            seconds=30.0,
            commit="abc",
            sources={},
            versions={"python": "3.11"},
            hardware="a processor",
            warnings=warnings,
        )

    return make


@pytest.fixture
def judged_runs(make_record):
    """Three recipes, two seeds each, judged by class centres, and all but the first by class embeddings.

    The last has no linear head.
    """
    runs = {}
    for k, recipe in enumerate(("baseline", "euclidean", "<i>cosine")):
        embeddings = {
            "val/nearest_embedding_accuracy": (0.2, 0.6, 0.5),
            "val/nearest_embedding_cosine_accuracy": (0.3, 0.5, 0.4),
        }
        columns = {
            "val/nearest_centre_accuracy": (0.4, 0.6, 0.5),
            "val/nearest_centre_cosine_accuracy": (0.4, 0.5, 0.6),
            "val/cluster_size": (8.0, 4.0, 2.0),
            "val/centre_distance": (1.0, 2.0, 10.0),
            "val/centre_spacing": (2.0, 4.0, 16.0),
            "val/centre_cosine": (0.1, 0.5, 0.9),
        } | (embeddings if k else {})
        own = {"model": {"classifier": ("linear", "linear", "cosine")[k]}}
        records = [make_record(recipe, seed, **columns) for seed in range(2)]
        runs[recipe] = [dataclasses.replace(record, config=record.config | own) for record in records]
    return runs
