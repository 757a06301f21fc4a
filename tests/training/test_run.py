"""A run from end to end on digits: what it leaves, what it ends as when killed, what it refuses."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentloom.checks import UserError
from latentloom.recipes import load_recipe
from latentloom.records import load_record
from latentloom.training.run import run

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
    for name in ("config.yaml", "history.csv", "model.safetensors", "model.json", "latents.parquet"):
        assert (folder / name).stat().st_size > 0
    kept = load_file(folder / "latents" / "epoch-0003.safetensors")
    assert kept["z"].dtype == torch.float16
    assert kept["z"].shape == (30, 64)
    assert kept["centres"].shape == (10, 64)
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


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback
import latentloom.training.trainer as trainer
from latentloom.recipes import load_recipe
from latentloom.training.run import run

torch.set_num_threads(1)

class Kill(Callback):
    def on_train_batch_end(self, t, *_):
        if t.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

built = trainer.Trainer
trainer.Trainer = lambda **kw: built(**{**kw, "callbacks": [*kw["callbacks"], Kill()]})
import latentloom.training.run
overrides = [tuple(pair.split("=", 1)) for pair in sys.argv[3:]]
run(load_recipe("latent-boost", overrides), Path(sys.argv[1]), recipe="latent-boost", progress=False)
"""


def killed_at(step: int, folder: Path, overrides) -> None:
    pairs = [f"{key}={value}" for key, value in overrides]
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(step), *pairs], check=False)
    assert done.returncode == -signal.SIGKILL


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
    ],
)
def test_killed_and_resumed_is_bitwise_the_same(step, more, tmp_path):
    overrides = [*QUICK, ("data.batch", "64"), *more]  # four steps an epoch
    whole = run(
        load_recipe("latent-boost", overrides), tmp_path / "whole", recipe="latent-boost", progress=False
    )
    killed_at(step, tmp_path / "killed", overrides)
    assert not (tmp_path / "killed" / "record.json").exists()
    resumed = run(
        load_recipe("latent-boost", overrides), tmp_path / "killed", recipe="latent-boost", progress=False
    )
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("whole", "killed"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert without_times(whole.history) == without_times(resumed.history)
    assert whole.card.value("accuracy") == resumed.card.value("accuracy")


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
