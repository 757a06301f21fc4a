"""What a sweep leaves: table, best recipe, picture."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from latentloom.checks import UserError
from latentloom.recipes import load_recipe
from latentloom.sweep.picture import parallel_coordinates
from latentloom.sweep.result import SweepResult, best_recipe, write_result
from latentloom.sweep.space import Axis, with_values
from latentloom.sweep.trial import Trial

AXES = (
    Axis("training.lr", "loguniform", 2e-4, 1e-2),
    Axis("objective.lam", "uniform", 0.0, 1.0),
    Axis("data.augment", "choice", choices=("[]", "[crop]", "<b>")),
)


def trial(number, lr, *rest, lam=0.5, augment="[crop]") -> Trial:
    return Trial(number, {"training.lr": lr, "objective.lam": lam, "data.augment": augment}, *rest)


TRIALS = (
    trial(0, 1e-3, "finished", (0.7, 0.8), 20),
    trial(1, 3e-3, "finished", (0.9, 0.9), 24, lam=0.25),
    trial(2, 5e-3, "stopped", (0.95,), 5, augment="[]"),
    trial(3, 5e-3, "failed", (), 0, "DivergedError: the loss is not finite | here"),
)


@pytest.fixture
def result(tmp_path) -> SweepResult:
    base = load_recipe("latent-boost", [("training.epochs", "12"), ("seed", "7")])
    return SweepResult("latent-boost", base, AXES, TRIALS, "accuracy", "higher", tmp_path)


def test_the_best_recipe_is_what_was_asked_for_with_its_values(result, tmp_path):
    write_result(result)
    asked = load_recipe(str(tmp_path / "best.yaml"))
    assert asked == with_values(result.base, TRIALS[1].values)
    assert asked.evaluation.split == "test"
    assert (tmp_path / "best.yaml").read_text().startswith("# latent-boost, the best of 4 trials on digits: ")


def test_the_best_recipe_says_no_more_than_it_must(result):
    assert best_recipe(result).splitlines()[1:] == [
        "data:",
        "  augment:",
        "  - crop",
        "objective:",
        "  terms:",
        "    cross_entropy: {}",
        "    latent_boost:",
        "      options:",
        "        alpha: 2.0",
        "  lam: 0.25",
        "training:",
        "  epochs: 12",
        "  lr: 0.003",
        "seed: 7",
    ]


def test_tables(result, tmp_path):
    write_result(result)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["state"] for row in rows] == ["finished", "finished", "stopped", "failed"]
    assert rows[0]["accuracy"] == "0.75"
    assert float(rows[0]["sd"]) == pytest.approx(0.1 / 2**0.5)
    assert rows[2]["sd"] == rows[3]["accuracy"] == ""
    lines = (tmp_path / "trials.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| trial", "| ---:", "| 1", "| 0", "| 2", "| 3"]
    assert len({line.count("|") for line in lines}) == 1


def test_a_score_that_is_better_when_low_is_sorted_so(result):
    low = replace(result, better="lower")
    assert low.best.number == 0
    assert low.text().splitlines()[1].split()[0] == "0"


def test_the_text_names_counts_errors_and_files(result, tmp_path):
    text = result.text()
    assert "4 trials: 2 finished, 1 stopped, 1 failed" in text
    assert "failed: trial 3: DivergedError: the loss is not finite" in text
    assert f"latentloom train {tmp_path / 'best.yaml'}" in text


def test_nothing_finished(result, tmp_path):
    failed = replace(result, trials=TRIALS[2:])
    with pytest.raises(
        UserError, match=r"no trial of .* has finished \(1 stopped, 1 failed\).*Diverged"
    ) as caught:
        write_result(failed)
    assert str(tmp_path / "trials" / "003" / "error.txt") in str(caught.value)
    assert (tmp_path / "trials.csv").exists()
    with pytest.raises(UserError, match=r"has finished \(1 stopped\); start the sweep again"):
        _ = replace(result, trials=TRIALS[2:3]).best


def test_the_picture_has_an_axis_per_field_and_a_line_per_score():
    (lines,) = parallel_coordinates(AXES, TRIALS, "accuracy").data
    lr, lam, augment, score = lines.dimensions
    assert [d.label for d in lines.dimensions] == [*(axis.field for axis in AXES), "accuracy"]
    assert list(lr["values"]) == pytest.approx([-3, -2.5228787, -2.3010300])
    assert list(lr.ticktext) == ["0.0002", "0.001", "0.01"]
    assert list(lam["values"]) == [0.5, 0.25, 0.5]
    assert list(augment["values"]) == [1, 1, 0]
    assert list(augment.ticktext) == ["[]", "[crop]", "&lt;b&gt;"]
    assert list(score["values"]) == list(lines.line.color) == pytest.approx([0.75, 0.9, 0.95])


def test_the_picture_works_offline(result, tmp_path):
    write_result(result)
    text = (tmp_path / "parallel.html").read_text()
    assert "Plotly.newPlot" in text
    assert 'src="http' not in text
