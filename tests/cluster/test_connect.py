"""Connections to Ray: what is refused, what there is room for, what all nodes see."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from filelock import FileLock

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.cluster import connect, ray_needed
from latentloom.cluster.connect import await_release, check_seen, connected, enter, gpus_each, places


def test_what_to_install_is_said() -> None:
    with (
        pytest.raises(UserError, match=r"\(no ray\); install it with pip install 'latentloom\[cluster\]'"),
        ray_needed(),
    ):
        raise ImportError("no ray")


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        ("train", ["train", "baseline"]),
        ("tasks", ["compare", "baseline", "magnet"]),
        ("tasks", ["reproduce", "latent-boost", "2"]),
        ("embed", ["embed", "run", "images", "--out", "z.parquet"]),
    ],
)
def test_commands_say_what_to_install(
    part: str, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, f"latentloom.cluster.{part}", raising=False)
    monkeypatch.delitem(sys.modules, "latentloom.cluster.connect")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*asked, "--cluster", "auto"]) == 2
    assert "pip install 'latentloom[cluster]'" in capsys.readouterr().err


def test_ray_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="Ray is in use in this process"), connected("local"):
        pass


def test_ray_client() -> None:
    said = r"ray://head:10001 is of Ray Client.* or to ray job submit"
    with pytest.raises(UserError, match=said), connected("ray://head:10001"):
        pass


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("local", "no Ray cluster at this machine: not up in time; try again when the machine is less busy"),
        ("head:6379", "no Ray cluster at head:6379: not up in time; start one with ray start --head"),
    ],
)
def test_no_cluster(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*what: Any, **more: Any) -> None:
        raise ConnectionError("not up in time")

    monkeypatch.setattr(ray, "init", init)
    before = dict(os.environ)
    with pytest.raises(UserError, match=said), connected(address):
        pass
    assert dict(os.environ) == before


def node(cpus: float, gpus: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


def test_room_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node(8, 2), node(5), node(64, 8, alive=False)])
    assert places(1, 0) == 13
    assert places(2, 0) == 6
    assert places(1, 1) == 2
    assert (gpus_each("auto"), gpus_each("cpu")) == (1, 0)
    monkeypatch.setattr(ray, "nodes", lambda: [node(4)])
    assert gpus_each("auto") == 0
    assert places(1, 1) == 0


def test_workers_go_where_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv(connect.HERE, str(tmp_path))
    enter()
    assert Path.cwd() == tmp_path
    monkeypatch.setenv(connect.HERE, str(tmp_path / "not" / "here"))
    enter()
    assert Path.cwd() == tmp_path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a path of one process, in /proc")
def test_a_folder_that_a_node_does_not_see(cluster: Any, tmp_path: Path) -> None:
    opened = os.open(tmp_path, os.O_RDONLY)
    mine = fcntl.fcntl(opened, fcntl.F_DUPFD, 900)  # other processes have none of that number
    try:
        with connected(cluster.address):
            check_seen(tmp_path / "run", [tmp_path, tmp_path / "not there here either"])
            with pytest.raises(
                UserError, match=r"node [\d.]+ of the cluster does not see /proc/self/fd/\d+/run;"
            ):
                check_seen(Path(f"/proc/self/fd/{mine}/run"))
            with pytest.raises(UserError, match=r"does not see /proc/self/fd/\d+; every node must see it"):
                check_seen(tmp_path, [Path(f"/proc/self/fd/{mine}")])
    finally:
        os.close(opened)
        os.close(mine)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not ray.is_initialized()


def test_a_folder_that_is_held_is_waited_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "PATIENCE", 0.1)
    await_release(tmp_path / "new")
    with FileLock(tmp_path / ".lock"):
        await_release(tmp_path)  # what the run itself says of it is clearer
    with FileLock(tmp_path / ".lock", timeout=0):
        pass
