"""Networks of timm: what they are, the images they take, and weights from files and from the hub."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders import ENCODERS, build_encoder
from latentloom.encoders.weights import hub_weights, load_weights

FROM_TIMM = [name for name, info in ENCODERS.items() if info.timm]
VITS = [name for name in FROM_TIMM if "vit" in name]
CONVNEXT, VIT = "convnext_small", "vit_small_patch32"  # with a small model of the same family in its place
SMALL = {ENCODERS[CONVNEXT].timm: "test_convnext", ENCODERS[VIT].timm: "test_vit"}
create_model = timm.create_model
each = pytest.mark.parametrize("name", [CONVNEXT, VIT])


@pytest.fixture
def small(monkeypatch) -> None:
    """ConvNeXt-S and ViT-S/32 are of 0.2 and 0.3 million weights, the latter with patches of 16 pixels."""
    monkeypatch.setattr(timm, "create_model", lambda model, **given: create_model(SMALL[model], **given))


def images(channels: int, size: int) -> Tensor:
    return torch.rand(3, channels, size, size, generator=torch.Generator().manual_seed(1))


def published(name: str, size: int = 64) -> nn.Module:
    """A small model as if trained for 7 classes."""
    torch.manual_seed(0)
    sized = {"img_size": size} if name == VIT else {}
    model = create_model(SMALL[ENCODERS[name].timm], num_classes=7, **sized).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def features(model: nn.Module, x: Tensor) -> Tensor:
    """What its last layer reads, by timm."""
    pooled: Tensor = model.forward_head(model.forward_features(x), pre_logits=True)
    return pooled


# What they are


# Millions of weights as published, with a last layer of 1000 classes: ConvNeXt, arXiv:2201.03545, Table 1;
# ViT of patches of 32 pixels at 224, arXiv:2010.11929, Table 1 gives 88 for B and 307 for L.
MILLIONS = {
    "convnext_small": 50,
    "convnext_base": 89,
    "convnext_large": 198,
    "vit_small_patch32": 23,
    "vit_base_patch32": 88,
    "vit_large_patch32": 307,
}


@pytest.mark.parametrize("name", FROM_TIMM)
def test_networks_have_the_size_and_the_dimension_published(name: str) -> None:
    d = ENCODERS[name].latent_dim
    with torch.device("meta"):  # shapes alone, at no cost
        network, projection = build_encoder(name, 3, 224, 5)
        assert projection(network(torch.rand(2, 3, 224, 224))).shape == (2, 5)
    assert projection.in_features == d
    weights = sum(p.numel() for p in network.parameters()) + 1000 * (d + 1)
    assert weights / 1e6 == pytest.approx(MILLIONS[name], abs=0.7)


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize(("size", "nearest"), [(33, 32), (63, 32), (100, 96)])
def test_patches_must_fill_the_image(name: str, size: int, nearest: int) -> None:
    wanted = (
        f"'{name}' reads patches of 32 pixels, .* images of {size}; give --data.size {nearest}, or a larger"
    )
    with pytest.raises(UserError, match=wanted):
        build_encoder(name, 3, size)


@pytest.mark.parametrize("name", FROM_TIMM)
def test_weights_are_published_under_the_name_that_is_asked_for(name: str) -> None:
    published = timm.models.get_pretrained_cfg(ENCODERS[name].timm)
    assert published.hf_hub_id == f"timm/{ENCODERS[name].timm}"
    assert published.num_classes == 1000  # of ImageNet-1k, which they were trained for last


@pytest.mark.usefixtures("small")
@each
def test_two_steps_move_every_weight_in_the_same_way_each_time(name: str) -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        network = build_encoder(name, 1, 32).train()
        before = [p.detach().clone() for p in network.parameters()]
        adam = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(2):
            adam.zero_grad()
            (network(images(1, 32)) * torch.arange(3.0)[:, None]).pow(2).sum().backward()
            adam.step()
        assert not any(map(torch.equal, network.parameters(), before))
        assert all(p.isfinite().all() for p in network.parameters())
        ends.append(list(network.parameters()))
    assert all(map(torch.equal, *ends))


# Weights from a file


@torch.no_grad()
@pytest.mark.usefixtures("small")
@each
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_network_starts_as_the_one_in_the_file(name: str, suffix: str, tmp_path: Path) -> None:
    theirs, x, path = published(name), images(3, 64), tmp_path / f"theirs.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(theirs.state_dict(), path)
    assert torch.equal(build_encoder(name, 3, 64, weights=path).eval()(x), features(theirs, x))
    assert not torch.allclose(build_encoder(name, 3, 64).eval()(x), features(theirs, x))


@torch.no_grad()
@pytest.mark.usefixtures("small")
@each
def test_grey_images_are_answered_as_in_colour(name: str, tmp_path: Path) -> None:
    theirs, grey = published(name), images(1, 64)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = build_encoder(name, 1, 64, weights=tmp_path / "a.pth").eval()
    torch.testing.assert_close(ours(grey), features(theirs, grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [32, 96])
def test_positions_of_another_size_are_interpolated_as_timm_does(size: int, tmp_path: Path) -> None:
    path, x = tmp_path / "a.pth", images(3, size)
    torch.save(published(VIT, 64).state_dict(), path)
    theirs = create_model(
        "test_vit", pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=7, img_size=size
    )
    ours = build_encoder(VIT, 3, size, weights=path)
    assert torch.equal(ours.eval()(x), features(theirs.eval(), x))
    ours.pos_embed[:, 1:] = ours.pos_embed[:, 1:].flip(1)
    assert not torch.allclose(ours(x), features(theirs, x))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "other", "missing"), [(CONVNEXT, VIT, "stem.0.weight"), (VIT, CONVNEXT, "cls_token")]
)
def test_the_file_of_another_model_is_named(name: str, other: str, missing: str, tmp_path: Path) -> None:
    save_file(published(other).state_dict(), tmp_path / "other.safetensors")
    wanted = rf"other\.safetensors does not fit the encoder: .* the first {missing}: got none, wanted \("
    with pytest.raises(UserError, match=wanted):
        build_encoder(name, 3, 64, weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("shape", [(1, 0, 8), (1, 1, 8), (1, 11, 8), (5, 8), (1, 10, 9)])
def test_positions_that_make_no_square_or_are_of_another_width_are_named(shape: tuple[int, ...]) -> None:
    network = nn.Conv2d(3, 4, 3)
    network.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
    with pytest.raises(UserError, match=r"the first pos_embed: got \(.*\), wanted \(1, 5, 8\)"):
        load_weights(network, {**network.state_dict(), "pos_embed": torch.zeros(shape)}, "a.pth")


# Weights from the hub: its own client, and a server in place of it


class Hub(ThreadingHTTPServer):
    """A server that holds one file for every model asked for, and counts what was taken."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.content, self.taken = content, list[str]()


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:  # the client asks for more than files
            self.server.taken.append(self.path)
        self.do_HEAD()
        self.wfile.write(self.server.content)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch) -> Path:
    """The hub's folder on this machine, empty, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def hub(kept: Path, monkeypatch) -> Iterator[Hub]:
    with Hub(save(published(VIT).state_dict())) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@torch.no_grad()
@pytest.mark.usefixtures("small")
def test_pretrained_weights_are_downloaded_kept_and_loaded_like_a_file(
    hub: Hub, kept: Path, monkeypatch
) -> None:
    x, expected = images(3, 64), features(published(VIT), images(3, 64))
    for _ in range(2):
        assert torch.equal(build_encoder(VIT, 3, 64, pretrained=True).eval()(x), expected)
        assert hub.taken == [f"/timm/{ENCODERS[VIT].timm}/resolve/main/model.safetensors"]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the second time there is only what was kept
    assert [path.read_bytes() for path in kept.rglob("model.safetensors")] == [hub.content]


def test_a_damaged_file_on_the_hub_is_named(hub: Hub) -> None:
    hub.content = hub.content[:1000]
    with pytest.raises(
        UserError, match=rf"no weights of {ENCODERS[VIT].timm} \(Error while .*\), neither .*; get https://"
    ):
        hub_weights(ENCODERS[VIT].timm)


@pytest.mark.usefixtures("small")
@each
def test_without_a_network_model_file_and_folder_are_named(name: str, kept: Path) -> None:
    with pytest.raises(UserError) as caught:
        build_encoder(name, 3, 64, pretrained=True)
    message, model = str(caught.value), ENCODERS[name].timm
    assert message.startswith(f"no weights of {model} (")
    assert f"neither from the hub nor in {kept}; " in message
    assert f"get https://huggingface.co/timm/{model}/resolve/main/model.safetensors and" in message
    assert message.endswith("--model.pretrained false --model.weights model.safetensors")
    assert "\n" not in message
