"""Tables of images by actors of Ray Data: those that are made without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import ray
import torch
from PIL import Image
from ray.exceptions import RayError
from two_processes import RECIPE, asked

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.cluster import embed
from latentloom.cluster.embed import _mistake, _spread, embed_on
from latentloom.data import load
from latentloom.inference.parts import Parts
from latentloom.inference.tables import embed_files, make_part
from latentloom.inference.trained import Trained
from latentloom.training.run import run

IN_PART = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 test images as files, and among them one that is none."""
    top = tmp_path_factory.mktemp("pictures")
    (top / "all").mkdir()
    for k, image in enumerate(load(asked().data, 0).test.images[:20]):
        Image.fromarray(image[0].numpy()).save(top / "all" / f"{k:02}.png")
    (top / "all" / "13.png").write_bytes(b"no image")
    return top


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("parts", "tables"):
        monkeypatch.setattr(f"latentloom.inference.{module}.IN_PART", IN_PART)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in float32."""
    folder, config = tmp_path_factory.mktemp("trained"), asked()
    short = replace(config.training, precision="32-true", epochs=1, checkpoint_steps=0)
    run(replace(config, training=short), folder, recipe=RECIPE, progress=False)
    return folder


class KilledError(Exception):
    pass


def half(parts: Parts, model: Trained, latents: bool, size: int, workers: int) -> None:
    """Make two of the parts, and die."""
    for k in (0, 2):
        make_part(parts, k, parts.paths_of(k), model, latents, size, workers)
    raise KilledError


@pytest.mark.slow
def test_the_table_is_that_without_a_cluster_and_what_was_done_stays(
    cluster: Any, trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(pictures)  # workers have to find "all" too
    on, off = tmp_path / "on.parquet", tmp_path / "off.parquet"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = embed_files(trained, ["all"], off, batch=3)
    with pytest.raises(KilledError):
        embed_files(trained, ["all"], on, batch=3, make=half)
    torch.set_num_threads(before)
    asked_for, items = list[int](), ray.data.from_items

    def noted(rows: list[dict[str, Any]], **more: Any) -> Any:
        asked_for.extend(row["part"] for row in rows)
        return items(rows, **more)

    monkeypatch.setattr(ray.data, "from_items", noted)
    order = ["embed", str(trained), "all", "--out", str(on), "--batch", "3", "--workers", "1"]
    assert main([*order, "--cluster", cluster.address]) == 0
    assert asked_for == [1, 3]
    assert capsys.readouterr().out == f"{whole}\nthe table is {on}\n"
    pandas.testing.assert_frame_equal(pandas.read_parquet(on), pandas.read_parquet(off), check_exact=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["off.parquet", "on.parquet"]


def test_where_all_parts_are_there_no_cluster_is_needed(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    def all_but_the_table(parts: Parts, model: Trained, latents: bool, size: int, workers: int) -> None:
        for k in parts.missing():
            make_part(parts, k, parts.paths_of(k), model, latents, size, workers)
        raise KilledError

    out = tmp_path / "z.csv"
    with pytest.raises(KilledError):
        embed_files(trained, [pictures / "all"], out, make=all_but_the_table)
    assert embed_on("nowhere:1", trained, [pictures / "all"], out).images == 20
    assert len(pandas.read_csv(out)) == 19


def test_mistakes_are_found_in_what_actors_raise() -> None:
    deep = RayError("the actor raised")
    deep.__cause__ = RuntimeError("wrapped")
    deep.__cause__.__cause__ = UserError("no module for AVIF; install it")
    assert str(_mistake(deep)) == "no module for AVIF; install it"
    held = RayError("the actor raised")
    held.cause = UserError("no such device")
    assert str(_mistake(held)) == "no such device"
    assert str(_mistake(RayError("Traceback\nnode lost\n"))) == (
        "the cluster gave up: node lost; the same command goes on with the parts that are missing"
    )


def test_an_actor_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def map(self, *what: Any, **more: Any) -> Failing:
            return self

        def iter_rows(self) -> Any:
            raise RayError("node lost")

    monkeypatch.setattr(embed, "places", lambda cpus, gpus: 2)
    monkeypatch.setattr(ray.data, "from_items", lambda rows, override_num_blocks: Failing())
    with pytest.raises(UserError, match="the cluster gave up: node lost"):
        _spread(Parts(tmp_path / "z.csv", tmp_path, ["a.png"]), (), 0.0)


def test_a_cluster_without_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "places", lambda cpus, gpus: 0)
    with pytest.raises(UserError, match="no node of the cluster has a core; start Ray with --num-cpus"):
        _spread(Parts(tmp_path / "z.csv", tmp_path, ["a.png"]), (), 0.0)
