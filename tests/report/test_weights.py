"""Stacked weights over training: what is drawn, of whom, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from latentloom.report.figures import PALETTE
from latentloom.report.page import write_page
from latentloom.report.weights import weight_areas, weight_legend

NASTY = "<b>anchor</b>"


@pytest.fixture
def runs(make_record):
    """Fixed weights, learned ones of two seeds, and a learned balance beside weights that stay."""
    still = {"weight/cross_entropy": (1.0,) * 3}
    ends = [
        {"weight/cross_entropy": (0.5, 0.4, low), f"weight/{NASTY}": (0.5, 0.6, 1 - low)}
        for low in (0.1, 0.3)
    ]
    balance = {"balance/fine": (0.5, 0.6, 0.7), "balance/coarse": (0.5, 0.4, 0.3)}
    return {
        "baseline": [make_record("baseline", **still)],
        "learned": [make_record("learned", seed, **columns) for seed, columns in enumerate(ends)],
        "balanced": [make_record("balanced", **still, **balance)],
    }


def test_what_moves_is_stacked_as_means_over_seeds(runs):
    drawn = weight_areas(runs)
    assert list(drawn) == ["learned", "balanced, fine and coarse names"]
    below, above = drawn["learned"].data
    np.testing.assert_allclose(below.x, [1, 2, 3])
    np.testing.assert_allclose(below.y, [0.5, 0.4, 0.2])
    np.testing.assert_allclose(above.y, [0.5, 0.6, 0.8])
    assert below.stackgroup == above.stackgroup == "weights"
    assert [trace.name for trace in drawn["learned"].data] == [
        "cross_entropy",
        "&lt;b&gt;anchor&lt;/b&gt;",
    ]
    assert [trace.name for trace in drawn["balanced, fine and coarse names"].data] == ["fine", "coarse"]


def test_the_legend_has_the_colours_of_what_is_drawn(runs):
    legend = weight_legend(runs)
    assert legend == [
        ("cross_entropy", PALETTE[0]), (NASTY, PALETTE[1]), ("fine", PALETTE[2]), ("coarse", PALETTE[3]),
    ]  # fmt: skip
    colours = [trace.line.color for figure in weight_areas(runs).values() for trace in figure.data]
    assert colours == [colour for _, colour in legend]


def test_weights_that_stay_are_not_drawn(runs):
    still = {name: runs[name] for name in ("baseline",)}
    assert weight_areas(still) == {}
    assert weight_legend(still) == []


def test_a_run_that_stopped_early_and_one_without_weights(make_record):
    short = make_record(validation=(0.5, 0.6), **{"weight/center": (1.0, 0.5)})
    figure = weight_areas({"x": [short, make_record(seed=1)]})["x"]
    np.testing.assert_allclose(figure.data[0].y, [1.0, 0.5])


def test_the_page_shows_them_where_they_move(runs, tmp_path):
    write_page(tmp_path / "all.html", runs, "All")
    write_page(tmp_path / "still.html", {"baseline": runs["baseline"]}, "Still")
    found, none = ((tmp_path / name).read_text(encoding="utf-8") for name in ("all.html", "still.html"))
    for heading in ("<h2>Weights</h2>", "<h3>learned</h3>", "<h3>balanced, fine and coarse names</h3>"):
        assert heading in found
        assert heading not in none
    assert "</span>&lt;b&gt;anchor&lt;/b&gt;</li>" in found
    assert NASTY not in found
