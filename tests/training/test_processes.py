"""Processes that train together do what one would: every term, every step, a whole run; on gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import step_together
import torch
from runs_together import EVERY_STEP, QUICK, RUNS, whole_run
from safetensors.torch import load_file
from step_together import ALL, CAUGHT_BY, MISTAKES, PARTS, STEPS, Outcome
from together import together
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.config import Train, Training
from latentloom.recipes import load_recipe
from latentloom.records import load_record
from latentloom.training.folder import claimed
from latentloom.training.processes import first_alone, laid_out, rank_of
from latentloom.training.run import run
from latentloom.values import Record

pytestmark = pytest.mark.processes
SPLITS = [(world, split) for world in (2, 3) for split in PARTS[world]]


@pytest.fixture(scope="module")
def alone() -> dict[str, Outcome]:
    """Each step as one process does it with the whole batch."""
    return {name: step(ALL, ALL) for name, step in STEPS.items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """For 2 and 3 processes what each of them found, of all steps and runs."""
    return together(Path(step_together.__file__), folder, (2, 3))


def assert_same(ours: Outcome, alone: Outcome) -> None:
    assert_close(ours, alone, rtol=1e-10, atol=1e-10)


# One step


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("world", "split"), SPLITS)
def test_gradients_and_what_is_logged_are_those_of_one_process(
    world: int, split: str, name: str, found: Any, alone: dict[str, Outcome]
) -> None:
    assert max(float(t.abs().max()) for key, t in alone[name].items() if key.startswith("model.")) > 1e-3
    for process in found[world]:
        assert_same(process[split][name], alone[name])


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("world", [2, 3])
def test_a_mistake_would_be_seen(world: int, mistake: str, found: Any, alone: dict[str, Outcome]) -> None:
    for process in found[world]:
        for name in CAUGHT_BY:
            with pytest.raises(AssertionError):
                assert_same(process[mistake][name], alone[name])


@pytest.mark.parametrize(("world", "split"), SPLITS)
def test_what_is_not_a_number_in_one_process_stops_all_of_them(world: int, split: str, found: Any) -> None:
    (said,) = {process[f"nan {split}"] for process in found[world]}
    assert said == step_together.not_a_number(ALL)
    assert "supcon; the latents themselves are not finite" in said


def test_processes_with_other_tensors_are_told_of_it_and_do_not_wait(found: Any) -> None:
    for process in found[2]:
        assert "extra is absent in process 0, torch.float32 (n, 2) False in process 1" in process["at odds"]
        assert "z is torch.float32 (n, 4) False in process 0" in process["at odds"]


@pytest.mark.parametrize("world", [2, 3])
def test_each_process_drops_out_its_own_and_all_draw_the_same_weights(world: int, found: Any) -> None:
    drawn = [process["drawn"] for process in found[world]]
    assert len({tuple(first["model"].tolist()) for first, _ in drawn}) == world
    assert len({first["weight"].item() for first, _ in drawn}) == 1
    for first, again in drawn:  # of the same step, so that a run that goes on draws what it would have
        assert torch.equal(first["model"], again["model"])
        assert torch.equal(first["weight"], again["weight"])


def test_every_term_of_the_registry_is_among_the_steps() -> None:
    assert {setting.term for name, setting in step_together.laws.SETTINGS.items() if name in STEPS} == (
        step_together.laws.TERMS.keys()
    )


# Which process this is


def as_started(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
BY_SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2"}


@pytest.mark.parametrize(
    ("variables", "asked", "layout", "rank"),
    [
        ({}, Training(), (1, 1), 0),
        ({}, Training(devices=2), (2, 1), 0),
        ({"LOCAL_RANK": "1"}, Training(devices=2), (2, 1), 1),
        ({"LOCAL_RANK": "1", "NODE_RANK": "1"}, Training(devices=2, num_nodes=2), (2, 2), 3),
        ({"LOCAL_RANK": "1"}, Training(), (1, 1), 0),  # of something else
        (BY_TORCHRUN, Training(), (2, 2), 3),
        (BY_TORCHRUN, Training(devices=2, num_nodes=2), (2, 2), 3),
        (BY_SLURM, Training(devices=2, num_nodes=2), (2, 2), 2),
        (BY_SLURM, Training(), (1, 1), 0),  # one of many runs
    ],
)
def test_processes_know_their_rank_before_they_have_met(
    variables: dict[str, str],
    asked: Training,
    layout: tuple[int, int],
    rank: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_started(monkeypatch, **variables)
    assert laid_out(asked) == layout
    assert rank_of(asked) == rank


def test_a_layout_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    as_started(monkeypatch)
    with pytest.raises(UserError, match="at least one device on one machine, got 0 on 1"):
        laid_out(Training(devices=0))
    as_started(monkeypatch, **BY_TORCHRUN)
    with pytest.raises(UserError, match="torchrun started 4 processes, 2 on this machine, and 3 devices"):
        rank_of(Training(devices=3))


def test_the_first_process_holds_the_folder_for_all(tmp_path: Path) -> None:
    with claimed(tmp_path, Train()):
        with claimed(tmp_path, Train(seed=1), rank=1):
            pass
        with pytest.raises(UserError, match="in use"), claimed(tmp_path, Train()):
            pass
    assert (tmp_path / "config.yaml").read_text().endswith("seed: 0\n")


def test_one_process_is_the_first() -> None:
    with first_alone() as first:
        assert first


# Whole runs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Record]]:
    """Each run as one process does it, and its folder."""
    folders = {name: tmp_path_factory.mktemp("whole") for name in RUNS}
    return {name: (folder, whole_run(name, folder)) for name, folder in folders.items()}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def without_times(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("world", [2, 3])
def test_a_run_ends_with_the_weights_and_the_history_of_one_process(
    world: int, name: str, folder: Path, found: Any, whole: dict[str, tuple[Path, Record]]
) -> None:
    alone, record = whole[name]
    ours = weights_of(folder / f"{name}-of-{world}")
    assert ours["encoder.1.2.running_var"].dtype == torch.float64
    assert_close(ours, weights_of(alone), rtol=1e-6, atol=1e-6)
    for process in found[world]:
        assert_close(
            without_times(process["runs"][name]), without_times(record.history), rtol=1e-5, atol=1e-5
        )
    kept = load_record(folder / f"{name}-of-{world}" / "record.json")
    assert kept.hardware.endswith(f", {world} processes")
    assert {p.name for p in (folder / f"{name}-of-{world}").iterdir()} == {p.name for p in alone.iterdir()}


@pytest.mark.parametrize("world", [2, 3])
def test_what_many_processes_left_one_goes_on_with(
    world: int, folder: Path, found: Any, whole: dict[str, tuple[Path, Record]]
) -> None:
    assert not (folder / f"stopped-of-{world}" / "record.json").exists()
    record = whole_run("balanced", folder / f"stopped-of-{world}", EVERY_STEP)
    alone, of_one = whole["balanced"]
    assert_close(weights_of(folder / f"stopped-of-{world}"), weights_of(alone), rtol=1e-6, atol=1e-6)
    assert_close(without_times(record.history), without_times(of_one.history), rtol=1e-5, atol=1e-5)


def test_lightning_leaves_the_batches_alone(found: Any) -> None:
    for process in (*found[2], *found[3]):
        assert process["runs"]["loaders"] == ["Batches", "TwoStreams"]


TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]


@pytest.mark.slow
@pytest.mark.parametrize(("start", "more"), [(["-m"], {"training.devices": "2"}), (TORCHRUN, {})])
def test_the_command_starts_its_processes_or_is_started_in_them(
    start: list[str], more: dict[str, str], tmp_path: Path
) -> None:
    fields = {**QUICK, "model.encoder": "mlp", "training.epochs": "1"}
    flags = [word for name, value in {**fields, **more}.items() for word in (f"--{name}", value)]
    kept = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    done = subprocess.run(
        [sys.executable, *start, "latentloom", "train", "magnet", *flags, "--folder", str(tmp_path / "two")],
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr
    run(load_recipe("magnet", [*fields.items()]), tmp_path / "one", recipe="magnet", progress=False)
    assert_close(weights_of(tmp_path / "two"), weights_of(tmp_path / "one"), rtol=1e-6, atol=1e-6)
