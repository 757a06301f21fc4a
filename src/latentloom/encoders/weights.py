"""Weights that networks start from: those of torchvision or timm, downloaded or from a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import isqrt
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, reason

LAST_LAYERS = ("fc.", "classifier.", "head.")  # of the models published; ours end before
POSITIONS = "pos_embed"  # (1, 1 + patches, d) of timm's transformers, that of the class token first
HUB_FILE = "model.safetensors"  # what every model of timm is called on the hub


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], origin: str, *, fresh_stem: bool = False
) -> None:
    """Put the weights of a model into a network that is this model without its last layer.

    The weights of the last layer are ignored. Where the images have another number of channels, c, the
    first convolution gets the sum of its weights over the colours, divided by c, in each channel; so an
    image whose channels are all alike is answered as it was in colour. Where they have another size, the
    positions of a transformer's patches are interpolated.

    Args:
        network: named as in torchvision or timm, first convolution first.
        weights: tensors by name.
        origin: of the weights, for messages.
        fresh_stem: leave the first convolution as it is, for a stem that torchvision does not have; says
            so in a warning.
    """
    own = network.state_dict()
    first = next(name for name, value in own.items() if value.ndim == 4)
    found = {name: v for name, v in weights.items() if name in own or not name.startswith(LAST_LAYERS)}
    if fresh_stem:
        warnings.warn(f"{origin} has no weights for the small stem, which starts at random", stacklevel=2)
        found[first] = own[first]
    elif first in found:
        found[first] = _for_channels(found[first], own[first])
    if POSITIONS in found and POSITIONS in own:
        found[POSITIONS] = _for_size(found[POSITIONS], own[POSITIONS])
    _check_fit(found, own, origin)
    network.load_state_dict(found)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file, or from one of torch.save; no other pickle is executed."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no file of weights {path}; give the path of a .safetensors or .pth file")
    try:
        weights = _read(path)
    except Exception as error:  # damaged files raise nearly anything
        raise UserError(
            f"{path} does not read as tensors by name, for it is damaged or holds something else "
            f"({reason(error)}); write it again from model.state_dict()"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"{path} holds something other than tensors by name; write it again from model.state_dict()"
        )
    return weights


def imagenet_weights(model: str) -> dict[str, Tensor]:
    """The newest ImageNet weights of a model of torchvision, by its own download.

    The file is kept in the folder `checkpoints` of `torch.hub.get_dir()`, and taken from there if it is
    there already.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(model).DEFAULT
    try:
        weights: dict[str, Tensor] = published.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # no network, another hash, no room, a damaged file
        folder, file = Path(torch.hub.get_dir()) / "checkpoints", PurePosixPath(published.url).name
        raise UserError(
            f"no weights of {model} ({reason(error)}); get {published.url} and put it as "
            f"{file} in {folder}, replacing what may lie there; or start from a file with --model.weights"
        ) from error
    return weights


def hub_weights(model: str) -> dict[str, Tensor]:
    """The weights of a model of timm, `architecture.tag`, by its own download from the Hugging Face hub.

    The file is kept in the hub's folder, and taken from there if it is there already. Its name holds no
    hash to check it by, as the names of torchvision's files do.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from timm.models import load_state_dict_from_hf

    try:
        weights: dict[str, Tensor] = load_state_dict_from_hf(f"timm/{model}", HUB_FILE)
    except Exception as error:  # no network, no room, a damaged file
        raise UserError(
            f"no weights of {model} ({reason(error)}), neither from the hub nor in {HF_HUB_CACHE}; get "
            f"https://huggingface.co/timm/{model}/resolve/main/{HUB_FILE} and start from this file with "
            f"--model.pretrained false --model.weights {HUB_FILE}"
        ) from error
    return weights


def _read(path: Path) -> Any:
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _for_channels(weight: Tensor, own: Tensor) -> Tensor:
    """(o, i, h, w) -> (o, c, h, w) with the same sum over the second; unchanged where the places differ."""
    channels = own.shape[1]
    if weight.shape[2:] != own.shape[2:] or weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def _for_size(positions: Tensor, own: Tensor) -> Tensor:
    """(1, 1 + k k, d) -> (1, 1 + l l, d), bicubically as timm does; unchanged where there is no square."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    patches = positions.shape[1] - 1 if positions.ndim == 3 else 0
    if patches < 1 or isqrt(patches) ** 2 != patches:
        return positions
    side = isqrt(own.shape[1] - 1)
    resampled: Tensor = resample_abs_pos_embed(positions, [side, side])
    return resampled


def _check_fit(found: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str) -> None:
    """Refuse tensors of other names or shapes, apart from counts of batches, which old files lack."""
    there, wanted = _shapes(found), _shapes(own)
    differing = [name for name in {**wanted, **there} if there.get(name) != wanted.get(name)]
    if differing:
        name = differing[0]
        raise UserError(
            f"{origin} does not fit the encoder: {len(differing)} of {len(wanted)} tensors differ, the first "
            f"{name}: got {there.get(name, 'none')}, wanted {wanted.get(name, 'none')}; "
            "give the weights of the same model"
        )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.shape)
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
