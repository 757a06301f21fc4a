"""What `latentloom names` does: show what is read for classes, write its vectors, check the packaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloom.checks import UserError
from latentloom.config import Names
from latentloom.names.asked import asked_descriptions, asked_vectors, check_asked, from_file
from latentloom.names.vectors import MODEL, encoded, packaged, shipped, vectors_of, write_vectors
from latentloom.names.words import texts_of

TOLERANCE = 1e-5  # in any entry of a unit vector


def show(
    config: Names, names: Sequence[str], coarse_names: Sequence[str] = (), out: str | Path | None = None
) -> str:
    """A line for each class, then for each coarse class, with the text that is read; the vectors go to `out`.

    One file serves both, for vectors are found in it by their texts. Without `out` no model is loaded. Of
    a file of vectors, the texts of the classes that it has vectors of.
    """
    check_asked(config)
    if from_file(config):
        return _of_file(config, names, out)
    texts = [*texts_of(names, asked_descriptions(config)), *(texts_of(coarse_names) if coarse_names else ())]
    distinct = tuple(dict.fromkeys(texts))
    last = _written(distinct, config, Path(out)) if out else _held(distinct, config)
    return "\n".join([*_lines([*names, *coarse_names], texts), last])


def checked() -> str:
    """Compute the vectors of the package's texts again, and compare them with the packaged.

    Vectors that differ by more than 1e-5 in an entry are refused.
    """
    old = shipped()
    new = encoded(old.texts)
    gap = (new.vectors - old.vectors).abs().amax(1)
    if different := [text for text, value in zip(old.texts, gap.tolist(), strict=True) if value > TOLERANCE]:
        raise UserError(
            f"{len(different)} of {len(old.texts)} packaged vectors differ by up to {gap.max():.1e} from "
            f"those of {new.model} ({new.revision}), made by {old.revision}; the first is of {different[0]!r}"
        )
    return f"{len(old.texts)} packaged vectors differ by at most {gap.max():.1e} from those of {new.model}"


def _lines(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    width = max(map(len, names))
    return [f"{name:<{width}}  {text}" for name, text in zip(names, texts, strict=True)]


def _of_file(config: Names, names: Sequence[str], out: str | Path | None) -> str:
    if out is not None:
        raise UserError(f"the vectors are in {config.source} already; leave out --out")
    found = asked_vectors(config, names)
    return "\n".join([*_lines(names, found.texts), f"{config.source} has the vectors of all classes"])


def _written(texts: tuple[str, ...], config: Names, out: Path) -> str:
    found = vectors_of(texts, config.model or MODEL, config.revision)
    write_vectors(out, found)
    count, length = found.vectors.shape
    return f"{count} vectors of length {length} are in {out}, by {found.model} ({found.revision})"


def _held(texts: tuple[str, ...], config: Names) -> str:
    if config.model not in (None, MODEL) or config.revision is not None:
        return f"{config.model or MODEL} reads them; --out FILE.safetensors computes and writes the vectors"
    if packaged(texts):
        return f"the package has the vectors of all, by {MODEL}"
    return "the package lacks vectors of some; --out FILE.safetensors computes and writes them"
