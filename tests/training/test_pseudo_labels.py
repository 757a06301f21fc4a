"""A run with pseudo-labels: who carries them, when, and that a resumed run has the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from safetensors.torch import load_file
from torch import Tensor

from latentloom.checks import UserError
from latentloom.config import Schedule
from latentloom.data import Batches, TwoStreams
from latentloom.recipes import load_recipe
from latentloom.training import trainer
from latentloom.training.callbacks import PseudoLabels
from latentloom.training.run import run
from latentloom.values import ImageSet

QUICK = [
    *(("data.limit", "300"), ("data.batch", "64"), ("data.labels", "40")),  # four steps an epoch
    *(("model.encoder", "mlp"), ("model.latent_dim", "4")),
    *(("training.epochs", "3"), ("training.logger", "false"), ("training.keep_latents", "0")),
    *(("training.accelerator", "cpu"), ("evaluation.bootstrap", "20"), ("evaluation.protocols", "false")),
]
HALF = ("training.pseudo_labels", "0.5")


class Seen(Callback):
    """The labels of both streams in every step."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.every: list[dict[int, int]] = []
        self.taught: list[dict[int, int]] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.every.append(labels_of(batch))
        self.taught.append(labels_of(batch["labelled"]))
        if trainer.global_step == self.stop:
            raise InterruptedError


def labels_of(batch: Mapping[str, Tensor]) -> dict[int, int]:
    return dict(zip(batch["row"].tolist(), batch["y"].tolist(), strict=True))


def trained(folder: Path, *more: tuple[str, str], seen: Callback, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        built = trainer.Trainer
        patched.setattr(trainer, "Trainer", lambda **o: built(**{**o, "callbacks": [*o["callbacks"], seen]}))
        return run(load_recipe("dml-triplet", [*QUICK, *more]), folder, recipe="x", progress=False)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of two threads differ from those of one in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unlabelled(seen: Seen) -> set[int]:
    """Rows that no batch of all images has a label for."""
    return {row for batch in seen.every for row, label in batch.items() if label == -1}


def test_labelled_batches_carry_them_from_the_second_epoch_on_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_them, without = Seen(), Seen()
    record = trained(tmp_path / "with", HALF, seen=with_them, monkeypatch=monkeypatch)
    plain = trained(tmp_path / "without", seen=without, monkeypatch=monkeypatch)

    assert with_them.every == without.every  # the first stream knows of none
    assert with_them.taught[:4] == without.taught[:4]
    given = {row: label for batch in without.taught for row, label in batch.items()}
    assert all(batch[row] == given[row] for batch in with_them.taught for row in batch.keys() & given)
    assert all(batch.keys() & given for batch in with_them.taught)
    new = [batch.keys() - given for batch in with_them.taught]
    assert not any(new[:4])
    assert all(len(rows) > 20 for rows in new[4:])
    assert set().union(*new) <= unlabelled(with_them)
    assert all(label >= 0 for batch in with_them.taught for label in batch.values())

    spare = 270 - 40  # a tenth of the images is for validation
    assert [row["pseudo_labels"] for row in record.history] == [0, spare / 2, spare / 2]
    assert "pseudo_labels" not in plain.history[0]
    assert record.history[0]["val/nearest_centre_accuracy"] == plain.history[0]["val/nearest_centre_accuracy"]
    assert record.history[2]["train/triplet"] != plain.history[2]["train/triplet"]


def test_most_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten classes; those of nearest centres by chance would be right in a tenth."""
    seen, whole = Seen(), Seen()
    trained(tmp_path / "few", HALF, seen=seen, monkeypatch=monkeypatch)
    truth = ("data.labels", "1.0"), ("data.labelled_batch", "64")
    trained(tmp_path / "all", *truth, seen=whole, monkeypatch=monkeypatch)
    true = {row: label for batch in whole.every for row, label in batch.items()}
    new = {(r, y) for batch in seen.taught[8:] for r, y in batch.items() if r in unlabelled(seen)}
    assert len(new) > 50
    assert sum(true[row] == label for row, label in new) > 0.5 * len(new)


def test_they_are_new_in_every_epoch_and_follow_a_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = ("training.pseudo_labels", "{kind: linear, start: 0.0, stop: 0.9}")
    record = trained(tmp_path, share, ("training.pseudo_from", "0"), seen=Seen(), monkeypatch=monkeypatch)
    assert [row["pseudo_labels"] for row in record.history] == [0, round(0.3 * 230), round(0.6 * 230)]


@pytest.mark.parametrize(
    ("step", "steps"),
    [
        pytest.param(6, "1", id="in mid-epoch, saved at each step"),
        pytest.param(11, "3", id="in mid-epoch, saved some steps before"),
        pytest.param(10, "null", id="back to the last epoch"),
    ],
)
def test_stopped_and_resumed_is_bitwise_the_same(
    step: int, steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = HALF, ("training.checkpoint_steps", steps)
    whole, rest = Seen(), Seen()
    expected = trained(tmp_path / "whole", *more, seen=whole, monkeypatch=monkeypatch)
    with pytest.raises(InterruptedError):
        trained(tmp_path / "cut", *more, seen=Seen(step), monkeypatch=monkeypatch)
    found = trained(tmp_path / "cut", *more, seen=rest, monkeypatch=monkeypatch)
    assert rest.taught == whole.taught[-len(rest.taught) :]
    assert len(rest.taught) < 12
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("whole", "cut"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    histories = [[{**row, "seconds": 0} for row in record.history] for record in (expected, found)]
    assert histories[0] == histories[1]


def noise() -> ImageSet:
    """Rows 0 and 1 are of class 0, 2 and 3 of class 1, the other eight of none."""
    images = torch.randint(256, (12, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet("noise", images, torch.tensor([0, 0, 1, 1] + [-1] * 8), ("a", "b"))


def test_relabelled_streams_take_the_rows_of_the_new_labels() -> None:
    image_set = noise()
    streams = TwoStreams(Batches(image_set, 4, 0, "cpu"), 6)
    first = list(Batches(image_set, 4, 0, "cpu"))
    y = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, -1, -1, 0, -1])
    streams.relabel(y)
    for batch, expected in zip(streams, first, strict=True):
        taught = batch["labelled"]
        assert set(taught["row"].tolist()) <= {0, 1, 2, 3, 4, 5, 10}
        assert set(taught["y"].tolist()) == {0, 1, 2}
        assert torch.equal(taught["y"], y[taught["row"]])
        assert torch.equal(taught["x"], image_set.images[taught["row"]])
        assert torch.equal(batch["y"], expected["y"])
        assert torch.equal(batch["row"], expected["row"])
    assert image_set.labels.tolist() == [0, 0, 1, 1] + [-1] * 8


def test_relabelled_as_given_is_as_if_never_relabelled() -> None:
    image_set = noise()
    plain, back = (TwoStreams(Batches(image_set, 4, 0, "cpu"), 6) for _ in range(2))
    back.relabel(torch.zeros(12, dtype=torch.int64))
    back.relabel(image_set.labels)
    for one, other in zip(plain, back, strict=True):
        assert torch.equal(one["labelled"]["row"], other["labelled"]["row"])
        assert torch.equal(one["labelled"]["y"], other["labelled"]["y"])


def test_without_unlabelled_images_there_is_no_stream_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"want unlabelled images .*; set --data\.labels"):
        trained(tmp_path, HALF, ("data.labels", "1.0"), seen=Seen(), monkeypatch=monkeypatch)


@pytest.mark.parametrize("share", [-0.1, 1.5, Schedule("linear", start=0.5, stop=2.0)])
def test_a_share_of_more_than_all(share: float | Schedule) -> None:
    with pytest.raises(UserError, match=r"training\.pseudo_labels is a share in \[0, 1\], got"):
        PseudoLabels([], share, 1)
