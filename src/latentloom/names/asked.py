"""Label embeddings as a configuration asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloom.checks import UserError
from latentloom.config import Names
from latentloom.names.vectors import MODEL, LabelVectors, label_vectors
from latentloom.names.words import read_descriptions

FLAGS = "--model.label_embeddings"


def check_asked(config: Names) -> None:
    """Refuse a source that is none, and settings that the source makes no use of."""
    source = config.source
    if source not in ("none", "names") and not from_file(config):
        raise UserError(
            f"label embeddings from {source!r}; wanted none, names, or a .npy or .safetensors file"
        )
    if source == "none":
        _refuse_unused(config, ("descriptions", "model", "revision"), "without label embeddings")
    if from_file(config):
        _refuse_unused(config, ("model", "revision"), f"on vectors of the file {source}")


def asked_vectors(config: Names, names: Sequence[str]) -> LabelVectors:
    """The label embeddings of classes, (C, d), not centred."""
    check_asked(config)
    if config.source == "none":
        raise UserError(f"there are no label embeddings to read; add {FLAGS}.source names")
    found = _read(config, names, asked_descriptions(config))
    if found.bare:
        _refuse_unused(config, ("descriptions",), f"on the rows of {config.source}, which holds no text")
    return found


def asked_group_vectors(config: Names, names: Sequence[str]) -> LabelVectors:
    """The vectors of names of groups, (G, d), from where those of the classes are; nothing describes them."""
    return _read(config, names, None)


def asked_descriptions(config: Names) -> dict[str, str] | None:
    """Texts to read instead of class names, by name."""
    return None if config.descriptions is None else read_descriptions(config.descriptions)


def from_file(config: Names) -> bool:
    """Whether vectors are read from a file, and not by what class names say."""
    return Path(config.source).suffix in (".npy", ".safetensors")


def _read(config: Names, names: Sequence[str], descriptions: dict[str, str] | None) -> LabelVectors:
    return label_vectors(
        names,
        file=config.source if from_file(config) else None,
        model=config.model or MODEL,
        revision=config.revision,
        descriptions=descriptions,
    )


def _refuse_unused(config: Names, fields: Sequence[str], where: str) -> None:
    if unused := [field for field in fields if getattr(config, field) is not None]:
        raise UserError(
            f"{FLAGS}.{unused[0]} has no effect {where}; leave it out, or set {FLAGS}.source names"
        )
