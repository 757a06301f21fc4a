"""One Ray cluster of this machine for all tests of a process, and the runs that are done on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from two_processes import WORLD, whole_run

pytest.importorskip("ray")
from ray.cluster_utils import Cluster

OBJECT_STORE = 80 * 2**20  # bytes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray ends its processes and does not ask how they ended."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for said in (
                "subprocess .* is still running:ResourceWarning",
                "Exception ignored in. <function Popen.__del__",
                "unclosed file:ResourceWarning",
                ":DeprecationWarning:ray.*",
            ):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{said}"))


@contextmanager
def of_nodes(cores: int) -> Iterator[Cluster]:
    """A cluster of one node of so many cores, to which others can be added."""
    folder = tempfile.mkdtemp(prefix="ray")  # sockets lie in it, whose paths must be short
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_TMPDIR", folder)
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_worker_niceness", "0")  # on a busy machine nothing would move otherwise
        node = {"num_cpus": cores, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        yield cluster
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A node of two cores, to which each test connects anew."""
    with of_nodes(cores=WORLD) as cluster:
        yield cluster


@pytest.fixture
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes of one core each, and the second of them."""
    with of_nodes(cores=1) as cluster:
        second = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
        cluster.wait_for_nodes()
        yield cluster, second


@pytest.fixture(autouse=True)
def often_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes without Ray."""
    from two_processes import two_processes

    folder = tmp_path_factory.mktemp("plain")
    two_processes(folder)
    return folder / "run"


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    whole_run(folder)
    return folder
