"""One trial in a worker: what is reported, where a seed ends, what an error does."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from latentloom.recipes import load_recipe
from latentloom.sweep import worker
from latentloom.sweep.trial import Task, folder_of

RISING = [k / 10 for k in range(10)]
FLAT = [0.1, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]


def task(folder: Path, seeds: int = 1, better: str = "higher") -> Task:
    return Task("baseline", load_recipe("baseline"), folder, seeds, "accuracy", better, end=31)


@pytest.fixture
def reports(monkeypatch) -> list[dict]:
    found: list[dict] = []
    monkeypatch.setattr(worker.tune, "report", found.append)
    return found


@pytest.fixture
def curves(monkeypatch) -> dict[int, list[float]]:
    """Scores per epoch of each seed, in place of training; a seed without any fails."""
    found: dict[int, list[float]] = {}

    def run(config, folder, *, recipe, progress, watch):
        if config.seed not in found:
            raise ValueError(f"no images for seed {config.seed}")
        for epoch, score in enumerate(found[config.seed]):
            watch({"epoch": epoch, "val/accuracy": score})

    monkeypatch.setattr(worker, "run", run)
    return found


def test_reports_each_epoch_of_the_first_seed_and_the_mean_of_all(reports, curves, tmp_path):
    curves.update({0: [0.2, 0.6, 0.4], 1: [0.1, 0.2], 2: [0.4]})
    worker.run_trial({"number": 4, "values": {"training.lr": 0.5}}, task(tmp_path, seeds=3))
    assert reports == [
        {"score": 0.2, "scores": [0.2], "epoch": 1, "epochs": 1},
        {"score": 0.6, "scores": [0.6], "epoch": 2, "epochs": 2},
        {"score": 0.6, "scores": [0.6], "epoch": 3, "epochs": 3},
        {"score": pytest.approx(0.4), "scores": [0.6, 0.2, 0.4], "epoch": 31, "epochs": 6},
    ]


def test_lower_may_be_better(reports, curves, tmp_path):
    curves[0] = [0.5, 0.2, 0.3]
    worker.run_trial({"number": 0, "values": {}}, task(tmp_path, better="lower"))
    assert [report["score"] for report in reports] == [0.5, 0.2, 0.2, 0.2]


def test_an_error_is_reported_and_kept_and_does_not_leave_the_worker(reports, curves, tmp_path):
    curves[0] = [0.2]
    worker.run_trial({"number": 2, "values": {}}, task(tmp_path, seeds=2))
    assert math.isnan(reports[-1]["score"])
    assert reports[-1]["error"] == "ValueError: no images for seed 1"
    assert "Traceback" in (folder_of(tmp_path, 2) / "error.txt").read_text()


def test_a_stop_by_the_scheduler_is_no_error(monkeypatch, curves, tmp_path):
    curves[0] = RISING

    def stop(report):
        raise SystemExit(0)  # as Ray does it

    monkeypatch.setattr(worker.tune, "report", stop)
    with pytest.raises(SystemExit):
        worker.run_trial({"number": 2, "values": {}}, task(tmp_path))
    assert not (folder_of(tmp_path, 2) / "error.txt").exists()


def test_a_seed_ends_on_a_plateau(curves, tmp_path):
    curves.update({0: FLAT, 1: RISING, 2: FLAT[:6]})
    lengths = [
        len(worker.scores_of(load_recipe("baseline", [("seed", str(s))]), tmp_path, task(tmp_path), len))
        for s in range(3)
    ]
    assert lengths == [8, 10, 6]  # six scores of 0.9 are there at the eighth epoch


def test_what_was_done_before_a_kill_is_heard_again_and_counted_once(reports, curves, tmp_path):
    """The history may be one epoch ahead of the checkpoint, from which epoch 1 is trained again."""
    (tmp_path / "history.csv").write_text("epoch,val/accuracy\n0,0.1\n1,0.5\n")
    heard: list[list[float]] = []
    curves[0] = FLAT
    found = worker.scores_of(
        load_recipe("baseline"), tmp_path, task(tmp_path), lambda scores: heard.append(list(scores))
    )
    assert found == FLAT[:8]
    assert heard == [FLAT[: k + 1] for k in range(8)]


def test_a_seed_that_had_ended_is_not_trained_again(curves, tmp_path):
    rows = "".join(f"{epoch},{score}\n" for epoch, score in enumerate(FLAT[:8]))
    (tmp_path / "history.csv").write_text(f"epoch,val/accuracy\n{rows}")
    assert (
        worker.scores_of(load_recipe("baseline"), tmp_path, task(tmp_path), len) == FLAT[:8]
    )  # run would raise


@pytest.mark.parametrize(
    ("scores", "better", "best"),
    [([0.2, math.nan, 0.5], "higher", 0.5), ([math.nan, 0.2, 0.5], "lower", 0.2)],
)
def test_scores_that_are_not_finite_are_never_the_best(scores, better, best):
    assert worker.best_of(scores, better) == best


def test_no_score_is_nan():
    assert math.isnan(worker.best_of([math.nan], "higher"))
