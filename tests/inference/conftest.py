"""A finished run on digits, and its test images as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from latentloom.data import load as load_data
from latentloom.recipes import load_recipe
from latentloom.training.model import description, model_for
from latentloom.training.run import run

QUICK = [
    ("data.limit", "300"),
    ("training.epochs", "2"),
    ("training.logger", "false"),
    ("training.keep_latents", "0"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "10"),
]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums of two threads differ from those of one in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, one_thread) -> Path:
    """The folder of a run with class embeddings."""
    folder = tmp_path_factory.mktemp("finished")
    run(load_recipe("euclidean-target", QUICK), folder, recipe="euclidean-target", progress=False)
    return folder


@pytest.fixture(scope="session")
def digits():
    """The 360 test images, uint8 (n, 1, 8, 8)."""
    return load_data(load_recipe("baseline", QUICK).data, 0).test.images


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, digits) -> Path:
    """A folder with the first 20 test images as files, below directories, and files that are none."""
    top = tmp_path_factory.mktemp("pictures")
    for k, image in enumerate(digits[:20]):
        path = top / ("a", "b")[k >= 10] / f"{k:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    (top / "b" / "13.png").write_bytes(b"no image")
    (top / "notes.md").write_text("not an image either")
    return top


@pytest.fixture
def untrained(tmp_path, digits):
    """Write the folder of a model as it starts, for any recipe: (folder, the model itself)."""

    def make(recipe: str, *more: tuple[str, str], centres: torch.Tensor | None = None):
        config = load_recipe(recipe, [*QUICK, *more])
        train = load_data(config.data, 0).train
        model = model_for(config, train).eval()
        d = model(train.images[:1]).z.shape[1]
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, tmp_path / "model.safetensors")
        points = torch.randn(10, d) if centres is None else centres
        save_file({"class_centres": points}, tmp_path / "class_centres.safetensors")
        (tmp_path / "model.json").write_text(json.dumps(description(config, train)))
        return tmp_path, model

    return make
