"""One voice for errors: what came, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class UserError(ValueError):
    """A mistake in what was asked for; the command prints it without a traceback."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that is not in a registry, with the likely intention.

    >>> print(unknown("term", "tripet", ["triplet", "center"]))
    no term 'tripet'; did you mean 'triplet'? known: center, triplet
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"no {kind} {name!r}; {hint}known: {', '.join(names)}")


def check_choice(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones."""
    if name not in known:
        raise unknown(kind, name, known)


def reason(error: Exception) -> str:
    """The first sentence of a library's error; those that torch adds advise to execute any pickle.

    >>> reason(ValueError("no header. Call us.\\nLine 2"))
    'no header'
    """
    first = str(error).partition("\n")[0].partition(". ")[0]
    return "".join(c if c.isprintable() else "?" for c in first)  # some quote what they have read


def check_points(z: Tensor) -> None:
    """Refuse anything but points (n, d)."""
    if z.ndim != 2 or not z.is_floating_point():
        raise UserError(
            f"z must be floating (n, d), got {z.dtype} {tuple(z.shape)}; flatten maps with z.flatten(1)"
        )


def check_labelled(z: Tensor, y: Tensor) -> None:
    """Refuse anything but points (n, d) with integer labels (n,)."""
    check_points(z)
    if y.shape != z.shape[:1] or y.is_floating_point():
        raise UserError(
            f"y must be integer ({len(z)},), got {y.dtype} {tuple(y.shape)}; from one-hot, pass y.argmax(1)"
        )
