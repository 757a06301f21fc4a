"""What is measured after every epoch, and what the folder and the warnings make of it."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pandas
import pytest
import torch
from torch import nn

from latentloom.checks import UserError
from latentloom.evaluation import SCORES, class_means, knn_predictions
from latentloom.training.callbacks import Watch
from latentloom.training.scoring import WATCHED, Scoring
from latentloom.values import Latent


def latents(seed: int, n: int = 90) -> Latent:
    """Three classes of four on a triangle that overlap, with what a linear head makes of them."""
    g = torch.Generator().manual_seed(seed)
    middles = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 3.46], [9.0, 9.0]])
    y = torch.randint(3, (n,), generator=g)
    z = middles[y] + 1.5 * torch.randn(n, 2, generator=g)
    return Latent({"z": z, "y": y, "logits": -torch.cdist(z, middles)}, {"class_embeddings": middles + 1})


def scoring(monitor: str = "accuracy") -> Scoring:
    return Scoring(monitor, lambda model: latents(1), classes=4)


def test_every_classifier_and_the_geometry_are_taken() -> None:
    ours, train = latents(0), latents(1)
    centres = class_means(train.z, train.y, 4)
    found = scoring()(ours, nn.Identity()).scores
    whole = ours.with_shared(class_centres=centres)
    for name in WATCHED:
        info = SCORES[name]
        expected = info.fn(*(whole[key] for key in (*info.reads, *info.may_read))).item()
        assert found[name] == pytest.approx(expected), name
    assert {"silhouette", "effective_rank", "scatter_ratio", "components"} <= found.keys()


def test_what_the_model_has_not_is_left_out() -> None:
    bare = Latent({key: latents(0)[key] for key in ("z", "y")})
    found = scoring("nearest_centre_accuracy")(bare, nn.Identity()).scores
    assert {name for name in WATCHED if name not in found} == {
        "accuracy",
        "nearest_embedding_accuracy",
        "nearest_embedding_cosine_accuracy",
    }


def test_a_posterior_is_watched_and_its_collapse_named() -> None:
    good = latents(0)
    spread = scoring()(good.with_samples(mean=good.z), nn.Identity())
    assert spread.scores["active_units"] == 1.0
    assert spread.alarm is None
    half = good.z * torch.tensor([1.0, 1e-3])
    assert scoring()(good.with_samples(mean=half), nn.Identity()).alarm is None
    gone = scoring()(good.with_samples(mean=0.001 * good.z), nn.Identity())
    assert gone.scores["active_units"] == 0.0
    assert gone.alarm == "posterior on its prior: none of 2 dimensions tells images apart"


def test_the_monitored_score_is_taken_whatever_it_is() -> None:
    ours, train = latents(0), latents(1)
    found = scoring("knn_accuracy")(ours, nn.Identity()).scores["knn_accuracy"]
    right = knn_predictions(train.z, train.y, ours.z) == ours.y
    assert found == pytest.approx(right.double().mean().item())
    assert scoring("macro_f1")(ours, nn.Identity()).scores["macro_f1"] == pytest.approx(
        SCORES["macro_f1"].fn(ours.logits, ours.y).item()
    )
    assert [scoring(name).better for name in ("knn_accuracy", "size_to_distance")] == ["higher", "lower"]


def test_a_score_of_groups_is_taken_where_there_are_groups_and_refused_elsewhere() -> None:
    grouped = Scoring("hit_rate", lambda model: latents(1), 4, torch.tensor([0, 0, 1, 1]))
    assert 0 <= grouped(latents(0), nn.Identity()).scores["hit_rate"] <= 1
    with pytest.raises(UserError, match="'hit_rate' reads 'coarse_of', which model and data do not give"):
        scoring("hit_rate")(latents(0), nn.Identity())


def test_a_score_that_is_not_known() -> None:
    with pytest.raises(UserError, match="did you mean 'nearest_centre_accuracy'"):
        scoring("nearest_center_accuracy")


FIRST = SimpleNamespace(is_global_zero=True)  # of a trainer all that is asked


class Epochs:
    """What a module has to show after some epochs."""

    def __init__(self, alarms: list[str]) -> None:
        self.history = [{"epoch": 0, "val/accuracy": 0.5}, {"epoch": 1, "val/accuracy": 0.7}]
        self.classes = [scoring()(latents(seed), nn.Identity()).classes for seed in (0, 2)]
        self.alarms = alarms


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.setattr("latentloom.training.callbacks.LatentModule", Epochs)
    return Watch(tmp_path)


def test_each_way_to_collapse_is_warned_of_once(watched) -> None:
    first = "epoch 0: rank one: 99.9 % of the variance is along one direction"
    with pytest.warns(UserWarning, match="collapsed, epoch 0: rank one"):
        watched.on_train_epoch_end(FIRST, Epochs([first]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched.on_train_epoch_end(FIRST, Epochs([first, first.replace("epoch 0", "epoch 1")]))
    with pytest.warns(UserWarning, match="all points in one place"):
        watched.on_train_epoch_end(FIRST, Epochs([first, "epoch 2: all points in one place: 0 apart"]))


def test_figures_of_each_class_are_a_row_per_epoch_and_class(watched, tmp_path) -> None:
    watched.on_train_epoch_end(FIRST, Epochs([]))
    table = pandas.read_csv(tmp_path / "classes.csv")
    assert table[["epoch", "class"]].to_numpy().tolist() == [[e, c] for e in (0, 1) for c in range(4)]
    assert table["images"].tolist()[:4] == [int((latents(0).y == c).sum()) for c in range(4)]
    assert table["cluster_size"].isna().tolist() == [False, False, False, True] * 2
