"""Which files are meant, and that they are prepared as images of the run were."""

from __future__ import annotations

import builtins

import numpy
import pytest
import torch
from PIL import Image

from latentloom.checks import UserError
from latentloom.data.arrays import squares
from latentloom.inference import ImageForm, image_paths, load
from latentloom.inference.images import read_batches


def names(paths, top):
    return [path.removeprefix(f"{top}/") for path in paths]


def test_a_file_is_embedded_as_the_image_in_memory(finished, pictures, digits):
    model = load(finished)
    paths = [pictures / "a" / f"{k:02}.png" for k in range(10)]
    assert torch.equal(model.embed(paths).z, model.embed(digits[:10]).z)


def test_colour_becomes_grey_as_pillow_does_it(tmp_path):
    pixels = numpy.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    wanted = torch.from_numpy(numpy.array(Image.fromarray(pixels).convert("L")))
    assert torch.equal(ImageForm(1, 16).read(str(tmp_path / "c.png"))[0], wanted)
    kept = ImageForm(3, 16).read(str(tmp_path / "c.png"))
    assert torch.equal(kept, torch.from_numpy(pixels).permute(2, 0, 1))


def test_folders_files_and_lists(pictures, tmp_path, monkeypatch):
    assert names(image_paths([pictures]), pictures) == [
        *(f"a/{k:02}.png" for k in range(10)),
        *(f"b/{k:02}.png" for k in range(10, 20)),
    ]
    (tmp_path / ".hidden").mkdir()
    for name in ("z.JPG", "y.png", ".x.png", ".hidden/w.png", "odd.dat"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("y.png\n\n  gone.png \n")
    assert names(image_paths([tmp_path]), tmp_path) == ["y.png", "z.JPG"]
    monkeypatch.chdir(tmp_path)
    asked = ["odd.dat", "list.txt", "y.png"]
    assert image_paths(asked) == ["odd.dat", "y.png", "gone.png"]


def test_nothing_meant_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no image among"):
        image_paths([tmp_path])
    with pytest.raises(UserError, match=r"there is no .*gone\.png"):
        image_paths([tmp_path / "gone.png"])


def test_order_is_kept_and_what_does_not_decode_is_told(pictures, tmp_path):
    paths = [*image_paths([pictures])[9:15], str(tmp_path / "gone.png")]
    first, second, third = read_batches(ImageForm(1, 8), [paths[:4], paths[4:5], paths[5:]], workers=2)
    assert first.paths == paths[:4]
    assert first.images.shape == (4, 1, 8, 8)
    assert torch.equal(first.images[2], ImageForm(1, 8).read(paths[2]))
    assert (second.paths, second.images) == ([], None)
    assert second.skipped[0][0].endswith("13.png")
    assert "cannot identify" in second.skipped[0][1]
    assert third.paths == [paths[5]]
    assert "No such file" in third.skipped[0][1]


def test_many_batches_keep_their_order(pictures):
    paths = image_paths([pictures / "a"])
    found = list(read_batches(ImageForm(1, 8), [[path] for path in paths], workers=2))
    assert [read.paths for read in found] == [[path] for path in paths]


def test_a_bomb_is_skipped(tmp_path, monkeypatch):
    Image.new("L", (30, 30)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (read,) = read_batches(ImageForm(1, 8), [[str(tmp_path / "bomb.png")]], workers=1)
    assert "decompression bomb" in read.skipped[0][1]


def test_without_pillow_no_file_is_called_bad(pictures, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs Pillow"):
        list(read_batches(ImageForm(1, 8), [[str(pictures / "a" / "00.png")]], workers=1))


def test_images_in_memory_are_resized_as_in_training(finished):
    large = torch.randint(256, (3, 1, 20, 12), dtype=torch.uint8)
    assert torch.equal(ImageForm(1, 8, 10).fitted(large), squares(large, 8, 10))
    assert torch.equal(load(finished).embed(large).z, load(finished).embed(squares(large, 8)).z)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(8, 8, dtype=torch.uint8), r"wanted images \(n, 1, h, w\), got \(8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"wanted images \(n, 1, h, w\), got \(2, 3"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "must be uint8, or floats"),
        (torch.zeros(2, 1, 9, 9), "floats must be of the model's own size 8 x 8"),
        (torch.zeros(0, 1, 8, 8), "wanted at least one image"),
    ],
)
def test_images_of_another_form_are_refused(finished, images, message):
    with pytest.raises(UserError, match=message):
        load(finished).embed(images)


def test_a_file_asked_for_in_python_must_decode(finished, pictures):
    with pytest.raises(UserError, match=r"13\.png does not decode as an image"):
        load(finished).embed([pictures / "b" / "13.png"])
