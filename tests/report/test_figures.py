import math

import numpy as np
import pytest

from latentloom.report import figures
from latentloom.report.maps import MapData


def a_map(n=12, names=("<b>x</b>", "a & b", "cat")):
    labels = np.arange(n) % (len(names) + 1) - 1
    return MapData(np.stack([np.arange(n), labels], 1).astype(float), labels, names, seed=0)


def test_a_map_has_a_trace_per_class_and_centres_at_the_means():
    figure = figures.latent_map(a_map())
    assert [trace.name for trace in figure.data] == [
        "unlabelled", "&lt;b&gt;x&lt;/b&gt;", "a &amp; b", "cat", "centres",
    ]  # fmt: skip
    np.testing.assert_array_equal(figure.data[2].x, [2, 6, 10])
    np.testing.assert_array_equal(figure.data[-1].x, [5, 6, 7])
    np.testing.assert_array_equal(figure.data[-1].y, [0, 1, 2])


def test_a_map_without_labels_has_no_centre():
    data = MapData(np.zeros((3, 2)), np.full(3, -1), (), seed=0)
    assert [len(trace.x) for trace in figures.latent_map(data).data] == [3, 0]


def test_many_points_are_drawn_by_webgl_and_many_names_are_left_to_the_hover():
    kinds = {n: figures.latent_map(a_map(n)).data[0].type for n in (12, 5000)}
    assert kinds == {12: "scatter", 5000: "scattergl"}
    many = tuple(map(str, range(21)))
    modes = [figures.latent_map(a_map(100, names)).data[-1].mode for names in (many[:20], many)]
    assert modes == ["markers+text", "markers"]


def test_a_hundred_classes_and_forty_recipes_look_different():
    assert len({figures.class_colour(k) for k in range(10)}) == 10
    assert len({(figures.class_colour(k), figures.class_symbol(k)) for k in range(-1, 100)}) == 101
    assert len({(figures.recipe_colour(k), figures.recipe_dash(k)) for k in range(41)}) == 41


def test_curves_are_means_over_the_runs_that_got_there(make_record):
    curves = [(0.5, 0.7, 0.6), (0.3, 0.8), (0.4, math.nan, math.inf)]
    records = [make_record(seed=k, validation=v) for k, v in enumerate(curves)]
    expected = [(1, 0.4, 0.1, 3), (2, 0.75, math.sqrt(2 * 0.05**2), 2), (3, 0.6, 0, 1)]
    np.testing.assert_allclose(figures.over_seeds(records, "val/accuracy"), expected)
    band, line = figures.curves({"<i>": records}, "val/accuracy").data
    np.testing.assert_allclose(line.y, [0.4, 0.75, 0.6])
    np.testing.assert_allclose(band.y[:2], [0.5, 0.75 + 0.05 * math.sqrt(2)])
    np.testing.assert_allclose(band.y[-1], 0.3)
    assert line.name == "&lt;i&gt;"


def test_a_recipe_without_the_column_has_no_line(make_record):
    runs = {"baseline": [make_record()], "boost": [make_record(**{"lambda": (0.5, 0.5, 0.5)})]}
    assert [trace.name for trace in figures.curves(runs, "lambda").data] == [None, "boost"]


@pytest.mark.parametrize(
    ("key", "is_schedule"),
    [
        ("lambda", True),
        ("latent_boost.alpha", True),
        ("train/latent_boost.part", False),
        ("lr", False),
        ("seconds", False),
    ],
)
def test_schedules_are_told_by_their_names(make_record, key, is_schedule):
    runs = {"boost": [make_record(**{key: (1.0, 2.0, 3.0)})]}
    assert figures.scheduled(runs) == ([key] if is_schedule else [])
