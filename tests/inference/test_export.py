"""Exports predict what the run does."""

from __future__ import annotations

import json
import math

import numpy
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from latentloom.checks import UserError
from latentloom.inference import export, load
from latentloom.inference.exporting import CLOSE, difference


@pytest.fixture(scope="module")
def onnx(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return folder, export(finished, "onnx", folder)


def outputs(path, images):
    """latents and logits of an ONNX model, by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["latents", "logits"], {"images": images.numpy()})


def test_safetensors_give_the_same_to_the_last_bit(finished, digits, tmp_path):
    files = export(finished, "safetensors", tmp_path / "out")
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    ours, theirs = load(finished), load(tmp_path / "out")
    assert torch.equal(ours.embed(digits).z, theirs.embed(digits).z)
    assert torch.equal(ours.embed(digits).logits, theirs.embed(digits).logits)
    assert torch.equal(ours.class_centres, theirs.class_centres)
    assert theirs.class_names == ours.class_names
    assert theirs.about["versions"].keys() >= {"torch", "latentloom"}


def test_an_export_is_exported_again(finished, tmp_path):
    export(finished, "safetensors", tmp_path / "one")
    export(tmp_path / "one", "safetensors", tmp_path / "two")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_normalisation_is_written_out(finished, tmp_path, digits):
    export(finished, "safetensors", tmp_path)
    said = json.loads((tmp_path / "model.json").read_text())["normalisation"]
    standardise = load(finished).model.encoder[0]
    wanted = (digits[:2].float() / 255 - said["mean"][0]) / said["std"][0]
    torch.testing.assert_close(standardise(digits[:2]), wanted)


def test_onnx_predicts_the_same(onnx, finished, digits):
    folder, files = onnx
    assert sorted(files) == sorted(folder.iterdir())
    latent = load(finished).embed(digits)
    for batch in (digits, digits[:1]):  # the number of images is free
        z, logits = outputs(folder / "model.onnx", batch)
        assert difference(latent.z[: len(batch)].numpy(), z) <= CLOSE
        assert difference(latent.logits[: len(batch)].numpy(), logits) <= CLOSE
        assert numpy.array_equal(logits.argmax(1), latent.logits[: len(batch)].argmax(1).numpy())


def test_onnx_has_its_points_beside_it(onnx, finished):
    kept, model = load_file(onnx[0] / "class_centres.safetensors"), load(finished)
    assert kept.keys() == {"class_centres", "class_embeddings"}
    assert torch.equal(kept["class_embeddings"], model.class_embeddings)
    assert json.loads((onnx[0] / "model.json").read_text())["class_names"] == list(model.class_names)


@pytest.mark.slow
def test_onnx_without_a_classifier_has_logits_of_centres(untrained, tmp_path, digits):
    centres = torch.randn(10, 64)
    centres[4] = math.nan
    folder, _ = untrained(
        "dml-triplet", ("model.classifier", "none"), ("model.latent_dim", "64"), centres=centres
    )
    export(folder, "onnx", tmp_path / "out")
    _, logits = outputs(tmp_path / "out" / "model.onnx", digits[:9])
    assert difference(load(folder).embed(digits[:9]).logits.numpy(), logits) <= CLOSE
    assert (logits[:, 4] == -math.inf).all()


def test_an_onnx_model_that_differs_is_not_kept(finished, tmp_path, monkeypatch):
    class Wrong:
        def __init__(self, content, providers):
            pass

        def run(self, names, inputs):
            with torch.no_grad():
                latent = load(finished).model(torch.from_numpy(inputs["images"]))
            return [latent.z.numpy(), latent.logits.numpy() + 0.5]

    class Program:
        class model_proto:  # noqa: N801
            @staticmethod
            def SerializeToString():  # noqa: N802
                return b""

    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: Program)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    with pytest.raises(UserError, match=r"the logits of the ONNX model differ .* by .*, more than 0\.0001"):
        export(finished, "onnx", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_without_the_extra_it_is_named(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "latentloom.inference.exporting.find_spec", lambda name: None if name == "onnx" else 1
    )
    with pytest.raises(UserError, match=r"needs onnx; install it with: pip install 'latentloom\[export\]'"):
        export(finished, "onnx", tmp_path / "out")


def test_an_exporter_that_gives_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: None)
    with pytest.raises(RuntimeError, match="no program"):
        export(finished, "onnx", tmp_path / "out")


def test_nothing_is_overwritten_unasked(finished, tmp_path):
    (tmp_path / "model.json").write_text("mine")
    with pytest.raises(UserError, match=r"model\.json already; choose another --out"):
        export(finished, "safetensors", tmp_path)
    assert (tmp_path / "model.json").read_text() == "mine"
    export(finished, "safetensors", tmp_path, overwrite=True)
    assert load(tmp_path).class_names


def test_a_misspelt_format(finished, tmp_path):
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        export(finished, "onx", tmp_path)


def test_differences_are_relative_to_what_is_there():
    ours = numpy.array([[1000.0, -numpy.inf]])
    assert difference(ours, ours + 0.1) == pytest.approx(1e-4)
    assert difference(numpy.array([0.5]), numpy.array([0.25])) == 0.25
    assert difference(ours, numpy.array([[1000.0, 0.0]])) == math.inf
    assert difference(ours, numpy.array([[numpy.nan, -numpy.inf]])) == math.inf
    assert difference(ours, ours[0]) == math.inf
