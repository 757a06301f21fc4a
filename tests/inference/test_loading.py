"""A model is read from its folder as it was, without pickle; what is amiss is named."""

from __future__ import annotations

import json
import shutil

import numpy
import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file

from latentloom.checks import UserError
from latentloom.inference import load


def table_of(folder, d):
    """Latents (n, d) and predicted classes (n,) that the run left of the test images."""
    table = pandas.read_parquet(folder / "latents.parquet")
    return torch.tensor(table[[f"z_{k}" for k in range(d)]].to_numpy()), torch.tensor(table["predicted"])


def test_embeds_as_the_run_did_to_the_last_bit(finished, digits):
    model = load(finished)
    latent = model.embed(digits)
    z, predicted = table_of(finished, latent.z.shape[1])
    assert torch.equal(latent.z, z)
    assert torch.equal(model.predict(digits).y, predicted)
    assert not model.model.training
    assert not latent.z.requires_grad


def test_a_model_in_float64_embeds_as_its_run_did(untrained, digits, tmp_path):
    folder, model = untrained("baseline")
    weights = {
        name: value.double() if value.is_floating_point() else value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors")
    found = load(folder)
    assert {weight.dtype for weight in found.model.parameters()} == {torch.float64}
    with torch.no_grad():
        z = model.double().eval()(digits).z
    assert torch.allclose(found.embed(digits).z, z.float(), atol=1e-7)


def test_knows_classes_and_images(finished):
    model = load(str(finished), device="cpu")
    kept = load_file(finished / "class_centres.safetensors")["class_centres"]
    assert model.class_names == tuple("0123456789")
    assert model.coarse_names == ()
    assert torch.equal(model.class_centres, kept)
    assert (model.form.channels, model.form.size, model.form.resize) == (1, 8, None)
    assert model.class_embeddings.shape == kept.shape
    assert model.label_embeddings is None
    assert model.about["model"]["encoder"] == "mlp"


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        ("baseline", ()),
        ("cosine-target", (("data.size", "16"), ("model.encoder", "conv4"), ("model.latent_dim", "5"))),
        ("center", ()),
        ("laresa", ()),
        ("vae", ()),
        ("vamp-vae", ()),
        ("vamp-vae", (("model.prior.fresh", "2"),)),
        ("dml-gmm-prior", ()),
        ("vae", (("model.prior.kind", "sphere"), ("model.prior.learned", "true"))),
        ("vae", (("model.prior.kind", "hypercube"),)),
        ("dml-autoencoder", ()),
    ],
    ids=str,
)
def test_every_kind_of_model_is_built_again(untrained, recipe, more):
    folder, model = untrained(recipe, *more)
    x = torch.randint(256, (7, 1, 8, 8), dtype=torch.uint8)
    if more and more[0][0] == "data.size":
        x = torch.randint(256, (7, 1, 16, 16), dtype=torch.uint8)
    found = load(folder)
    with torch.no_grad():
        ours, theirs = found.model(x, generate=True), model(x, generate=True)
    assert ours.samples.keys() == theirs.samples.keys()
    assert ours.shared.keys() == theirs.shared.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in (*theirs.samples, *theirs.shared))
    assert type(found.model.prior) is type(model.prior)


def test_a_fitted_prior_is_built_again_without_what_it_was_fitted_on(untrained, tmp_path):
    latents = tmp_path / "z.npy"
    numpy.save(latents, numpy.random.default_rng(0).normal(size=(50, 4)))
    fields = {"kind": "fitted", "components": "3", "latents": str(latents)}
    asked = [(f"model.prior.{name}", value) for name, value in fields.items()]
    folder, model = untrained("vae", ("model.latent_dim", "4"), *asked)
    latents.unlink()
    z = torch.randn(5, 4)
    assert torch.equal(load(folder).model.prior.log_prob(z), model.prior.log_prob(z))


def test_names_of_groups_and_their_learned_share_are_built_again(untrained, tmp_path):
    groups = {"even": list("02468"), "odd": list("13579")}
    (tmp_path / "groups.yaml").write_text(json.dumps(groups))
    numpy.save(tmp_path / "names.npy", numpy.random.default_rng(0).normal(size=(10, 6)))
    names = {"source": str(tmp_path / "names.npy"), "learned_balance": "true"}
    asked = [(f"model.label_embeddings.{field}", value) for field, value in names.items()]
    folder, model = untrained("laresa", ("data.coarse", str(tmp_path / "groups.yaml")), *asked)
    found, x = load(folder), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    assert found.coarse_names == ("even", "odd")
    assert {"balance", "coarse_of", "coarse_embeddings"} <= found.model(x).shared.keys()
    assert torch.equal(found.label_embeddings, model.label_embeddings.vectors)
    assert torch.equal(found.model(x)["coarse_embeddings"], model(x)["coarse_embeddings"])


def test_weights_to_start_from_are_not_looked_for(untrained):
    folder, _ = untrained("baseline")
    about = json.loads((folder / "model.json").read_text())
    about["model"] |= {"pretrained": True}
    (folder / "model.json").write_text(json.dumps(about))
    assert load(folder).class_names[3] == "3"


def test_leaves_random_numbers_alone(finished):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    load(finished)
    assert torch.equal(torch.rand(2), wanted)


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copied")


def edited(folder, change):
    """model.json after a change."""
    about = json.loads((folder / "model.json").read_text())
    change(about)
    (folder / "model.json").write_text(json.dumps(about))


def test_an_older_run_is_built_from_its_configuration(copied, digits):
    wanted = load(copied).embed(digits).logits
    edited(copied, lambda about: [about.pop(key) for key in ("model", "resize", "versions")])
    found = load(copied)
    assert torch.equal(found.embed(digits).logits, wanted)
    assert found.about["model"]["encoder"] == "mlp"
    (copied / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"model\.json does not say how .* no config\.yaml beside it"):
        load(copied)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "class_centres.safetensors"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"there is no .*{name}; give the folder of a run that ended"):
        load(copied)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "class_centres.safetensors"])
def test_a_truncated_file_is_named(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{name} (is damaged|does not read as JSON)"):
        load(copied)


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="there is no folder nowhere"):
        load("nowhere")


def test_json_of_something_else(copied):
    (copied / "model.json").write_text("[1]")
    with pytest.raises(UserError, match=r"model\.json holds a list"):
        load(copied)


@pytest.mark.parametrize("key", ["class_names", "images"])
def test_a_missing_key_is_named(copied, key):
    edited(copied, lambda about: about.pop(key))
    with pytest.raises(UserError, match=f"lacks '{key}'"):
        load(copied)


def test_images_of_no_shape(copied):
    edited(copied, lambda about: about.update(images=[8, 8]))
    with pytest.raises(UserError, match=r"model\.json: images must be channels, height and width"):
        load(copied)


def test_a_model_of_unknown_fields(copied):
    edited(copied, lambda about: about["model"].update(encodr="mlp"))
    with pytest.raises(UserError, match="encodr") as caught:
        load(copied)
    assert "model.json" in caught.value.__notes__[0]


def test_weights_of_another_model(copied):
    edited(copied, lambda about: about["model"].update(latent_dim=3, class_embeddings=False))
    with pytest.raises(UserError, match=r"latent_dim|model\.safetensors does not hold the weights"):
        load(copied)
    weights = load_file(copied / "model.safetensors")
    save_file({k: v for k, v in weights.items() if k != "encoder.0.mean"}, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"does not hold the weights .* \(no 'encoder.0.mean'\)"):
        load(copied)


def test_centres_of_other_classes(copied):
    save_file({"class_centres": torch.zeros(3, 64)}, copied / "class_centres.safetensors")
    with pytest.raises(UserError, match=r"must hold class_centres \(10, d\).* got \(3, 64\)"):
        load(copied)
    save_file({"centres": torch.zeros(10, 64)}, copied / "class_centres.safetensors")
    with pytest.raises(UserError, match="got none"):
        load(copied)


def test_a_device_that_is_not_there(finished):
    with pytest.raises(UserError, match="no device 'tpu9000'"):
        load(finished, device="tpu9000")
