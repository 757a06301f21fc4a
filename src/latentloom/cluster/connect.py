"""A connection to Ray, what there is room for, and what all nodes must see."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock, Timeout
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from latentloom.checks import UserError

LOCAL = "local"  # the address that stands for a Ray of this command's own, on this machine
RESTARTS = 10  # of what a dead worker or node was at, before it is given up
OBJECT_STORE = 100 * 2**20  # bytes, of a Ray of our own; nothing large is exchanged
PATIENCE = 60  # seconds that a worker taken for dead may still hold a folder
# No statistics to Ray's makers; no log files and no text of Ray's own; an interrupt ends the work; paths
# mean in a worker what they mean here; what asks for no GPU sees none; a stopped run has time to end.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to Ray for as long as the block lasts.

    Args:
        address: HOST:PORT of a cluster; auto, for the one that this machine is part of; or local, for one
            that begins and ends with the block.
    """
    if ray.is_initialized():
        raise UserError("Ray is in use in this process; end that with ray.shutdown() first")
    if address.startswith("ray://"):
        raise UserError(
            f"{address} is of Ray Client, which has no folders of the cluster; give the command on a node "
            "of the cluster with auto, or to ray job submit"
        )
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    try:
        _connect(address)
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})


def _connect(address: str) -> None:
    alone = address == LOCAL
    try:
        ray.init(
            address,
            include_dashboard=False if alone else None,
            object_store_memory=OBJECT_STORE if alone else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {**SETTINGS, HERE: os.getcwd()}, "worker_process_setup_hook": enter},
        )
    except Exception as error:  # Ray raises nothing narrower where a node does not come up in time
        todo = "try again when the machine is less busy" if alone else "start one with ray start --head"
        raise UserError(
            f"no Ray cluster at {'this machine' if alone else address}: {error}; {todo}"
        ) from error


HERE = "LATENTLOOM_CLUSTER_FOLDER"  # the working directory of the command, for its workers


def enter() -> None:
    """Go to the folder in which the command was given, so that relative paths mean the same."""
    with suppress(OSError):  # a node may not have it; absolute paths do not need it
        os.chdir(os.environ[HERE])


def nodes() -> list[dict[str, Any]]:
    """What Ray knows of the nodes of the cluster, dead ones among them."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def there(resource: str) -> list[float]:
    """How much of a resource, "CPU" or "GPU", each living node has."""
    return [float(node["Resources"].get(resource, 0)) for node in nodes() if node["Alive"]]


def gpus_each(accelerator: str) -> float:
    """GPUs that a worker takes: one where any node has one, unless it trains on CPUs."""
    return 0.0 if accelerator == "cpu" else min(1.0, max(there("GPU"), default=0.0))


def places(cpus: float, gpus: float) -> int:
    """How many workers that take so much each find room in the cluster, side by side."""
    rooms = zip(there("CPU"), there("GPU"), strict=True)
    return sum(int(min(c // cpus, g // gpus if gpus else c // cpus)) for c, g in rooms)


def check_seen(folder: Path, others: Sequence[Path] = ()) -> None:
    """Make a folder; refuse it where a node does not see it, or does not see others that are seen here."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    wanted = [str(mark), *(str(path) for path in others if path.exists())]
    living = [node for node in nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]
    try:
        blind = dict(zip((n["NodeManagerAddress"] for n in living), _unseen(living, wanted), strict=True))
    finally:
        mark.unlink()
    for address, missing in blind.items():
        if missing:
            which = folder if missing[0] == str(mark) else missing[0]
            raise UserError(
                f"node {address} of the cluster does not see {which}; every node must see it under the same "
                "path: put it on storage that all of them share"
            )


def _unseen(living: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[list[str]]:
    """The paths that each node does not see."""
    refs = [
        _missing.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(wanted)
        for node in living
    ]
    found: list[list[str]] = ray.get(refs)
    return found


@ray.remote(num_cpus=0)
def _missing(wanted: Sequence[str]) -> list[str]:
    return [path for path in wanted if not os.path.exists(path)]


def await_release(folder: Path) -> None:
    """Wait until a worker that was taken for dead has let go of the folder of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout), FileLock(folder / ".lock", timeout=PATIENCE):
        pass
