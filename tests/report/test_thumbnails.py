import base64
import io

import numpy as np
import torch
from PIL import Image

from latentloom.report.thumbnails import sprite, thumbnails
from latentloom.values import ImageSet


def image_set(images):
    return ImageSet("made up", images, torch.zeros(len(images), dtype=torch.long), ("cat", "dog"))


def drawn(made):
    head, _, text = made.address.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_small_images_are_kept_as_they_are_each_in_its_place():
    images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = sprite(thumbnails(image_set(images), [4, 0, 2]))
    whole = drawn(made)
    assert (made.side, made.columns, whole.shape) == (8, 2, (16, 16, 3))
    np.testing.assert_array_equal(whole[:8, :8, 0], images[4, 0])
    np.testing.assert_array_equal(whole[:8, 8:, 2], images[0, 0])
    np.testing.assert_array_equal(whole[8:, :8, 1], images[2, 0])


def test_large_images_shrink_to_means_of_their_pixels():
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    images[:, 0, ::2] = 200
    (small,) = thumbnails(image_set(images), [0], side=16)
    assert small.shape == (16, 16, 3)
    assert (small == [100, 0, 0]).all()


def test_what_is_not_square_is_filled():
    (small,) = thumbnails(image_set(torch.full((1, 1, 8, 16), 255, dtype=torch.uint8)), [0])
    assert small.shape == (16, 16, 3)
    assert small[4:12].min() == 255
    assert small[:4].max() == small[12:].max() == 0


def test_files_are_decoded_when_asked_for():
    class Files:
        def __len__(self):
            return 3

        def decode(self, row):
            return torch.full((3, 4, 4), row, dtype=torch.uint8)

    assert [int(image.max()) for image in thumbnails(image_set(Files()), [2, 1])] == [2, 1]
