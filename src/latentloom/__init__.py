"""A latent space with structure for any image classifier, and honest figures of how much it has."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentloom.config import Schedule as Schedule
    from latentloom.config import Term as Term
    from latentloom.encoders import attach as attach
    from latentloom.estimator import LatentClassifier as LatentClassifier
    from latentloom.evaluation import take_card as take_card
    from latentloom.evaluation.arrays import card_of as card_of
    from latentloom.inference import load as load
    from latentloom.objective import Objective as Objective
    from latentloom.values import Breakdown as Breakdown
    from latentloom.values import Card as Card
    from latentloom.values import Latent as Latent

# Public name -> where it lives; imported when asked for.
_HOMES = {
    "Breakdown": "values",
    "Card": "values",
    "Latent": "values",
    "LatentClassifier": "estimator",
    "Objective": "objective",
    "Schedule": "config",
    "Term": "config",
    "attach": "encoders",
    "card_of": "evaluation.arrays",
    "load": "inference",
    "losses": "losses",
    "take_card": "evaluation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latentloom' has no attribute {name!r}")
    home = importlib.import_module(f"latentloom.{_HOMES[name]}")
    return home if name == _HOMES[name] else getattr(home, name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
