"""Flags that set fields of the configuration: --a.b value."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

from latentloom import config
from latentloom.checks import unknown

Overrides = list[tuple[str, str]]  # (dotted field, YAML text)
# Short flags for the fields that are set most often.
SHORT = {
    "data": "data.name",
    "model": "model.function",
    "root": "data.root",
    "epochs": "training.epochs",
    "lam": "objective.lam",
    "download": "data.download",
    "unverified": "data.unverified",
    "skip-bad": "data.skip_bad",
}
# Flags of the command itself; all others are fields.
OWN = {"help", "folder", "seeds", "workers", "scale", "json", "cluster"}
OWN |= {"out", "check", "number"}
OWN |= {"labels", "train", "centres", "class-names", "umap"}
OWN |= {"overwrite", "batch", "format", "device", "function"}
OWN |= {"space", "trials", "search", "cpus", "gpus", "address"}


def fields_text() -> str:
    """Every field of the configuration with its default, as flags."""
    lines = [f"  --{name:<28} {default}" for name, default in _fields(config.Train)]
    short = ", ".join(f"--{flag} = --{field}" for flag, field in SHORT.items())
    return "\n".join(
        [
            "any field of the recipe can be set, and any option of a term, as in",
            "  --objective.terms.latent_boost.options.beta 0.5",
            f"short: {short}",
            "",
            "fields and their defaults:",
            *lines,
        ]
    )


def _fields(kind: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[field.name]):
            yield from _fields(typing.cast(type, types[field.name]), f"{prefix}{field.name}.")
        elif field.default is dataclasses.MISSING:
            made = field.default_factory() if callable(field.default_factory) else None
            yield f"{prefix}{field.name}", made
        else:
            yield f"{prefix}{field.name}", field.default


def _switches(kind: type, prefix: str = "") -> Iterator[str]:
    """Names of the fields that are true or false."""
    for name, of in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(of):
            yield from _switches(typing.cast(type, of), f"{prefix}{name}.")
        elif of is bool:
            yield f"{prefix}{name}"


def taken_apart(argv: Sequence[str]) -> tuple[list[str], Overrides]:
    """The words of the command, and (field, YAML text) of flags `--a.b value` and `--a.b=value`.

    A flag whose field is true or false, and nothing else, needs no value.
    """
    switches = set(_switches(config.Train))
    words: list[str] = []
    found: Overrides = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, text = word[2:].partition("=")
        if not word.startswith("--") or name in OWN:
            words.append(word)
            continue
        alone = SHORT.get(name, name) in switches and not (rest and rest[0] in ("true", "false"))
        if not equals:
            text = "true" if alone or not rest else rest.pop(0)
        found.append((name, text))
    return words, found


def field_of(name: str) -> str:
    field = SHORT.get(name, name)
    if field.split(".")[0] not in {f.name for f in dataclasses.fields(config.Train)}:
        raise unknown(
            "option", f"--{name}", [f"--{known}" for known in [*SHORT, *dict(_fields(config.Train))]]
        )
    return field
