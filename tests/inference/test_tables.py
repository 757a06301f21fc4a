"""Tables of many files: what they hold, that they go on when killed, that nothing is lost unasked."""

from __future__ import annotations

import resource
import shutil

import numpy as np
import pandas
import pytest
import torch
from filelock import FileLock

from latentloom.checks import UserError
from latentloom.inference import embed_files, image_paths, load, predict_files
from latentloom.inference.parts import Parts


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    for module in ("parts", "tables"):
        monkeypatch.setattr(f"latentloom.inference.{module}.IN_PART", 6)


def test_the_table_holds_every_image_that_decodes(finished, pictures, tmp_path):
    out = tmp_path / "deep" / "z.parquet"
    outcome = embed_files(finished, [pictures], out, batch=4)
    table = pandas.read_parquet(out)
    paths = [path for path in image_paths([pictures]) if not path.endswith("13.png")]
    assert table["path"].tolist() == paths
    model = load(finished)
    latent = model.embed(paths)
    wanted = model.predictions(latent).columns()
    assert list(table) == ["path", *(f"z_{k}" for k in range(64)), "latent", *wanted]
    torch.testing.assert_close(torch.tensor(np.stack(table["latent"])), latent.z)
    z = torch.tensor(table[[f"z_{k}" for k in range(64)]].to_numpy())
    torch.testing.assert_close(z, latent.z)
    assert z.dtype == torch.float32
    assert tuple(table["label"]) == wanted["label"]
    torch.testing.assert_close(torch.tensor(table["ood"]), wanted["ood"])
    assert outcome.images == 20
    ((path, reason),) = outcome.skipped
    assert path.endswith("13.png")
    assert str(outcome) == f"skipped {path}: {reason}\n19 of 20 images, 1 skipped"
    assert sorted(file.name for file in out.parent.iterdir()) == ["z.parquet"]


def test_without_latents_and_as_text(finished, pictures, tmp_path):
    embed_files(load(finished), [pictures / "a"], tmp_path / "z.csv")
    assert "latent" not in pandas.read_csv(tmp_path / "z.csv")  # a list is no text
    embed_files(load(finished), [pictures / "a"], tmp_path / "t.csv", latents=False)
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table)[:3] == ["path", "label", "probability"]
    assert len(table) == 10


def test_a_bar_is_shown_on_a_terminal_alone(finished, pictures, tmp_path, capsys, monkeypatch):
    embed_files(finished, [pictures / "a"], tmp_path / "logged.csv")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    embed_files(finished, [pictures / "a"], tmp_path / "seen.csv")
    printed = capsys.readouterr()
    assert (printed.out, "100%" in printed.err) == ("", True)


class KilledError(Exception):
    pass


@pytest.fixture
def cut(finished, pictures, tmp_path, monkeypatch):
    """A table of four parts whose process was killed in the third; the second holds the first bad file."""
    out, write = tmp_path / "z.parquet", Parts.write
    bad_first = [str(pictures / "b" / "13.png"), pictures]

    def killed(self, k, *rest):
        if k == 2:
            raise KilledError
        write(self, k, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Parts, "write", killed)
        with pytest.raises(KilledError):
            embed_files(finished, bad_first, out)
    return out, bad_first


def test_goes_on_where_it_was_killed(finished, cut, tmp_path, monkeypatch):
    out, images = cut
    assert not out.exists()
    half_written = out.with_name(".z.parquet.7.part")
    half_written.touch()
    made, write = [], Parts.write
    monkeypatch.setattr(Parts, "write", lambda self, k, *rest: (made.append(k), write(self, k, *rest)))
    outcome = embed_files(finished, images, out)
    assert made == [2, 3]
    assert len(outcome.skipped) == 1  # of a part that the killed process had made
    embed_files(finished, images, tmp_path / "whole.parquet")
    whole = pandas.read_parquet(tmp_path / "whole.parquet")
    pandas.testing.assert_frame_equal(pandas.read_parquet(out), whole)
    assert not (tmp_path / "z.parquet.parts").exists()
    assert not half_written.exists()


@pytest.mark.faults
def test_goes_on_when_there_is_room_again(finished, pictures, tmp_path):
    out, before = tmp_path / "z.parquet", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"no room to write .*z\.parquet\.parts.* make room"):
            embed_files(finished, [pictures], out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in out.with_name("z.parquet.parts").glob("*") if path.suffix != ".json"] == [
        ".lock"
    ]
    assert embed_files(finished, [pictures], out).images == 20


def test_parts_of_another_table_are_kept_unless_asked(finished, cut, pictures):
    out, _ = cut
    with pytest.raises(UserError, match=r"beginning of another table \(differs in latents, images, paths\)"):
        embed_files(finished, [pictures / "a"], out, latents=False)
    assert len(list(out.with_name("z.parquet.parts").glob("*.parquet"))) == 2
    embed_files(finished, [pictures / "a"], out, latents=False, overwrite=True)
    assert len(pandas.read_parquet(out)) == 10


def test_parts_of_another_model_are_seen(finished, untrained, cut):
    out, images = cut
    other, _ = untrained("baseline")
    with pytest.raises(UserError, match="differs in model"):
        embed_files(other, images, out)


def test_an_interrupted_overwriting_goes_on(finished, cut, monkeypatch):
    out, images = cut
    out.write_text("older")
    made, write = [], Parts.write
    monkeypatch.setattr(Parts, "write", lambda self, k, *rest: (made.append(k), write(self, k, *rest)))
    embed_files(finished, images, out, overwrite=True)
    assert made == [2, 3]
    assert len(pandas.read_parquet(out)) == 19


def test_a_table_is_not_overwritten_unasked(finished, pictures, tmp_path):
    out = tmp_path / "z.parquet"
    out.write_text("mine")
    with pytest.raises(UserError, match="already; choose another --out, or say --overwrite"):
        embed_files(finished, [pictures], out)
    assert out.read_text() == "mine"


def test_one_process_at_a_time(finished, pictures, tmp_path):
    parts = tmp_path / "z.parquet.parts"
    parts.mkdir()
    with FileLock(parts / ".lock"), pytest.raises(UserError, match="written by another process"):
        embed_files(finished, [pictures], tmp_path / "z.parquet")


def test_another_kind_of_file(finished, pictures, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.xlsx; wanted \.parquet or \.csv"):
        embed_files(finished, [pictures], tmp_path / "z.xlsx")


def test_no_image_at_all_is_an_error(finished, pictures, tmp_path):
    with pytest.raises(UserError, match=r"none of 1 files decodes as an image; .*13\.png: cannot identify"):
        embed_files(finished, [pictures / "b" / "13.png"], tmp_path / "z.parquet")
    assert not (tmp_path / "z.parquet").exists()
    mended = tmp_path / "mended.png"
    mended.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of 1 files"):
        embed_files(finished, [mended], tmp_path / "m.csv")
    shutil.copy(pictures / "a" / "00.png", mended)
    assert embed_files(finished, [mended], tmp_path / "m.csv").skipped == []


def test_a_part_without_images_leaves_no_gap(finished, pictures, tmp_path):
    bad = [tmp_path / f"{k}.png" for k in range(6)]
    for path in bad:
        shutil.copy(pictures / "b" / "13.png", path)
    outcome = embed_files(finished, [*bad, pictures / "a"], tmp_path / "z.parquet")
    assert len(pandas.read_parquet(tmp_path / "z.parquet")) == 10
    assert len(outcome.skipped) == 6


def test_batches_of_none(finished, pictures, tmp_path):
    with pytest.raises(UserError, match="at least one image, got 0"):
        embed_files(finished, [pictures], tmp_path / "z.parquet", batch=0)


def test_a_few_are_told(finished, pictures):
    model = load(finished)
    paths = image_paths([pictures / "b"])
    text, outcome = predict_files(model, paths, batch=3)
    lines = text.splitlines()
    assert len(lines) == 10
    assert lines[0].split()[:3] == ["path", "label", "probability"]
    assert lines[1].split()[0] == paths[0]
    assert lines[1].split()[1] == model.predict(paths[:1]).labels[0]
    assert (outcome.images, len(outcome.skipped)) == (10, 1)
    assert predict_files(model, [str(pictures / "b" / "13.png")])[0] == "no image decodes"


def test_a_path_that_is_not_utf8(finished, pictures, tmp_path):
    odd = tmp_path / "caf\udce9.png"
    try:
        shutil.copy(pictures / "a" / "00.png", odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    embed_files(finished, [odd], tmp_path / "z.parquet")
    assert pandas.read_parquet(tmp_path / "z.parquet")["path"][0].endswith("caf\\udce9.png")
