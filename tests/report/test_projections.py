import sys

import numpy as np
import pytest

from latentloom.checks import UserError
from latentloom.report import projections
from latentloom.report.points import Points
from latentloom.report.projections import Layout, neighbours, offered, principal, turned, uniform

CORNERS = 20 * np.eye(5)


def clouds(n=60, noise=1.0, marks=None):
    """Three clouds far from each other."""
    y = np.arange(n) % 3
    z = CORNERS[y] + noise * np.random.default_rng(0).normal(size=(n, 5))
    return Points(z.astype(np.float32), y, None, np.arange(n), marks or {})


def nearest_label(xy, among, labels):
    return labels[np.linalg.norm(xy[:, None] - among, axis=-1).argmin(1)]


def test_principal_steps_share_their_axes():
    step = clouds()
    moved = Points(step.z + CORNERS[0], step.y, None, step.rows, {})
    first, second = principal([step, moved])
    shift = second.xy - first.xy
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-4)
    assert 1 < np.linalg.norm(shift[0]) < 21
    alone = principal([moved])[0]
    assert not np.allclose(alone.xy, second.xy, atol=1)  # of its own it has another middle


def test_marks_of_principal_components_lie_where_points_there_would():
    step = clouds(marks={"class centres": clouds().z[:4], "class embeddings": np.full((2, 5), np.nan)})
    (layout,) = principal([step])
    np.testing.assert_allclose(layout.marks["class centres"], layout.xy[:4], atol=1e-5)
    assert np.isnan(layout.marks["class embeddings"]).all()


def test_latents_on_a_line_have_a_flat_map():
    line = Points(np.arange(4.0)[:, None], np.zeros(4, int), None, np.arange(4), {})
    (layout,) = principal([line])
    np.testing.assert_allclose(np.abs(np.diff(layout.xy[:, 0])), 1)
    np.testing.assert_allclose(layout.xy[:, 1], 0)


def test_neighbours_place_new_points_and_marks_among_their_own(monkeypatch):
    monkeypatch.setattr(projections, "FITTED", 45)
    step = clouds(marks={"class centres": CORNERS[:3]})
    (layout,) = neighbours([step])
    assert layout.xy.shape == (60, 2)
    fitted, rest = layout.xy[:45], layout.xy[45:]
    np.testing.assert_array_equal(nearest_label(rest, fitted, step.y[:45]), step.y[45:])
    np.testing.assert_array_equal(nearest_label(layout.marks["class centres"], fitted, step.y[:45]), range(3))


def test_a_step_lies_as_the_one_after_it_and_the_last_as_it_would_alone():
    stretched = Points(clouds().z * [1, 1, 5, 1, 1], clouds().y, None, np.arange(60), {})
    first, last = neighbours([stretched, clouds()])
    width = np.ptp(last.xy, axis=0).max()
    (alone,) = neighbours([stretched])
    assert np.linalg.norm(first.xy - last.xy, axis=1).mean() < 0.15 * width
    assert np.linalg.norm(alone.xy - last.xy, axis=1).mean() > 0.3 * width
    np.testing.assert_array_equal(last.xy, neighbours([clouds()])[0].xy)


def test_one_seed_gives_one_map():
    steps = [clouds(noise=2.0), clouds()]
    for a, b in zip(neighbours(steps, seed=3), neighbours(steps, seed=3), strict=True):
        np.testing.assert_array_equal(a.xy, b.xy)


@pytest.mark.parametrize("z", [np.ones((40, 3)), np.arange(40.0)[:, None], np.eye(9)])
def test_where_neighbours_mean_nothing_there_are_principal_components_alone(z):
    odd = Points(z, np.zeros(len(z), int), None, np.arange(len(z)), {})
    assert offered([clouds(), odd], ["t-SNE", "PCA"]) == ["PCA"]
    assert offered([clouds()], ["t-SNE", "PCA"]) == ["t-SNE", "PCA"]


def test_maps_are_moved_turned_and_mirrored_and_not_stretched():
    xy = np.random.default_rng(0).normal(size=(30, 2))
    turn = np.array([[0.6, -0.8], [-0.8, -0.6]])  # mirrors too
    onto = Layout(xy + 7, {})
    earlier = Layout(xy @ turn * 2, {"class centres": xy[:3] @ turn * 2})
    found, last = turned([earlier, Layout(xy @ turn, {})], onto)
    np.testing.assert_allclose(last.xy, onto.xy, atol=1e-9)
    moved = onto.xy.mean(0) - xy.mean(0)  # as the last one is
    np.testing.assert_allclose(found.xy, 2 * xy + moved, atol=1e-9)
    np.testing.assert_allclose(found.marks["class centres"], 2 * xy[:3] + moved, atol=1e-9)


def test_umap_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        uniform([clouds()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_neighbours_and_steps_lie_alike():
    pytest.importorskip("umap", reason="umap-learn is an extra")
    step = clouds(marks={"class centres": CORNERS[:3]})
    first, last = uniform([clouds(noise=1.1), step])
    np.testing.assert_array_equal(nearest_label(last.marks["class centres"], last.xy, step.y), range(3))
    width = np.ptp(last.xy, axis=0).max()
    assert np.linalg.norm(first.xy - last.xy, axis=1).mean() < 0.5 * width
