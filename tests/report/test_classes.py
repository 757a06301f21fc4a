import numpy as np
import pytest

from latentloom.report.atlas import Classes
from latentloom.report.classes import class_figures, class_sizes, confusions, order_of_classes
from latentloom.report.points import Points

CENTRES = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 8.0]])
NAMES = Classes(["<cat>", "dog", "car"])


def points(marks=True, predicted=True):
    """Images 1 from the centre of class 0, 2 from that of class 1, none of class 2."""
    z = np.array([[1.0, 0.0], [0.0, 1.0], [6.0, 2.0], [8.0, 0.0]])
    guessed = np.array([0, 1, 1, 1]) if predicted else None
    found = {"class centres": CENTRES} if marks else {}
    return Points(z, np.array([0, 0, 1, 1]), guessed, np.arange(4), found)


def test_classes_are_drawn_by_size_and_distance():
    counts = np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    drawn, equal = class_sizes(points(), CENTRES, counts, NAMES.names).data
    assert drawn.text == ("&lt;cat&gt;", "dog")
    assert drawn.x == (6, 6)
    assert drawn.y == pytest.approx((1, 2))
    assert list(drawn.marker.color) == [0.5, 1]
    assert equal.x == equal.y == (0, 2)


def test_a_class_alone_has_no_next_one():
    one = np.array([[0.0, 0.0], [np.nan, 0.0], [np.nan, 0.0]])
    (drawn,) = class_sizes(points(), one, None, NAMES.names).data
    assert len(drawn.x) == 0


def test_figures_are_of_what_the_run_left():
    order = order_of_classes({"x": points()}, NAMES)
    whole = class_figures(points(), NAMES, order, names=np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]]))
    assert whole.correlation == pytest.approx(0.5)  # ranks of 6, 10, 8 and of 1, 2, 3
    assert None not in (whole.distances, whole.confusion, whole.sizes)
    assert [(one.true, one.predicted, one.count) for one in whole.confusions] == [("<cat>", "dog", 1)]
    bare = class_figures(points(marks=False, predicted=False), NAMES, order, names=None)
    assert (bare.distances, bare.confusion, bare.sizes, bare.confusions) == (None, None, None, [])
    assert np.isnan(bare.correlation)


def test_without_centres_classes_keep_their_order():
    assert order_of_classes({"x": points(marks=False)}, NAMES).rows.tolist() == [0, 1, 2]


def test_the_most_frequent_confusions_come_first_and_are_few():
    counts = np.arange(25).reshape(5, 5)
    found = confusions(counts, "abcde")
    assert [one.count for one in found] == [23, 22, 21, 20, 19, 17, 16, 15]
    assert (found[0].true, found[0].predicted) == ("e", "d")
