"""Named configurations: one YAML file per method, validated against `config.Train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib.resources import files
from inspect import formatannotation
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

import yaml

from latentloom.checks import UserError, check_choice, unknown
from latentloom.config import Train


def recipes() -> dict[str, str]:
    """Names of the packaged recipes, each with its first line of comment."""
    found = (entry for entry in files(__name__).iterdir() if entry.name.endswith(".yaml"))
    about = {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in found}
    return {name: about[name].splitlines()[0].lstrip("# ") for name in sorted(about)}


def load_recipe(name: str, overrides: Sequence[tuple[str, str]] = ()) -> Train:
    """The configuration of a recipe, with fields replaced.

    Args:
        name: of a packaged recipe, or the path of a YAML file.
        overrides: (dotted field, YAML text), e.g. ("objective.lam", "0.5").
    """
    try:
        tree = yaml.safe_load(_source(name))
    except yaml.YAMLError as error:
        raise UserError(f"the recipe {name} is not YAML; {_one_line(error)}") from error
    tree = {} if tree is None else _fields(tree, Train, f"the recipe {name}")
    _check_no_code(tree, name)
    for dotted, text in overrides:
        overlay(tree, dotted, text)
    return resolve(tree)


def resolve(tree: Mapping[str, Any]) -> Train:
    """A `Train` from a tree of plain values; unknown fields and wrong types are errors."""
    return cast(Train, _build(tree, Train, ""))


def overlay(tree: dict[str, Any], dotted: str, text: str) -> None:
    """Set one field of a tree by its dotted name."""
    *path, last = dotted.split(".")
    place = tree
    for key in path:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise UserError(f"{dotted}: {key!r} holds the value {place!r} and has no field below it")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{dotted}: {text!r} is not a value; {_one_line(error)}") from error


def _check_no_code(tree: Mapping[str, Any], name: str) -> None:
    """Refuse a recipe that names a function to be called: a file from anywhere must not run code."""
    model = tree.get("model")
    if isinstance(model, Mapping) and model.get("function") is not None:
        raise UserError(
            f"the recipe {name} names code, model.function {model['function']!r}, and a recipe cannot run "
            "any; leave it out, and give --model module:function with the command"
        )


def _source(name: str) -> bytes:
    packaged = files(__name__) / f"{name}.yaml"
    if packaged.is_file():
        return packaged.read_bytes()
    if Path(name).suffix in {".yaml", ".yml"}:
        try:
            return Path(name).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the recipe {name}: {error.strerror}") from error
    raise unknown("recipe", name, recipes())


def _build(value: Any, kind: Any, where: str) -> Any:
    """`value` as the type `kind`: a dataclass, a mapping, or what jsonargparse can check."""
    sections = [k for k in (kind, *get_args(kind)) if is_dataclass(k)]
    if get_origin(kind) is dict:
        entry = get_args(kind)[1]
        return {k: _build(v, entry, f"{where}.{k}") for k, v in _fields(value, kind, where).items()}
    if kind in sections or (sections and isinstance(value, Mapping)):
        return _section(_fields(value, sections[0], where), sections[0], where)
    return _leaf(value, kind, where)


def _section(tree: Mapping[str, Any], kind: Any, where: str) -> Any:
    """The dataclass `kind` from its fields; those that are not given keep their default."""
    kinds = get_type_hints(kind)
    for key in tree:
        check_choice(f"field of {where}" if where else "field", str(key), kinds)
    for field in fields(kind):
        if field.name not in tree and field.default is field.default_factory is MISSING:
            raise UserError(f"{where} lacks {field.name!r}, which is {_name(kinds[field.name])}")
    return kind(**{k: _build(v, kinds[k], f"{where}.{k}".lstrip(".")) for k, v in tree.items()})


def _leaf(value: Any, kind: Any, where: str) -> Any:
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        found = parser.parse_object({"value": value})["value"]
    except ArgumentError as error:
        raise UserError(f"{where} must be {_name(kind)}, got {value!r}") from error
    if found is None and NoneType not in get_args(kind):  # which jsonargparse lets pass
        raise UserError(f"{where} must be {_name(kind)}, got null")
    return found


def _fields(value: Any, kind: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        known = f": {', '.join(get_type_hints(kind))}" if is_dataclass(kind) else ""
        raise UserError(f"{where} must hold fields{known}; got {value!r}")
    return dict(value)


def _name(kind: Any) -> str:
    return formatannotation(kind).replace(f"{Train.__module__}.", "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
