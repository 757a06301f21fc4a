from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom import config
from latentloom.checks import UserError
from latentloom.data import load
from latentloom.evaluation import protocol_findings, take_card
from latentloom.objective import Objective
from latentloom.published import PAPERS, published
from latentloom.recipes import load_recipe
from latentloom.reproduce import (
    Reproduction,
    laresa,
    latent_boost,
    moving_targets,
    reproduce,
    run,
    trainable,
    vae_dml,
)
from latentloom.reproduce.latent_boost import asked, best_lambda
from latentloom.reproduce.plan import find_scale, plan, settings_of
from latentloom.reproduce.run import _estimated, duration
from latentloom.reproduce.study import Setting
from latentloom.training.compare import Cell
from latentloom.values import Card, Finding, ImageSet, Latent, Record, Splits

CNN = "Fashion-MNIST, CNN(latent 64)"
DATASETS = ["Fashion-MNIST", "CIFAR-10", "CIFAR-100"]
SCALES = latent_boost.SCALES
CELLS = settings_of("moving-targets", "6") + settings_of("moving-targets", "7")
BY_NAME = {(s.dataset, s.model, s.method): s for s in CELLS}
PROBES = {  # one number for each, so that none is taken for another
    f"{protocol}/{probe}_{score}": base + 0.01 * place
    for protocol, base in (("all-labels", 0.8), ("given-labels", 0.3))
    for place, (probe, score) in enumerate(
        (probe, score) for probe in ("knn", "random_forest", "mlp", "linear") for score in ("accuracy", "ami")
    )
}

MEANING = {"hit_rate": 0.55, "coarse_silhouette": 0.1, "coarse_spearman": 0.3, "coarse_pearson": 0.4}


def lam(setting: Setting) -> float:
    return dict(setting.options)["lambda"]


def record(cell: Cell, **findings: float) -> Record:
    """A finished run: `findings` on the card; as many epochs as its seed and two, the last but one best."""
    card = Card("test", 100, {name: Finding(x, "higher", -1.0, 1.0, "") for name, x in findings.items()})
    history = [{"epoch": float(i)} for i in range(2 + cell.config.seed)]
    return Record(cell.recipe, cell.config.seed, {}, card, history, cell.config.seed, 1.0, "", {}, {}, "")


class Trained:
    """Stands for the training: remembers its cells; scores follow lambda and seed."""

    def __init__(self, failing: str = "") -> None:
        self.cells: list[Cell] = []
        self.failing = failing

    def __call__(self, cells: Sequence[Cell], *, workers: int) -> list[Record]:
        self.cells += cells
        if self.failing and any(self.failing in cell.recipe for cell in cells):
            raise UserError("the loss is nan")
        return [self._record(cell) for cell in cells]

    def _record(self, cell: Cell) -> Record:
        lam = cell.config.objective.lam or 0.0
        assert isinstance(lam, float)
        shift = 0.01 * cell.config.seed
        scores = {"accuracy": 0.5, "macro_f1": 0.25, "silhouette": 0.2 + lam / 2}
        scores |= {"nearest_centre_accuracy": 0.6, "nearest_centre_cosine_accuracy": 0.7}
        if cell.config.model.class_embeddings:
            scores |= {"nearest_embedding_accuracy": 0.8, "nearest_embedding_cosine_accuracy": 0.9}
        if cell.config.evaluation.protocols:
            scores |= PROBES
        if cell.config.model.label_embeddings.source == "names":
            scores |= MEANING
        return record(cell, **{name: value + shift for name, value in scores.items()})


def splits_of(present: Sequence[str]) -> Callable[[config.Data, int], Splits]:
    """A reader that has made-up images for some data sets."""
    images = ImageSet(
        "made-up", torch.zeros(40, 1, 28, 28, dtype=torch.uint8), torch.arange(40) % 4, tuple("abcd")
    )

    def load(data: config.Data, seed: int) -> Splits:
        if data.name not in present:
            raise UserError(f"no files of {data.name}")
        return Splits(images, images, images)

    return load


def again(
    folder: Path,
    table: str,
    scale: str,
    train: Trained,
    present: Sequence[str] = ("fashion-mnist",),
    paper: str = "latent-boost",
) -> tuple[Reproduction, list[str]]:
    said: list[str] = []
    data = config.Data(batch=8)
    done = reproduce(paper, table, scale, folder, data, say=said.append, load=splits_of(present), run=train)
    return done, said


@pytest.fixture
def quick_steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds of a step by encoder, in place of two real ones."""
    seconds = {"resnet18": 1.0, "resnet50": 10.0, "resnet101": 100.0}
    monkeypatch.setattr(run, "step_seconds", lambda asked, images: seconds[asked.model.encoder])
    return seconds


@pytest.mark.parametrize(
    ("table", "scale", "cells"),
    [
        ("2", "full", 3 * 13),
        ("2", "cpu", 3 * 5),
        ("2", "smoke", 3 * 2),
        ("3", "full", 3 * 11),
        ("3", "cpu", 3),
        ("4", "full", 3 * 4),
        ("4", "cpu", 3 * 4),
        ("4", "smoke", 3 * 2),
        ("5", "full", 3 * 3),
        ("A5", "full", 1 + 4 * 11),
        ("A7", "cpu", 5),
        ("A8", "smoke", 3 * 2),
    ],
)
def test_a_scale_runs_so_many_cells(table: str, scale: str, cells: int) -> None:
    settings = plan("latent-boost", table, scale)
    assert len(settings) == len(set(settings)) == cells
    assert [s.dataset for s in settings] == sorted((s.dataset for s in settings), key=DATASETS.index)
    assert set(settings) <= set(settings_of("latent-boost", table))


def test_scales_grow() -> None:
    smoke, cpu, full = (SCALES[name] for name in ("smoke", "cpu", "full"))
    assert (full.images, full.epochs, full.seeds, full.cells) == (None, 100, 5, "all")
    for small, large in ((smoke, cpu), (cpu, full)):
        assert (small.images or 0) < (large.images or math.inf)
        assert (small.epochs, small.seeds) < (large.epochs, large.seeds)


def test_smoke_takes_the_ends_and_cpu_the_best_lambda() -> None:
    smoke = [str(s) for s in plan("latent-boost", "2", "smoke")]
    assert smoke[:2] == [f"{CNN}, Baseline, lambda 0", f"{CNN}, Magnet, lambda 0.75"]
    cpu = {(s.dataset, s.method): lam(s) for s in plan("latent-boost", "2", "cpu")}
    assert cpu["CIFAR-10", "N-pair"] == 0.5
    assert cpu["CIFAR-100", "Magnet"] == 0.5


@pytest.mark.parametrize("table", ["4", "5"])
def test_tables_of_best_trials_take_their_lambda_from_tables_2_and_3(table: str) -> None:
    found = {(s.dataset, s.method): lam(s) for s in settings_of("latent-boost", table)}
    assert [found[dataset, "Baseline"] for dataset in DATASETS] == [0, 0, 0]
    assert [found[dataset, "Magnet"] for dataset in DATASETS] == [0.75, 0.75, 0.5]
    assert [found[dataset, "LatentBoost"] for dataset in DATASETS] == [0.75, 0.75, 0.5]


def test_an_unreadable_number_is_never_the_best() -> None:
    assert best_lambda(published("latent-boost", "A7"), "CIFAR-100", "Triplet") == 0.6


def test_every_printed_accuracy_of_latent_boost_belongs_to_a_cell() -> None:
    assert trainable()["latent-boost"] == [t for t in PAPERS["latent-boost"].tables if t not in ("1", "A4")]


@pytest.mark.parametrize("method", latent_boost.RECIPES)
def test_a_cell_asks_for_the_protocol_of_the_paper(method: str) -> None:
    settings = settings_of("latent-boost", "4" if method.startswith("Latent") else "2")
    setting = next(s for s in settings if s.method == method and s.dataset == "CIFAR-100")
    train = asked(setting, SCALES["full"], config.Data(root="there", batch=64), seed=3)
    assert train.data == config.Data(name="cifar100", root="there", batch=64)
    assert (train.model.encoder, train.seed) == ("resnet50", 3)
    t = train.training
    assert (t.epochs, t.plateau_factor, t.plateau_patience, t.stop_patience) == (100, 0.2, 10, 20)
    assert train.objective.lam == (lam(setting) or None)
    assert train.evaluation.split == "test"


def test_without_pca_is_latent_boost_that_keeps_every_direction() -> None:
    whole, reduced = (
        asked(s, SCALES["cpu"], config.Data(), 0).objective.terms["latent_boost"].options
        for s in plan("latent-boost", "4", "cpu")[2:4]
    )
    assert whole == {**reduced, "share": 1.0}
    assert whole["variant"] == "paper"


def test_the_losses_are_those_of_pytorch_metric_learning() -> None:
    for setting in plan("latent-boost", "2", "cpu")[1:4]:
        (term,) = asked(setting, SCALES["cpu"], config.Data(), 0).objective.terms.keys() - {"cross_entropy"}
        options = asked(setting, SCALES["cpu"], config.Data(), 0).objective.terms[term].options
        assert options["variant"] == "pml", setting


def test_ours_stands_beside_the_print(tmp_path: Path) -> None:
    done, _ = again(tmp_path, "4", "cpu", Trained())
    found = {(c.published.method, c.published.metric): c for c in done.comparisons if c.values}
    accuracy = found["LatentBoost", "accuracy_pct"]
    assert accuracy.values == pytest.approx((50.0, 51.0, 52.0))
    assert accuracy.ours is not None
    assert (accuracy.ours.mean, accuracy.ours.sd) == pytest.approx((51.0, 1.0))
    assert (accuracy.published.value, lam(accuracy.setting)) == (90.86, 0.75)
    assert found["Magnet", "micro_f1"].values == pytest.approx((0.25, 0.26, 0.27))
    assert found["Magnet", "epochs_to_stop"].values == (2, 3, 4)


def test_changes_are_of_means(tmp_path: Path) -> None:
    done, _ = again(tmp_path, "5", "smoke", Trained())
    change = next(c for c in done.comparisons if c.published.method == "LatentBoost_vs_Baseline")
    assert change.ours is not None
    assert change.values == ()
    assert change.ours.mean == pytest.approx(100 * (0.2 + 0.375 - 0.2) / 0.2)
    assert change.published.value == 13.84


def test_a_change_needs_both_of_its_cells(tmp_path: Path) -> None:
    assert all(
        "_vs_" not in c.published.method for c in again(tmp_path, "3", "smoke", Trained())[0].comparisons
    )
    changes = [
        c.ours
        for c in again(tmp_path, "4", "smoke", Trained(failing="Baseline"))[0].comparisons
        if "_vs_" in c.published.method
    ]
    assert changes
    assert not any(changes)


def test_no_data_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    train = Trained()
    done, said = again(tmp_path, "2", "smoke", train)
    assert {cell.config.data.name for cell in train.cells} == {"fashion-mnist"}
    assert "  CIFAR-10: no data here" in said
    assert done.absent == {"CIFAR-10": "no files of cifar10", "CIFAR-100": "no files of cifar100"}
    assert done.text().count("  no data here") == 2 * 2 * 2  # data sets x cells x measures
    assert "no data here: no files of cifar10" in done.text()
    assert {c.published.dataset for c in done.comparisons if c.ours} == {"Fashion-MNIST"}


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    done, said = again(tmp_path, "2", "smoke", Trained(failing="Baseline"))
    assert done.failed == {f"{CNN}, Baseline, lambda 0": "the loss is nan"}
    assert f"  {CNN}, Magnet, lambda 0.75: done" in said
    assert f"failed: {CNN}, Baseline, lambda 0: the loss is nan" in done.text()


def test_all_runs_are_planned_before_the_first(tmp_path: Path) -> None:
    train, planned = Trained(), list[Cell]()

    def plan_runs(cells: Sequence[Cell]) -> None:
        assert not train.cells
        planned.extend(cells)

    reproduce(
        *("latent-boost", "2", "smoke", tmp_path, config.Data(batch=8)),
        say=lambda text: None,
        load=splits_of(["fashion-mnist"]),
        run=train,
        plan_runs=plan_runs,
    )
    assert planned == train.cells
    assert planned


def test_the_scale_and_its_time_are_said_before_the_first_run(tmp_path: Path) -> None:
    _, said = again(tmp_path, "2", "smoke", Trained())
    assert said[0].splitlines() == [
        "latent-boost, table 2: accuracy and F1 of four metric losses at three lambdas",
        "scale smoke: 1,000 training images, 1,000 test images, 1 epoch, 1 seed, 6 of 39 cells",
    ]
    assert said[1] == "  Fashion-MNIST: 2 of 2 runs to do, about 1 minute of training"
    assert [line.endswith("done") for line in said[1:]] == [False, False, False, True, True]


@pytest.mark.parametrize("scale", SCALES)
def test_only_full_is_comparable(tmp_path: Path, scale: str) -> None:
    done, _ = again(tmp_path, "5", scale, Trained())
    assert done.comparable == (scale == "full")
    assert ("NOT COMPARABLE" in done.text()) == (scale != "full")
    assert json.loads(done.json())["comparable"] == done.comparable


@pytest.mark.parametrize("table", trainable()["latent-boost"])
def test_text_is_readable_at_a_hundred_columns_and_keeps_every_doubt(tmp_path: Path, table: str) -> None:
    done, _ = again(tmp_path, table, "full", Trained())
    text = done.text()
    assert max(map(len, text.splitlines())) <= 100
    doubts = {doubt for c in done.comparisons for doubt in c.published.doubt.split(" | ") if doubt}
    unwrapped = " ".join(text.split())
    assert all(doubt in unwrapped for doubt in doubts)


def test_text_of_a_line(tmp_path: Path) -> None:
    lines = again(tmp_path, "4", "cpu", Trained())[0].text().splitlines()
    (line,) = [x for x in lines if "88.12 ± 0.29" in x]
    assert line.split()[:7] == ["LB", "without", "PCA", "0.75", "accuracy,", "%", "51.00"]
    (mark,) = [x.split("]")[0] + "]" for x in lines if "88.12 duplicates" in x]
    assert mark in line


def test_json_holds_every_seed(tmp_path: Path) -> None:
    content = json.loads(again(tmp_path, "2", "cpu", Trained())[0].json())
    first = content["comparisons"][0]
    assert first["values"] == pytest.approx([50, 51, 52])
    assert first["published"]["value"] == 88.59
    assert content["absent"].keys() == {"CIFAR-10", "CIFAR-100"}


def test_json_says_what_trained_and_by_which_code(tmp_path: Path) -> None:
    trained = Trained()

    def by_two_commits(cells: Sequence[Cell], *, workers: int) -> list[Record]:
        records = trained(cells, workers=workers)
        return [replace(r, commit=f"c{r.seed % 2}", sources={f"{r.seed}.py": "abc"}) for r in records]

    runs = json.loads(again(tmp_path, "2", "cpu", by_two_commits)[0].json())["runs"]
    assert (runs["count"], runs["seconds"]) == (len(trained.cells), len(trained.cells))
    assert runs["commits"] == ["c0", "c1"]
    assert runs["sources"] == {"0.py": "abc", "1.py": "abc", "2.py": "abc"}


def test_tables_share_their_runs(tmp_path: Path) -> None:
    first, second = Trained(), Trained()
    again(tmp_path, "2", "cpu", first)
    again(tmp_path, "4", "cpu", second)
    shared = {cell.folder for cell in first.cells} & {cell.folder for cell in second.cells}
    assert {folder.parent.name for folder in shared} == {"Baseline-0", "Magnet-0.75"}
    configs = {cell.folder: cell.config for cell in first.cells}
    assert all(configs[cell.folder] == cell.config for cell in second.cells if cell.folder in shared)


def test_unknown_scale_and_tables_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scale 'ful'; did you mean 'full'"):
        find_scale("latent-boost", "ful")
    with pytest.raises(
        UserError, match=r"no recipe trains what table 1 of latent-boost shows; .*latent-boost 2, 3"
    ):
        again(tmp_path, "1", "smoke", Trained())
    with pytest.raises(UserError, match="no recipe trains what table 5 of moving-targets"):
        plan("moving-targets", "5", "smoke")


def test_durations_are_rough() -> None:
    assert [duration(s) for s in (0, 59, 61, 7_199, 7_201, 172_801)] == [
        "1 minute",
        "1 minute",
        "2 minutes",
        "120 minutes",
        "2 hours",
        "2 days",
    ]


@pytest.mark.parametrize(
    ("table", "scale", "cells"),
    [("6", "full", 45), ("6", "cpu", 15), ("6", "smoke", 6), ("7", "full", 30), ("7", "smoke", 4)],
)
def test_a_scale_runs_so_many_networks(table: str, scale: str, cells: int) -> None:
    settings = plan("moving-targets", table, scale)
    assert len(settings) == len(set(settings)) == cells
    assert ({s.model for s in settings} == {"ResNet18"}) == (scale != "full")
    if scale == "smoke":
        assert [s.method for s in settings] == ["euclidean", "pure_cross_entropy"] * (cells // 2)


def test_every_printed_accuracy_of_moving_targets_belongs_to_a_cell() -> None:
    assert trainable()["moving-targets"] == ["6", "7"]
    for row in published("moving-targets", "6") + published("moving-targets", "7"):
        setting = moving_targets.setting_of(row)
        assert setting in CELLS
        assert row.method.startswith(setting.method + "/")


def test_hyper_parameters_of_a_cell() -> None:
    assert BY_NAME["MNIST", "ResNet18", "class_proximity"].options == (
        ("lr", 0.00809892),
        ("d", 1862),
        ("r", 496999),
    )
    assert BY_NAME["MNIST", "ResNet18", "push_and_pull"].options == (
        ("lr", 0.0004662704),
        ("d", 420),
        ("r", 0.95),
    )
    assert BY_NAME["MNIST", "ResNet18", "pure_cross_entropy"].options == (("lr", 0.001255004),)


def test_a_network_asks_for_what_is_printed_for_it() -> None:
    setting = BY_NAME["CIFAR-100", "ResNet101", "class_proximity"]
    given = config.Data(root="there", validation=0.2, batch=64, size=28, augment=["flip"])
    train = moving_targets.asked(setting, moving_targets.SCALES["full"], given, seed=2)
    assert train.data == config.Data(
        name="cifar100", root="there", validation=0.2, batch=100, size=36, resize=44
    )
    model = train.model
    assert (model.encoder, model.stem, model.latent_dim, model.pretrained) == (
        "resnet101",
        "full",
        1579,
        False,
    )
    assert (model.normalise, model.classifier) == ("paper", "euclidean")
    t = train.training
    assert (t.lr, t.epochs, t.weight_decay, t.eval_after_first_epoch) == (0.0004464016, 30, 0, True)
    assert min(t.plateau_patience, t.stop_patience) > t.epochs
    (term,) = train.objective.terms.values()
    assert term.options == {"variant": "code", "r": 435022}
    assert (train.seed, train.evaluation.split) == (2, "test")


@pytest.mark.parametrize(
    ("loss", "classifier", "options"),
    [
        ("euclidean", "euclidean", {"reduction": "sum"}),
        ("cosine", "cosine", {"reduction": "sum"}),
        ("class_proximity", "euclidean", {"variant": "code", "r": 400738}),
        ("push_and_pull", "euclidean", {"variant": "code", "r": 0.95}),
        ("pure_cross_entropy", "linear", {}),
    ],
)
def test_a_paper_recipe_is_the_cell_of_the_smallest_network_on_fashion_mnist(
    loss: str, classifier: str, options: dict[str, object]
) -> None:
    recipe = load_recipe(moving_targets.RECIPES[loss])
    full = moving_targets.SCALES["full"]
    cell = moving_targets.asked(BY_NAME["Fashion-MNIST", "ResNet18", loss], full, config.Data(), seed=0)
    quiet = replace(recipe.training, keep_latents=0, logger=False)
    assert asdict(cell) == asdict(replace(recipe, training=quiet))
    (term,) = recipe.objective.terms.values()
    assert term.options == options
    assert recipe.model.classifier == classifier
    assert recipe.model.class_embeddings == (recipe.model.latent_dim is not None) == (classifier != "linear")


def test_batch_and_epochs_are_the_printed_ones() -> None:
    for row in published("moving-targets", "6") + published("moving-targets", "7"):
        setting = moving_targets.setting_of(row)
        assert setting is not None
        train = moving_targets.asked(setting, moving_targets.SCALES["full"], config.Data(), seed=0)
        end = f";batch={train.data.batch};max_epochs={train.training.epochs}"
        assert row.hyperparameters.endswith(end)


def test_every_network_has_a_folder_of_its_own(tmp_path: Path, quick_steps: dict[str, float]) -> None:
    train = Trained()
    done, _ = again(tmp_path, "7", "full", train, ("cifar10", "cifar100"), "moving-targets")
    assert done.comparable
    assert len({cell.folder for cell in train.cells}) == len(train.cells) == 30 * 3


def test_each_classifier_stands_beside_its_own_print(tmp_path: Path, quick_steps: dict[str, float]) -> None:
    done, _ = again(tmp_path, "6", "cpu", Trained(), paper="moving-targets")
    found = {c.published.method: c for c in done.comparisons if c.values}
    assert len(found) == 4 * 4 + 3
    for loss in ("euclidean", "push_and_pull"):
        for name, accuracy in (
            ("nn_euclid_class_centres", 60),
            ("nn_cosine_class_centres", 70),
            ("nn_euclid_class_embeddings", 80),
            ("nn_cosine_class_embeddings", 90),
        ):
            assert found[f"{loss}/{name}"].values == pytest.approx((accuracy, accuracy + 1, accuracy + 2))
    linear = found["pure_cross_entropy/linear_argmax"]
    assert linear.values == pytest.approx((50, 51, 52))
    assert (linear.published.dataset, linear.published.model) == ("Fashion-MNIST", "ResNet18")


def test_text_of_networks(tmp_path: Path, quick_steps: dict[str, float]) -> None:
    done, _ = again(tmp_path, "6", "full", Trained(), paper="moving-targets")
    lines = done.text().splitlines()
    assert max(map(len, lines)) <= 100
    start = lines.index("Fashion-MNIST, ResNet50")
    assert lines[start + 1].split() == ["method", "lr", "d", "r", "measure", "ours", "printed", "doubts"]
    pure = next(line for line in lines[start:] if "linear layer" in line)
    assert pure.split()[:7] == ["pure", "0.000586184", "–", "–", "linear", "layer", "51.00"]
    assert sum(line.startswith("measures:") for line in lines) == 1
    assert "best of 30 epochs on the TEST images" in done.text()


@pytest.mark.parametrize("scale", moving_targets.SCALES)
def test_only_full_is_comparable_for_networks_too(
    tmp_path: Path, scale: str, quick_steps: dict[str, float]
) -> None:
    done, _ = again(tmp_path, "7", scale, Trained(), ("cifar10",), "moving-targets")
    assert done.comparable == (scale == "full")
    assert ("NOT COMPARABLE" in done.text()) == (scale != "full")
    assert done.absent == {"CIFAR-100": "no files of cifar100"}


def test_the_time_of_each_network_is_measured(tmp_path: Path, quick_steps: dict[str, float]) -> None:
    _, said = again(tmp_path, "6", "full", Trained(), paper="moving-targets")
    steps = 30 * 40 / 100  # epochs x images / batch
    whole = duration(5 * 3 * steps * sum(quick_steps.values()))  # losses x seeds
    assert f"  Fashion-MNIST: 45 of 45 runs to do, about {whole} of training" in said
    assert said.index(next(x for x in said if "runs to do" in x)) < said.index(
        next(x for x in said if x.endswith("done"))
    )


# recipe -> the printed tables that have it
THESIS = [(table, s) for table in PAPERS["vae-dml"].tables for s in settings_of("vae-dml", table)]


def thesis(table: str, method: str, **options: float) -> Setting:
    """The one cell of a table on MNIST with these options."""
    wanted = {"pl%" if name == "pl" else name: value for name, value in options.items()}
    (found,) = [
        s
        for name, s in THESIS
        if (name, s.dataset, s.method, dict(s.options)) == (table, "MNIST", method, wanted)
    ]
    return found


def thesis_run(setting: Setting, scale: str = "full") -> config.Train:
    return vae_dml.asked(setting, vae_dml.SCALES[scale], config.Data(root="there"), seed=3)


@pytest.mark.parametrize(
    ("table", "full", "cpu"), [("6.1", 30, 12), ("6.3", 42, 20), ("6.5", 120, 26), ("6.6", 15, 6)]
)
def test_a_scale_runs_so_many_models(table: str, full: int, cpu: int) -> None:
    for scale, cells in (("full", full), ("cpu", cpu), ("smoke", 4 if table == "6.5" else 2)):
        settings = plan("vae-dml", table, scale)
        assert len(settings) == len(set(settings)) == cells
        assert set(settings) <= set(settings_of("vae-dml", table))


def test_every_printed_number_of_the_thesis_belongs_to_a_cell() -> None:
    assert trainable()["vae-dml"] == list(PAPERS["vae-dml"].tables)
    for table in PAPERS["vae-dml"].tables:
        assert all(vae_dml.setting_of(row) for row in published("vae-dml", table))


def test_the_best_print_of_each_model_is_run() -> None:
    cpu = [dict(s.options) for s in plan("vae-dml", "6.1", "cpu") if s.method == "dml-autoencoder"]
    at_ten = {(o["pl%"], o["alpha"]) for o in cpu if o["d"] == 10}
    assert at_ten == {(0.01, 0.25), (0.1, 0.5), (10, 0.75), (0.01, 1), (0.1, 1), (10, 1)}
    joint = [dict(s.options) for s in plan("vae-dml", "6.6", "cpu") if s.method == "metric-vae"]
    assert {(o["d"], o["gamma"]) for o in joint} == {(2, 10), (2, 0), (10, 5), (10, 0)}


def test_other_losses_are_run_with_the_most_labels_and_dimensions() -> None:
    cpu = [s for s in plan("vae-dml", "6.5", "cpu") if s.dataset == "MNIST"]
    found = {s.method: dict(s.options) for s in cpu if s.method.endswith(("supcon", "center"))}
    assert set(found) == {"dml-supcon", "dml-center", "metric-vae-supcon", "metric-vae-center"}
    assert all((o["pl%"], o["d"]) == (10, 10) and o.get("alpha") != 1 for o in found.values())


def test_a_model_asks_for_what_is_printed_for_it() -> None:
    train = thesis_run(thesis("6.1", "dml-autoencoder", pl=0.1, d=2, alpha=0.25))
    recipe = load_recipe("dml-autoencoder")
    assert train.data == config.Data(name="mnist", root="there", labels=60)
    assert asdict(train.model) == {**asdict(recipe.model), "latent_dim": 2}
    assert asdict(train.objective) == {**asdict(recipe.objective), "alpha": 0.25}
    t = train.training
    assert (t.lr, t.epochs, t.select, train.seed) == (0.001, 50, "last", 3)
    assert train.evaluation.protocols
    assert train.evaluation.split == "test"


def test_short_runs_have_a_pair_of_mlps() -> None:
    for scale, pair in (("smoke", "mlp"), ("cpu", "mlp"), ("full", "conv")):
        model = thesis_run(thesis("6.1", "dml-autoencoder", pl=0.1, d=2, alpha=1), scale).model
        assert (model.encoder, model.decoder) == (pair, pair)
        alone = thesis_run(thesis("6.1", "dml-triplet", pl=0.1, d=2), scale).model
        assert (alone.encoder, alone.decoder) == (pair, None)


@pytest.mark.parametrize(
    ("dataset", "scale", "kept"),
    [
        ("MNIST", "full", {0.01: 6, 10: 6000}),
        ("OrganAMNIST", "full", {0.01: 3, 10: 3456}),
        ("MNIST", "smoke", {0.01: 3, 10: 100}),
    ],
)
def test_labels_are_numbers_and_never_a_share(dataset: str, scale: str, kept: dict[float, int]) -> None:
    for setting in settings_of("vae-dml", "6.5"):
        if setting.dataset == dataset:
            labels = thesis_run(setting, scale).data.labels
            assert (labels, type(labels)) == (kept[dict(setting.options)["pl%"]], int)


def test_all_labels_are_a_share() -> None:
    labels = thesis_run(thesis("6.6", "dml-triplet", pl=100, d=5)).data.labels
    assert (labels, type(labels)) == (1.0, float)  # 1 would be a single one


def test_at_alpha_1_and_gamma_0_no_label_is_learned_from() -> None:
    for _, setting in THESIS:
        objective = Objective.from_config(thesis_run(setting).objective)
        learns = any(objective.reads_labels[name] and w > 0 for name, w in objective.weights(0.0).items())
        options = dict(setting.options)
        assert learns == (options.get("alpha") != 1 and options.get("gamma") != 0)
    plain = thesis_run(thesis("6.1", "dml-autoencoder", pl=0.1, d=10, alpha=1))
    assert asdict(plain.objective) == asdict(load_recipe("autoencoder").objective)


def test_gamma_is_the_weight_of_the_loss_with_labels() -> None:
    recipe = load_recipe("metric-vae").objective
    ten = thesis_run(thesis("6.6", "metric-vae", pl=100, d=5, gamma=10)).objective
    two = thesis_run(thesis("6.6", "metric-vae", pl=100, d=5, gamma=2)).objective
    assert asdict(ten) == asdict(recipe)
    assert {name: term.weight for name, term in two.terms.items()} == {
        name: 2 if name == "triplet" else term.weight for name, term in recipe.terms.items()
    }
    assert recipe.terms["triplet"].weight == 10  # as it was


def test_only_the_vaes_of_table_6_5_alternate() -> None:
    for table, setting in THESIS:
        alternating = (
            table == "6.5" and "alpha" in dict(setting.options) and vae_dml.learns_from_labels(setting)
        )
        assert thesis_run(setting).objective.alternate == ("epoch" if alternating else "never")


def test_a_folder_holds_one_configuration() -> None:
    places: dict[tuple[str, str], list[config.Train]] = {}
    for _, setting in THESIS:
        train = thesis_run(setting)
        places.setdefault((train.data.name, setting.label), []).append(train)
    assert all(train == same[0] for same in places.values() for train in same)
    assert len(places["mnist", "dml-triplet-10-10"]) == 2  # of 6.1 and 6.5


def test_both_protocols_stand_beside_the_print(tmp_path: Path) -> None:
    done, _ = again(tmp_path, "6.6", "full", Trained(), ("mnist",), "vae-dml")
    found = {c.published.metric: c for c in done.comparisons}
    for metric, every, given in (
        ("knn_accuracy_pct", 80, 30),
        ("random_forest_accuracy_pct", 82, 32),
        ("linear_accuracy_pct", 84, 34),
    ):
        comparison = found[metric]
        assert comparison.values == pytest.approx([every + seed for seed in range(4)])
        assert comparison.given_values == pytest.approx([given + seed for seed in range(4)])
        assert comparison.given is not None
        assert comparison.given.mean == pytest.approx(given + 1.5)
    done, _ = again(tmp_path, "6.1", "smoke", Trained(), ("mnist",), "vae-dml")
    first = {c.published.metric: (c.values, c.given_values) for c in done.comparisons if c.planned}
    assert first == {"knn_accuracy": ((0.8,), (0.3,)), "knn_ami": ((0.81,), (0.31,))}


def test_the_probes_have_their_names_on_a_card() -> None:
    z, y = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4
    card = Card("test", 40, protocol_findings(z, y, torch.where(y < 2, y, -1), z, y, split="test"))
    trained = replace(record(Cell("", config.Train(), Path())), card=card)
    for measure in vae_dml.MEASURES.values():
        assert measure.given is not None
        assert measure.given(trained) < measure.read(trained)


def test_cells_that_are_not_run_are_printed_all_the_same(tmp_path: Path) -> None:
    done, _ = again(tmp_path, "6.1", "cpu", Trained(), ("mnist",), "vae-dml")
    assert len(done.comparisons) == len(published("vae-dml", "6.1"))
    lines = done.text().splitlines()
    start = lines.index("MNIST, conv autoencoder")
    columns = "method pl% d alpha measure all labels given labels printed doubts"
    assert " ".join(lines[start + 1].split()) == columns
    rows = [" ".join(line.split()) for line in lines[start + 2 :]]
    assert "DML-AE 0.1 10 0.5 kNN 0.8100 ± 0.0100 (n 3) 0.3100 ± 0.0100 0.8798" in rows
    assert "DML-AE 0.1 10 0.25 kNN not run not run 0.8718" in rows
    assert sum("not run" in line for line in lines) == 2 * (30 - 12)


def test_not_run_is_not_failed(tmp_path: Path) -> None:
    text = again(tmp_path, "6.1", "smoke", Trained(failing="triplet"), ("mnist",), "vae-dml")[0].text()
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "DML (triplet) 0.01 2 – kNN failed failed 0.2618" in rows
    assert "DML (triplet) 0.01 10 – kNN not run not run 0.2610" in rows


@pytest.mark.parametrize("table", PAPERS["vae-dml"].tables)
def test_text_of_both_protocols_is_a_hundred_columns_wide(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROBES, "all-labels/knn_ami", -0.02)  # with its sign
    monkeypatch.setitem(PROBES, "given-labels/knn_ami", -0.03)
    done, _ = again(tmp_path, table, "full", Trained(), ("mnist", "organamnist"), "vae-dml")
    text = done.text()
    assert max(map(len, text.splitlines())) <= 100
    for line in ("given labels: ", "all labels: ", "alpha: "):
        assert text.count(f"\n{line}") == 1


@pytest.mark.parametrize("scale", vae_dml.SCALES)
def test_the_caveat_of_the_thesis(scale: str) -> None:
    text = vae_dml.caveat(scale, config.Data(batch=64, validation=0.2))
    assert ("NOT COMPARABLE" in text) == (scale != "full")
    assert ("MLPs" in text) == (scale != "full")
    for said in ("batch 64", "20 %", "no validation label", "what its classifiers were fitted on", "joint"):
        assert said in text
    assert f"the last epoch of {vae_dml.SCALES[scale].epochs}:" in text


@pytest.mark.parametrize("recipe", sorted(set(vae_dml.RECIPES.values())))
def test_a_step_of_every_model_can_be_timed(recipe: str) -> None:
    setting = next(s for _, s in THESIS if s.method == recipe)
    train = replace(thesis_run(setting, "smoke"), data=config.Data(batch=8))
    images = splits_of(["digits"])(config.Data(), 0).train
    assert 0 < run.step_seconds(train, images) < 60


# LARESA: every cell of every table
LARESA = [(table, s) for table in PAPERS["laresa"].tables for s in settings_of("laresa", table)]


@pytest.fixture
def equal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for a step of any network."""
    monkeypatch.setattr(run, "step_seconds", lambda asked, images: 1.0)


def laresa_run(
    dataset: str, model: str, method: str = "laresa-paper", scale: str = "full", **data: object
) -> config.Train:
    given = replace(config.Data(root="there", batch=64), **data)
    return laresa.asked(Setting(dataset, model, method, ()), laresa.SCALES[scale], given, seed=2)


@pytest.mark.parametrize(
    ("table", "full", "cpu", "smoke"),
    [("1", 72, 24, 6), ("2", 12, 4, 4), ("3", 12, 4, 4), ("7", 216, 24, 6), ("8", 54, 6, 6)],
)
def test_a_scale_runs_so_many_of_laresas_cells(table: str, full: int, cpu: int, smoke: int) -> None:
    for scale, cells in (("full", full), ("cpu", cpu), ("smoke", smoke)):
        settings = plan("laresa", table, scale)
        assert len(settings) == len(set(settings)) == cells
        assert set(settings) <= set(settings_of("laresa", table))
        assert ({s.model for s in settings} == {"ResNet50"}) == (scale != "full")
    ends = [s.method for s in plan("laresa", table, "smoke")]
    assert ends == ["laresa-ce-paper", "laresa-paper"] * (smoke // 2)


def test_every_paper_has_tables_that_can_be_run() -> None:
    assert trainable().keys() == PAPERS.keys()
    assert trainable()["laresa"] == ["1", "2", "3", "7", "8"]


def test_printed_numbers_without_a_cell_are_gains_and_groups_of_tinyimagenet() -> None:
    left = [
        row
        for table in PAPERS["laresa"].tables
        for row in published("laresa", table)
        if laresa.setting_of(row) is None
    ]
    gains = [row for row in left if row.metric == "absolute_gain_pp"]
    assert len(gains) == 9 + 27
    assert {row.method for row in gains} == {"full_minus_ce"}
    groups = [row for row in left if row not in gains]
    assert {row.dataset for row in groups} == {"TinyImageNet"}
    assert {row.table for row in groups} == {"2", "3"}
    assert len(groups) == 2 * 12


def test_a_cell_trains_with_the_losses_in_its_printed_name() -> None:
    terms = {
        "ce": {"cross_entropy"},
        "anchor": {"semantic_anchor"},
        "triplet": {"semantic_triplet"},
        "reg": {"centering", "unit_variance"},
    }
    whole = "ce+anchor+triplet+reg"
    for table in PAPERS["laresa"].tables:
        for row in published("laresa", table):
            setting = laresa.setting_of(row)
            if setting is not None:
                train = laresa.asked(setting, laresa.SCALES["full"], config.Data(), seed=0)
                named = row.method.removesuffix("(full LARESA)").replace("LARESA", whole).lower()
                assert train.objective.terms.keys() == set().union(*(terms[n] for n in named.split("+")))


def test_a_folder_of_laresa_holds_one_configuration() -> None:
    places: dict[tuple[str, ...], list[config.Train]] = {}
    for _, setting in LARESA:
        train = laresa.asked(setting, laresa.SCALES["full"], config.Data(), seed=0)
        places.setdefault((train.data.name, train.model.encoder, setting.label), []).append(train)
    assert len(places) == 216  # the cells of table 7, in which all others are, however networks are spelt
    assert all(train == same[0] for same in places.values() for train in same)
    of_all_tables = places["cifar100", "convnext_base", "laresa-paper"]
    assert len(of_all_tables) == 5


@pytest.mark.parametrize(
    ("model", "encoder", "lr"),
    [
        ("ResNet50", "resnet50", 1e-3),
        ("ResNet152", "resnet152", 1e-3),
        ("C.NeXt-B", "convnext_base", 3e-4),
        ("ConvNeXt-L", "convnext_large", 3e-4),
        ("ViT-Small", "vit_small_patch32", 3e-4),
        ("ViT-Large-32", "vit_large_patch32", 3e-4),
    ],
)
def test_a_network_starts_and_learns_as_laresa_states(model: str, encoder: str, lr: float) -> None:
    train = laresa_run("CIFAR-100", model)
    recipe = load_recipe("laresa-paper")
    pretrained = not model.startswith("ResNet")
    assert asdict(train.model) == {**asdict(recipe.model), "encoder": encoder, "pretrained": pretrained}
    assert asdict(train.objective) == asdict(recipe.objective)
    assert train.objective.weighting == "softmax"
    t = train.training
    assert (t.lr, t.epochs, t.stop_patience, t.weight_decay) == (lr, 1000, 100, 0)
    assert t.plateau_patience >= t.epochs  # no schedule
    assert (t.monitor, t.select) == ("accuracy", "best")
    assert (train.seed, train.evaluation.split) == (2, "test")


def test_images_are_fed_as_laresa_states() -> None:
    own = {"split": "train", "coarse": "groups.yaml", "size": 28, "resize": 30, "augment": ["crop"]}
    data = {name: laresa_run(name, "ViT-Base-32", **own).data for name in laresa.DATASETS}
    asked = {"root": "there", "batch": 64, "split": "paper"}
    assert data["CIFAR-100"] == config.Data(
        name="cifar100", augment=load_recipe("laresa-paper").data.augment, **asked
    )
    assert data["CUB-200-2011"] == config.Data(
        name="cub200", size=224, resize=256, coarse="paper", augment=["autoaugment-imagenet", "flip"], **asked
    )
    assert data["TinyImageNet"] == config.Data(
        name="tinyimagenet", augment=["autoaugment-imagenet", "resized-crop", "flip"], **asked
    )


@pytest.mark.parametrize(("scale", "images", "test_images"), [("smoke", 1_000, 1_000), ("cpu", 10_000, None)])
def test_short_runs_of_laresa_have_a_small_network(scale: str, images: int, test_images: int | None) -> None:
    for dataset, size in (("CIFAR-100", None), ("CUB-200-2011", 64), ("TinyImageNet", None)):
        train = laresa_run(dataset, "ResNet50", scale=scale)
        assert (train.model.encoder, train.model.pretrained) == ("small_cnn", False)
        assert (train.data.limit, train.data.test_limit) == (images, test_images)
        assert (train.data.size, train.data.resize) == (size, None)
        assert (train.data.split, train.training.lr) == ("paper", 0.001)
        assert train.training.epochs == laresa.SCALES[scale].epochs


def test_each_score_of_alignment_stands_beside_its_own_print(tmp_path: Path, equal_steps: None) -> None:
    found = {}
    for table in ("1", "2", "3", "8"):
        done, _ = again(tmp_path, table, "cpu", Trained(), ("cifar100",), "laresa")
        found |= {(c.published.method, c.published.metric): c for c in done.comparisons if c.values}
    for metric, ours in (
        ("silhouette_coarse", (0.1, 0.11, 0.12)),
        ("nn_hit_rate_pct", (55, 56, 57)),
        ("spearman", (0.3, 0.31, 0.32)),
        ("pearson", (0.4, 0.41, 0.42)),
        ("epochs_to_peak_validation", (1, 2, 3)),
    ):
        assert found["CE", metric].values == found["LARESA", metric].values == pytest.approx(ours)
    assert found["ce+triplet+reg", "top1_accuracy_pct"].values == pytest.approx((50, 51, 52))
    assert found["LARESA", "spearman"].published.value == 0.5872  # of CIFAR-100, ResNet50
    assert (found["CE", "pearson"].method, found["ce+anchor", "top1_accuracy_pct"].method) == (
        "CE",
        "CE + anchor",
    )


def test_scores_of_alignment_have_their_names_on_a_card() -> None:
    g = torch.Generator().manual_seed(0)
    z, y, groups = torch.randn(60, 4, generator=g), torch.arange(60) % 6, torch.arange(6) // 2
    names = torch.nn.functional.normalize(torch.randn(3, 5, generator=g))
    latent = Latent({"z": z, "y": y, "logits": z @ torch.randn(4, 6, generator=g)})
    latent = latent.with_shared(coarse_of=groups, coarse_embeddings=names)
    card = take_card(latent, latent, split="test", bootstrap=0)
    trained = replace(record(Cell("", config.Train(), Path())), card=card)
    read = [measure.read(trained) for measure in laresa.MEASURES.values()]
    assert len(set(read)) == len(read) == 6


def test_scores_of_groups_leave_tinyimagenet_out(tmp_path: Path, equal_steps: None) -> None:
    train = Trained()
    done, _ = again(tmp_path, "2", "full", train, ("cifar100", "cub200", "tinyimagenet"), "laresa")
    assert {cell.config.data.name for cell in train.cells} == {"cifar100", "cub200"}
    assert {c.published.dataset for c in done.comparisons} == {"CIFAR-100", "CUB-200-2011"}
    assert "TinyImageNet has no groups here" in " ".join(done.text().split())
    assert len(again(tmp_path, "8", "full", Trained(), (), "laresa")[0].absent) == 3


def test_gains_are_said_to_be_left_out(tmp_path: Path, equal_steps: None) -> None:
    done, _ = again(tmp_path, "1", "smoke", Trained(), ("cifar100",), "laresa")
    assert {c.published.metric for c in done.comparisons} == {"top1_accuracy_pct"}
    assert "gains of LARESA over CE" in " ".join(done.text().split())


@pytest.mark.parametrize("table", PAPERS["laresa"].tables)
@pytest.mark.parametrize("scale", laresa.SCALES)
def test_text_of_laresa_is_a_hundred_columns_wide(
    tmp_path: Path, table: str, scale: str, equal_steps: None
) -> None:
    present = ("cifar100", "cub200", "tinyimagenet")
    done, _ = again(tmp_path, table, scale, Trained(), present, "laresa")
    text = done.text()
    assert max(map(len, text.splitlines())) <= 100
    assert done.comparable == (scale == "full") == ("NOT COMPARABLE" not in text)
    unwrapped = " ".join(text.split())
    doubts = {doubt for c in done.comparisons for doubt in c.published.doubt.split(" | ") if doubt}
    assert all(doubt in unwrapped for doubt in doubts)


@pytest.mark.parametrize("scale", laresa.SCALES)
def test_the_caveat_of_laresa(scale: str) -> None:
    text = laresa.caveat(scale, config.Data(batch=64))
    assert ("small_cnn" in text) == (scale != "full")
    for said in ("batch 64,", "half of the TEST images", "one seed", "single patch", "equation is lost"):
        assert said in text
    best = [row.value for row in published("laresa", "8")]
    if scale != "full":
        assert f"after {min(best):g} to {max(best):g}" in text
        assert f"epochs are {laresa.SCALES[scale].epochs} at most" in text


def test_how_often_laresa_is_the_best_of_its_ablations() -> None:
    rows = [row for row in published("laresa", "7") if row.metric == "top1_accuracy_pct"]
    networks: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        networks.setdefault((row.dataset, row.model), {})[row.method] = float(row.value)
    best = sum(max(found, key=found.__getitem__).endswith("(full LARESA)") for found in networks.values())
    assert f"in {best} of {len(networks)} rows" in laresa.PROTOCOL


def test_a_step_of_laresa_can_be_timed() -> None:
    images = ImageSet(
        "cifar100",
        torch.zeros(40, 3, 32, 32, dtype=torch.uint8),
        torch.arange(40) % 4,
        ("apple", "aquarium_fish", "baby", "bear"),
        coarse=torch.arange(40) % 4 // 2,
        coarse_names=("flowers", "people"),
    )
    train = laresa_run("CIFAR-100", "ResNet50", scale="smoke", batch=8)
    assert 0 < run.step_seconds(train, images) < 60


def write_idx(path: Path, array: Tensor) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.numpy().tobytes(), compresslevel=1))


@pytest.fixture
def little_fashion(tmp_path: Path) -> config.Data:
    """Files in the format of Fashion-MNIST: ten classes that differ in one bright row of the image."""
    g = torch.Generator().manual_seed(0)
    for part, n in (("train", 200), ("t10k", 100)):
        y = torch.arange(n, dtype=torch.uint8) % 10
        images = torch.randint(100, (n, 28, 28), generator=g, dtype=torch.uint8)
        images[torch.arange(n), 2 * y.long()] = 255
        (tmp_path / "fashion-mnist").mkdir(exist_ok=True)
        write_idx(tmp_path / "fashion-mnist" / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / "fashion-mnist" / f"{part}-labels-idx1-ubyte.gz", y)
    return config.Data(root=str(tmp_path), unverified=True, batch=32)


def test_real_runs_are_kept_and_not_repeated(tmp_path: Path, little_fashion: config.Data) -> None:
    said: list[str] = []

    def go() -> Reproduction:
        return reproduce("latent-boost", "5", "smoke", tmp_path / "runs", little_fashion, say=said.append)

    first = go()
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    assert len(records) == 2
    assert not first.failed
    assert first.absent.keys() == {"CIFAR-10", "CIFAR-100"}
    said.clear()
    assert replace(go(), absent=first.absent) == first
    assert said[1] == "  Fashion-MNIST: all 2 runs are done"
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_a_network_that_is_not_to_be_had_does_not_stop_the_table_when_it_is_timed(tmp_path):
    data = config.Data(name="digits", limit=50, size=16)
    lost = load_recipe(
        "baseline", [("model.encoder", "resnet18"), ("model.weights", str(tmp_path / "no.pth"))]
    )
    cells = [Cell("lost", replace(lost, data=data), tmp_path / "run")]
    said = _estimated(cells, load(data, 0).train)
    assert said.startswith("time unknown: ")
    assert "no.pth" in said
