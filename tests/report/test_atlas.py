import base64
import json

import numpy as np
import pytest

from latentloom.report.atlas import Classes, Steps, View, atlas, packed
from latentloom.report.points import Points

PLANE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def steps(z=PLANE, marks=None, predicted=None, epochs=(3,)):
    rows = np.arange(len(z))
    return Steps(0, epochs, [Points(z, rows % 2, predicted, rows, marks or {}) for _ in epochs])


def drawn(view, classes=("cat", "dog")):
    return atlas(Classes(classes), [view], None, ["t-SNE", "PCA"])


def test_integers_are_packed_as_little_endian():
    assert unpacked(packed(np.array([-1, 300]), "<i2"), "<i2").tolist() == [-1, 300]
    assert base64.b64decode(packed(np.array([1]), "<u2")) == b"\x01\x00"


def test_a_map_keeps_distances_and_lies_in_its_frame():
    (made,) = drawn(View("a", "b", {"baseline": steps()}))["views"]
    assert made["projections"] == ["PCA"]  # four points have no neighbourhoods
    layout = made["maps"][0]["layouts"]["PCA"]
    xy = unpacked(layout["steps"][0]["xy"], "<u2").reshape(-1, 2) / 65_534
    lengths = np.linalg.norm(xy - np.roll(xy, 1, 0), axis=1)
    np.testing.assert_allclose(lengths / lengths[0], [1, 4 / 3, 1, 4 / 3], atol=1e-3)
    assert layout["shown"] == [0, 0, 1]
    assert unpacked(made["y"], "<i2").tolist() == [0, 1, 0, 1]


def test_marks_far_away_are_kept_and_the_images_shown():
    marks = {"class centres": np.array([[40.0, 0.0], [np.nan, 0.0]])}
    (made,) = drawn(View("a", "b", {"baseline": steps(marks=marks)}))["views"]
    layout = made["maps"][0]["layouts"]["PCA"]
    *_, size = layout["shown"]
    assert size == pytest.approx(0.1, abs=0.01)
    far, absent = unpacked(layout["steps"][0]["marks"]["class centres"], "<u2").reshape(-1, 2)
    assert far.max() == 65_534
    assert absent.tolist() == [65_535, 65_535]


def test_what_is_drawn_is_strict_json_with_all_that_differs():
    predicted = np.array([0, 0, 0, 1])
    view = View("a", "b", {"x": steps(epochs=(2, 4)), "y": steps(predicted=predicted, epochs=(4, 6))}, 3, 7)
    groups = Classes(["cat", "dog"], ["pets"], np.array([0, -1]))
    made = json.loads(json.dumps(atlas(groups, [view], None, ["PCA"]), allow_nan=False))
    assert (made["groups"], made["groupOf"], made["sprite"]) == (["pets"], [0, -1], None)
    (shown,) = made["views"]
    assert (shown["epochs"], shown["thumbnails"], shown["fromTile"]) == ([2, 4, 6], 3, 7)
    assert shown["maps"][0]["predicted"] == [None, None]
    assert unpacked(shown["maps"][1]["predicted"][0], "<i2").tolist() == predicted.tolist()


def test_groups_without_their_classes_are_not_offered():
    view = View("a", "b", {"x": steps()})
    assert atlas(Classes(["cat"], ["pets"]), [view], None, ["PCA"])["groups"] == []


def test_what_begins_is_told_with_the_share_that_is_done():
    told = []
    views = [
        View("final", "", {"x": steps(), "y": steps()}),
        View("epochs", "", {"x": steps(), "y": steps()}),
    ]
    atlas(Classes(("cat", "dog")), views, None, ["PCA"], lambda what, share: told.append((what, share)))
    assert told == [
        ("PCA of x, final", 0.0),
        ("PCA of y, final", 0.25),
        ("PCA of x, epochs", 0.5),
        ("PCA of y, epochs", 0.75),
    ]
