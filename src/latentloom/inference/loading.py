"""The model of a run's folder, or of an export, read without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentloom.checks import UserError, reason
from latentloom.encoders import Model
from latentloom.inference.images import ImageForm
from latentloom.inference.rebuilding import rebuilt
from latentloom.inference.trained import Trained
from latentloom.recipes import resolve
from latentloom.training.classifier import Function, classifier_from
from latentloom.training.folder import ABOUT, CENTRES, CONFIG, WEIGHTS
from latentloom.training.model import with_encoder

REMEDY = "copy the folder again, or run again what made it"


def load(path: str | Path, *, device: str = "auto", function: str | Function | None = None) -> Trained:
    """The trained model in a folder, ready to embed and to predict.

    It is read from model.safetensors, model.json and class_centres.safetensors alone, as a run leaves
    them and `latentloom export` writes them. For runs older than the key "model" of model.json, what it
    holds is taken from their config.yaml.

    Args:
        path: a run's folder, or that of an export.
        device: cpu, cuda, ...; auto takes a GPU if there is one.
        function: of a run with a classifier of the user's own, what gives it for a number of classes, or
            "module:function". No code is run that only the folder names.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give that of a run, or of an export")
    about = _completed(_about(folder / ABOUT), folder)
    weights = _tensors(folder / WEIGHTS)
    place, names = _device(device), tuple(_key(about, "class_names", folder))
    shape = _shape(about, folder)
    model = _model(about, shape, len(names), weights, function, folder)
    return Trained(
        model.to(place),
        ImageForm(shape[0], shape[1], about.get("resize")),
        names,
        tuple(about.get("coarse_names", ())),
        _centres(folder / CENTRES, len(names)).to(place),
        about,
    )


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(_there(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} does not read as JSON ({error}); {REMEDY}") from error
    if not isinstance(about, dict):
        raise UserError(f"{path} holds a {type(about).__name__}, wanted names with values; {REMEDY}")
    return about


def _completed(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With how the model is built, which older runs have in their configuration alone."""
    if "model" in about:
        return about
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder / ABOUT} does not say how the model is built, for an older version wrote it, and there "
            f"is no {CONFIG} beside it; put that of the run there"
        )
    config = resolve(yaml.safe_load(path.read_text(encoding="utf-8")))
    model = with_encoder(config, _shape(about, folder)[1])
    return {**about, "resize": config.data.resize, "model": asdict(model)}


def _shape(about: Mapping[str, Any], folder: Path) -> tuple[int, int, int]:
    match _key(about, "images", folder):
        case [int(channels), int(height), int(width)]:
            return channels, height, width
        case other:
            raise UserError(
                f"{folder / ABOUT}: images must be channels, height and width, got {other!r}; {REMEDY}"
            )


def _model(
    about: Mapping[str, Any],
    shape: tuple[int, int, int],
    classes: int,
    weights: Mapping[str, Tensor],
    function: str | Function | None,
    folder: Path,
) -> Model:
    try:
        asked = resolve({"model": about["model"]}).model
        _check_function(asked.function, function)
        classifier = None if function is None else classifier_from(function, classes)
        return rebuilt(asked, shape, classes, weights, classifier)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{folder / WEIGHTS} does not hold the weights of the model that {ABOUT} describes "
            f"({_missing(error)}); {REMEDY}"
        ) from error
    except UserError as error:
        error.add_note(f"in {folder / ABOUT}")
        raise


def _check_function(trained: str | None, given: str | Function | None) -> None:
    """Refuse to go on without the function that the run had, or with one that it had not."""
    if trained is not None and given is None:
        raise UserError(
            f"the run trained the classifier that {trained} gives, and no code is run that only a folder "
            f"names; name it again: load(..., function=...), or --function {trained}"
        )
    if trained is None and given is not None:
        raise UserError("a function was given, and the run had no classifier of the user's; leave it out")


def _missing(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]


def _centres(path: Path, classes: int) -> Tensor:
    centres = _tensors(path).get("class_centres")
    if centres is None or centres.ndim != 2 or len(centres) != classes:
        found = "none" if centres is None else tuple(centres.shape)
        raise UserError(
            f"{path} must hold class_centres ({classes}, d), a row per class, got {found}; {REMEDY}"
        )
    return centres


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(_there(path))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({reason(error)}); {REMEDY}") from error


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(
            f"there is no {path}; give the folder of a run that ended, or of an export to safetensors"
        )
    return path


def _key(about: Mapping[str, Any], key: str, folder: Path) -> Any:
    if key not in about:
        raise UserError(f"{folder / ABOUT} lacks {key!r}; {REMEDY}")
    return about[key]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)  # which a device that is not there refuses
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"no device {name!r} ({reason(error)}); choose cpu, cuda or auto") from error
    return device
