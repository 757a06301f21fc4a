import numpy as np
import pytest

from latentloom.report.matrices import (
    centre_distances,
    confusion_map,
    distance_map,
    name_distances,
    order_of,
    rank_correlation,
)

LINE = np.array([[0.0], [10.0], [1.0], [11.0]])  # two pairs of near classes
NAMES = ["<a>", "b", "c", "d"]


def test_classes_without_groups_stand_beside_near_ones():
    order = order_of(NAMES, centre_distances(LINE), None, ())
    assert {frozenset(order.rows[:2]), frozenset(order.rows[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    unknown = np.full((4, 4), np.nan)
    assert order_of(NAMES, unknown, None, ()).rows.tolist() == [0, 1, 2, 3]


def test_groups_stand_together_and_are_named_where_classes_are_many():
    group_of = np.arange(60) % 3
    order = order_of([str(k) for k in range(60)], np.zeros((60, 60)), group_of, ["x", "<y>", "z" * 30])
    assert np.diff(group_of[order.rows]).tolist().count(1) == 2
    assert [text for _, text in order.ticks] == ["x", "<y>", "z" * 30]
    axis = distance_map(np.ones((60, 60)), order).layout.xaxis
    assert axis.ticktext == ("x", "&lt;y&gt;", "z" * 19 + "…")
    assert axis.tickvals == tuple(str(order.rows[at]) for at, _ in order.ticks)
    assert order_of(NAMES, np.zeros((4, 4)), np.array([1, 0, 1, 0]), ["x", "y"]).ticks == ()


def test_distances_are_in_units_of_their_mean_and_know_absent_classes():
    distances = centre_distances(np.vstack([LINE, [[np.nan]]]))
    off = ~np.eye(4, dtype=bool)
    assert distances[:4, :4][off].mean() == pytest.approx(1)
    assert np.isnan(distances[4]).all()
    assert (centre_distances(np.zeros((3, 2))) == 0).all()


def test_names_are_compared_by_cosine():
    distances = name_distances(np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(distances, [[0, 1, 2], [1, 0, 1], [2, 1, 0]], atol=1e-12)


def test_rank_correlation_is_that_of_the_pairs():
    distances = centre_distances(LINE)
    assert rank_correlation(distances, distances**3) == pytest.approx(1)
    assert rank_correlation(distances, -distances) == pytest.approx(-1)
    assert np.isnan(rank_correlation(distances, np.ones((4, 4))))
    assert np.isnan(rank_correlation(np.zeros((2, 2)), np.zeros((2, 2))))


def test_a_heat_map_has_its_cells_where_its_names_say_and_nothing_on_the_diagonal():
    order = order_of(NAMES, centre_distances(LINE), None, ())
    (drawn,) = distance_map(centre_distances(LINE), order).data
    assert set(drawn.x) == {"&lt;a&gt;", "b", "c", "d"}
    at = {name: k for k, name in enumerate(drawn.x)}
    assert drawn.z[at["b"], at["d"]] == pytest.approx(drawn.z[at["&lt;a&gt;"], at["c"]])
    assert drawn.z[at["b"], at["c"]] > drawn.z[at["b"], at["d"]]
    assert np.isnan(np.diag(drawn.z)).all()


def test_confusions_are_in_percent_of_the_true_class():
    order = order_of(["cat", "dog"], np.zeros((2, 2)), None, ())
    figure = confusion_map(np.array([[3, 1], [0, 0]]), order)
    assert figure.data[0].z[0, 1] == 25
    assert figure.data[0].z[1, 0] == 0
    assert figure.layout.yaxis.title.text == "true"
