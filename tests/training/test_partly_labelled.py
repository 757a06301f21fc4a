"""Runs on few labels: what they leave, that withheld labels have no say, and how they go on when killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from killed import killed_at
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Normal
from torch.testing import assert_close

import latentloom.encoders.model
from latentloom.checks import UserError
from latentloom.config import Prior, Train
from latentloom.data import Batches, TwoStreams, load
from latentloom.encoders import Model
from latentloom.latent.mixtures import Mixture, VampPrior
from latentloom.objective import Objective
from latentloom.recipes import load_recipe
from latentloom.training.latents import write_parquet
from latentloom.training.model import model_for, prior_for
from latentloom.training.run import batches_for, run, with_labels_kept
from latentloom.values import ImageSet, Latent, Record, Splits

QUICK = [
    ("model.encoder", "mlp"),
    ("model.latent_dim", "4"),
    ("data.limit", "200"),
    ("data.test_limit", "40"),
    ("data.batch", "50"),
    ("training.epochs", "2"),
    ("training.logger", "false"),
    ("training.keep_latents", "0"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "0"),
]
DECODED = [*QUICK, ("model.decoder", "mlp")]
PROBES_OFF = ("evaluation.protocols", "false")


def quick(recipe: str = "dml-autoencoder", *more: tuple[str, str]) -> Train:
    return load_recipe(recipe, [*DECODED, *more])


def finished(config: Train, folder: Path) -> Record:
    return run(config, folder, recipe="test", progress=False)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of two threads differ from those of one in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# What is fed


def partly(labels: str, *more: tuple[str, str]) -> tuple[Train, ImageSet]:
    config = quick("dml-autoencoder", ("data.labels", labels), *more)
    return config, with_labels_kept(load(config.data, config.seed).train, config)


@pytest.mark.parametrize(("labels", "kept"), [("30", 30), ("0.25", 45), ("1.0", 180)])
def test_labels_are_a_number_or_a_share(labels: str, kept: int) -> None:
    _, train = partly(labels)
    assert int((train.labels >= 0).sum()) == kept
    counts = train.labels[train.labels >= 0].bincount()
    assert int(counts.max() - counts.min()) <= 2


def test_one_label_is_not_all() -> None:
    with pytest.warns(UserWarning, match=r"left without a label: 9 of 10 classes"):
        _, train = partly("1")
    assert int((train.labels >= 0).sum()) == 1


def test_labels_follow_the_seed_of_the_run_and_come_of_every_class_only_where_asked() -> None:
    fields = [((), ()), (("seed", "1"),), (("data.stratified", "false"),)]
    chosen = [partly("40", *filter(None, more))[1].labels.tolist() for more in fields]
    assert chosen[0] == partly("40")[1].labels.tolist()
    assert len(set(map(tuple, chosen))) == 3


@pytest.mark.parametrize(
    ("recipe", "more", "size"),
    [
        ("dml-autoencoder", (), None),
        ("dml-autoencoder", (("data.labels", "30"),), 50),
        ("dml-autoencoder", (("data.labels", "30"), ("data.labelled_batch", "20")), 20),
        ("dml-autoencoder", (("data.labelled_batch", "20"),), 20),
        ("autoencoder", (("data.labels", "30"), ("data.labelled_batch", "20")), None),
    ],
)
def test_there_is_a_second_stream_where_labels_are_read_and_not_every_image_has_one(
    recipe: str, more: tuple[tuple[str, str], ...], size: int | None
) -> None:
    config = quick(recipe, *more)
    train = with_labels_kept(load(config.data, config.seed).train, config)
    found = batches_for(config, train, Objective.from_config(config.objective), torch.device("cpu"))
    assert isinstance(found, Batches if size is None else TwoStreams)
    batch = next(iter(found))
    assert len(batch["x"]) == 50
    assert (len(batch["labelled"]["x"]) if "labelled" in batch else None) == size


@pytest.mark.parametrize("labels", ["181", "100000"])
def test_more_labels_than_there_are(labels: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{labels} keeps {labels} of 180 labels; wanted") as caught:
        finished(quick("dml-autoencoder", ("data.labels", labels)), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "record.json").exists()


# A run


def test_few_labels_train_and_are_judged_by_both_protocols(tmp_path: Path) -> None:
    record = finished(quick("dml-autoencoder", ("data.labels", "30")), tmp_path)
    for row in record.history:
        assert row["train/total"] == pytest.approx(row["train/reconstruction"] + row["train/triplet"])
        assert row["batch/labelled"] == 50
        assert row["batch/classes"] == 10
    findings = record.card.findings
    assert findings["given-labels/knn_accuracy"].protocol.startswith("accuracy of knn on 30 training latents")
    assert findings["all-labels/knn_accuracy"].protocol.startswith("accuracy of knn on 180 training latents")
    probes = {"knn", "random_forest", "mlp", "linear"}
    assert {n for n in findings if "/" in n} == {
        f"{p}/{probe}_{kind}"
        for p in ("given-labels", "all-labels")
        for probe in probes
        for kind in ("accuracy", "ami")
    }
    assert record.card.value("all-labels/knn_accuracy") > 0.3
    assert "knn_accuracy" in findings
    assert record.warnings == []


@pytest.mark.parametrize("alternate", ["epoch", "batch"])
def test_parts_add_up_in_the_history_of_terms_that_alternate(alternate: str, tmp_path: Path) -> None:
    more = [("data.labels", "30"), ("objective.alternate", alternate), PROBES_OFF]  # three steps an epoch
    record = finished(quick("dml-autoencoder", *more), tmp_path)
    parts = [
        {name: row.get(f"train/{name}") for name in ("reconstruction", "triplet")} for row in record.history
    ]
    for row, part in zip(record.history, parts, strict=True):
        assert row["train/total"] == pytest.approx(sum(filter(None, part.values())))
    without = [part["triplet"] is None for part in parts]
    assert without == ([False, True] if alternate == "epoch" else [False, False])


def test_a_class_without_a_label_warns_and_is_not_fatal(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left without a label: 3 of 10 classes") as caught:
        record = finished(quick("dml-autoencoder", ("data.labels", "7"), ("training.epochs", "1")), tmp_path)
    assert len(caught) == 1
    assert record.history[0]["batch/classes"] == 7
    assert record.card.findings["given-labels/knn_accuracy"].value <= 0.9
    centres = load_file(tmp_path / "class_centres.safetensors")["class_centres"]
    assert int(centres.isnan().any(1).sum()) == 3


# Which labels have a say


Spoil = Callable[[Splits, Tensor], Splits]


def withheld_shifted(whole: Splits, given: Tensor) -> Splits:
    """Every withheld label is another one."""
    labels = torch.where(given < 0, (whole.train.labels + 3) % 10, whole.train.labels)
    return replace(whole, train=replace(whole.train, labels=labels))


def validation_shifted(whole: Splits, given: Tensor) -> Splits:
    labels = (whole.validation.labels + 3) % 10
    return replace(whole, validation=replace(whole.validation, labels=labels))


def given_shifted(whole: Splits, given: Tensor) -> Splits:
    """The mistake: the labels that were given are others too."""
    labels = (whole.train.labels + 3 * (torch.arange(len(given)) % 2)) % 10
    return replace(whole, train=replace(whole.train, labels=labels))


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Record, Record, bool]]:
    """A run, the same on labels that were tampered with, and whether they ended at the same weights.

    Rows that keep their label are drawn without a look at any, so that they are the same in both.
    """

    def both(spoil: Spoil, *more: tuple[str, str]) -> tuple[Record, Record, bool]:
        config = quick(
            "dml-autoencoder", ("data.labels", "60"), ("data.stratified", "false"), PROBES_OFF, *more
        )
        whole = load(config.data, config.seed)
        spoilt = spoil(whole, with_labels_kept(whole.train, config).labels)
        one = finished(config, tmp_path / "one")
        monkeypatch.setattr("latentloom.training.run.load", lambda data, seed: spoilt)
        other = finished(config, tmp_path / "other")
        return one, other, same(tmp_path / "one", tmp_path / "other")

    return both


@pytest.mark.parametrize(
    ("spoil", "unmoved"), [(withheld_shifted, True), (given_shifted, False)], ids=["withheld", "given"]
)
def test_withheld_labels_have_no_say(
    spoil: Spoil, unmoved: bool, two_runs: Callable[..., tuple[Record, Record, bool]]
) -> None:
    one, other, equal = two_runs(spoil, ("training.epochs", "1"))
    assert equal is unmoved
    assert (one.card == other.card) is unmoved


@pytest.mark.parametrize("select", ["last", "best"])
def test_labels_of_validation_images_have_no_say_where_the_last_epoch_is_taken(
    select: str, two_runs: Callable[..., tuple[Record, Record, bool]]
) -> None:
    more = [("training.epochs", "3"), ("training.plateau_patience", "0"), ("training.lr", "3e-4")]
    one, other, equal = two_runs(validation_shifted, ("training.select", select), *more)
    monitored = "val/nearest_centre_accuracy"
    assert [row[monitored] for row in one.history] != [row[monitored] for row in other.history]
    if select == "last":
        assert one.best_epoch == other.best_epoch == 2
        assert {row["lr"] for row in other.history} == {3e-4}
    assert equal is (select == "last")


# Killed and resumed


def test_killed_and_resumed_is_bitwise_the_same(tmp_path: Path) -> None:
    """Noise, pseudo-inputs in turn, both streams and the turn of the terms go on where they were."""
    overrides = [
        *DECODED,
        ("data.labels", "30"),
        ("data.augment", "[crop]"),
        ("model.prior.components", "5"),
        ("model.prior.fresh", "2"),
        ("objective.alternate", "batch"),
        ("training.checkpoint_steps", "1"),
        PROBES_OFF,
    ]
    config = load_recipe("metric-vae", overrides)  # three steps an epoch
    whole = finished(config, tmp_path / "whole")
    killed_at(5, "metric-vae", tmp_path / "killed", overrides)
    assert not (tmp_path / "killed" / "record.json").exists()
    kept = torch.load(tmp_path / "killed" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] in (4, 5)  # the last checkpoint was written before or after the end came
    resumed = finished(config, tmp_path / "killed")
    assert same(tmp_path / "whole", tmp_path / "killed")
    ours, theirs = ([{**row, "seconds": 0} for row in record.history] for record in (whole, resumed))
    assert ours == theirs
    assert whole.card == resumed.card
    assert whole.history[-1].keys() >= {"train/reconstruction", "train/kl"}


# Models of a configuration


IMAGES = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TRAIN = ImageSet("noise", IMAGES, torch.arange(20) % 3, tuple("abc"))


def model(*more: tuple[str, str]) -> Model:
    torch.manual_seed(0)
    return model_for(quick("vae", *more), TRAIN).eval()


def prior(config: Prior, d: int = 4) -> Mixture:
    return prior_for(config, model(), d, TRAIN)  # type: ignore[return-value]


Z = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))


def test_a_model_with_a_prior_has_gaussians_and_one_without_points() -> None:
    gaussian = model()(IMAGES, generate=True).samples
    assert {name: tuple(t.shape) for name, t in gaussian.items()} == {
        **dict.fromkeys(("mean", "logvar", "z"), (20, 4)),
        **dict.fromkeys(("reconstruction", "x"), (20, 1, 8, 8)),
        "log_prior": (20,),
    }
    points = model(("model.prior.kind", "none"))
    assert points(IMAGES, generate=True).samples.keys() == {"z", "reconstruction", "x"}
    assert (points.gaussian, points.prior) == (None, None)
    assert model(("model.classifier", "linear"))(IMAGES).logits.shape == (20, 3)


def test_noise_of_a_model_follows_the_seed_of_the_run() -> None:
    one, other = (model(("seed", seed)) for seed in "12")
    assert (one.gaussian.seed, other.gaussian.seed) == (1, 2)


def test_unit_prior() -> None:
    assert_close(prior(Prior("unit")).log_prob(Z), Normal(0.0, 1.0).log_prob(Z).sum(1))


def test_hypercube_of_that_side_and_variance() -> None:
    means, logvars = prior(Prior("hypercube", side=3.0, logvar=-1.0)).components()
    assert set(means.flatten().tolist()) == {-1.5, 1.5}
    assert means.shape == (16, 4)
    assert set(logvars.flatten().tolist()) == {-1.0}


@pytest.mark.parametrize("learned", [True, False])
def test_sphere_of_that_radius_and_variance(learned: bool) -> None:
    found = prior(Prior("sphere", components=6, radius=3.0, logvar=-1.0, learned=learned))
    means, logvars = found.components()
    assert means.shape == (6, 4)
    assert_close(means.norm(dim=1), torch.full((6,), 3.0))
    assert set(logvars.flatten().tolist()) == {-1.0}
    assert len(list(found.parameters())) == (3 if learned else 0)
    assert_close(prior(Prior("sphere", components=6)).components()[0].norm(dim=1), torch.full((6,), 2.0))


def test_pseudo_inputs_start_at_training_images_and_go_through_the_encoder_of_the_model() -> None:
    owner = model()
    found = prior_for(Prior("vamp", components=5, fresh=2), owner, 4, TRAIN)
    assert isinstance(found, VampPrior)
    assert torch.equal(found.pseudo_inputs, IMAGES[[0, 4, 9, 14, 19]] / 255)
    assert found.fresh == 2
    assert_close(found.components(), owner.posterior(IMAGES[[0, 4, 9, 14, 19]]))
    assert isinstance(model(("model.prior.kind", "vamp")).prior, VampPrior)
    assert len(prior(Prior("vamp", components=50)).components()[0]) == 20


CORNERS = 5 * torch.tensor([[1.0, 1, 1, 1], [-1, 1, -1, 1], [0, 0, 0, -1]])


@pytest.fixture
def latents(tmp_path: Path) -> dict[str, str]:
    """The same latents of three clumps in a file of each kind."""
    which = torch.arange(90) % 3
    z = CORNERS[which] + 0.1 * torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    numpy.save(tmp_path / "z.npy", z.numpy())
    write_parquet(tmp_path / "z.parquet", Latent({"z": z, "y": which}), "test")
    return {kind: str(tmp_path / f"z.{kind}") for kind in ("npy", "parquet")}


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_fitted_prior_finds_the_clumps_of_a_file(kind: str, latents: dict[str, str]) -> None:
    found = prior(Prior("fitted", components=3, latents=latents[kind]))
    means, logvars = found.components()
    nearest = torch.cdist(CORNERS, means).min(1)
    assert sorted(nearest.indices.tolist()) == [0, 1, 2]
    assert nearest.values.max() < 0.1
    assert (logvars.exp().sqrt() - 0.1).abs().max() < 0.05
    assert list(found.parameters()) == []
    assert_close(found.log_prob(Z), prior(Prior("fitted", components=3, latents=latents["npy"])).log_prob(Z))


def test_fitted_prior_trains_a_model(latents: dict[str, str], tmp_path: Path) -> None:
    asked = {"kind": "fitted", "components": "3", "latents": latents["parquet"]}
    more = [(f"model.prior.{key}", value) for key, value in asked.items()]
    config = load_recipe("dml-gmm-prior", [*QUICK, *more, ("data.labels", "30"), PROBES_OFF])
    record = finished(config, tmp_path / "run")
    assert record.history[-1]["train/kl"] < record.history[0]["train/kl"]
    assert_close(weights(tmp_path / "run")["prior.means"].sum(0), CORNERS.sum(0), atol=0.2, rtol=0)


@pytest.mark.parametrize("kind", ["unit", "hypercube", "sphere", "vamp", "fitted"])
def test_prior_without_a_component(kind: str) -> None:
    with pytest.raises(UserError, match="wants at least one component, got 0"):
        prior(Prior(kind, components=0))  # type: ignore[arg-type]


def test_prior_of_a_kind_that_is_none() -> None:
    with pytest.raises(UserError, match=r"no prior; set --model\.prior\.kind"):
        prior(Prior())


def test_fitted_prior_without_a_file() -> None:
    with pytest.raises(UserError, match=r"wants latents to be fitted on; set --model\.prior\.latents"):
        prior(Prior("fitted"))


def test_fitted_prior_of_latents_of_another_dimension(latents: dict[str, str]) -> None:
    for path in latents.values():
        with pytest.raises(UserError, match=r"latents \(90, 4\), and the model has 3 dimensions"):
            prior(Prior("fitted", components=3, latents=path), d=3)


def test_fitted_prior_of_more_components_than_latents(latents: dict[str, str]) -> None:
    with pytest.raises(UserError, match="mixture of 91 components wants"):
        prior(Prior("fitted", components=91, latents=latents["npy"]))


@pytest.mark.parametrize(
    "name",
    ["absent.npy", "absent.parquet", "torn.npy", "torn.parquet", "empty.npy", "objects.npy", "text.npy"],
)
def test_fitted_prior_of_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    for kind in ("npy", "parquet"):
        (tmp_path / f"torn.{kind}").write_bytes(b"\x93NUMPY")
    (tmp_path / "empty.npy").touch()
    numpy.save(tmp_path / "objects.npy", numpy.array([{}]), allow_pickle=True)
    numpy.save(tmp_path / "text.npy", numpy.array([["a", "b"]]))
    with pytest.raises(UserError, match=f"cannot read latents from .*{name}.*wanted a .parquet of a run"):
        prior(Prior("fitted", latents=str(tmp_path / name)))


# What is computed


def test_the_decoders_metric_is_taken_where_it_is_read_and_nowhere_else(tmp_path, monkeypatch) -> None:
    taken = []
    real = latentloom.encoders.model.pullback_metric

    def watched(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        taken.append(len(z))
        return real(decode, z)

    monkeypatch.setattr(latentloom.encoders.model, "pullback_metric", watched)
    distance = ("objective.terms.triplet.options.distance", "pullback")
    sizes = (("data.labels", "30"), ("data.labelled_batch", "20"), ("training.epochs", "1"))
    finished(quick("dml-autoencoder", ("model.pullback", "true"), distance, *sizes, PROBES_OFF), tmp_path)
    assert taken == [20, 20, 20]  # 180 images in batches of 50; the first stream's rows are not among them


def test_the_card_says_how_classes_and_components_agree(tmp_path) -> None:
    record = finished(quick("dml-gmm-prior", ("data.labels", "40")), tmp_path)
    assert "16 components" in record.card.findings["component_ami"].protocol


def test_the_record_says_which_classes_have_no_label(tmp_path) -> None:
    with pytest.warns(UserWarning, match="left without a label"):
        record = finished(quick("dml-autoencoder", ("data.labels", "6"), PROBES_OFF), tmp_path)
    assert record.warnings[0].startswith("left without a label: 4 of 10 classes (")


def test_organamnist_trains_where_its_file_is(tmp_path) -> None:
    arrays = {}
    for part, n in {"train": 44, "val": 11, "test": 22}.items():  # as MedMNIST lays it out
        arrays[f"{part}_images"] = numpy.arange(n * 784, dtype=numpy.uint8).reshape(n, 28, 28)
        arrays[f"{part}_labels"] = (numpy.arange(n) % 11)[:, None].astype(numpy.uint8)
    numpy.savez(tmp_path / "organamnist.npz", **arrays)
    place = [("data.name", "organamnist"), ("data.root", str(tmp_path)), ("data.unverified", "true")]
    sizes = [("data.limit", "44"), ("data.labels", "22"), ("data.validation", "0.25"), ("data.batch", "11")]
    record = finished(quick("dml-autoencoder", *place, *sizes, PROBES_OFF), tmp_path / "run")
    assert record.card.images == 22
