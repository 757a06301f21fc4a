import torch
from safetensors.torch import load_file

from latentloom.recipes import load_recipe
from latentloom.training.run import run

QUICK = [
    ("model.encoder", "mlp"),
    ("data.limit", "200"),
    ("data.test_limit", "60"),
    ("data.batch", "50"),
    ("training.epochs", "2"),
    ("training.logger", "false"),
    ("training.keep_latents", "1"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "0"),
]


def test_epochs_hold_what_moves_and_one_file_what_does_not(tmp_path):
    run(load_recipe("laresa", QUICK), tmp_path, recipe="laresa", progress=False)
    kept = {path.stem: load_file(path) for path in sorted((tmp_path / "latents").iterdir())}
    assert list(kept) == ["epoch-0000", "epoch-0001", "fixed"]
    first, last, fixed = kept.values()
    assert {*first} == {*last} == {"z", "class_centres", "predicted"}
    assert {*fixed} == {"y", "label_embeddings"}
    assert not torch.equal(first["z"], last["z"])
    assert fixed["label_embeddings"].shape == (10, 384)
    assert last["predicted"].shape == fixed["y"].shape == (len(last["z"]),)
    centre = last["z"].float()[fixed["y"] == 3].mean(0)
    torch.testing.assert_close(last["class_centres"][3].float(), centre, atol=0.02, rtol=0.01)


def test_learned_vectors_are_kept_with_every_epoch(tmp_path):
    run(load_recipe("comparison", QUICK), tmp_path, recipe="comparison", progress=False)
    first, last = (load_file(tmp_path / "latents" / f"epoch-000{k}.safetensors") for k in (0, 1))
    assert not torch.equal(first["class_embeddings"], last["class_embeddings"])
    assert {*load_file(tmp_path / "latents" / "fixed.safetensors")} == {"y"}
