"""The commands embed, predict and export."""

from __future__ import annotations

import argparse

import pandas
import pytest

from latentloom.checks import UserError
from latentloom.commands import use
from latentloom.inference import load


def called(*words):
    parser = argparse.ArgumentParser()
    use.add_to(parser.add_subparsers())
    arguments = parser.parse_args(list(map(str, words)))
    arguments.run(arguments, [])


def test_embed_writes_a_table(finished, pictures, tmp_path, capsys):
    called("embed", finished, pictures, "--out", tmp_path / "z.parquet", "--workers", 1, "--batch", 7)
    said = capsys.readouterr().out
    assert "19 of 20 images, 1 skipped" in said
    assert "13.png: cannot identify" in said
    assert said.endswith(f"the table is {tmp_path / 'z.parquet'}\n")
    assert "z_63" in pandas.read_parquet(tmp_path / "z.parquet")


def test_predict_prints_a_few(finished, pictures, capsys):
    called("predict", finished, pictures / "a" / "00.png", pictures / "b", "--device", "cpu")
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 11
    assert "10 of 11 images" in said.err


def test_predict_writes_many(finished, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(use, "FEW", 19)
    with pytest.raises(UserError, match="20 images are too many to print"):
        called("predict", finished, pictures)
    called("predict", finished, pictures, "--out", tmp_path / "p.csv")
    table = pandas.read_csv(tmp_path / "p.csv")
    assert len(table) == 19
    assert "z_0" not in table
    called("predict", finished, pictures / "a", "--out", tmp_path / "p.csv", "--overwrite")
    assert len(pandas.read_csv(tmp_path / "p.csv")) == 10


def test_export_says_what_it_wrote(finished, tmp_path, capsys):
    called("export", finished, "--format", "safetensors", "--out", tmp_path / "out")
    assert f"wrote {tmp_path / 'out' / 'model.safetensors'}" in capsys.readouterr().out
    assert load(tmp_path / "out").class_names
