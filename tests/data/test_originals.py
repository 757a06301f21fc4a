from __future__ import annotations

import hashlib
import http.client
import sys
import types
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data.originals import (
    Dataset,
    data_root,
    fetch,
    locate,
    medmnist,
    torchvision_cifar,
    torchvision_mnist,
    verify,
)

CONTENT = b"the original content"
LETTERS = Dataset(
    name="letters",
    title="Letters",
    encoder="mlp",
    read=lambda files, data: pytest.fail("nothing is read here"),
    source="https://letters.example",
    folders=("letters", "Letters/raw"),
    files=("images.gz", "names"),
    md5={"images.gz": hashlib.md5(CONTENT).hexdigest()},
)


def place(root: Path, *names: str, content: bytes = CONTENT) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def at(root: Path, **more) -> Data:
    return Data(root=str(root), **more)


def test_the_root_is_what_was_asked_for_then_the_variable_then_the_cache(monkeypatch):
    monkeypatch.setenv("LATENTLOOM_DATA", "/from/variable")
    assert data_root(Data(root="~/mine")) == Path.home() / "mine"
    assert data_root(Data()) == Path("/from/variable")
    monkeypatch.delenv("LATENTLOOM_DATA")
    assert data_root(Data()) == Path.home() / ".cache/latentloom"


@pytest.mark.parametrize(
    ("placed", "found"),
    [
        (("letters/images.gz", "letters/names"), "letters/images.gz"),
        (("Letters/raw/images.gz", "letters/names"), "Letters/raw/images.gz"),
        (("letters/images", "letters/names"), "letters/images"),
        (("letters/images", "letters/images.gz", "letters/names"), "letters/images.gz"),
        (("Letters/raw/images.gz", "letters/images", "letters/names"), "letters/images"),
    ],
)
def test_files_are_found_in_any_folder_packed_or_not(tmp_path, placed, found):
    place(tmp_path, *placed)
    assert locate(LETTERS, at(tmp_path))["images.gz"] == tmp_path / found


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path):
    place(tmp_path, "letters/images.gz")
    with pytest.raises(UserError) as caught:
        locate(LETTERS, at(tmp_path))
    for part in (
        "letters: no names in",
        "letters, ",
        "Letters/raw",
        "https://letters.example",
        "--data.root",
    ):
        assert part in str(caught.value)
    assert "--data.download" not in str(caught.value)
    with pytest.raises(UserError, match=r"fetch it with --data\.download"):
        locate(replace(LETTERS, download=lambda root: None), at(tmp_path))


def test_another_md5_is_an_error_unless_accepted(tmp_path):
    place(tmp_path, "letters/images.gz", "letters/names", content=b"something else")
    with pytest.raises(UserError, match=r"images\.gz has md5 [0-9a-f]{32}, the original"):
        locate(LETTERS, at(tmp_path))
    assert locate(LETTERS, at(tmp_path, unverified=True)).keys() == {"images.gz", "names"}


def test_a_file_whose_md5_is_not_known_passes(tmp_path):
    place(tmp_path, "a")
    verify(tmp_path / "a", None)


def test_download_fills_what_is_missing_and_only_then(tmp_path):
    asked = []

    def download(root: Path) -> None:
        asked.append(root)
        place(root, "Letters/raw/images.gz", "Letters/raw/names")

    letters, root = replace(LETTERS, download=download), tmp_path / "new" / "root"
    for _ in range(2):
        assert locate(letters, at(root, download=True))["names"] == root / "Letters/raw/names"
    assert asked == [root]


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("name not known"),
        RuntimeError("Error downloading images.gz:\n  Tried a mirror\n"),
        http.client.IncompleteRead(b""),
        TimeoutError("timed out"),
    ],
)
def test_a_failed_download_says_what_to_get_and_where_to_put_it(tmp_path, failure):
    def download(root: Path) -> None:
        raise failure

    with pytest.raises(
        UserError, match=r"downloading letters failed \(.+\); get images\.gz, names from .*letters$"
    ):
        fetch(replace(LETTERS, download=download), tmp_path)


def test_a_data_set_without_download_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"letters has no download; get it from https://letters\.example"):
        locate(LETTERS, at(tmp_path, download=True))


@pytest.mark.parametrize(
    "download", [torchvision_mnist("MNIST"), torchvision_cifar("CIFAR10"), medmnist("O")]
)
def test_a_download_without_its_package_names_the_extra(tmp_path, monkeypatch, download):
    for module in ("torchvision", "torchvision.datasets", "medmnist"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"downloading needs .*pip install 'latentloom\[train,data\]'"):
        fetch(replace(LETTERS, download=download), tmp_path)


def test_downloads_ask_torchvision_and_medmnist(tmp_path, monkeypatch):
    """Each stands in for the network: what would be fetched, and into which root."""
    calls = []
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(datasets, "KMNIST", lambda root, download: calls.append(("KMNIST", root, download)))
    monkeypatch.setattr(
        datasets.utils,
        "download_and_extract_archive",
        lambda url, root, filename, md5: calls.append((filename, root, md5)),
    )
    organs = types.SimpleNamespace(
        OrganAMNIST=lambda split, root, download: calls.append((split, root, download))
    )
    monkeypatch.setitem(sys.modules, "medmnist", organs)
    for download in (torchvision_mnist("KMNIST"), torchvision_cifar("CIFAR100"), medmnist("OrganAMNIST")):
        download(tmp_path)
    assert calls == [
        ("KMNIST", tmp_path, True),
        ("cifar-100-python.tar.gz", str(tmp_path), "eb9058c3a382ffc7106e4002c42a8d85"),
        ("train", str(tmp_path), True),
    ]
