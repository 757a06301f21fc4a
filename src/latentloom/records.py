"""Records of runs: to and from JSON, and what a result depends on."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from latentloom.checks import UserError
from latentloom.files import write_text
from latentloom.values import Card, Finding, Record

PACKAGE = Path(__file__).parent
# These show or repeat runs; a change of them leaves every result as it was.
ONLY_SHOW = frozenset(
    {"cli", "commands", "estimator", "flags", "inference"}
    | {"lists", "published", "records", "report", "reproduce", "sweep"}
)
NO_RESULT = frozenset({PACKAGE / "__init__.py", PACKAGE / "config.py", PACKAGE / "training" / "pictures.py"})
PACKAGES = ("latentloom", "torch", "numpy")
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def strict(value: Any) -> Any:
    """`value` as JSON can hold it: a float that is not finite becomes "nan", "inf" or "-inf".

    >>> strict({"a": (1.5, float("-inf"))})
    {'a': [1.5, '-inf']}
    """
    match value:
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {key: strict(inner) for key, inner in value.items()}
        case str():
            return value
        case Sequence():
            return [strict(inner) for inner in value]
    return value


def _restored(value: Any) -> Any:
    """The inverse of `strict`, but for tuples, which come back as lists."""
    match value:
        case str():
            return NOT_FINITE.get(value, value)
        case dict():
            return {key: _restored(inner) for key, inner in value.items()}
        case list():
            return [_restored(inner) for inner in value]
    return value


def card_to_json(card: Card) -> dict[str, Any]:
    """A card as strict JSON."""
    findings = {name: strict(asdict(finding)) for name, finding in card.findings.items()}
    return {"split": card.split, "images": card.images, "findings": findings}


def card_from_json(data: Mapping[str, Any]) -> Card:
    """The card that `card_to_json` wrote."""
    findings = {name: _finding(fields) for name, fields in data["findings"].items()}
    return Card(data["split"], data["images"], findings)


def _finding(fields: Mapping[str, Any]) -> Finding:
    numbers = _restored({name: fields[name] for name in ("value", "low", "high", "interval")})
    interval = numbers.pop("interval")
    return Finding(
        **numbers,
        better=fields["better"],
        protocol=fields["protocol"],
        interval=interval and (interval[0], interval[1]),
    )


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as strict JSON."""
    fields = {name: strict(value) for name, value in vars(record).items() if name != "card"}
    return {**fields, "card": card_to_json(record.card)}


def record_from_json(data: Mapping[str, Any]) -> Record:
    """The record that `record_to_json` wrote."""
    return Record(
        **{
            name: value
            for name, value in data.items()
            if name not in ("card", "config", "history", "seconds")
        },
        card=card_from_json(data["card"]),
        config=_restored(data["config"]),
        history=_restored(data["history"]),
        seconds=_restored(data["seconds"]),
    )


def save_record(record: Record, path: Path) -> None:
    """Write a record as JSON, atomically."""
    write_text(path, json.dumps(record_to_json(record), indent=1, allow_nan=False) + "\n")


def load_record(path: Path) -> Record:
    """The record in a file; a file that is missing or broken is a `UserError`."""
    try:
        return record_from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}); a record is written when a run ends: finish the run"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is not a record of a run ({reason}); restore it, or remove it and run again"
        ) from error


def source_hashes(modules: Iterable[str] | None = None) -> dict[str, str]:
    """Source file, relative to the package -> hash of its code, for modules given by their full names.

    Without `modules`, those of latentloom that are loaded now. Left out are modules that only show or
    repeat runs, names without a source file of their own, files that only hand names on, and config.py,
    since a record holds all values itself.
    """
    names = list(sys.modules) if modules is None else modules
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == PACKAGE.name]
    paths = {_source_file(part) for part in parts if not ONLY_SHOW & set(part[:1])} - NO_RESULT
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in paths if path}
    return {name: code_hash(source) for name, source in sorted(sources.items()) if not _hands_on(source)}


def _source_file(parts: Sequence[str]) -> Path | None:
    folder = PACKAGE.joinpath(*parts)
    return next(
        (path for path in (folder / "__init__.py", folder.with_suffix(".py")) if path.is_file()), None
    )


@cache
def _hands_on(source: str) -> bool:
    """Whether a file is imports and a list of names alone, as those of packages are."""
    body = ast.parse(source).body
    return all(
        isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in body[_has_docstring(body) :]
    )


@cache
def code_hash(source: str) -> str:
    """First 16 hex digits of the SHA-256 of the code alone: docstrings, comments and layout do not count.

    >>> code_hash("x = 1") == code_hash("x  =  1  # one")
    True
    """
    return hashlib.sha256(repr(_shape(ast.parse(source))).encode()).hexdigest()[:16]


def _shape(node: Any) -> Any:
    """A syntax tree as nested lists.

    Empty fields are left out, because versions of Python differ in those they have; `ast.dump` keeps them.
    """
    if isinstance(node, list):
        return [_shape(inner) for inner in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = node.body[_has_docstring(node.body) :]
    return [type(node).__name__, *((k, _shape(v)) for k, v in fields.items() if v is not None and v != [])]


def _has_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def stale(record: Record) -> list[str]:
    """The source files that a record depends on whose code is another one now, or that are gone.

    Of the families of losses, only those count that a term of the run belongs to. A file that came since
    needs no look: what imports it has changed too.
    """
    changed = (name for name, was in record.sources.items() if _hash_now(PACKAGE / name) != was)
    return sorted(name for name in changed if _concerns(PACKAGE / name, _terms(record.config)))


def _terms(config: Mapping[str, Any]) -> set[str]:
    terms = config.get("objective", {}).get("terms", {})
    return {term.get("loss") or name for name, term in terms.items()}


def _concerns(path: Path, terms: set[str]) -> bool:
    """False for a family of losses that none of the terms belongs to."""
    if path.parent != PACKAGE / "losses" or path.name.startswith("_") or not path.is_file():
        return True
    body = ast.parse(path.read_text("utf-8")).body
    return bool(terms & {node.name for node in body if isinstance(node, ast.FunctionDef)})


def _hash_now(path: Path) -> str | None:
    return code_hash(path.read_text("utf-8")) if path.is_file() else None


def commit_of(folder: Path = PACKAGE) -> str:
    """The commit that `folder` is at; "+" is added where tracked files below src/ are changed.

    "unknown" without git, without a commit, or where git does not track the folder (an environment
    that lies inside someone's repository).
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "."):
        return "unknown"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/src")
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; nothing where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on most."""
    packages = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def hardware(accelerator: str = "auto") -> str:
    """Name of the GPU, or the processor with its cores and threads; "cpu" never names the GPU."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
