"""Pictures of a model whose latents are its pixels, so that each of them is known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from latentloom.checks import UserError
from latentloom.config import Evaluation, Objective, Term, Train
from latentloom.encoders import Model
from latentloom.latent.mixtures import Mixture
from latentloom.latent.priors import Hypercube, UnitGaussian
from latentloom.training.pictures import PICTURES, read_pictures, save_pictures, take_pictures
from latentloom.values import ImageSet, Splits

GAUSSIAN, BERNOULLI = (
    Train(objective=Objective({"reconstruction": Term(options={"likelihood": likelihood})}))
    for likelihood in ("gaussian", "bernoulli")
)


def images_of(n=12, classes=4, shape=(1, 2, 2), seed=0):
    pixels = torch.randint(256, (n, *shape), generator=torch.Generator().manual_seed(seed)).byte()
    return ImageSet("noise", pixels, torch.arange(n) % classes, tuple(map(str, range(classes))))


def splits_of(**options):
    return Splits(*(images_of(**options, seed=seed) for seed in range(3)))


def pixels_as_latents(shape=(1, 2, 2), prior=None, decodes=True):
    d = int(np.prod(shape))
    decoder = nn.Sequential(nn.Unflatten(1, shape), Scale()) if decodes else None
    model = Model(nn.Sequential(nn.Flatten(), Scale(), nn.Dropout(0.5)), {}, decoder=decoder)
    model.prior = {"unit": UnitGaussian(d), "cube": Hypercube(d), None: None}.get(prior, prior)
    return model


class Scale(nn.Module):
    """By 1; a model has parameters."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.by * x


def test_images_are_of_every_class_of_the_evaluated_split_in_their_order():
    splits = splits_of()
    for split in ("validation", "test"):
        config = replace(GAUSSIAN, evaluation=Evaluation(split=split))
        pictures = take_pictures(pixels_as_latents(), splits, config)
        there = getattr(splits, split)
        rows = [(there.images == torch.from_numpy(one)).flatten(1).all(1).nonzero().item()
                for one in pictures.originals]  # fmt: skip
        classes = there.labels[rows].tolist()
        assert len(set(rows)) == 10
        assert classes == sorted(classes)
        assert set(classes) == {0, 1, 2, 3}


def test_a_few_of_many_classes_are_one_of_each():
    splits = splits_of(n=60, classes=10)
    originals = take_pictures(pixels_as_latents(), splits, GAUSSIAN).originals
    for k, one in enumerate(originals):
        mine = splits.test.images[splits.test.labels == k]
        assert (mine == torch.from_numpy(one)).flatten(1).all(1).any()


def test_a_perfect_model_gives_back_what_it_got_in_evaluation_mode_and_stays_in_its_own():
    model = pixels_as_latents().train()
    pictures = take_pictures(model, splits_of(), GAUSSIAN)
    assert model.training
    np.testing.assert_array_equal(pictures.reconstructions, pictures.originals)
    assert pictures.originals.dtype == np.uint8


def test_logits_of_a_bernoulli_decoder_become_pixels():
    pictures = take_pictures(pixels_as_latents(), splits_of(), BERNOULLI)
    expected = 255 / (1 + np.exp(pictures.originals / -255))
    assert np.abs(pictures.reconstructions - expected).max() <= 0.501  # half a grey level


def test_a_walk_goes_straight_from_the_first_image_to_the_last():
    pictures = take_pictures(pixels_as_latents(), splits_of(), GAUSSIAN)
    first, last = (pictures.originals[k].astype(float) for k in (0, -1))
    for step, image in enumerate(pictures.walk):
        assert np.abs(image - (first + step / 9 * (last - first))).max() <= 0.501
    assert len(pictures.walk) == 10


def test_there_is_no_walk_within_a_class():
    assert take_pictures(pixels_as_latents(), splits_of(classes=1), GAUSSIAN).walk.shape == (0, 1, 2, 2)


def test_samples_come_from_the_prior_by_the_seed_alone():
    means = torch.eye(4)
    model = pixels_as_latents(prior=Mixture(means, -30.0))

    def samples(seed):
        return take_pictures(model, splits_of(), replace(GAUSSIAN, seed=seed)).samples

    state = torch.get_rng_state()
    one, again, other = samples(1), samples(1), samples(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert {tuple(image.ravel()) for image in one} == {tuple(row) for row in (255 * means).byte().tolist()}
    assert one.shape == (25, 1, 2, 2)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_is_outside_the_range_of_pixels_is_cut_off():
    model = pixels_as_latents(prior=Mixture(torch.tensor([[-9.0, 9.0, 0.0, 1.0]]), -30.0))
    (image,) = {tuple(one.ravel()) for one in take_pictures(model, splits_of(), GAUSSIAN).samples}
    assert image == (0, 255, 0, 255)


@pytest.mark.parametrize(
    ("prior", "decodes", "wanted"),
    [
        (None, True, {"originals": 10, "reconstructions": 10, "samples": 0, "walk": 10, "means": 0}),
        ("unit", True, {"originals": 10, "reconstructions": 10, "samples": 25, "walk": 10, "means": 1}),
        ("cube", False, {"originals": 0, "reconstructions": 0, "samples": 0, "walk": 0, "means": 16}),
    ],
)
def test_what_is_saved_is_what_the_model_has(prior, decodes, wanted, tmp_path):
    model, splits = pixels_as_latents(prior=prior, decodes=decodes), splits_of()
    save_pictures(model, splits, GAUSSIAN, tmp_path)
    read, taken = read_pictures(tmp_path), take_pictures(model, splits, GAUSSIAN)
    for name, array in vars(taken).items():
        np.testing.assert_array_equal(getattr(read, name), array)
    assert {name: len(getattr(read, name)) for name in wanted} == wanted
    assert read.means.shape == read.logvars.shape == (wanted["means"], 4)


def test_a_model_without_decoder_and_prior_leaves_nothing(tmp_path):
    save_pictures(pixels_as_latents(decodes=False), splits_of(), GAUSSIAN, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert read_pictures(tmp_path) is None


def test_components_are_those_of_the_prior():
    means, logvars = torch.rand(3, 4), torch.rand(3, 4)
    pictures = take_pictures(pixels_as_latents(prior=Mixture(means, logvars)), splits_of(), GAUSSIAN)
    np.testing.assert_array_equal(pictures.means, means)
    np.testing.assert_array_equal(pictures.logvars, logvars)


def test_a_hypercube_with_too_many_components_has_none():
    shape = (1, 4, 4)
    model = pixels_as_latents(shape, prior="cube")
    pictures = take_pictures(model, splits_of(shape=shape), GAUSSIAN)
    assert pictures.means.shape == (0, 16)
    assert len(pictures.samples) == 25


@pytest.mark.parametrize(("shape", "count"), [((3, 64, 64), 0), ((3, 32, 32), 3), ((1, 4, 5), 512)])
def test_the_file_stays_small_whatever_is_in_it(shape, count, tmp_path):
    noise = torch.Generator().manual_seed(0)
    means = torch.randn(600, int(np.prod(shape)), generator=noise)
    model = pixels_as_latents(shape, prior=Mixture(means, torch.randn(means.shape, generator=noise)))
    save_pictures(model, splits_of(shape=shape), GAUSSIAN, tmp_path)
    assert (tmp_path / PICTURES).stat().st_size < 300_000
    assert len(read_pictures(tmp_path).means) == count
    assert max(read_pictures(tmp_path).originals.shape[2:]) <= 32


def test_large_images_are_averaged():
    whole = splits_of(shape=(1, 32, 32)).test
    small = replace(whole, images=whole.images.clamp(20, 235))
    chequered = torch.tensor([[20, -20], [-20, 20]]).repeat(32, 32)
    blocks = small.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    large = replace(small, images=(blocks + chequered).byte())
    pictures = take_pictures(pixels_as_latents((1, 64, 64)), Splits(large, large, large), GAUSSIAN)
    rows = [(small.images == torch.from_numpy(one)).flatten(1).all(1).sum() for one in pictures.originals]
    assert rows == [1] * 10
    np.testing.assert_array_equal(pictures.reconstructions, pictures.originals)


def test_a_file_that_holds_no_pictures_is_refused(tmp_path):
    def refused():
        with pytest.raises(UserError, match=r"cannot read pictures from .*generative.npz .*; delete it"):
            read_pictures(tmp_path)

    for content in (b"", b"not an archive", b"PK\x03\x04 cut off"):
        (tmp_path / PICTURES).write_bytes(content)
        refused()
    np.savez(tmp_path / PICTURES, originals=np.zeros(3))
    refused()
    np.savez(tmp_path / PICTURES, originals=np.array([{}], dtype=object))  # would be unpickled
    refused()
