import json
import math
import statistics

import pytest
from scipy.stats import t as student

from latentloom.checks import UserError
from latentloom.report.rows import summary
from latentloom.report.tables import as_json, as_markdown, as_text

THEIRS = {0: 0.80, 1: 0.82, 2: 0.84}
OURS = {7: 0.90, 2: 0.89, 0: 0.84, 1: 0.85}  # another order, and a seed that the first recipe lacks


@pytest.fixture
def runs(make_record):
    def make(ours=OURS, theirs=THEIRS, score="accuracy"):
        named = {"baseline": theirs, "center": ours}
        return {
            recipe: [make_record(recipe, seed, {score: value}) for seed, value in values.items()]
            for recipe, values in named.items()
        }

    return make


def interval(differences, sd=statistics.stdev, quantile=None):
    n = len(differences)
    half = (quantile or student.ppf(0.975, n - 1)) * sd(differences) / math.sqrt(n)
    return statistics.mean(differences) - half, statistics.mean(differences) + half


def test_difference_is_paired_by_seed_and_no_mistake_agrees(runs):
    _, row = summary(runs(), ["accuracy"])
    found = row.cells["accuracy"].difference
    assert found.n == 3
    assert found.mean == pytest.approx(0.04)
    right = [0.04, 0.03, 0.05]
    assert (found.low, found.high) == pytest.approx(interval(right))
    assert (found.low, found.high) == pytest.approx((0.0151586, 0.0648414), abs=1e-6)  # by hand, t = 4.30265
    mistakes = {
        "paired by position": interval([0.10, 0.07, 0.00]),
        "sd of the population": interval(right, sd=statistics.pstdev),
        "normal quantile": interval(right, quantile=1.96),
        "theirs minus ours": interval([-d for d in right]),
    }
    for name, wrong in mistakes.items():
        assert (found.low, found.high) != pytest.approx(wrong, abs=1e-4), name


def test_mean_sd_and_change_are_over_all_seeds(runs):
    first, row = summary(runs(), ["accuracy"])
    cell = row.cells["accuracy"]
    assert (cell.spread.mean, cell.spread.n) == (pytest.approx(0.87), 4)
    assert cell.spread.sd == pytest.approx(math.sqrt((0.03**2 + 0.02**2 + 0.03**2 + 0.02**2) / 3))
    assert cell.change == pytest.approx(100 * 0.05 / 0.82)
    assert cell.change != pytest.approx(100 * 0.04 / 0.82), "only common seeds"
    assert cell.change != pytest.approx(5), "points, not relative"
    assert first.cells["accuracy"].change is first.cells["accuracy"].difference is None


@pytest.mark.parametrize(
    ("score", "ours", "verdict"),
    [
        ("accuracy", OURS, "better"),
        ("-cluster_size", OURS, "worse"),
        ("accuracy", {0: 0.70, 1: 0.71, 2: 0.75}, "worse"),
        ("-cluster_size", {0: 0.70, 1: 0.71, 2: 0.75}, "better"),
        ("accuracy", {0: 0.90, 1: 0.81, 2: 0.85}, "not decided"),
        ("accuracy", {0: 0.99, 7: 0.99}, None),
    ],
)
def test_verdict_follows_the_direction_and_needs_two_common_seeds(runs, score, ours, verdict):
    _, row = summary(runs(ours, score=score), [score.lstrip("-")])
    assert row.cells[score.lstrip("-")].verdict == verdict


def test_change_from_zero_has_no_percentage(runs):
    _, row = summary(runs(theirs={0: -0.1, 1: 0.1}), ["accuracy"])
    assert row.cells["accuracy"].change is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_shown_and_decide_nothing(runs, broken):
    rows = summary(runs(OURS | {0: broken}, THEIRS | {0: broken}), ["accuracy"])
    cell = rows[1].cells["accuracy"]
    assert (cell.change, cell.difference, cell.verdict) == (None, None, None)
    assert f"{broken} ± nan" in as_text(rows)
    assert f'"{broken}"' in as_json(rows)


def test_a_score_that_only_others_have_is_left_empty(make_record):
    runs = {"baseline": [make_record(scores={"a": 1.0})], "center": [make_record(scores={"b": 1.0})]}
    first, row = summary(runs, ["a", "b"])
    assert (row.cells["a"], first.cells["b"], row.cells["b"].change) == (None, None, None)
    assert "–" in as_text([first, row])


def test_time_to_best_counts_epochs_from_one(make_record):
    curves = [(0.5, 0.7, 0.6), (0.5, 0.6, 0.7)]
    (row,) = summary({"baseline": [make_record(seed=k, validation=v) for k, v in enumerate(curves)]}, [])
    assert row.epochs_to_best.text(1) == "2.5 ± 0.7"
    assert row.seconds_to_best.text(1) == "25.0 ± 7.1"


def test_runs_that_never_reach_are_counted_not_dropped(make_record):
    target = [(0.5, 0.6, 0.6), (0.5, 0.8, 0.6)]  # the mean of the best is 0.7
    others = {
        "sometimes": [(0.7, 0.9, 0.9), (0.2, 0.69, 0.3), (0.1, 0.2, 0.71)],
        "never": [(0.1, 0.2, 0.3), (0.1, math.nan, 0.6)],
    }
    runs = {
        recipe: [make_record(recipe, k, validation=v) for k, v in enumerate(curves)]
        for recipe, curves in {"baseline": target, **others}.items()
    }
    baseline, sometimes, never = summary(runs, [])
    assert baseline.epochs_to_reach.text(1) == "2.0, never (1 of 2)"
    assert sometimes.epochs_to_reach.text(1) == "2.0 ± 1.4, never (1 of 3)"
    assert sometimes.seconds_to_reach.text(1) == "20.0 ± 14.1, never (1 of 3)"
    assert never.epochs_to_reach.text(1) == never.seconds_to_reach.text(1) == "never (2 of 2)"
    assert "never (2 of 2)" in as_text([baseline, sometimes, never])


def test_a_monitor_that_falls_is_reached_from_above(make_record):
    record = make_record(scores={"-spread": 1.0}, **{"val/spread": (3.0, 1.0, 2.0)})
    slow = make_record(scores={"-spread": 1.0}, **{"val/spread": (3.0, 2.0, 0.5)})
    for each in (record, slow):
        each.config["training"]["monitor"] = "spread"
    assert summary({"baseline": [record], "slow": [slow]}, [])[1].epochs_to_reach.text(1) == "3.0"


def test_nothing_is_reached_where_nothing_was_monitored(make_record):
    record = make_record()
    record.config["training"]["monitor"] = "silhouette"
    assert summary({"baseline": [record]}, [])[0].epochs_to_reach.text(1) == "never (1 of 1)"


def test_misspelt_score_and_repeated_seed_are_refused(make_record):
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        summary({"baseline": [make_record()]}, ["acuracy"])
    for records in ([make_record(), make_record()], []):
        with pytest.raises(UserError, match=r"'baseline' have the seeds \[.*each seed once"):
            summary({"baseline": records}, [])


def test_an_equal_gain_for_every_seed_has_no_interval(runs):
    rows = summary(runs({0: 0.85, 1: 0.87}), ["accuracy"])
    assert rows[1].cells["accuracy"].verdict == "not decided"
    assert "nan" not in as_text(rows)


@pytest.fixture
def rows(make_record):
    """Three recipes with nine scores of all sizes."""
    scores = [f"score_number_{k}" for k in range(8)]
    runs = {
        recipe: [
            make_record(
                recipe,
                seed,
                {s: 10.0 ** (k - 2) * (4 + j + seed * (j + 1) / 9) for k, s in enumerate(scores)}
                | {"-a|b": j * (1 + seed)},
            )
            for seed in range(2)
        ]
        for j, recipe in enumerate(("baseline", "center", "latent-boost"))
    }
    return summary(runs, [*scores, "a|b"])


def test_text_keeps_to_the_width_and_columns_line_up(rows):
    text = as_text(rows)
    blocks = text.strip().split("\n\n")
    for _, *lines in map(str.splitlines, blocks):
        assert len({len(line) for line in lines}) == 1
        assert len(lines[0]) <= 110
    names = {"baseline", "center", "latent-boost", *(f"score_number_{k} ↑" for k in range(8)), "a|b ↓"}
    assert all(name in text for name in names)


def test_small_and_large_scores_are_shown_with_four_digits_or_so(rows):
    text = as_text(rows)
    for shown in ("0.0406 ± 0.0008", "4.0556 ± 0.0786", "405.56 ± 7.86", "405555.6 ± 7856.7"):
        assert shown in text


def test_markdown_tables_have_as_many_columns_in_every_line(rows):
    for table in as_markdown(rows).split("\n\n")[1::2]:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_json_is_strict_and_complete(rows):
    data = json.loads(as_json(rows), parse_constant=pytest.fail)
    assert [row["recipe"] for row in data] == ["baseline", "center", "latent-boost"]
    assert data[1]["cells"]["score_number_2"]["change"] == pytest.approx(100 * (1 + 1 / 18) / (4 + 1 / 18))
