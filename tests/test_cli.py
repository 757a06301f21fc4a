"""The command as a user meets it: what it prints, what it refuses, its exit codes."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from latentloom.cli import _parser, main
from latentloom.config import Data
from latentloom.data import load
from latentloom.flags import OWN, taken_apart

QUICK = [
    *("--data.limit", "200", "--training.epochs", "1"),
    *("--training.logger", "false", "--evaluation.bootstrap", "20"),
]


def refused(capsys, *words: str) -> str:
    """What the command prints when it refuses; always one screen, no traceback, exit code 2."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("latentloom: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""
    return printed.err


def test_train_prints_the_card_and_where_everything_is(capsys, tmp_path):
    assert main(["train", "baseline", "--folder", str(tmp_path / "run"), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "silhouette" in out
    assert str(tmp_path / "run") in out
    assert main(["train", "baseline", "--folder", str(tmp_path / "run"), *QUICK]) == 0
    assert "holds this run already" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "silhouette" in capsys.readouterr().out


def test_compare_runs_recipes_over_seeds_and_writes_a_page(capsys, tmp_path):
    words = ["compare", "baseline", "latent-boost", "latent-boost,objective.lam=0.25", "--seeds", "2"]
    assert main([*words, "--folder", str(tmp_path), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "latent-boost,objective.lam=0.25" in out
    assert "report.html" in out
    page = (tmp_path / "report.html").read_text()
    assert "latent-boost" in page
    assert len(json.loads((tmp_path / "table.json").read_text())) == 3
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/seed-*/record.json")}
    assert len(before) == 6
    assert main([*words, "--folder", str(tmp_path), *QUICK]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/seed-*/record.json")}


def test_two_workers_give_what_one_gives(tmp_path):
    for workers in ("1", "2"):
        words = ["compare", "baseline", "magnet", "--seeds", "1", "--workers", workers]
        assert main([*words, "--folder", str(tmp_path / workers), *QUICK]) == 0
    one, two = (json.loads((tmp_path / w / "table.json").read_text()) for w in ("1", "2"))
    assert [row["recipe"] for row in one] == [row["recipe"] for row in two] == ["baseline", "magnet"]


def test_evaluate_takes_latents_from_anywhere(capsys, tmp_path):
    y = np.arange(3).repeat(20)
    z = np.eye(3)[y] + 0.01 * np.random.default_rng(0).normal(size=(60, 3))
    np.savez(tmp_path / "latents.npz", z=z, y=y)
    assert main(["evaluate", str(tmp_path / "latents.npz")]) == 0
    assert "silhouette" in capsys.readouterr().out


@pytest.mark.parametrize("of", ["recipes", "terms", "scores", "data", "encoders", "decoders"])
def test_lists_come_from_the_registries(capsys, of):
    assert main(["list", of]) == 0
    known = {
        "recipes": "latent-boost-paper",
        "terms": "latent_boost",
        "scores": "silhouette",
        "data": "fashion-mnist",
        "encoders": "small_cnn",
        "decoders": "conv",
    }
    assert known[of] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "latent-bost"], "did you mean 'latent-boost'"),
        (["train", "baseline", "--objective.terms.tripet.weight", "1"], "did you mean 'triplet'"),
        (
            ["train", "latent-boost", "--objective.terms.latent_boost.options.alpa", "1"],
            "did you mean 'alpha'",
        ),
        (["train", "latent-boost", "--lam", "1.5"], "lambda must lie in [0, 1], got 1.5"),
        (["train", "latent-boost", "--training.monitor", "acuracy"], "did you mean 'accuracy'"),
        (["train", "baseline", "--data", "fasion-mnist"], "did you mean 'fashion-mnist'"),
        (["train", "baseline", "--model.encoder", "resnet81"], "did you mean 'resnet18'"),
        (["train", "baseline", "--traning.lr", "1"], "did you mean '--training.lr'"),
        (["train", "baseline", "--training.lr", "fast"], "training.lr"),
        (["train", "baseline", "nonsense"], "what is 'nonsense'"),
        (["train", "baseline", "--data.validation", "1.5"], "validation"),
        (["compare", "baseline", "baseline"], "each recipe may be named once"),
        (["compare", "baseline", "--seeds", "0"], "at least 1"),
        (["evaluate", "nowhere"], "there is no nowhere"),
        (["evaluate", "nowhere", "--seed", "1"], "evaluate takes no --seed"),
    ],
)
def test_bad_input_is_one_clear_message(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *words)


def test_a_latent_file_that_is_not_one(capsys, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    assert "cannot read latents" in refused(capsys, "evaluate", str(tmp_path / "broken.npz"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert "wanted z and y" in refused(capsys, "evaluate", str(tmp_path / "other.npz"))
    (tmp_path / "latents.csv").write_text("")
    assert "neither .parquet nor .npz" in refused(capsys, "evaluate", str(tmp_path / "latents.csv"))


def test_an_interrupt_in_a_run_says_that_the_same_command_goes_on(tmp_path):
    small = ["--data.limit", "100", "--training.logger", "false", "--training.keep_latents", "0"]
    long = ["--epochs", "100000", "--training.stop_patience", "100000"]
    command = [
        sys.executable,
        "-m",
        "latentloom",
        "train",
        "baseline",
        *small,
        *long,
        "--folder",
        str(tmp_path),
    ]
    # A shell without job control starts what runs in its background with interrupts ignored.
    default = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=default)
    while not (tmp_path / "checkpoints" / "last.ckpt").exists() and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 130, said
    assert said.splitlines()[-1].startswith("latentloom: stopped; the same command goes on")
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_only_fields_that_are_true_or_false_need_no_value():
    assert taken_apart(["train", "x", "--model.pullback", "--epochs", "3"]) == (
        ["train", "x"],
        [("model.pullback", "true"), ("epochs", "3")],
    )
    assert taken_apart(["--training.logger", "mlflow"])[1] == [("training.logger", "mlflow")]


def test_flags_of_the_commands_are_told_from_those_of_fields():
    commands = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    flags = {flag for parser in commands.values() for flag in parser._option_string_actions}
    assert {flag.removeprefix("--") for flag in flags if flag.startswith("--")} == OWN


def test_sweep_refuses_before_anything_starts(capsys, tmp_path):
    place = ["--folder", str(tmp_path)]
    assert "no packaged space" in refused(capsys, "sweep", "baseline", "--space", "defalt", *place)
    assert "--seeds N" in refused(capsys, "sweep", "baseline", "--seed", "3", *place)
    (tmp_path / "mine.yaml").write_text("training.lrr: {uniform: [0, 1]}")
    assert "did you mean" in refused(
        capsys, "sweep", "baseline", "--space", str(tmp_path / "mine.yaml"), *place
    )
    assert "--trials must be at least 1" in refused(capsys, "sweep", "baseline", "--trials", "0", *place)


# Names of classes


def test_names_are_shown_with_what_is_read_for_them(capsys, tmp_path) -> None:
    out = tmp_path / "vectors.safetensors"
    assert main(["names", "--data", "digits", "--out", str(out)]) == 0
    assert "7  seven" in capsys.readouterr().out
    assert out.exists()
    assert "say whose class names" in refused(capsys, "names")
    assert "names trains nothing; --seed cannot" in refused(
        capsys, "names", "--data", "digits", "--seed", "1"
    )
    encoder = ["--model.encoder", "mlp", "--out", "a.yaml"]
    assert "groups trains nothing; --model.encoder" in refused(capsys, "groups", "--data", "digits", *encoder)
    asked = ["--data", "digits", "--model.label_embeddings.source", "name"]
    assert "wanted none, names, or a .npy or .safetensors" in refused(capsys, "names", *asked)


def test_descriptions_and_files_of_vectors_make_names_and_groups(capsys, tmp_path) -> None:
    fruit, ships = ("apple", "orange", "pear", "plum", "cherry"), ("ship", "boat", "truck", "bus", "train")
    told = "".join(f"{digit}: {word}\n" for digit, word in enumerate([*fruit, *ships]))
    (tmp_path / "told.yaml").write_text(told.replace("plum", "lemon").replace("cherry", "banana"))
    (tmp_path / "told.yaml").write_text((tmp_path / "told.yaml").read_text().replace("boat", "airplane"))
    described = ["--data", "digits", "--model.label_embeddings.descriptions", str(tmp_path / "told.yaml")]
    assert main(["names", *described]) == 0
    assert "0  apple\n1  orange" in capsys.readouterr().out
    assert main(["groups", *described, "--out", str(tmp_path / "told-groups.yaml"), "--number", "2"]) == 0
    assert (
        load(Data(coarse=str(tmp_path / "told-groups.yaml")), 0).train.coarse_of.tolist() == [0] * 5 + [1] * 5
    )
    np.save(tmp_path / "v.npy", np.eye(2)[np.arange(10) % 2] + 0.01 * np.eye(10)[:, :2])
    rows = ["--data", "digits", "--model.label_embeddings.source", str(tmp_path / "v.npy")]
    centred = ["--model.label_embeddings.centred", "true"]
    assert main(["groups", *rows, *centred, "--out", str(tmp_path / "rows.yaml"), "--number", "2"]) == 0
    assert load(Data(coarse=str(tmp_path / "rows.yaml")), 0).train.coarse_of.tolist() == [0, 1] * 5


def test_groups_are_written_to_be_edited_and_are_taken_from_there(capsys, tmp_path) -> None:
    out = str(tmp_path / "groups.yaml")
    assert main(["groups", "--data", "digits", "--out", out, "--number", "3"]) == 0
    assert f"train with --data.coarse {out}" in capsys.readouterr().out
    splits = load(Data(coarse=out), 0)
    assert len(splits.train.coarse_names) == 3
    assert "is there already" in refused(capsys, "groups", "--data", "digits", "--out", out)
    assert "wanted 2 to 9" in refused(capsys, "groups", "--data", "digits", "--out", out, "--number", "10")
