import dataclasses
import math

import numpy as np
import pytest

from latentloom.report import geometry

EUCLIDEAN, COSINE = "val/nearest_centre_accuracy", "val/nearest_centre_cosine_accuracy"


def names(figure):
    return [trace.name for trace in figure.data if trace.name]


def test_classifiers_are_those_that_any_run_was_judged_by(make_record):
    plain, judged = make_record(), make_record(seed=1, **{COSINE: (0.1, 0.2, 0.3)})
    assert geometry.classifiers({"baseline": [plain]}) == {}
    assert list(geometry.classifiers({"baseline": [plain, judged]})) == ["val/accuracy", COSINE]


def test_classifiers_look_different():
    styles = geometry.CLASSIFIERS.values()
    assert len({style.name for style in styles}) == len({style.colour for style in styles}) == 5


def test_a_recipe_shows_the_classifiers_it_has(judged_runs):
    drawn = geometry.classifier_curves(judged_runs)
    assert names(drawn["baseline"]) == ["linear head", "nearest class centre", "nearest class centre, cosine"]
    assert names(drawn["euclidean"]) == [style.name for style in geometry.CLASSIFIERS.values()]
    np.testing.assert_allclose(drawn["euclidean"].data[3].y, [0.2, 0.6, 0.5])


def test_a_model_that_classifies_by_its_class_embeddings_has_no_linear_head(judged_runs):
    runs = {"cosine": judged_runs["<i>cosine"]}
    others = [style.name for style in geometry.CLASSIFIERS.values()][1:]
    assert [style.name for style in geometry.classifiers(runs).values()] == others
    assert names(geometry.classifier_curves(runs)["cosine"]) == others
    assert geometry.best_epoch_bars(judged_runs).data[0].y == ("baseline", "euclidean")


def test_records_from_before_there_was_a_choice_have_a_linear_head(make_record):
    record = make_record()
    old = dataclasses.replace(record, config=record.config | {"model": {}})
    assert geometry.judged([old], "val/accuracy") == [old]


def test_curves_of_all_recipes_are_on_one_scale_that_holds_their_bands(make_record):
    runs = {
        "wide": [make_record(seed=k, **{EUCLIDEAN: (v, v, v)}) for k, v in enumerate((0.1, 0.9))],
        "narrow": [make_record()],
        "nothing": [make_record(validation=(math.nan,) * 3)],
    }
    drawn = geometry.classifier_curves(runs)
    assert drawn.keys() == {"wide", "narrow"}
    ranges = {figure.layout.yaxis.range for figure in drawn.values()}
    ((low, high),) = ranges
    spread = 0.4 * math.sqrt(2)
    assert 0.5 - spread - 0.1 < low < 0.5 - spread
    assert 0.5 + spread < high < 0.5 + spread + 0.1


def test_a_single_accuracy_has_a_scale(make_record):
    drawn = geometry.classifier_curves({"baseline": [make_record(validation=(0.5,))]})
    assert drawn["baseline"].layout.yaxis.range == pytest.approx((0.45, 0.55))


def test_bars_are_of_the_epoch_that_each_run_selected(make_record):
    records = [  # best in the second and in the first epoch
        make_record(seed=0, validation=(0.5, 0.7, 0.6), **{EUCLIDEAN: (0.1, 0.2, 0.9)}),
        make_record(seed=1, validation=(0.9, 0.7, 0.6), **{EUCLIDEAN: (0.4, 0.1, 0.9)}),
    ]
    linear, centre = geometry.best_epoch_bars({"<b>": records}).data
    assert (linear.x, centre.x) == (pytest.approx((0.8,)), pytest.approx((0.3,)))
    assert centre.error_x.array == pytest.approx((0.2 / math.sqrt(2),))
    assert centre.text == ("0.3000 ± 0.1414",)
    assert centre.y == ("&lt;b&gt;",)


def test_a_bar_of_one_run_has_no_error_and_one_without_a_number_is_left_out(make_record):
    runs = {
        "one": [make_record(**{COSINE: (0.1, 0.2, 0.3)})],
        "none": [make_record(**{COSINE: (0.1, math.nan, 0.3)})],
        "absent": [make_record()],
    }
    linear, cosine = geometry.best_epoch_bars(runs).data
    assert linear.y == ("one", "none", "absent")
    assert (cosine.y, cosine.x, cosine.error_x.array) == (("one",), (0.2,), (None,))


def test_bars_keep_the_order_of_the_recipes(judged_runs):
    runs = dict(reversed(judged_runs.items()))
    figure = geometry.best_epoch_bars(runs)
    assert figure.layout.yaxis.categoryarray == ("&lt;i&gt;cosine", "euclidean", "baseline")
    assert figure.layout.yaxis.autorange == "reversed"  # the first one at the top


def test_lengths_are_on_log_axes_where_there_are_any(make_record, judged_runs):
    drawn = geometry.length_curves(judged_runs)
    assert list(drawn) == ["Cluster size", "Centre distance", "Distance between class centres"]
    assert all(figure.layout.yaxis.type == "log" for figure in drawn.values())
    np.testing.assert_allclose(drawn["Centre distance"].data[1].y, [1, 2, 10])
    assert geometry.length_curves({"baseline": [make_record()]}) == {}


def test_a_band_stays_above_0_on_a_log_axis(make_record):
    sizes = [(0.1, 1.0, 0.0), (9.9, 3.0, 0.0)]
    records = [make_record(seed=k, **{"val/cluster_size": v}) for k, v in enumerate(sizes)]
    band, line = geometry.length_curves({"a": records})["Cluster size"].data
    np.testing.assert_allclose(line.y, [5, 2, 0])
    low = band.y[:2:-1]
    np.testing.assert_allclose(low, [0.2, 2 - math.sqrt(2), 0.2])


def test_the_path_of_a_recipe_is_size_over_distance(judged_runs):
    figure = geometry.size_against_distance(judged_runs)
    assert names(figure) == ["baseline", "euclidean", "&lt;i&gt;cosine"]
    path = figure.data[0]
    assert (path.x, path.y, path.customdata) == ((1, 2, 10), (8, 4, 2), (1, 2, 3))
    assert path.marker.symbol == ("circle-open", "circle", "circle")
    assert path.marker.size[-1] > path.marker.size[1]


def test_both_axes_of_the_path_are_one_log_scale_with_the_line_of_equality(judged_runs):
    figure = geometry.size_against_distance(judged_runs)
    across, up = figure.layout.xaxis, figure.layout.yaxis
    assert (across.type, up.type) == ("log", "log")
    assert across.range == up.range
    assert across.range[0] < 0 < 1 < across.range[1]  # lengths are from 1 to 10
    equality = figure.data[-1]
    assert equality.x == equality.y
    assert np.log10(equality.x[0]) == pytest.approx(across.range[0])
    assert np.log10(equality.x[-1]) == pytest.approx(across.range[1])


def test_a_path_of_one_epoch_is_a_disc_and_lengths_of_0_are_left_out(make_record):
    columns = {"val/cluster_size": (0.0, 2.0, 3.0), "val/centre_distance": (1.0, 5.0, math.nan)}
    path, _ = geometry.size_against_distance({"a": [make_record(**columns)]}).data
    assert (path.x, path.y, path.customdata) == ((5,), (2,), (2,))
    assert path.marker.symbol == ("circle",)


def test_without_both_lengths_there_is_no_path(make_record):
    runs = {"a": [make_record(**{"val/cluster_size": (1.0, 2.0, 3.0)})]}
    assert not geometry.size_against_distance(runs).data
