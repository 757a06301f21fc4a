import base64
import io
import json
import math

import numpy as np
import pandas
import pytest
from PIL import Image

from latentloom.report.generative import generated_of, loss_parts, png_address, prior_plane, sheet, sheets
from latentloom.report.maps import MapData
from latentloom.training.pictures import PICTURES, Pictures


def noise(n, c=1, side=8, seed=0):
    return np.random.default_rng(seed).integers(256, size=(n, c, side, side), dtype=np.uint8)


def pictures_of(samples=25, walk=10, images=10, components=3, d=2):
    numbers = np.random.default_rng(0).normal(size=(2, components, d)).astype(np.float32)
    parts = (noise(n, seed=k) for k, n in enumerate((images, images, samples, walk)))
    return Pictures(*parts, *numbers)


def decoded(address):
    head, _, text = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@pytest.mark.parametrize(("channels", "side", "gap"), [(1, 8, 1), (3, 28, 2)])
def test_images_of_a_sheet_stand_row_by_row_with_nothing_between(channels, side, gap):
    images = noise(5, channels, side)
    whole = sheet(images, columns=3)
    assert whole.shape == (2 * side + gap, 3 * side + 2 * gap, 4)
    seen = np.zeros(whole.shape[:2], bool)
    for k, image in enumerate(images):
        for y in range(side):
            for x in range(side):
                at = (k // 3) * (side + gap) + y, (k % 3) * (side + gap) + x
                seen[at] = True
                assert whole[at].tolist() == [
                    *([image[0, y, x]] * 3 if channels == 1 else image[:, y, x]),
                    255,
                ]
    assert not whole[~seen].any()


def test_an_address_holds_the_image_as_it_is():
    image = np.random.default_rng(0).integers(256, size=(5, 7, 4), dtype=np.uint8)
    image[..., 3] = 255
    np.testing.assert_array_equal(decoded(png_address(image)), image)


def test_originals_stand_above_their_reconstructions():
    pictures = pictures_of()
    whole = decoded(sheets(pictures)["reconstructions"])
    assert whole.shape == (2 * 8 + 1, 10 * 8 + 9, 4)
    for k in range(10):
        np.testing.assert_array_equal(whole[:8, 9 * k : 9 * k + 8, 0], pictures.originals[k, 0])
        np.testing.assert_array_equal(whole[9:, 9 * k : 9 * k + 8, 0], pictures.reconstructions[k, 0])


def test_there_are_sheets_of_what_there_is():
    shapes = {kind: decoded(address).shape[:2] for kind, address in sheets(pictures_of()).items()}
    assert shapes == {"reconstructions": (17, 89), "walk": (8, 89), "samples": (44, 44)}
    assert list(sheets(pictures_of(samples=0))) == ["reconstructions", "walk"]
    assert list(sheets(pictures_of(walk=0))) == ["reconstructions", "samples"]
    assert sheets(pictures_of(samples=0, walk=0, images=0)) == {}


def a_plane(means, logvars):
    data = MapData(np.arange(12.0).reshape(6, 2), np.arange(6) % 2, ("cat", "dog"), seed=0)
    return prior_plane(data, np.array(means, np.float32), np.array(logvars, np.float32))


def test_components_are_crosses_in_ellipses_of_one_standard_deviation():
    means, deviations = [[1.0, 2.0], [-3.0, 0.5]], [[0.5, 2.0], [1.0, 0.1]]
    ellipses, crosses = a_plane(means, 2 * np.log(deviations)).data[-2:]
    np.testing.assert_array_equal(np.stack([crosses.x, crosses.y], 1), means)
    points = np.stack([ellipses.x, ellipses.y], 1).reshape(2, -1, 2)
    assert np.isnan(points[:, -1]).all()
    for around, mean, deviation in zip(points, means, deviations, strict=True):
        whole = around[:-1]
        np.testing.assert_allclose((((whole - mean) / deviation) ** 2).sum(1), 1, rtol=1e-4)
        np.testing.assert_allclose(whole[0], whole[-1], atol=1e-5)  # closed
        np.testing.assert_allclose(whole.max(0), np.add(mean, deviation), rtol=1e-4)
        np.testing.assert_allclose(whole.min(0), np.subtract(mean, deviation), rtol=1e-4)


def test_a_plane_shows_latents_as_they_are_on_one_scale():
    figure = a_plane([[0, 0]], [[0, 0]])
    assert [trace.name for trace in figure.data[:3]] == ["cat", "dog", "centres"]
    np.testing.assert_array_equal(figure.data[0].x, [0, 4, 8])
    axes = figure.layout.xaxis, figure.layout.yaxis
    assert [axis.title.text for axis in axes] == ["z_0", "z_1"]
    assert all(axis.visible for axis in axes)
    assert axes[1].scaleanchor == "x"


def test_each_part_of_a_loss_has_its_curves(make_record):
    runs = {
        "ae": [make_record(**{"train/total": (3.0, 2.0, 1.0), "train/reconstruction": (3.0, 2.0, 1.0)})],
        "vae": [make_record(**{"train/reconstruction": (5.0, 4.0, 3.0), "train/kl": (0.5, -0.1, 0.2)})],
    }
    drawn = loss_parts(runs)
    assert list(drawn) == ["kl", "reconstruction"]
    assert [trace.name for trace in drawn["kl"].data] == [None, "vae"]
    assert [trace.name for trace in drawn["reconstruction"].data] == [None, "ae", None, "vae"]
    np.testing.assert_array_equal(drawn["reconstruction"].data[3].y, [5, 4, 3])
    assert drawn["reconstruction"].layout.yaxis.type == "log"
    assert drawn["kl"].layout.yaxis.type != "log"


def test_an_axis_is_linear_where_a_band_goes_below_0(make_record):
    records = [make_record(seed=k, **{"train/kl": (v, 1.0, 1.0)}) for k, v in enumerate((0.1, 9.0))]
    assert loss_parts({"vae": records[:1]})["kl"].layout.yaxis.type == "log"
    assert loss_parts({"vae": records})["kl"].layout.yaxis.type != "log"


def test_a_part_that_counts_in_some_epochs_alone_is_drawn_there(make_record):
    drawn = loss_parts({"metric-vae": [make_record(**{"train/triplet": (2.0, math.nan, 1.0)})]})
    np.testing.assert_array_equal(drawn["triplet"].data[1].x, [1, 3])


def test_a_run_of_one_number_has_no_parts(make_record):
    assert loss_parts({"baseline": [make_record(**{"train/total": (3.0, 2.0, 1.0)})]}) == {}


@pytest.mark.parametrize(("d", "plane"), [(2, True), (3, False)])
def test_pictures_are_found_where_runs_left_them(d, plane, make_record, tmp_path):
    left = tmp_path / "vae"
    left.mkdir()
    pictures, z = pictures_of(d=d), np.random.default_rng(0).normal(size=(20, d)).astype(np.float32)
    np.savez(left / PICTURES, **vars(pictures))
    table = pandas.DataFrame({f"z_{k}": z[:, k] for k in range(d)} | {"y": np.arange(20) % 2})
    table.assign(split="test").to_parquet(left / "latents.parquet")
    (left / "model.json").write_text(json.dumps({"class_names": ["cat", "dog"]}))
    (found,) = generated_of(
        {recipe: [make_record()] for recipe in ("baseline", "vae,a=b")},
        {"baseline": tmp_path, "vae,a=b": left},
    ).items()
    assert found[0] == "vae,a=b"
    np.testing.assert_array_equal(found[1].pictures.walk, pictures.walk)
    assert (found[1].latents is not None) == plane
    if plane:
        np.testing.assert_array_equal(found[1].latents.xy, z)
        assert found[1].latents.class_names == ("cat", "dog")
