"""The command evaluate, as it is typed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from latentloom.commands import judge
from latentloom.evaluation.arrays import card_of
from latentloom.records import card_from_json


def typed(*words: str) -> None:
    parser = argparse.ArgumentParser()
    judge.add_to(parser.add_subparsers())
    arguments = parser.parse_args(["evaluate", *words])
    arguments.run(arguments, [])


def test_every_option_reaches_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.arange(30) % 3
    z = np.eye(3)[y] + 0.1 * np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "train.npz", z=z[::-1], y=y[::-1])
    np.save(tmp_path / "centres.npy", np.eye(3))
    (tmp_path / "names.txt").write_text("cat\ndog\nship")
    place = {
        name: str(tmp_path / name) for name in ("z.npy", "y.npy", "train.npz", "centres.npy", "names.txt")
    }
    ours = [place["z.npy"], "--labels", place["y.npy"]]
    typed(*ours, "--train", place["train.npz"], "--json", str(tmp_path / "card.json"))
    expected = card_of(z, y, train=(z[::-1], y[::-1]), split="z.npy")
    assert capsys.readouterr().out == f"{expected}\n"
    assert card_from_json(json.loads((tmp_path / "card.json").read_text())) == expected
    typed(*ours, "--centres", place["centres.npy"], "--class-names", place["names.txt"])
    out = capsys.readouterr().out
    assert "semantic_spearman" in out
    assert "nearest_centre_accuracy" in out
