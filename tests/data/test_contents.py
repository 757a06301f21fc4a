"""What images were read from: every file, by its bytes where they are few, and never by its time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

import latentloom.data.contents
from latentloom.config import Data
from latentloom.data import load
from latentloom.data.contents import contents, sources


def folder(top: Path) -> dict[str, Any]:
    for number in range(20):
        path = top / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numpy.full((8, 8, 3), number, numpy.uint8)).save(path)
    data = Data(name=f"folder:{top}", size=8)
    return contents(sources(load(data, 0), data))


def test_every_image_of_a_folder_is_known_and_a_copy_is_the_same(tmp_path: Path) -> None:
    found = folder(tmp_path / "one")
    assert len(found) == 20
    assert "a/00.png" in found
    os.utime(tmp_path / "one" / "a" / "00.png", (0, 0))
    assert folder(tmp_path / "two") == found


def test_another_byte_is_seen_and_in_large_sets_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]

    def found(first: bytes) -> dict[str, str]:
        paths[0].write_bytes(first)
        paths[1].write_bytes(b"same")
        return contents(paths)

    before = found(b"one")
    assert {name for name, what in found(b"two").items() if what != before[name]} == {"a"}
    monkeypatch.setattr(latentloom.data.contents, "HASHED", 3)
    large = found(b"one")
    assert large == found(b"two") == {"a": "3 bytes", "b": "4 bytes"}
    assert found(b"four") != large


def test_files_of_labels_and_groups_count_and_digits_have_none(tmp_path: Path) -> None:
    groups = tmp_path / "groups.yaml"
    groups.write_text("low: [zero, one, two, three, four]\nhigh: [five, six, seven, eight, nine]")
    digits = Data(name="digits", coarse=str(groups))
    assert sources(load(digits, 0), digits) == [groups]
    assert contents(sources(load(Data(name="digits"), 0), Data(name="digits"))) == {}
