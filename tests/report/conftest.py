"""Made-up runs; reports need nothing of a real one."""

import dataclasses
import json
import math

import numpy as np
import pandas
import pytest
from safetensors.numpy import save_file

from latentloom.config import Data, Train
from latentloom.data import load
from latentloom.data.splits import limit
from latentloom.records import save_record
from latentloom.training.pictures import PICTURES, Pictures
from latentloom.values import Card, Finding, Record

NASTY = '</script><img src=x onerror="window.hurt = 1">'


def made_record(recipe="baseline", seed=0, scores=None, validation=(0.5, 0.7, 0.6), warnings=(), **columns):
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


@pytest.fixture
def make_record():
    return made_record


@pytest.fixture(scope="session")
def digits():
    """The splits of a run on digits with seed 0."""
    return load(Data(name="digits"), seed=0)


@pytest.fixture(scope="session")
def left(digits, tmp_path_factory):
    """Recipe -> the folder that a made-up run on digits left, with a class whose name is not to be trusted.

    Each has latents round ten corners, an error in every tenth image, and two epochs of kept latents; the
    second has class embeddings, label embeddings, groups and a prior too.
    """
    place = tmp_path_factory.mktemp("left")
    return {
        recipe: leave(place / recipe / "seed-0", digits, recipe, everything=k == 1)
        for k, recipe in enumerate(("baseline", "boosted"))
    }


@pytest.fixture(scope="session")
def leave_run():
    return leave


def leave(folder, splits, recipe, everything):
    """Write what a run leaves: of its latents the axes 0 to 9 are its classes, of 12."""
    (folder / "latents").mkdir(parents=True)
    corners = 5 * np.eye(10, 12, dtype=np.float32)
    _leave_final(folder, splits.test.labels.numpy(), corners, everything)
    kept = limit(splits.validation, min(len(splits.validation), 1000), seed=0).labels.numpy()
    save_file({"y": kept.astype(np.int32)}, folder / "latents" / "fixed.safetensors")
    for epoch, spread in ((4, 3.0), (9, 1.0)):
        z = _round(corners, kept, spread)
        centres = np.stack([z[kept == k].mean(0) for k in range(10)])
        held = {"z": z.astype(np.float16), "class_centres": centres.astype(np.float16)}
        held["predicted"] = _mostly_right(kept)
        save_file(held, folder / "latents" / f"epoch-{epoch:04d}.safetensors")
    save_record(made_record(recipe), folder / "record.json")
    names = [str(k) for k in range(9)] + [NASTY]
    about = {"class_names": names, "coarse_names": ["round", "straight"] if everything else []}
    (folder / "model.json").write_text(json.dumps(about))
    return folder


def _leave_final(folder, y, corners, everything):
    z = _round(corners, y, 1.0)
    table = pandas.DataFrame({f"z_{k}": z[:, k] for k in range(12)})
    table.assign(y=y, predicted=_mostly_right(y), split="test").to_parquet(folder / "latents.parquet")
    save_file({"class_centres": corners}, folder / "class_centres.safetensors")
    weights = {"encoder.weight": corners}
    if everything:
        weights |= {
            "heads.class_embeddings.vectors": corners,
            "heads.label_embeddings.vectors": corners / 5,
            "heads.label_embeddings.coarse_of": np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0]),
        }
        none = np.zeros((0, 1, 8, 8), np.uint8)
        pictures = Pictures(none, none, none, none, corners[:3], np.zeros((3, 12), np.float32))
        np.savez(folder / PICTURES, **vars(pictures))
    save_file(weights, folder / "model.safetensors")


def _round(corners, y, spread):
    return corners[y] + spread * np.random.default_rng(0).normal(size=(len(y), 12)).astype(np.float32)


def _mostly_right(y):
    """The labels, but for every tenth image one class on."""
    return np.where(np.arange(len(y)) % 10 == 0, (y + 1) % 10, y)


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
