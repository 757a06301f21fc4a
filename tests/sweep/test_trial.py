"""Trials on disk, and which of them is the best."""

from __future__ import annotations

import math

import pytest

from latentloom.checks import UserError
from latentloom.sweep.run import numbers_to_run
from latentloom.sweep.trial import Trial, best_trial, folder_of, load_trials, save_trial

TRIALS = (
    Trial(0, {"training.lr": 1e-5, "data.batch": "32"}, "finished", (0.5, 0.7), 12),
    Trial(1, {"training.lr": 0.1 + 0.2, "data.batch": "64"}, "stopped", (0.9,), 5),
    Trial(2, {"training.lr": 1e-3, "data.batch": "64"}, "failed", (), 0, "ValueError: no"),
    Trial(3, {"training.lr": 1e-4, "data.batch": "64"}, "running"),
    Trial(5, {"training.lr": 1e-4, "data.batch": "64"}, "finished", (0.6,), 6),
    Trial(4, {"training.lr": 1e-4, "data.batch": "64"}, "finished", (0.4, math.nan), 6),
)


def test_trials_come_back_by_number_and_exactly(tmp_path):
    for trial in TRIALS[:5]:
        save_trial(trial, tmp_path)
    assert load_trials(tmp_path) == TRIALS[:5]
    save_trial(TRIALS[5], tmp_path)
    assert [trial.number for trial in load_trials(tmp_path)] == [0, 1, 2, 3, 4, 5]
    assert math.isnan(load_trials(tmp_path)[4].score)


def test_none_yet(tmp_path):
    assert load_trials(tmp_path) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": 1}', '{"number": 1, "scores": [], "x": 2}'])
def test_a_broken_trial_is_named(text, tmp_path):
    folder_of(tmp_path, 1).mkdir(parents=True)
    (folder_of(tmp_path, 1) / "trial.json").write_text(text)
    with pytest.raises(UserError, match=r"001.trial.json is not the record of a trial.*delete its folder"):
        load_trials(tmp_path)


def test_the_best_is_a_finished_one():
    assert best_trial(TRIALS, "higher").number == 0  # 0.6, before the equal one of number 5
    assert best_trial(TRIALS[1:], "higher").number == 5
    assert best_trial((TRIALS[0], Trial(6, {}, "finished", (0.1,))), "lower").number == 6
    assert best_trial(TRIALS[1:4], "higher") is None


def test_begun_trials_go_first_and_ended_ones_never():
    assert numbers_to_run(TRIALS, 8) == [3, 6, 7]
    assert numbers_to_run(TRIALS, 3) == []
    assert numbers_to_run((), 3) == [0, 1, 2]
