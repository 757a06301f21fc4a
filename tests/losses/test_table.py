"""The registry of terms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import latentloom.losses
from latentloom.checks import UserError
from latentloom.losses import TERMS, find_term, term


def test_every_term_is_public_under_its_own_name() -> None:
    for name, info in TERMS.items():
        assert getattr(latentloom.losses, name) is info.fn
        assert name in latentloom.losses.__all__


def test_what_a_term_reads_and_takes() -> None:
    boost = find_term("latent_boost")
    assert boost.reads == ("z", "y")
    assert boost.may_read == ("cluster",)
    assert {"alpha", "beta", "share", "variant"} <= set(boost.options)
    assert find_term("center").may_read == ("centres",)
    assert find_term("cross_entropy").reads == ("logits", "y")


def test_misspelt_term() -> None:
    with pytest.raises(UserError, match=r"no loss term 'tripet'; did you mean 'triplet'"):
        find_term("tripet")


def test_two_terms_of_one_name() -> None:
    def triplet(z: Tensor, y: Tensor) -> Tensor:
        return z.sum()

    with pytest.raises(ValueError, match="two loss terms are called 'triplet'"):
        term(triplet)


def test_every_term_says_what_it_returns_and_when_it_is_zero() -> None:
    for name, info in TERMS.items():
        text = info.fn.__doc__ or ""
        assert "Args:" in text, name
        assert "Returns:" in text, name
        assert all(f"{option}:" in text for option in (*info.reads, *info.may_read)), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_options_are_raised_too(dtype: torch.dtype) -> None:
    z = torch.tensor([[0.0, 0], [2, 0]])
    margin = torch.tensor(1.5, dtype=dtype)
    value = latentloom.losses.contrastive(z, torch.tensor([0, 0]), margin=margin)
    assert value.dtype == torch.float32
