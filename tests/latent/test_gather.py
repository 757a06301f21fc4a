"""The gather in one process; what it does in many is in the tests of training."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent import gather
from latentloom.latent.gather import Rows, gathered
from latentloom.values import Latent


def latent() -> Latent:
    z = torch.arange(12, dtype=torch.float64).view(3, 4).requires_grad_()
    return Latent({"z": z, "y": torch.tensor([0, -1, 2])}, {"centres": torch.ones(2, 4)})


def test_one_process_has_its_latent_as_it_is() -> None:
    given = latent()
    for found in (gathered(given), gathered(given, {"z", "y", "x"})):
        assert {name: id(t) for name, t in found.samples.items()} == {
            n: id(t) for n, t in given.samples.items()
        }
        assert found.shared is given.shared
    assert gathered(given, {"y"}).samples.keys() == {"y"}


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_rows_pass_through_bytes_unchanged_whatever_their_types(rows: int) -> None:
    own = {
        "bool": torch.tensor([True, False, True]),
        "half": torch.randn(3, 1).half(),
        "double": torch.randn(3, 2, 2).double(),
        "int16": torch.tensor([1, -2, 3]).short(),
        "nan": torch.tensor([torch.nan, torch.inf, -0.0]),
        "strided": torch.randn(5, 3).T,
    }
    own = {name: t[:rows] for name, t in own.items()}
    packed = gather._packed(own)
    assert packed.shape == (rows, 1 + 2 + 32 + 2 + 4 + 20)
    assert_close(gather._unpacked(packed, own), own, rtol=0, atol=0, equal_nan=True)


def test_own_rows_are_live_with_the_slope_of_the_whole_times_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gather, "processes", lambda: 3)
    own, whole = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = Rows.apply(own, whole, 1)
    assert torch.equal(found, whole)
    found.pow(2).sum().backward()
    assert own.grad is not None
    assert own.grad.tolist() == [3 * 4, 3 * 6]


@pytest.mark.parametrize(
    ("samples", "said"),
    [({"z": torch.ones(3, 2), "y": torch.ones(2)}, "y 2, z 3"), ({}, "got none")],
)
def test_tensors_without_a_row_per_image_are_refused(
    samples: dict[str, torch.Tensor], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "processes", lambda: 2)
    with pytest.raises(UserError, match=said):
        gathered(Latent(samples))
