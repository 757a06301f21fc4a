"""Probes of partly labelled data: which labels each protocol reads, and what few labels allow."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import knn_predictions, linear_predictions
from latentloom.evaluation.probes import stratified_rows
from latentloom.evaluation.protocols import (
    Predict,
    ProbeScore,
    agreement,
    forest_predictions,
    mlp_predictions,
    probe_scores,
    protocol_findings,
)

NAMES = ["knn", "random_forest", "mlp", "linear"]
FITTED: list[Predict] = [forest_predictions, mlp_predictions]


def clusters(n: int, seed: int, classes: int = 3, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    """Classes on a circle of radius 4, and their labels."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    angle = 2 * math.pi * y / classes
    return 4 * torch.stack([angle.cos(), angle.sin()], 1) + spread * torch.randn(n, 2, generator=g), y


def information(y: Sequence[int], predicted: Sequence[int]) -> float:
    n, joint, rows, columns = len(y), Counter(zip(y, predicted, strict=True)), Counter(y), Counter(predicted)
    return sum(c / n * math.log(c * n / (rows[a] * columns[b])) for (a, b), c in joint.items())


def naive_ami(y: list[int], predicted: list[int]) -> float:
    """What is expected by chance is the mean over all orders of the predictions."""
    orders = list(itertools.permutations(predicted))
    chance = sum(information(y, order) for order in orders) / len(orders)
    entropy = (information(y, y) + information(predicted, predicted)) / 2
    return (information(y, predicted) - chance) / (entropy - chance)


Y, PREDICTED = [0, 0, 1, 1, 2, 2], [5, 5, 5, 1, 2, 1]


def test_mutual_information_agrees_with_all_orders_and_with_no_mistake() -> None:
    _, ami = agreement(torch.tensor(Y), torch.tensor(PREDICTED))
    assert ami == pytest.approx(naive_ami(Y, PREDICTED), abs=1e-9)
    normalised = information(Y, PREDICTED) / ((information(Y, Y) + information(PREDICTED, PREDICTED)) / 2)
    assert ami != pytest.approx(normalised, abs=0.05)
    assert ami != pytest.approx(information(Y, PREDICTED), abs=0.05)


def test_agreement_by_hand() -> None:
    right, _ = agreement(torch.tensor(Y), torch.tensor([0, 0, 1, 2, 2, 0]))
    assert right == pytest.approx(4 / 6)
    assert agreement(torch.tensor(Y), torch.tensor(Y)) == pytest.approx((1, 1))
    renamed = agreement(torch.tensor(Y), (torch.tensor(Y) + 1) % 3)
    assert renamed == pytest.approx((0, 1))  # names of classes matter to the one and not to the other


@pytest.mark.parametrize(("y", "predicted"), [(0, 0), (0, 1), (None, 0), (0, None)])
def test_one_class_shares_no_information(y: int | None, predicted: int | None) -> None:
    truth, found = (torch.tensor(Y) if v is None else torch.full((6,), v) for v in (y, predicted))
    assert agreement(truth, found) == ((truth == found).double().mean().item(), 0.0)


def test_every_probe_finds_classes_that_are_apart_and_none_where_labels_are_shuffled() -> None:
    (train_z, train_y), (z, y) = clusters(150, 0), clusters(90, 1)
    scores = probe_scores(train_z, train_y, train_y, z, y)
    assert list(scores) == NAMES
    assert all(score.accuracy > 0.95 and score.ami > 0.9 for score in scores.values())
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    shuffled = probe_scores(train_z, train_y, train_y, z, y[order])
    assert all(score.accuracy < 0.6 and abs(score.ami) < 0.1 for score in shuffled.values())


def test_each_protocol_reads_its_own_labels_alone() -> None:
    (train_z, train_y), (z, y) = clusters(60, 0), clusters(30, 1)
    given = torch.where(torch.arange(60) < 12, train_y, -1)
    wrong = (train_y + 1) % 3
    all_labels = probe_scores(train_z, train_y, wrong, z, y, protocol="all-labels")
    assert all_labels == probe_scores(train_z, train_y, given, z, y)
    few = probe_scores(train_z, wrong, given, z, y, protocol="given-labels")
    assert few == probe_scores(train_z, torch.full((60,), -1), given, z, y, protocol="given-labels")
    assert few == probe_scores(train_z[:12], train_y[:12], given[:12], z, y, protocol="given-labels")
    assert all(score.accuracy > 0.9 for score in [*all_labels.values(), *few.values()])
    assert all(probe_scores(train_z, wrong, given, z, y)[name].accuracy < 0.1 for name in NAMES)
    assert {(s.rows, s.classes, s.protocol) for s in all_labels.values()} == {(60, 3, "all-labels")}
    assert {(s.rows, s.classes, s.protocol) for s in few.values()} == {(12, 3, "given-labels")}


def test_scores_are_those_of_the_predictions() -> None:
    (train_z, train_y), (z, y) = clusters(60, 0, spread=3.0), clusters(40, 1, spread=3.0)
    scores = probe_scores(train_z, train_y, train_y, z, y, seed=4)
    predicted = {
        "knn": knn_predictions(train_z, train_y, z, k=5),
        "random_forest": forest_predictions(train_z, train_y, z, seed=4),
        "mlp": mlp_predictions(train_z, train_y, z, seed=4),
        "linear": linear_predictions(train_z, train_y, z),
    }
    for name, found in predicted.items():
        assert scores[name] == ProbeScore(*agreement(y, found), 60, 3, "all-labels")
    assert len({score.accuracy for score in scores.values()}) > 1


@pytest.mark.parametrize("predict", FITTED)
def test_fitted_probes_follow_the_seed_and_leave_unlabelled_rows_out(predict: Predict) -> None:
    (train_z, train_y), (z, _) = clusters(60, 0, spread=3.0), clusters(2000, 1, spread=3.0)
    more_z, more_y = torch.cat([train_z, 9 * z]), torch.cat([train_y, torch.full((2000,), -1)])
    torch.manual_seed(0)
    first = predict(train_z, train_y, z)
    torch.manual_seed(1)
    assert first.tolist() == predict(more_z, more_y, z).tolist()
    assert first.tolist() != predict(train_z, train_y, z, seed=1).tolist()  # type: ignore[call-arg]


@pytest.mark.parametrize("predict", FITTED)
def test_fitted_probes_see_what_no_line_divides_in_any_unit(predict: Predict) -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.rand(300, 2, generator=g) * 2 - 1
    y = (z.prod(1) > 0).long()
    units = torch.tensor([1e-3, 1e3])
    assert (predict(z[:200], y[:200], z[200:]) == y[200:]).double().mean() > 0.85
    assert (predict(units * z[:200], y[:200], units * z[200:]) == y[200:]).double().mean() > 0.85
    assert (linear_predictions(z[:200], y[:200], z[200:]) == y[200:]).double().mean() < 0.7


def test_a_row_per_class_votes_alone() -> None:
    (train_z, train_y), (z, y) = clusters(6, 0, classes=6, spread=0.2), clusters(60, 1, classes=6, spread=0.2)
    scores = probe_scores(train_z, train_y, train_y, z, y, protocol="given-labels")
    assert scores["knn"].accuracy == 1
    assert (knn_predictions(train_z, train_y, z, k=5) == y).double().mean() < 0.5
    assert all(score.accuracy > 0.8 for score in scores.values())


def test_images_of_a_class_without_a_label_count_as_wrong() -> None:
    (train_z, train_y), (z, y) = clusters(40, 0, classes=4), clusters(80, 1, classes=4)
    given = torch.where(train_y == 3, -1, train_y)
    scores = probe_scores(train_z, train_y, given, z, y, protocol="given-labels")
    assert all(0.7 < score.accuracy <= 0.75 and score.classes == 3 for score in scores.values())
    assert all(0.5 < score.ami < 0.95 for score in scores.values())


def test_one_given_class_is_predicted_everywhere() -> None:
    train_z, _ = clusters(9, 0)
    z, y = clusters(30, 1)
    given = torch.tensor([2, *[-1] * 7, 2])
    scores = probe_scores(train_z, given, given, z, y, protocol="given-labels")
    for score in scores.values():
        assert score == ProbeScore(score.accuracy, 0.0, 2, 1, "given-labels")
        assert score.accuracy == pytest.approx(1 / 3)
    assert mlp_predictions(train_z, given, z).tolist() == [2] * 30


def test_unlabelled_images_are_neither_fitted_nor_judged_on() -> None:
    (train_z, train_y), (z, y) = clusters(40, 0), clusters(40, 1)
    hidden = torch.arange(40) >= 30
    wanted = probe_scores(train_z[:30], train_y[:30], train_y[:30], z[:30], y[:30])
    train_y, y = (torch.where(hidden, -1, labels) for labels in (train_y, y))
    train_z, z = (torch.where(hidden[:, None], torch.nan, points) for points in (train_z, z))
    assert probe_scores(train_z, train_y, train_y, z, y) == wanted


@pytest.mark.parametrize("predict", FITTED)
def test_limit_of_epochs_is_silent(predict: Predict) -> None:
    """A warning would be an error here; of shuffled labels the MLP has not learned all when it is reached."""
    z, y = clusters(200, 0)
    assert predict(z, y[torch.randperm(200, generator=torch.Generator().manual_seed(0))], z[:5]).shape == (5,)


@pytest.mark.parametrize("where", ["train", "judged"])
def test_latents_that_are_not_finite_have_no_score(where: str) -> None:
    (train_z, train_y), (z, y) = clusters(30, 0), clusters(30, 1)
    (train_z if where == "train" else z)[3, 0] = torch.inf
    scores = probe_scores(train_z, train_y, train_y, z, y)
    assert list(scores) == NAMES
    assert all(math.isnan(score.accuracy) and math.isnan(score.ami) for score in scores.values())


def test_gradients_are_left_behind() -> None:
    (train_z, train_y), (z, y) = clusters(30, 0), clusters(30, 1)
    scores = probe_scores(train_z.requires_grad_(), train_y, train_y, z.requires_grad_(), y)
    assert scores["mlp"].accuracy > 0.9


def test_misspelt_protocol() -> None:
    z, y = clusters(6, 0)
    with pytest.raises(UserError, match=r"no protocol 'all_labels'; did you mean 'all-labels'\?"):
        probe_scores(z, y, y, z, y, protocol="all_labels")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "judged", "counts"), [(-1, 0, "0 of training images and 6"), (0, -1, "6.*and 0")]
)
def test_nothing_to_fit_on_or_to_judge_by(given: int, judged: int, counts: str) -> None:
    z, y = clusters(6, 0)
    with pytest.raises(
        UserError, match=f"given-labels needs a label to fit on and one to judge by, got {counts}"
    ):
        probe_scores(z, y, torch.full((6,), given), z, torch.full((6,), judged), protocol="given-labels")


# Lines of a card


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Latents that overlap, of which every fifth label was given."""
    (train_z, train_y), (z, y) = clusters(60, 0, spread=3.0), clusters(40, 1, spread=3.0)
    return train_z, train_y, torch.where(torch.arange(60) % 5 == 0, train_y, -1), z, y


def test_findings_are_the_scores_of_both_protocols() -> None:
    found = protocol_findings(*scene(), split="test", seed=4)
    lines = [f"{name}_{kind}" for name in NAMES for kind in ("accuracy", "ami")]
    assert list(found) == [f"{which}/{line}" for which in ("all-labels", "given-labels") for line in lines]
    for protocol in ("all-labels", "given-labels"):
        scores = probe_scores(*scene(), protocol=protocol, seed=4)  # type: ignore[arg-type]
        for name, score in scores.items():
            assert found[f"{protocol}/{name}_accuracy"].value == score.accuracy
            assert found[f"{protocol}/{name}_ami"].value == score.ami
    accuracies = {
        p: [found[f"{p}/{n}_accuracy"].value for n in NAMES] for p in ("all-labels", "given-labels")
    }
    assert accuracies["all-labels"] != accuracies["given-labels"]


def test_findings_say_how_they_were_taken() -> None:
    found = protocol_findings(*scene(), split="validation")
    accuracy, ami = found["given-labels/mlp_accuracy"], found["all-labels/knn_ami"]
    assert (
        accuracy.protocol == "accuracy of mlp on 12 training latents, given-labels; 40 images of validation"
    )
    assert ami.protocol == (
        "adjusted mutual information of knn on 60 training latents, all-labels; 40 images of validation"
    )
    for name, finding in found.items():
        assert finding.better == "higher"
        assert (finding.low, finding.high) == ((-1.0, 1.0) if name.endswith("_ami") else (0.0, 1.0))
        assert finding.low <= finding.value <= finding.high


def test_given_labels_know_nothing_of_the_others() -> None:
    train_z, train_y, given, z, y = scene()
    hidden = given < 0
    shifted = torch.where(hidden, (train_y + 1) % 3, train_y)
    one, other = (
        protocol_findings(train_z, labels, given, z, y, split="test") for labels in (train_y, shifted)
    )
    honest = [name for name in one if name.startswith("given-labels/")]
    assert [one[name] for name in honest] == [other[name] for name in honest]
    assert one["all-labels/linear_accuracy"] != other["all-labels/linear_accuracy"]


def test_findings_of_all_labels_where_all_are_given() -> None:
    train_z, train_y, _, z, y = scene()
    found = protocol_findings(train_z, train_y, train_y, z, y, split="test")
    for name in NAMES:
        assert found[f"all-labels/{name}_ami"].value == found[f"given-labels/{name}_ami"].value


def test_probes_are_fitted_on_no_more_latents_than_the_limit() -> None:
    train_z, train_y, given, z, y = scene()
    found = protocol_findings(train_z, train_y, given, z, y, split="test", limit=21, seed=2)
    rows = stratified_rows(train_y, 21, 2)
    scores = probe_scores(train_z[rows], train_y[rows], train_y[rows], z, y, seed=2)
    assert {name: found[f"all-labels/{name}_accuracy"].value for name in NAMES} == {
        name: score.accuracy for name, score in scores.items()
    }
    assert "on 21 training latents, all-labels" in found["all-labels/knn_accuracy"].protocol
    assert "on 12 training latents, given-labels" in found["given-labels/knn_accuracy"].protocol


@pytest.mark.parametrize(("given", "judged", "protocol"), [(-1, 0, "given-labels"), (0, -1, "all-labels")])
def test_findings_of_nothing_to_fit_on_or_to_judge_by(given: int, judged: int, protocol: str) -> None:
    z, y = clusters(12, 0)
    given_y, judged_y = torch.full((12,), given), torch.full((12,), judged)
    with pytest.raises(UserError, match=f"protocol {protocol} needs a label to fit on and one to judge by"):
        protocol_findings(z, y, given_y, z, judged_y, split="test")
