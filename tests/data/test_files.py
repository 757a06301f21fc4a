from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from latentloom.checks import UserError
from latentloom.data.files import ImageFiles, image_shape, undecodable


def decoded(path, size=4):
    return ImageFiles((path,), size).decode(0)


GREY16 = Image.fromarray(np.full((8, 8), 0x80FF, dtype=np.uint16))
MODES = {
    "RGB.png": (Image.new("RGB", (8, 8), (10, 20, 30)), (10, 20, 30)),
    "L.png": (Image.new("L", (8, 8), 77), (77, 77, 77)),
    "1.png": (Image.new("1", (8, 8), 1), (255, 255, 255)),
    "P.png": (Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4), (10, 200, 30)),
    "RGBA.png": (Image.new("RGBA", (8, 8), (10, 20, 30, 255)), (10, 20, 30)),
    "clear.png": (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
    "LA.png": (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
    "16-bit.png": (GREY16, (0x80, 0x80, 0x80)),
    "16-bit.tif": (GREY16, (0x80, 0x80, 0x80)),
    "32-bit.tif": (Image.new("I", (8, 8), 0x80FF), (0x80, 0x80, 0x80)),
    "CMYK.tif": (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), (0, 255, 255)),
    "CMYK.jpg": (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), (0, 255, 255)),
    "grey.jpg": (Image.new("L", (8, 8), 77), (77, 77, 77)),
    "GIF.gif": (Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4), (10, 200, 30)),
    "WebP.webp": (Image.new("RGB", (8, 8), (10, 20, 30)), (10, 20, 30)),
    "BMP.bmp": (Image.new("RGB", (8, 8), (10, 20, 30)), (10, 20, 30)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_the_same_colour_in_rgb(tmp_path, name):
    image, colour = MODES[name]
    image.save(tmp_path / name)
    x = decoded(tmp_path / name)
    assert x.shape == (3, 4, 4)
    assert x.dtype == torch.uint8
    assert (x.int() - torch.tensor(colour)[:, None, None]).abs().max() <= 4  # lossy formats


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png", transparency=0)
    assert (decoded(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (7, 300), (5, 4), (64, 64)])
def test_every_size_becomes_a_square(tmp_path, picture, size):
    x = decoded(picture(tmp_path / "a.jpg", size=size), size=6)
    assert x.shape == (3, 6, 6)
    assert x.is_contiguous()


def test_an_image_of_the_right_size_is_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded(tmp_path / "a.png", 6).permute(1, 2, 0).numpy(), pixels)


def test_the_centre_is_kept_and_the_ends_are_cut(tmp_path):
    pixels = np.zeros((6, 10, 3), dtype=np.uint8)
    pixels[:, 2:8] = 9
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert (decoded(tmp_path / "wide.png", 6) == 9).all()
    assert (decoded(tmp_path / "tall.png", 6) == 9).all()


def test_shrinking_averages(tmp_path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    x = decoded(tmp_path / "a.png", 8).int()
    assert (x - 127).abs().max() <= 2  # without antialiasing it would be 0 or 255


def test_photographs_are_turned_upright(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255  # the top row
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert (decoded(tmp_path / "a.png", 8)[:, :, -1] == 255).all()


def test_a_large_jpeg_loses_no_detail_that_its_size_could_show(tmp_path):
    stripes = np.broadcast_to(np.arange(64) // 8 % 2 * 255, (64, 64)).astype(np.uint8)
    Image.fromarray(stripes).save(tmp_path / "a.jpg", quality=95)
    shrunk = decoded(tmp_path / "a.jpg", 32)[0].float().numpy()
    assert np.abs(shrunk - stripes.reshape(32, 2, 32, 2).mean((1, 3))).max() < 30


def spoilt(tmp_path, picture):
    """Four files, of which the second and the fourth do not decode."""
    good = [picture(tmp_path / f"{number}.jpg", number, (40, 40)) for number in range(4)]
    good[1].write_bytes(good[1].read_bytes()[:400])
    good[3].write_bytes(b"not an image")
    return ImageFiles(tuple(good), 8)


@pytest.mark.parametrize("row", [1, 3])
def test_a_file_that_does_not_decode_is_named(tmp_path, picture, row):
    with pytest.raises(UserError, match=rf"{row}\.jpg does not decode .*--data\.skip_bad"):
        spoilt(tmp_path, picture).decode(row)


@pytest.mark.parametrize("workers", [0, 3])
def test_files_that_do_not_decode_are_found(tmp_path, picture, workers):
    bad = undecodable(spoilt(tmp_path, picture), workers)
    assert [(row, text.split()[0]) for row, text in bad.items()] == [
        (1, str(tmp_path / "1.jpg")),
        (3, str(tmp_path / "3.jpg")),
    ]


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png does not decode .*No such file"):
        decoded(tmp_path / "gone.png")


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.new("F", (8, 8), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="floating-point pixels have no known range"):
        decoded(tmp_path / "a.tif")


def test_without_pillow_the_extra_is_named(tmp_path, picture, monkeypatch):
    path = picture(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"needs Pillow; install it with: pip install 'latentloom\[train\]'"):
        decoded(path)


def test_shape_of_images_in_memory_and_in_files(files):
    assert image_shape(torch.zeros(5, 1, 28, 27, dtype=torch.uint8)) == (1, 28, 27)
    assert image_shape(files) == (3, 8, 8)
