"""What `latentloom names` does: show what is read for classes, write its vectors, check the packaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloom.checks import UserError
from latentloom.names.vectors import (
    MODEL,
    PACKAGED,
    encoded,
    packaged,
    shipped,
    vectors_of,
    write_vectors,
)
from latentloom.names.words import texts_of

TOLERANCE = 1e-5  # in any entry of a unit vector


def show(
    names: Sequence[str],
    coarse_names: Sequence[str] = (),
    *,
    model: str = MODEL,
    revision: str | None = None,
    out: str | Path | None = None,
) -> str:
    """A line for each class, then for each coarse class, with the text that is read; the vectors go to `out`.

    One file serves both, for vectors are found in it by their texts. Without `out` no model is loaded.
    """
    texts = [*texts_of(names), *(texts_of(coarse_names) if coarse_names else ())]
    width = max(map(len, [*names, *coarse_names]))
    lines = [f"{name:<{width}}  {text}" for name, text in zip([*names, *coarse_names], texts, strict=True)]
    distinct = tuple(dict.fromkeys(texts))
    return "\n".join([*lines, _written(distinct, model, revision, Path(out)) if out else _held(distinct)])


def remake(check: bool) -> str:
    """Compute the vectors of the package's texts again, and compare them with the packaged, or replace these.

    Vectors that differ by more than 1e-5 in an entry are refused when comparing.
    """
    old = shipped()
    new = encoded(old.texts)
    gap = (new.vectors - old.vectors).abs().amax(1)
    if not check:
        write_vectors(PACKAGED, new)
        shipped.cache_clear()
        return f"{len(new.texts)} vectors are in {PACKAGED}, by {new.model} ({new.revision})"
    if different := [text for text, value in zip(old.texts, gap.tolist(), strict=True) if value > TOLERANCE]:
        raise UserError(
            f"{len(different)} of {len(old.texts)} packaged vectors differ by up to {gap.max():.1e} from "
            f"those of {new.model} ({new.revision}), made by {old.revision}; the first is of {different[0]!r}"
        )
    return f"{len(old.texts)} packaged vectors differ by at most {gap.max():.1e} from those of {new.model}"


def _written(texts: tuple[str, ...], model: str, revision: str | None, out: Path) -> str:
    found = vectors_of(texts, model, revision)
    write_vectors(out, found)
    count, length = found.vectors.shape
    return f"{count} vectors of length {length} are in {out}, by {found.model} ({found.revision})"


def _held(texts: tuple[str, ...]) -> str:
    if packaged(texts):
        return f"the package has the vectors of all, by {MODEL}"
    return "the package lacks vectors of some; --out FILE.safetensors computes and writes them"
