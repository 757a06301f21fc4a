"""Runs with what the class names mean: the head they get, what is measured, what is refused."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.config import Names, Train
from latentloom.data import load
from latentloom.encoders import LabelEmbeddings
from latentloom.names.vectors import label_vectors, write_vectors
from latentloom.recipes import load_recipe, recipes
from latentloom.records import load_record
from latentloom.training.model import label_head, model_for, vectors_for
from latentloom.training.run import run, with_labels_kept
from latentloom.values import Record

QUICK = [
    ("model.encoder", "mlp"),
    ("data.limit", "200"),
    ("data.test_limit", "60"),
    ("data.batch", "50"),
    ("training.epochs", "2"),
    ("training.logger", "false"),
    ("training.keep_latents", "1"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "0"),
]
GROUPS = "bowl: ['0', '6', '8', '9']\nroad: ['1', '4', '7']\nfish: ['2', '3', '5']\n"  # names with vectors
LARESA = [name for name in recipes() if name.startswith("laresa")]


@pytest.fixture
def groups(tmp_path: Path) -> tuple[str, str]:
    """Groups of the digits, in a file."""
    (tmp_path / "groups.yaml").write_text(GROUPS, encoding="utf-8")
    return "data.coarse", str(tmp_path / "groups.yaml")


def quick(recipe: str, *more: tuple[str, str]) -> Train:
    return load_recipe(recipe, [*QUICK, *more])


def finished(config: Train, folder: Path) -> Record:
    return run(config, folder / "run", recipe="test", progress=False)


def head_of(config: Train) -> LabelEmbeddings | None:
    return label_head(config.model.label_embeddings, load(config.data, 0).train, 0)


@pytest.mark.parametrize("recipe", LARESA)
def test_every_recipe_trains_on_names_alone(tmp_path, recipe: str) -> None:
    small = (("training.epochs", "1"), ("data.augment", "[]"), ("training.keep_latents", "0"))
    record = finished(quick(recipe, *small), tmp_path)
    assert math.isfinite(record.history[-1]["train/total"])
    assert "semantic_spearman" in record.card.findings
    assert "hit_rate" not in record.card.findings  # digits have no groups
    about = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert about["label_embeddings"].startswith("sentence-transformers/all-MiniLM-L6-v2, sha256:")


def test_groups_are_read_anchored_and_scored(tmp_path, groups) -> None:
    config = quick("laresa", groups, ("model.label_embeddings.learned_balance", "true"))
    record = finished(config, tmp_path)
    assert {"hit_rate", "coarse_silhouette", "coarse_spearman", "coarse_accuracy"} <= {*record.card.findings}
    row = record.history[-1]
    assert row["balance/fine"] + row["balance/coarse"] == pytest.approx(1.0)
    assert row["balance/fine"] != row["balance/coarse"]


def test_groups_are_scored_without_label_embeddings_too(tmp_path, groups) -> None:
    found = finished(quick("baseline", groups), tmp_path).card.findings
    assert {"hit_rate", "coarse_silhouette", "coarse_accuracy"} <= {*found}
    assert "semantic_spearman" not in found


def test_the_head_holds_the_vectors_of_names_and_groups(groups) -> None:
    config = quick("laresa", groups)
    head = head_of(config)
    assert head is not None
    names = load(config.data, 0).train.class_names
    assert_close(head.vectors, label_vectors(names, centred=True).vectors)
    assert head.coarse_of.tolist() == [0, 1, 2, 2, 1, 2, 0, 1, 0, 0]
    mean = label_vectors(names).vectors.mean(0)  # of the classes, for both
    apart = label_vectors(("bowl", "road", "fish")).vectors - mean
    assert_close(head.coarse_vectors, torch.nn.functional.normalize(apart))
    assert head.balance is None  # fixed in this recipe


def test_groups_of_a_bare_matrix_have_the_mean_of_their_classes(tmp_path, groups) -> None:
    matrix = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", matrix)
    source = ("model.label_embeddings.source", str(tmp_path / "vectors.npy"))
    plain = ("model.label_embeddings.centred", "false")
    head = head_of(quick("laresa", groups, source, plain))
    assert head is not None
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    road = unit[[1, 4, 7]].mean(0)
    assert_close(head.coarse_vectors[1].numpy(), road / np.linalg.norm(road))
    assert model_for(quick("laresa", groups, source, plain), load(quick("laresa").data, 0).train) is not None


def test_vectors_are_not_centred_before_the_head_is_made(groups) -> None:
    config = quick("laresa", groups)
    train = load(config.data, 0).train
    fine, coarse, origin = vectors_for(config.model.label_embeddings, train)
    assert_close(fine, label_vectors(train.class_names).vectors)
    assert_close(coarse, label_vectors(("bowl", "road", "fish")).vectors)
    assert origin.startswith("sentence-transformers/all-MiniLM-L6-v2, sha256:")
    assert "means" not in origin


def test_groups_whose_names_have_no_vector_have_the_mean_of_their_classes(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (tmp_path / "own.yaml").write_text(GROUPS.replace("road", "what i call roads"), encoding="utf-8")
    config = quick("laresa", ("data.coarse", str(tmp_path / "own.yaml")))
    train = load(config.data, 0).train
    digits = label_vectors(train.class_names)
    write_vectors(tmp_path / "digits.safetensors", digits)
    for source in ("names", str(tmp_path / "digits.safetensors")):
        _, coarse, origin = vectors_for(Names(source), train)
        assert_close(coarse[1], digits.vectors[[1, 4, 7]].mean(0))
        assert origin.endswith("of groups the means of their classes")
    with pytest.raises(UserError, match="is not run without sentence-transformers"):
        vectors_for(Names("names"), replace(train, class_names=("my own", *train.class_names[1:])))


@pytest.mark.parametrize("name", ["fish", "all my own things"])  # with a vector, and without
def test_a_single_group_can_be_centred(tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (tmp_path / "one.yaml").write_text(f"{name}: {[*'0123456789']}\n", encoding="utf-8")
    head = head_of(quick("laresa", ("data.coarse", str(tmp_path / "one.yaml"))))
    assert head is not None
    assert_close(head.coarse_vectors.norm(dim=1), torch.ones(1))


def test_a_group_without_a_class_has_the_mean_of_all(groups, tmp_path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((10, 6)))
    train = load(quick("laresa", groups).data, 0).train
    empty = replace(train, coarse_names=(*train.coarse_names, "nothing"))
    fine, coarse, _ = vectors_for(Names(str(tmp_path / "v.npy")), empty)
    assert_close(coarse[3], fine.mean(0))
    for centred in (False, True):
        head = label_head(Names(str(tmp_path / "v.npy"), centred=centred), empty, 0)
        assert head is not None
        assert head.coarse_vectors.isfinite().all()


def test_an_encoder_as_long_as_the_vectors_has_a_linear_layer_too(tmp_path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((10, 64)))
    config = quick("laresa-ce", ("model.label_embeddings.source", str(tmp_path / "v.npy")))
    model = model_for(config, load(config.data, 0).train)
    assert sum(tuple(weight.shape) == (64, 64) for weight in model.encoder.parameters()) == 1


def test_latents_have_the_length_of_the_vectors_through_a_linear_layer() -> None:
    config = quick("laresa-ce")
    train = load(config.data, 0).train
    model = model_for(config, train).eval()
    z = model(train.images[:8]).z
    assert z.shape == (8, 384)
    assert (z < 0).any()  # no activation stands behind it


def test_noise_comes_with_rows_in_evaluation_too() -> None:
    config = quick("laresa")
    train = load(config.data, 0).train
    model, rows = model_for(config, train), torch.arange(8)
    first = model(train.images[:8], rows=rows, step=3)["noise"]
    assert_close(model(train.images[:8].flip(0), rows=rows.flip(0), step=3)["noise"].flip(0), first)
    assert not torch.equal(model(train.images[:8], rows=rows, step=4)["noise"], first)
    assert_close(model.eval()(train.images[:8], rows=rows, step=3)["noise"], first)
    assert "noise" not in model(train.images[:8])


def test_class_embeddings_start_at_what_the_names_mean() -> None:
    names = (("model.class_embeddings", "true"), ("model.embeddings_from", "names"))
    config = quick("laresa-ce", *names)
    train = load(config.data, 0).train
    started = model_for(config, train)(train.images[:2])["class_embeddings"]
    wanted = label_vectors(train.class_names, centred=True).vectors * math.sqrt(384)
    assert_close(started, wanted)
    tied = model_for(quick("laresa-ce", *names, ("model.embeddings_tied", "true")), train)
    assert_close(tied(train.images[:2])["class_embeddings"], wanted)
    assert "class_embeddings.vectors" not in dict(tied.heads.named_parameters())
    with pytest.raises(UserError, match=r"add --model\.label_embeddings\.source names"):
        model_for(quick("euclidean-target", names[1]), train)


def test_other_dimensions_than_those_of_the_vectors_are_refused() -> None:
    config = quick("laresa", ("model.latent_dim", "32"))
    with pytest.raises(UserError, match=r"have 384 dimensions, and so must latents; got model.latent_dim 32"):
        model_for(config, load(config.data, 0).train)


def test_withheld_labels_have_no_group_either(groups) -> None:
    config = quick("laresa", groups, ("data.labels", "20"))
    kept = with_labels_kept(load(config.data, 0).train, config)
    assert ((kept.coarse >= 0) == (kept.labels >= 0)).all()
    assert int((kept.coarse >= 0).sum()) == 20


def test_no_label_embeddings_unless_asked_for() -> None:
    train = load(quick("baseline").data, 0).train
    assert label_head(Names(), train, 0) is None
    with pytest.raises(UserError, match="descriptions has no effect without label embeddings"):
        label_head(Names(descriptions="told.yaml"), train, 0)


def test_a_folder_of_five_classes_trains_in_one_command(tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    for name in ("bear", "bee", "chair", "rocket", "tulip"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    words = ["train", "laresa", "--data", f"folder:{tmp_path / 'images'}", "--epochs", "1"]
    small = ["--data.size", "8", "--model.encoder", "mlp", "--data.validation", "0.2"]
    out = tmp_path / "run"
    assert main([*words, *small, "--training.logger", "false", "--folder", str(out)]) == 0
    assert "semantic_spearman" in capsys.readouterr().out
    assert load_record(out / "record.json").recipe == "laresa"


def test_scores_are_of_names_as_they_are_whatever_the_frame_of_the_losses(tmp_path, groups) -> None:
    found = [
        finished(
            quick("laresa-ce", groups, ("model.label_embeddings.centred", centred)), tmp_path / centred
        ).card
        for centred in ("true", "false")
    ]
    # The losses of this recipe read no names, so that the two runs are one.
    for score in ("accuracy", "semantic_spearman", "coarse_spearman", "severity"):
        assert found[0].value(score) == found[1].value(score)


def test_the_range_of_the_hit_rate_ends_at_its_ceiling(tmp_path) -> None:
    (tmp_path / "groups.yaml").write_text(GROUPS.replace("'1', '4', '7'", "'1'") + "car: ['4', '7']\n")
    record = finished(quick("baseline", ("data.coarse", str(tmp_path / "groups.yaml"))), tmp_path)
    assert record.card.findings["hit_rate"].high == pytest.approx(0.9)  # the class alone in its group


def test_withheld_labels_leave_the_groups_of_classes_known(tmp_path, groups) -> None:
    config = quick("laresa", groups, ("data.labels", "12"), ("data.stratified", "false"))
    with pytest.warns(UserWarning, match="left without a label"):
        kept = with_labels_kept(load(config.data, 0).train, config)
    head = label_head(config.model.label_embeddings, kept, 0)
    assert head is not None
    assert head.coarse_of.tolist() == [0, 1, 2, 2, 1, 2, 0, 1, 0, 0]
