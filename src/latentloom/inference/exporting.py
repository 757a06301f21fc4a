"""A trained model for use elsewhere: plain tensors, or ONNX."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.encoders import Standardise
from latentloom.files import atomically, write_text
from latentloom.inference.loading import load
from latentloom.inference.predicting import centre_logits
from latentloom.inference.trained import Trained
from latentloom.training.folder import ABOUT, CENTRES, WEIGHTS

ONNX = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
CLOSE = 1e-4  # of the largest number that an output holds, or of 1 where that is less
TRIED = (1, 5)  # images in the batches that an export is checked on


def export(
    model: Trained | str | Path, format: str, out: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write a trained model to a folder: the files that were written.

    safetensors  model.safetensors, model.json, class_centres.safetensors: what `load` reads
    onnx         model.onnx from images, uint8 (n, c, h, w), to latents (n, d) and logits (n, C);
                 model.json; class_centres.safetensors, in which there are class_embeddings and
                 label_embeddings too, if the model has them

    In both model.json also has "normalisation", the mean and deviation that the network itself takes from
    images in [0, 1]. An ONNX model is run beside the model itself before it is kept: outputs that differ
    by more than 1e-4 of their largest number are an error.

    Args:
        model: or a run's folder, or that of an export to safetensors.
        format: safetensors or onnx.
        out: the folder.
        overwrite: replace files that are there.
    """
    check_choice("format", format, FORMATS)
    name, write = FORMATS[format]
    folder = Path(out)
    files = [folder / file for file in (name, CENTRES, ABOUT)]
    if there := [path for path in files if path.exists() and not overwrite]:
        raise UserError(f"there is {there[0]} already; choose another --out, or say --overwrite")
    trained = model if isinstance(model, Trained) else load(model, device="cpu")
    write(trained, folder)
    about = {**trained.about, "normalisation": _normalisation(trained)}
    write_text(folder / ABOUT, json.dumps(about, indent=1))
    return files


def _write_safetensors(trained: Trained, folder: Path) -> None:
    with atomically(folder / WEIGHTS) as part:
        save_file({name: value.contiguous() for name, value in trained.model.state_dict().items()}, part)
    with atomically(folder / CENTRES) as part:
        save_file({"class_centres": trained.class_centres}, part)


def _write_onnx(trained: Trained, folder: Path) -> None:
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(
            f"export to ONNX needs {', '.join(missing)}; install it with: pip install 'latentloom[export]'"
        )
    with atomically(folder / ONNX) as part:
        part.write_bytes(_onnx(trained))
    vectors = {
        "class_centres": trained.class_centres,
        "class_embeddings": trained.class_embeddings,
        "label_embeddings": trained.label_embeddings,
    }
    with atomically(folder / CENTRES) as part:
        save_file({name: value for name, value in vectors.items() if value is not None}, part)


FORMATS: dict[str, tuple[str, Callable[[Trained, Path], None]]] = {
    "safetensors": (WEIGHTS, _write_safetensors),
    "onnx": (ONNX, _write_onnx),
}


class _Outputs(nn.Module):
    """A trained model as a function of tensors."""

    centres: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model = trained.model
        self.register_buffer("centres", trained.class_centres)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.model(images)
        logits = latent.get("logits")
        return latent.z, centre_logits(latent.z, self.centres) if logits is None else logits


def _onnx(trained: Trained) -> bytes:
    """The model in ONNX, checked."""
    outputs = _Outputs(trained).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter and what it loads warn of their own affairs
        program = torch.onnx.export(
            outputs,
            (_noise(trained, 2),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["latents", "logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    content: bytes = program.model_proto.SerializeToString()
    for n in TRIED:
        _check(content, outputs, _noise(trained, n))
    return content


@torch.no_grad()
def _check(content: bytes, outputs: nn.Module, images: Tensor) -> None:
    """Refuse an ONNX model whose outputs are not those of the module."""
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(["latents", "logits"], {"images": images.numpy()})
    for name, ours, theirs in zip(("latents", "logits"), outputs(images), found, strict=True):
        off = difference(ours.numpy(), theirs)
        if not off <= CLOSE:
            raise UserError(
                f"the {name} of the ONNX model differ from the model's own by {off:.2g}, more than "
                f"{CLOSE:g}, and nothing was kept; export to safetensors, or try other versions of torch and "
                "onnxruntime"
            )


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest number of ours or to 1; equal infinities differ by 0.

    Degenerate: inf where the shapes differ, or one holds nan or an infinity that the other does not.
    """
    if ours.shape != theirs.shape:
        return math.inf
    apart = ours != theirs
    if not (np.isfinite(ours[apart]).all() and np.isfinite(theirs[apart]).all()):
        return math.inf
    scale = max(1.0, float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)))
    return float(np.abs(ours[apart].astype(float) - theirs[apart]).max(initial=0.0)) / scale


def _noise(trained: Trained, n: int) -> Tensor:
    """Images of random pixels, uint8 (n, c, size, size), always the same."""
    f, generator = trained.form, torch.Generator().manual_seed(n)
    return torch.randint(256, (n, f.channels, f.size, f.size), generator=generator, dtype=torch.uint8)


def _normalisation(trained: Trained) -> dict[str, Any]:
    standardise = next(module for module in trained.model.modules() if isinstance(module, Standardise))
    return {name: getattr(standardise, name).flatten().tolist() for name in ("mean", "std")}
