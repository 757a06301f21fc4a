"""Checkpoints: read only as they were written, the one before where the last is torn."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentloom.checks import UserError
from latentloom.recipes import load_recipe
from latentloom.training.checkpoints import WholeCheckpoints, is_whole, read, to_resume
from latentloom.training.folder import BEFORE, BEST, LAST
from latentloom.training.run import run

QUICK = [
    ("data.limit", "200"),
    ("training.epochs", "4"),
    ("training.logger", "false"),
    ("training.keep_latents", "0"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "20"),
]


def save(step: int, path: Path) -> None:
    WholeCheckpoints().save_checkpoint({"step": step, "weights": torch.full((5000,), float(step))}, path)


def cut(path: Path, to: int) -> None:
    path.write_bytes(path.read_bytes()[:to])


def flip(path: Path, at: int) -> None:
    found = bytearray(path.read_bytes())
    found[at] ^= 1
    path.write_bytes(found)


# One file


def test_what_is_written_is_read_and_torch_reads_it_too(tmp_path: Path) -> None:
    save(3, tmp_path / LAST)
    assert read(tmp_path / LAST)["step"] == 3
    assert WholeCheckpoints().load_checkpoint(tmp_path / LAST)["weights"].tolist() == [3.0] * 5000
    assert torch.load(tmp_path / LAST, weights_only=True)["step"] == 3


def test_one_byte_less_or_another_one_is_seen_wherever_it_is(tmp_path: Path) -> None:
    save(3, tmp_path / "whole")
    size = (tmp_path / "whole").stat().st_size
    for place in [*range(0, size, 487), *range(size - 40, size)]:
        for spoil in (cut, flip):
            shutil.copy(tmp_path / "whole", tmp_path / "spoilt")
            spoil(tmp_path / "spoilt", place)
            assert not is_whole(tmp_path / "spoilt")
    assert is_whole(tmp_path / "whole")
    assert not is_whole(tmp_path / "absent")


def test_a_file_that_executes_something_is_not_read_though_its_digest_is_right(tmp_path: Path) -> None:
    WholeCheckpoints().save_checkpoint({"x": Path("a")}, tmp_path / "a.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        read(tmp_path / "a.ckpt")
    WholeCheckpoints().remove_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt is gone, or not as it was written; put it back"):
        read(tmp_path / "a.ckpt")


# Which one a run goes on from


def saved(folder: Path, steps: int) -> Path:
    for step in range(1, steps + 1):
        save(step, folder / LAST)
    return folder


def test_the_one_before_the_last_is_kept_and_no_other(tmp_path: Path) -> None:
    assert to_resume(saved(tmp_path, 0)) is None
    assert to_resume(saved(tmp_path, 1)) == tmp_path / LAST
    saved(tmp_path, 3)
    assert {path.name: read(path)["step"] for path in (tmp_path / "checkpoints").iterdir()} == {
        LAST.name: 3,
        BEFORE.name: 2,
    }


def test_between_two_names_the_one_before_is_the_last(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    (tmp_path / LAST).unlink()
    assert to_resume(tmp_path) == tmp_path / BEFORE


def test_a_torn_one_is_named_and_put_aside_and_never_replaces_a_whole_one(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    cut(tmp_path / LAST, 1000)
    assert to_resume(tmp_path, rank=1) == tmp_path / BEFORE  # of several processes one says it
    with pytest.warns(UserWarning, match=r"last\.ckpt is not as .* last\.torn; .* goes on from before-last"):
        assert to_resume(tmp_path) == tmp_path / BEFORE
    save(3, tmp_path / LAST)
    assert read(tmp_path / BEFORE)["step"] == 1
    assert to_resume(tmp_path) == tmp_path / LAST


def test_without_a_whole_one_it_is_said_what_to_do(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    cut(tmp_path / LAST, 0)
    flip(tmp_path / BEFORE, 500)
    with pytest.raises(
        UserError, match=r"last\.ckpt and .*before-last\.ckpt are not as .* delete .* run again"
    ):
        to_resume(tmp_path)
    assert (tmp_path / LAST).exists()


def test_the_best_epoch_has_no_one_before_it(tmp_path: Path) -> None:
    save(1, tmp_path / BEST)
    saved(tmp_path, 1)
    flip(tmp_path / BEST, 2000)
    with pytest.raises(UserError, match=r"best\.ckpt is gone, or not as it was written"):
        to_resume(tmp_path)


# A whole run


class StoppedError(Exception):
    """Where a process would have been killed."""


def stopped(folder: Path, epochs: int) -> None:
    def watch(row: Mapping[str, float]) -> None:
        if row["epoch"] == epochs:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(load_recipe("baseline", QUICK), folder, recipe="baseline", progress=False, watch=watch)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("whole")
    run(load_recipe("baseline", QUICK), folder, recipe="baseline", progress=False)
    return load_file(folder / "model.safetensors")


def test_a_run_whose_last_checkpoint_is_torn_ends_as_if_it_had_not_been(
    whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    stopped(tmp_path, 3)
    assert read(tmp_path / BEFORE)["epoch"] == 1
    flip(tmp_path / LAST, 5000)
    with pytest.warns(UserWarning, match="goes on from before-last"):
        run(load_recipe("baseline", QUICK), tmp_path, recipe="baseline", progress=False)
    ours = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_folder_that_was_moved_keeps_its_best_epoch(whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    stopped(tmp_path / "here", 2)
    shutil.move(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / ".latents.parquet.7.part").touch()  # of a process that was killed as it wrote
    (tmp_path / "there" / "checkpoints" / ".last.ckpt.7.part").touch()
    record = run(load_recipe("baseline", QUICK), tmp_path / "there", recipe="baseline", progress=False)
    ours = load_file(tmp_path / "there" / "model.safetensors")
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert len(record.history) == 4
    assert not list((tmp_path / "there").rglob("*.part"))
