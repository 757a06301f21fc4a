"""Where curves are logged beside history.csv: TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

import hashlib
import importlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from latentloom.checks import UserError
from latentloom.config import Train

PROJECT = "latentloom"  # of Weights & Biases, and the experiment of MLflow
FOLDER = "latentloom.folder"  # the tag by which a run that goes on is found


def logger_for(config: Train, folder: Path) -> Logger | bool:
    """The logger of a run, with its configuration; False where none is asked for.

    A run that goes on is logged where it began. MLflow logs to MLFLOW_TRACKING_URI where that is set, else
    to mlflow.db in the folder; Weights & Biases as its own variables say, WANDB_MODE=offline among them.
    """
    match config.training.logger:
        case False:
            return False
        case "mlflow":
            _check_installed("mlflow")
            logger: Logger = _mlflow(folder)
        case "wandb":
            _check_installed("wandb")
            name, own = folder.name, _identity(folder)
            logger = WandbLogger(name, folder, project=PROJECT, id=own, resume="allow")
        case _:
            return TensorBoardLogger(folder, name="", version="tensorboard")
    logger.log_hyperparams(asdict(config))
    return logger


class EndOfLog(Callback):
    """Ends a run of Weights & Biases, which the next run of this process would go on with."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.experiment.finish()


def _mlflow(folder: Path) -> MLFlowLogger:
    from mlflow import MlflowClient

    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    client, tag = MlflowClient(place), {FOLDER: _identity(folder)}
    experiment: Any = client.get_experiment_by_name(PROJECT)
    asked = f"tags.`{FOLDER}` = '{tag[FOLDER]}'"
    begun: Any = client.search_runs([experiment.experiment_id], asked) if experiment else []
    known = begun[0].info.run_id if begun else None
    return MLFlowLogger(PROJECT, folder.name, tracking_uri=place, tags=tag, run_id=known)


def _identity(folder: Path) -> str:
    """A name for the folder that every service takes."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]


def _check_installed(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"--training.logger {package} needs a package that does not import ({error}); install it with: "
            "pip install 'latentloom[track]', or choose tensorboard or false"
        ) from error
