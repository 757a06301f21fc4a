"""A run from end to end on digits: what it leaves, what it ends as when killed, what it refuses."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys

import numpy
import pytest
import torch
import yaml
from killed import killed_at
from safetensors.torch import load_file, save_file

from latentloom.checks import UserError
from latentloom.encoders import ENCODERS
from latentloom.encoders.networks import EncoderInfo
from latentloom.recipes import load_recipe
from latentloom.records import load_record
from latentloom.training.latents import clusters_within_classes
from latentloom.training.model import model_for
from latentloom.training.run import run
from latentloom.values import ImageSet

QUICK = [
    ("data.limit", "300"),
    ("training.epochs", "4"),
    ("training.logger", "false"),
    ("training.keep_latents", "2"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "50"),
]


def quick(recipe: str = "latent-boost", *more: tuple[str, str]):
    return load_recipe(recipe, [*QUICK, *more])


def without_times(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums of two threads differ from those of one in the last bit, and a run takes what it is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(quick(), folder, recipe="latent-boost", progress=False)


def test_leaves_what_it_promises(finished):
    folder, record = finished
    assert load_record(folder / "record.json") == load_record(folder / "record.json")
    assert load_record(folder / "record.json").card == record.card
    for name in (
        "config.yaml",
        "history.csv",
        "classes.csv",
        "model.safetensors",
        "model.json",
        "latents.parquet",
    ):
        assert (folder / name).stat().st_size > 0
    kept = load_file(folder / "latents" / "epoch-0003.safetensors")
    assert kept["z"].dtype == torch.float16
    assert kept["z"].shape == (30, 64)
    assert kept["class_centres"].shape == (10, 64)
    assert load_file(folder / "class_centres.safetensors")["class_centres"].shape == (10, 64)
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert {"val/silhouette", "val/effective_rank", "train/latent_boost", "batch/classes"} <= rows[0].keys()


def test_parts_add_up_in_the_history(finished):
    for row in finished[1].history:
        assert row["train/total"] == pytest.approx(row["train/cross_entropy"] + row["train/latent_boost"])


def test_a_finished_run_is_read_and_not_run_again(finished):
    folder, record = finished
    before = (folder / "history.csv").stat().st_mtime_ns
    again = run(quick(), folder, recipe="latent-boost", progress=False)
    assert again.card == record.card
    assert (folder / "history.csv").stat().st_mtime_ns == before


def test_a_run_that_was_refused_leaves_its_folder_free(tmp_path):
    broken = quick("baseline", ("model.encoder", "mpl"))
    with pytest.raises(UserError, match="did you mean 'mlp'"):
        run(broken, tmp_path, recipe="baseline", progress=False)
    rows = []
    record = run(
        quick("baseline", ("training.epochs", "2")),
        tmp_path,
        recipe="baseline",
        progress=False,
        watch=rows.append,
    )
    assert [dict(row) for row in rows] == list(record.history)


@pytest.mark.parametrize("still", [True, False])
def test_batch_norm_stays_still_after_the_first_epoch_where_asked(still, tmp_path, monkeypatch):
    def normed(channels, size):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 8))

    monkeypatch.setitem(
        ENCODERS, "normed", EncoderInfo(normed, latent_dim=8, smallest=8, about="for this test")
    )
    asked = {
        "model.encoder": "normed",
        "training.lr": "0.01",
        "training.eval_after_first_epoch": str(still).lower(),
    }
    record = run(quick("baseline", *asked.items()), tmp_path, recipe="baseline", progress=False)
    seen = load_file(tmp_path / "model.safetensors")["encoder.1.1.num_batches_tracked"]
    assert record.best_epoch > 0
    assert seen == (2 if still else 2 * (record.best_epoch + 1))  # batches of 128 from 270 images


@pytest.mark.parametrize("classifier", ["euclidean", "cosine"])
def test_class_embeddings_alone_train_are_selected_and_classify(classifier, tmp_path):
    fields = [("model.classifier", classifier), ("training.epochs", "8"), ("data.limit", "800")]
    record = run(quick("euclidean-target", *fields), tmp_path, recipe="e", progress=False)
    assert record.card.value("accuracy") > 0.8
    same = {"euclidean": "nearest_embedding_accuracy", "cosine": "nearest_embedding_cosine_accuracy"}
    assert record.card.value("accuracy") == record.card.value(same[classifier])
    weights = load_file(tmp_path / "model.safetensors")
    assert weights["heads.class_embeddings.vectors"].shape == (10, 64)
    assert not any("linear" in name for name in weights)


def test_class_embeddings_start_at_the_vectors_of_a_file(tmp_path):
    numpy.save(tmp_path / "start.npy", numpy.eye(10, 64, dtype=numpy.float32))
    save_file({"vectors": torch.eye(10, 64)}, tmp_path / "start.safetensors")
    images = ImageSet("digits", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4), ("a",) * 10)
    for name in ("start.npy", "start.safetensors"):
        config = quick("euclidean-target", ("model.embeddings_from", str(tmp_path / name)))
        vectors = model_for(config, images).heads["class_embeddings"].vectors
        assert torch.equal(vectors, torch.eye(10, 64))
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    numpy.save(tmp_path / "objects.npy", numpy.array([{}]), allow_pickle=True)
    for name, said in {
        "torn.npy": "torn.npy does not read as one matrix",
        "objects.npy": "objects.npy does not read as one matrix",
        "absent.safetensors": "no file of class embeddings",
    }.items():
        config = quick("euclidean-target", ("model.embeddings_from", str(tmp_path / name)))
        with pytest.raises(UserError, match=said):
            model_for(config, images)


def test_a_run_of_before_a_field_existed_is_read(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "old")
    asked = yaml.safe_load((folder / "config.yaml").read_text())
    del asked["model"]["embeddings_tied"]
    (folder / "config.yaml").write_text(yaml.safe_dump(asked))
    assert run(quick("latent-boost"), folder, recipe="x", progress=False).seed == finished[1].seed
    tied = quick("latent-boost", ("model.embeddings_tied", "true"))
    with pytest.raises(UserError, match=r"differs in model.embeddings_tied"):
        run(tied, folder, recipe="x", progress=False)


def test_compiled_networks_are_called_learn_the_same_and_keep_the_names_of_their_weights(
    finished, tmp_path, monkeypatch
):
    compiled, compile_with = [], torch.nn.Module.compile

    def count(graph, example_inputs):
        compiled.append(graph)
        return graph

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_with(self, backend=count))
    record = run(quick("latent-boost", ("training.compile", "true")), tmp_path, recipe="x", progress=False)
    assert compiled
    for row, plain in zip(record.history, finished[1].history, strict=True):
        assert row["train/total"] == pytest.approx(plain["train/total"], rel=1e-5)
    assert (
        load_file(tmp_path / "model.safetensors").keys()
        == load_file(finished[0] / "model.safetensors").keys()
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precision_of_networks(precision, finished, tmp_path):
    record = run(
        quick("latent-boost", ("training.precision", precision)), tmp_path, recipe="x", progress=False
    )
    near = 0.05 if precision == "bf16-mixed" else 1e-4
    first, plain = record.history[0]["train/total"], finished[1].history[0]["train/total"]
    assert first != plain
    assert first == pytest.approx(plain, rel=near)


def test_how_images_came_to_the_model_is_in_the_record(finished):
    assert finished[1].data_path == "uint8 on cpu"
    assert load_record(finished[0] / "record.json").data_path == "uint8 on cpu"


def test_another_configuration_is_refused(finished):
    with pytest.raises(UserError, match=r"another configuration \(differs in training.lr\)"):
        run(quick("latent-boost", ("training.lr", "0.5")), finished[0], recipe="x", progress=False)


def test_same_seed_same_weights(finished, tmp_path):
    run(quick(), tmp_path, recipe="latent-boost", progress=False)
    ours, theirs = (load_file(f / "model.safetensors") for f in (finished[0], tmp_path))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_seed_other_weights(finished, tmp_path):
    run(quick("latent-boost", ("seed", "1")), tmp_path, recipe="latent-boost", progress=False)
    name = "heads.linear.layer.weight"
    weights = [load_file(f / "model.safetensors")[name] for f in (finished[0], tmp_path)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("step", "more"),
    [
        pytest.param(9, [], id="in mid-epoch, back to the last epoch"),
        pytest.param(
            11,
            [("training.checkpoint_steps", "1"), ("data.augment", "[crop]")],
            id="in mid-epoch, saved at each step",
        ),
        pytest.param(
            9, [("model.clusters", "2"), ("training.checkpoint_steps", "3")], id="with two clusters"
        ),
        pytest.param(6, [("training.precision", "64-true")], id="in float64"),
    ],
)
def test_killed_and_resumed_is_bitwise_the_same(step, more, tmp_path):
    overrides = [*QUICK, ("data.batch", "64"), *more]  # four steps an epoch
    whole = run(
        load_recipe("latent-boost", overrides), tmp_path / "whole", recipe="latent-boost", progress=False
    )
    killed_at(step, "latent-boost", tmp_path / "killed", overrides)
    assert not (tmp_path / "killed" / "record.json").exists()
    resumed = run(
        load_recipe("latent-boost", overrides), tmp_path / "killed", recipe="latent-boost", progress=False
    )
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("whole", "killed"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert without_times(whole.history) == without_times(resumed.history)
    assert 0 < resumed.seconds < 300  # not the age of the machine
    assert whole.card.value("accuracy") == resumed.card.value("accuracy")


def test_clusters_are_found_anew_before_every_epoch(tmp_path, monkeypatch):
    seeds = []

    def found(z, y, clusters, seed):
        seeds.append(seed)
        return clusters_within_classes(z, y, clusters, seed)

    monkeypatch.setattr("latentloom.training.callbacks.clusters_within_classes", found)
    config = quick("latent-boost", ("model.clusters", "2"), ("training.epochs", "3"), ("seed", "5"))
    run(config, tmp_path, recipe="x", progress=False)
    assert seeds == [5, 6, 7]


def test_folder_in_use(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from filelock import FileLock\n"
            "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(60)",
            str(tmp_path / ".lock"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="in use by another run"):
            run(quick(), tmp_path, recipe="x", progress=False)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_nan_stops_names_the_term_and_keeps_the_last_good_checkpoint(tmp_path):
    config = quick("latent-boost", ("training.lr", "1e30"), ("training.checkpoint_steps", "1"))
    with pytest.raises(
        UserError, match=r"not finite at epoch 0, step 1: .*latent_boost.*last good checkpoint"
    ):
        run(config, tmp_path, recipe="x", progress=False)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 1


def test_what_takes_time_is_said_on_a_terminal_alone(tmp_path, capsys, monkeypatch):
    asked = quick("baseline", ("training.epochs", "1"), ("data.limit", "100"), ("model.encoder", "mlp"))
    run(asked, tmp_path / "logged", recipe="baseline")
    assert "card" not in "".join(capsys.readouterr())
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(asked, tmp_path / "seen", recipe="baseline")
    printed = capsys.readouterr()
    assert "taking the card" in printed.err
    assert "score:" not in printed.out
