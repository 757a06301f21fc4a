"""A user's own classifier in place of an encoder: trained, judged, read again; mistakes have one message."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from PIL import Image

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.data import load as load_data
from latentloom.inference import export, load
from latentloom.recipes import load_recipe
from latentloom.training.classifier import classifier_from
from latentloom.training.model import model_for
from latentloom.training.run import run

NETWORKS = """
from torch import nn

def small(classes):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 24), nn.ReLU(), nn.Linear(24, classes)
    )

def seven(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def none(classes):
    return classes
"""
QUICK = [
    ("data.limit", "200"),
    ("training.epochs", "1"),
    ("training.logger", "false"),
    ("training.keep_latents", "0"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "0"),
]
OWN = [("model.function", "own_networks:small"), ("model.layer", "4")]


@pytest.fixture(autouse=True)
def networks(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("own_networks", None)


def asked(recipe="latent-boost", *more):
    return load_recipe(recipe, [*QUICK, *OWN, *more])


def model_of(config):
    return model_for(config, load_data(config.data, 0).train)


def test_z_is_what_the_layer_gives_and_logits_are_its_own():
    config = asked()
    model, x = model_of(config).eval(), load_data(config.data, 0).test.images[:5]
    latent = model(x)
    standardise, tapped = model.encoder
    by_hand = tapped.model[:5](standardise(x))
    assert torch.equal(latent.z, by_hand)
    assert torch.equal(latent.logits, tapped.model[5](by_hand))
    assert not model.heads


def test_label_embeddings_have_a_projection_and_the_logits_do_not_pass_it():
    model = model_of(asked("laresa")).eval()
    latent = model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    assert latent.z.shape == (3, 384)
    assert latent.logits.shape == (3, 10)


def test_class_embeddings_can_classify_in_its_place():
    model = model_of(asked("euclidean-target", ("model.classifier", "euclidean"))).eval()
    latent = model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    away = torch.cdist(latent.z, latent["class_embeddings"])
    torch.testing.assert_close(latent.logits, -away.square(), rtol=1e-4, atol=1e-4)


def test_a_prior_and_a_decoder_hang_on_it():
    config = asked("dml-gmm-prior", ("model.decoder", "mlp"))
    model = model_of(config)
    latent = model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), rows=torch.arange(3))
    assert latent["reconstruction"].shape == (3, 1, 8, 8)
    assert latent["log_prior"].shape == (3,)


@pytest.mark.parametrize("recipe", ["latent-boost", "laresa"])
def test_a_run_is_read_again_with_the_function_alone(tmp_path, recipe):
    config = asked(recipe)
    record = run(config, tmp_path / "run", recipe=recipe, progress=False)
    images = load_data(config.data, 0).test.images
    trained = load(tmp_path / "run", function="own_networks:small")
    found = trained.predict(images).columns()["label"]
    right = torch.tensor([int(name) for name in found]) == load_data(config.data, 0).test.labels
    assert right.float().mean().item() == pytest.approx(record.card.value("accuracy"))

    export(trained, "safetensors", tmp_path / "out")
    again = load(tmp_path / "out", function=_small)
    assert torch.equal(again.embed(images[:20]).z, trained.embed(images[:20]).z)


def _small(classes):
    return classifier_from("own_networks:small", classes)


def test_predict_by_the_command(tmp_path, capsys):
    run(asked(), tmp_path / "run", recipe="latent-boost", progress=False)
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    assert main(["predict", str(tmp_path / "run"), "image.png"]) == 2
    assert "--function own_networks:small" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "run"), "image.png", "--function", "own_networks:small"]) == 0
    assert "image.png" in capsys.readouterr().out


def test_a_function_for_a_run_that_had_none(tmp_path):
    run(load_recipe("baseline", QUICK), tmp_path / "run", recipe="baseline", progress=False)
    with pytest.raises(UserError, match="leave it out"):
        load(tmp_path / "run", function="own_networks:small")


def test_a_recipe_runs_no_code(tmp_path):
    (tmp_path / "theirs.yaml").write_text("model: {function: 'own_networks:small', layer: '4'}")
    with pytest.raises(UserError, match="a recipe cannot run"):
        load_recipe("theirs.yaml")
    assert "own_networks" not in sys.modules


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("model.function", "own_networks")], "wanted module:function"),
        ([("model.function", "own_networks:smal")], "did you mean 'small'"),
        ([("model.function", "nowhere:small")], "there is no module 'nowhere'"),
        ([("model.function", "own_networks:none")], "gives int for 10, wanted a torch.nn.Module"),
        ([("model.function", "own_networks:seven"), ("model.layer", '"0"')], "gives (2, 7) for 2 images"),
        ([("model.layer", "null")], "--model.layer NAME; there are 0 (8, 6, 6)"),
        ([("model.layer", '"44"')], "no layer '44'"),
        ([("model.pretrained", "true")], "model.pretrained is of an encoder of latentloom"),
        ([("model.function", "null")], "add --model module:function"),
    ],
)
def test_a_mistake_has_one_message(fields, message):
    with pytest.raises(UserError, match=re.escape(message)):
        model_of(load_recipe("latent-boost", [*QUICK, *OWN, *fields]))


def test_what_the_users_module_lacks_is_the_users_to_see(tmp_path):
    (tmp_path / "own_networks.py").write_text("import nowhere_at_all")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        classifier_from("own_networks:small", 10)
