from __future__ import annotations

import pytest
import torch

from latentloom.data import Batches, batches
from latentloom.data.transfer import fits, path_of, sent
from latentloom.values import ImageSet

IMAGES = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Files:
    def __len__(self):
        return len(IMAGES)

    def decode(self, row):
        return IMAGES[row]


def image_set(images=IMAGES):
    return ImageSet("noise", images, torch.arange(20) % 2, ("a", "b"))


def test_images_are_kept_on_a_gpu_that_has_half_of_its_memory_left_for_the_rest(monkeypatch):
    for free, kept in ((2 * IMAGES.nbytes, True), (2 * IMAGES.nbytes - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert fits(IMAGES, "cuda:0") is kept
        assert ("sent to cuda:0 by batches" in path_of(IMAGES, "cuda:0", 2)) is not kept
    assert fits(IMAGES, "cpu")


def test_the_way_of_files_is_told():
    assert path_of(Files(), "cpu", 3) == "files, decoded ahead by 3 threads, to cpu"
    assert Batches(image_set(Files()), 5, 0, "cpu", workers=0).path.startswith("files, decoded ahead by 1")


def test_batches_are_the_same_whichever_way_images_take(monkeypatch):
    kept = list(Batches(image_set(), 5, 0, "cpu", ["crop", "flip"]))
    files = list(Batches(image_set(Files()), 5, 0, "cpu", ["crop", "flip"]))
    monkeypatch.setattr(batches, "fits", lambda *_: False)
    by_batches = list(Batches(image_set(), 5, 0, "cpu", ["crop", "flip"]))
    for other in (files, by_batches):
        for a, b in zip(kept, other, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_is_sent_to_a_gpu_arrives():
    assert torch.equal(sent(IMAGES, "cuda").cpu(), IMAGES)
    for batch in Batches(image_set(), 5, 0, "cuda", ["crop", "flip"]):
        assert all(value.is_cuda for value in batch.values())
