"""One run whose processes are workers of Ray Train."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.train import (
    ControllerError,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from latentloom.checks import UserError
from latentloom.cluster.connect import RESTARTS, await_release, check_seen, connected, gpus_each, places
from latentloom.config import Train
from latentloom.records import load_record
from latentloom.training.folder import RECORD
from latentloom.training.processes import LostError
from latentloom.training.run import run
from latentloom.values import Record

RAY = "ray"  # in the run's folder, for Ray's own files; gone when the run ends


def train_on(
    address: str, config: Train, folder: Path, *, recipe: str, workers: tuple[int, int] = (1, 1)
) -> Record:
    """`latentloom.training.run.run` in several workers of a cluster, which train as one.

    The workers are processes as torchrun starts them, and so the run is the same as of as many processes
    without Ray. When a worker dies all are started again, and go on from the last checkpoint; ten times.

    Args:
        address: of the cluster; see `connected`.
        config: what to run.
        folder: of the run. Every node must see it under the same path.
        recipe: the name under which the record is kept.
        workers: the least and the most. Where they differ, there are as many as the cluster has room for,
            fewer when a node is lost, and more when one comes; otherwise a lost one is waited for.

    Raises:
        UserError: for what the run itself refuses, for a cluster that is not there or has no room, for a
            folder that a node does not see; and if workers die too often.
    """
    place = folder.absolute()
    with connected(address):
        gpus = gpus_each(config.training.accelerator)
        _check_room(workers, gpus)
        check_seen(place)
        trainer = TorchTrainer(
            _train,
            train_loop_config={"config": config, "folder": place, "recipe": recipe},
            torch_config=_OwnDevice(),
            scaling_config=ScalingConfig(
                num_workers=workers[0] if workers[0] == workers[1] else workers,  # type: ignore[arg-type]
                use_gpu=gpus > 0,
            ),
            run_config=RunConfig(
                name=RAY,
                storage_path=str(place),
                failure_config=FailureConfig(max_failures=RESTARTS),
                callbacks=[_Refusals()],  # type: ignore[list-item]
            ),
        )
        _fit(trainer, place)
    return load_record(place / RECORD)


def _check_room(workers: tuple[int, int], gpus: float) -> None:
    if not 1 <= workers[0] <= workers[1]:
        raise UserError(f"wanted at least one worker, got --workers {workers[0]}:{workers[1]}")
    if (room := places(1, gpus)) < workers[0]:
        each = "a core and a GPU" if gpus else "a core"
        raise UserError(
            f"{workers[0]} workers of {each} each are asked for, and the cluster has room for {room}; ask "
            f"for fewer, or for as many as there is room for with --workers 1:{workers[1]}"
        )


def _fit(trainer: TorchTrainer, folder: Path) -> None:
    try:
        with _own_interrupt():
            trainer.fit()
    except (TrainingFailedError, RayError) as error:  # the second where what watches the workers died
        cause = error.controller_failure if isinstance(error, ControllerError) else error
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(
            f"the run in {folder} was given up: {cause}; the same command goes on from its last checkpoint"
        ) from error
    finally:
        shutil.rmtree(folder / RAY, ignore_errors=True)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Put back what an interrupt does, which Ray Train sets for good."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Refusals(UserCallback):
    """Ends the run at a mistake in what was asked for, which no other try would mend."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, UserError) and not isinstance(error, LostError):
                raise error


class _OwnDeviceBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Each worker sees its own GPU and no other."""

    share_cuda_visible_devices = False


@dataclass
class _OwnDevice(TorchConfig):
    @property
    def backend_cls(self) -> type:
        return _OwnDeviceBackend


def _train(asked: Mapping[str, Any]) -> None:
    """What each worker does: the run, as under torchrun, on a machine of one device.

    So nodes may have unlike numbers of workers.
    """
    rank = os.environ["RANK"]
    os.environ.update(TORCHELASTIC_RUN_ID=RAY, LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_RANK=rank)
    if rank == "0":
        await_release(asked["folder"])
    run(asked["config"], asked["folder"], recipe=asked["recipe"], progress=False)
