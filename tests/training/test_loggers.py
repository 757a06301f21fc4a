"""Where curves are logged: what arrives there, and what is said where a package is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.recipes import load_recipe, resolve
from latentloom.training.loggers import PROJECT, logger_for
from latentloom.training.run import run


def quick(logger: str) -> Train:
    fields = {
        "training.logger": logger,
        "training.epochs": "2",
        "training.keep_latents": "0",
        "data.limit": "200",
        "evaluation.bootstrap": "0",
    }
    return load_recipe("baseline", [*fields.items()])


@pytest.mark.parametrize("value", [False, True, "tensorboard", "mlflow", "wandb"])
def test_loggers_that_can_be_asked_for(value: Any) -> None:
    assert resolve({"training": {"logger": value}}).training.logger == value
    with pytest.raises(UserError, match=r"training\.logger must be .*'mlflow'.*, got 'mlfow'"):
        resolve({"training": {"logger": "mlfow"}})


def test_tensorboard_is_the_default_and_false_is_none(tmp_path: Path) -> None:
    assert logger_for(quick("false"), tmp_path) is False
    for name in ("true", "tensorboard"):
        logger: Any = logger_for(quick(name), tmp_path)
        assert logger.log_dir == str(tmp_path / "tensorboard")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_every_epoch_and_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record = run(quick("mlflow"), tmp_path / "a", recipe="baseline", progress=False)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'a' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(PROJECT)
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.run_name == "a"
    assert logged.info.status == "FINISHED"
    assert logged.data.params["training/epochs"] == "2"
    curve = client.get_metric_history(logged.info.run_id, "val/accuracy")
    assert [point.value for point in curve] == pytest.approx([row["val/accuracy"] for row in record.history])
    again: Any = logger_for(quick("mlflow"), tmp_path / "a")  # a run that goes on
    assert again.run_id == logged.info.run_id
    place = f"sqlite:///{tmp_path / 'all.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    both: list[Any] = [logger_for(quick("mlflow"), tmp_path / name) for name in ("b", "c")]
    assert both[0].run_id != both[1].run_id
    assert len(mlflow.MlflowClient(place).search_runs([both[0].experiment_id])) == 2


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_for_each_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("a", "b"):
        run(quick("wandb"), tmp_path / name, recipe="baseline", progress=False)
        assert wandb.run is None
        (written,) = (tmp_path / name / "wandb").glob("offline-run-*/run-*.wandb")
        assert b"val/accuracy" in written.read_bytes()


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"logger {package} needs .* pip install 'latentloom\[track\]'"):
        logger_for(quick(package), tmp_path)
