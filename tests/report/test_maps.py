import numpy as np
import pandas
import pytest

from latentloom.checks import UserError
from latentloom.report.maps import read_latents
from latentloom.report.points import Points
from latentloom.report.projections import PROJECTIONS, offered


def two_dimensional(z, seed=0):
    """The first map that a page offers of points (n, d)."""
    points = Points(z, np.zeros(len(z), int), None, np.arange(len(z)), {})
    name = offered([points], ["t-SNE", "PCA"])[0]
    return PROJECTIONS[name]([points], seed)[0].xy


def clouds(n=60, d=5):
    """Three clouds far from each other, and which one each point is of."""
    y = np.arange(n) % 3
    return np.random.default_rng(0).normal(size=(n, d)) + 20 * np.eye(d)[y], y


def nearest_of_own_class(xy, y):
    distances = np.linalg.norm(xy[:, None] - xy, axis=-1)
    np.fill_diagonal(distances, np.inf)
    return (y[distances.argmin(1)] == y).mean()


def test_neighbours_stay_neighbours():
    z, y = clouds()
    assert nearest_of_own_class(two_dimensional(z), y) == 1
    assert nearest_of_own_class(np.random.default_rng(0).normal(size=(60, 2)), y) < 0.7  # not met by chance


def test_one_seed_gives_one_map():
    z, _ = clouds()
    assert np.array_equal(two_dimensional(z, seed=1), two_dimensional(z, seed=1))


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_points_keep_their_distances_from_the_plane_they_lie_in(n):
    plane, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))
    points = np.random.default_rng(1).normal(size=(n, 2))
    xy = two_dimensional(points @ plane.T + 3)
    assert xy.shape == (n, 2)
    np.testing.assert_allclose(
        np.linalg.norm(xy[:, None] - xy, axis=-1),
        np.linalg.norm(points[:, None] - points, axis=-1),
        atol=1e-9,
    )


@pytest.mark.parametrize(
    "z",
    [
        np.ones((40, 3)),
        np.arange(40.0)[:, None],
        np.outer(np.arange(40.0), [1, 2, 3]),
        np.eye(3)[np.arange(40) % 2],
    ],
)
def test_degenerate_latents_have_a_finite_map(z):
    xy = two_dimensional(z)
    assert xy.shape == (40, 2)
    assert np.isfinite(xy).all()


def test_latents_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="nan or infinity"):
        two_dimensional(np.full((20, 2), np.nan))


@pytest.fixture
def latents(tmp_path):
    """A file of 12 latents in 11 dimensions, z_10 written before z_2."""
    z = np.arange(12 * 11, dtype=np.float32).reshape(12, 11)
    table = pandas.DataFrame({f"z_{k}": z[:, k] for k in (0, 1, 10, *range(2, 10))})
    table["y"], table["split"] = np.arange(12) % 3, ["train", "test"] * 6
    table.to_parquet(tmp_path / "latents.parquet")
    return tmp_path / "latents.parquet", z


def test_latents_of_a_split_come_in_the_order_of_their_dimensions(latents):
    path, z = latents
    read, y = read_latents(path)
    np.testing.assert_array_equal(read, z[1::2])
    np.testing.assert_array_equal(y, np.arange(12)[1::2] % 3)
    assert (read.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(read_latents(path, "train")[0], z[::2])


def test_files_that_hold_no_latents_are_refused(latents, tmp_path):
    path, _ = latents
    with pytest.raises(UserError, match=r"no latents of split 'validation'; it has \['test', 'train'\]"):
        read_latents(path, "validation")
    with pytest.raises(UserError, match=r"cannot read latents from .*gone"):
        read_latents(tmp_path / "gone.parquet")
    (tmp_path / "broken.parquet").write_text("not parquet")
    with pytest.raises(UserError, match=r"cannot read latents from .*broken"):
        read_latents(tmp_path / "broken.parquet")
    for column in ("z_0", "y", "split"):
        pandas.read_parquet(path).drop(columns=column).to_parquet(tmp_path / "less.parquet")
        with pytest.raises(UserError, match=f"no column '{column}'"):
            read_latents(tmp_path / "less.parquet")
