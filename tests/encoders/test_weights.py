"""Weights to start from: from files, by torchvision's own download, and what does not fit."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders import build_encoder
from latentloom.encoders.weights import imagenet_weights, load_weights, read_weights

RESNET18 = torchvision.models.ResNet18_Weights.DEFAULT


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A ResNet-18 as if trained for 7 classes."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18(weights=None, num_classes=7).eval()
    for name, value in resnet.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5)
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
    return resnet


@pytest.fixture(scope="module")
def pth(theirs: nn.Module, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    return path


def features(theirs: nn.Module, x: Tensor) -> Tensor:
    """What its last layer reads, (n, 512)."""
    seen: list[Tensor] = []
    handle = theirs.fc.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    theirs(x)
    handle.remove()
    return seen[0]


def images(channels: int, size: int) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(("size", "stem"), [(64, "auto"), (36, "full")])
def test_network_starts_as_the_one_in_the_file(theirs: nn.Module, pth: Path, size: int, stem) -> None:
    x = images(3, size)
    ours = build_encoder("resnet18", 3, size, stem=stem, weights=pth).eval()
    assert torch.equal(ours(x), features(theirs, x))
    assert not torch.allclose(build_encoder("resnet18", 3, size, stem=stem).eval()(x), features(theirs, x))


def test_safetensors_hold_the_same(theirs: nn.Module, pth: Path, tmp_path: Path) -> None:
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    found, expected = read_weights(tmp_path / "theirs.safetensors"), read_weights(str(pth))
    assert found.keys() == expected.keys() == theirs.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@torch.no_grad()
def test_projection_follows_what_was_loaded(theirs: nn.Module, pth: Path) -> None:
    x = images(3, 64)
    resnet, projection = build_encoder("resnet18", 3, 64, 5, weights=pth).eval()
    assert torch.equal(resnet(x), features(theirs, x))
    assert projection(resnet(x)).shape == (2, 5)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_alike_channels_are_answered_as_in_colour(theirs: nn.Module, pth: Path, channels: int) -> None:
    grey = images(1, 64)
    expected = features(theirs, grey.expand(-1, 3, -1, -1))
    ours = build_encoder("resnet18", channels, 64, weights=pth).eval()
    torch.testing.assert_close(ours(grey.expand(-1, channels, -1, -1)), expected, rtol=1e-4, atol=1e-4)
    ours.conv1.weight.div_(3)  # the mean over the colours instead of the sum
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours(grey.expand(-1, channels, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def test_small_stem_starts_at_random_and_says_so(theirs: nn.Module, pth: Path) -> None:
    with pytest.warns(UserWarning, match=r"theirs\.pth has no weights for the small stem"):
        ours = build_encoder("resnet18", 1, 36, weights=pth).state_dict()
    expected = theirs.state_dict()
    assert ours.pop("conv1.weight").shape == (64, 1, 3, 3)
    assert ours.keys() == {n for n in expected if not n.startswith("fc.")} - {"conv1.weight"}
    assert all(torch.equal(value, expected[name]) for name, value in ours.items())


def test_vgg16_starts_from_the_convolutions_of_a_file(tmp_path: Path) -> None:
    from torchvision.models.vgg import cfgs, make_layers

    convolutions = make_layers(cfgs["D"], batch_norm=True)
    saved = {f"features.{name}": value for name, value in convolutions.state_dict().items()}
    torch.save({**saved, "classifier.0.weight": torch.rand(2, 2)}, tmp_path / "vgg16_bn.pth")
    ours = build_encoder("vgg16", 3, 32, weights=tmp_path / "vgg16_bn.pth")
    assert all(torch.equal(value, saved[name]) for name, value in ours.state_dict().items())


# A network of two layers stands for all.


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_old_files_that_count_no_batches_are_taken() -> None:
    weights = {name: v for name, v in tiny().state_dict().items() if "batches" not in name}
    network = tiny()
    load_weights(network, weights, "old")
    assert torch.equal(network[0].weight, weights["0.weight"])
    assert network[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"1.bias": None}, r"1 of 6 tensors differ, the first 1\.bias: got none, wanted \(4,\)"),
        ({"1.bias": torch.ones(5)}, r"the first 1\.bias: got \(5,\), wanted \(4,\)"),
        ({"2.bias": torch.ones(5)}, r"the first 2\.bias: got \(5,\), wanted none"),
        ({"0.weight": None}, r"0\.weight: got none, wanted \(4, 3, 3, 3\)"),
        ({"0.weight": torch.ones(4, 3, 7, 7)}, r"0\.weight: got \(4, 3, 7, 7\), wanted \(4, 3, 3, 3\)"),
        ({"0.weight": torch.ones(4, 1, 7, 7)}, r"0\.weight: got \(4, 1, 7, 7\), wanted \(4, 3, 3, 3\)"),
        ({"0.weight": torch.ones(4)}, r"0\.weight: got \(4,\), wanted \(4, 3, 3, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(change: Mapping[str, Tensor | None], complaint: str) -> None:
    network = tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = {n: v for n, v in {**tiny().state_dict(), **change}.items() if v is not None}
    with pytest.raises(UserError, match=rf"^a\.pth does not fit .*{complaint}; give the weights of the same"):
        load_weights(network, weights, "a.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_another_network_are_refused(pth: Path) -> None:
    with pytest.raises(UserError, match=r"theirs\.pth does not fit the encoder: .* of 265 tensors differ"):
        build_encoder("resnet50", 3, 64, weights=pth)


# files


class Trap:
    """A pickle that leaves a file behind when it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_other_pickle_is_executed(tmp_path: Path) -> None:
    for name, write in {
        "zip.pth": torch.save,
        "bare.pth": lambda x, p: p.write_bytes(pickle.dumps(x)),
    }.items():
        write({"a": Trap(tmp_path / "sprung")}, tmp_path / name)
        with pytest.raises(
            UserError, match=rf"{name} does not read as tensors by name, .*\); write it again"
        ) as e:
            read_weights(tmp_path / name)
        assert "weights_only" not in str(e.value)  # no advice to execute it after all
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 600])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"a.{suffix}"
    (torch.save if suffix == "pth" else save_file)({"a": torch.ones(999)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"a\.{suffix} does not read as tensors by name, for it is damaged"):
        read_weights(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.png"])
def test_foreign_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("once upon a time, " * 99)
    with pytest.raises(UserError, match=rf"{name} does not read as tensors by name"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {"a": torch.ones(2)}}, torch.ones(2)])
def test_files_of_something_else_are_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth holds something other than tensors by name; write it"):
        read_weights(tmp_path / "a.pth")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file of weights .*gone\.pth; give the path"):
        build_encoder("resnet18", 3, 64, weights=tmp_path / "gone.pth")


# torchvision's own download


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch) -> Path:
    """Where torch keeps what it downloads, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


def published(content: bytes, folder: Path, monkeypatch, sha256: str | None = None) -> Path:
    """These bytes as the file of ImageNet weights of ResNet-18, to be downloaded."""
    path = folder / f"resnet18-{(sha256 or hashlib.sha256(content).hexdigest())[:8]}.pth"
    path.write_bytes(content)
    monkeypatch.setattr(RESNET18.value, "url", path.as_uri())
    return path


@torch.no_grad()
def test_pretrained_weights_are_downloaded_and_loaded_like_a_file(
    theirs: nn.Module, pth: Path, checkpoints: Path, tmp_path: Path, monkeypatch
) -> None:
    source = published(pth.read_bytes(), tmp_path, monkeypatch)
    x = images(3, 64)
    for _ in range(2):
        ours = build_encoder("resnet18", 3, 64, pretrained=True).eval()
        assert torch.equal(ours(x), features(theirs, x))
        assert [path.name for path in checkpoints.iterdir()] == [source.name]
        source.unlink(missing_ok=True)  # the second time there is only what was kept


def test_a_download_of_another_hash_is_refused(checkpoints: Path, tmp_path: Path, monkeypatch) -> None:
    published(b"something else", tmp_path, monkeypatch, sha256="0123abcd")
    with pytest.raises(UserError, match=r"no weights of resnet18 \(invalid hash value"):
        imagenet_weights("resnet18")
    assert not list(checkpoints.iterdir())


def test_without_a_network_file_address_and_folder_are_named(
    checkpoints: Path, tmp_path: Path, monkeypatch
) -> None:
    source = published(b"", tmp_path, monkeypatch)
    source.unlink()
    with pytest.raises(UserError) as caught:
        build_encoder("resnet18", 3, 64, pretrained=True)
    message = str(caught.value)
    assert f"get {source.as_uri()} and put it as {source.name} in {checkpoints}," in message
    assert "or start from a file with --model.weights" in message
    assert "\n" not in message


def test_a_damaged_file_that_was_kept_is_named(checkpoints: Path, pth: Path) -> None:
    checkpoints.mkdir(parents=True)
    kept = checkpoints / Path(RESNET18.url).name
    kept.write_bytes(pth.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"put it as {kept.name} in .*replacing what may lie there"):
        imagenet_weights("resnet18")


# what takes no weights


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
@pytest.mark.parametrize("asked", [{"pretrained": True}, {"weights": "a.pth"}])
def test_encoders_of_our_own_have_no_weights_to_start_from(name: str, asked) -> None:
    wanted = f"encoder '{name}' has no weights to start from; choose one of vgg16, resnet18"
    with pytest.raises(UserError, match=wanted):
        build_encoder(name, 3, 32, **asked)


def test_weights_from_two_sources(pth: Path) -> None:
    with pytest.raises(UserError, match=r"from ImageNet \(pretrained\) and from .*theirs\.pth; choose one"):
        build_encoder("resnet18", 3, 64, pretrained=True, weights=pth)
