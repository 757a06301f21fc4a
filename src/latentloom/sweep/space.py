"""Search spaces: YAML files that map dotted fields of a recipe to distributions.

    training.lr: {loguniform: [1.0e-5, 1.0e-2]}
    model.latent_dim: {uniformint: [200, 2000]}
    objective.terms.triplet.options.variant: {choice: [paper, pml]}

Every bound is included.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from latentloom.checks import UserError, check_choice, unknown
from latentloom.config import Schedule, Term, Train
from latentloom.losses import find_term
from latentloom.objective import Objective
from latentloom.recipes import _leaf, overlay, resolve

Value = float | int | str  # str is YAML text
KINDS = ("uniform", "loguniform", "uniformint", "choice")
# These make trials comparable, so that none of them can differ between trials.
OWN = ("seed", "training.monitor", "training.logger", "training.keep_latents", "evaluation")
TERMS = "objective.terms."


@dataclass(frozen=True)
class Axis:
    """A field of the recipe, and where its values come from."""

    field: str  # dotted
    kind: str  # one of KINDS
    low: float = math.nan
    high: float = math.nan
    choices: tuple[str, ...] = ()  # YAML texts

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that stand for all: both bounds, or every choice."""
        return self.choices or (self.low, self.high)


def spaces() -> dict[str, str]:
    """Names of the packaged search spaces, each with its first line of comment."""
    found = (entry for entry in (files(__package__) / "spaces").iterdir() if entry.name.endswith(".yaml"))
    about = {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in found}
    return {name: about[name].splitlines()[0].lstrip("# ") for name in sorted(about)}


def load_space(name: str, base: Train) -> tuple[Axis, ...]:
    """The axes of a search space, each fit for the configuration `base`.

    Args:
        name: of a packaged space, or the path of a YAML file.
        base: what the values are set in; every bound and every choice must give a valid configuration.
    """
    try:
        return _checked(_plain(_source(name)), base)
    except UserError as error:
        raise UserError(f"the search space {name}: {error}") from error


def _plain(content: bytes) -> Any:
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # impossible dates; nested without end
        raise UserError(f"it is not YAML; {' '.join(str(error).split())}") from error


def with_values(base: Train, values: Mapping[str, Value]) -> Train:
    """A configuration with the values of a trial."""
    tree = copy.deepcopy(dataclasses.asdict(base))
    for field, value in values.items():
        overlay(tree, field, value if isinstance(value, str) else as_text(value))
    return resolve(tree)


def as_text(value: Any) -> str:
    """A value as one line of YAML.

    >>> as_text(1e-05), as_text([1, "2"]), as_text(True)
    ('1.0e-05', "[1, '2']", 'true')
    """
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def _source(name: str) -> bytes:
    packaged = files(__package__) / "spaces" / f"{name}.yaml"
    if packaged.is_file():
        return packaged.read_bytes()
    if Path(name).suffix not in {".yaml", ".yml"}:
        raise unknown("packaged space; a file ends in .yaml", name, spaces())
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from error


def _checked(tree: Any, base: Train) -> tuple[Axis, ...]:
    if not isinstance(tree, Mapping) or not tree:
        raise UserError(
            "wanted fields with their distributions, as in training.lr: {loguniform: [1.0e-4, 1.0e-2]}; "
            f"got {tree!r}"
        )
    axes = tuple(_axis(str(field), given) for field, given in tree.items())
    for axis in axes:
        _check_field(axis.field, base)
        for value in axis.ends:
            _check_values(base, {axis.field: value})
    _check_values(base, {axis.field: axis.ends[0] for axis in axes})
    return axes


def _axis(field: str, given: Any) -> Axis:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise UserError(
            f"{field} needs one distribution, {', '.join(KINDS)}, as in {{uniform: [0, 1]}}; got {given!r}"
        )
    kind, over = next(iter(given.items()))
    check_choice(f"distribution for {field}", str(kind), KINDS)
    if not isinstance(over, list):
        raise UserError(f"{field}: {kind} takes a list, got {over!r}")
    if kind != "choice":
        return Axis(field, kind, *_bounds(field, kind, over))
    if not over:
        raise UserError(f"{field}: choice needs at least one value, got none")
    return Axis(field, kind, choices=tuple(map(as_text, over)))


def _bounds(field: str, kind: str, over: list[Any]) -> tuple[float, float]:
    wanted = f"{field}: {kind} takes two {'whole numbers' if kind == 'uniformint' else 'numbers'}"
    try:
        low, high = (_number(bound, whole=kind == "uniformint") for bound in over)
    except (TypeError, ValueError) as error:
        raise UserError(f"{wanted}, [low, high], got {over!r}") from error
    if not low < high:
        raise UserError(f"{field}: the range {over!r} is empty; low must be below high")
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{field}: loguniform needs bounds above 0, got {over!r}")
    return low, high


def _number(bound: Any, whole: bool) -> float:
    """A finite number; YAML reads 1e-5, without a point, as a text."""
    value = float(bound)
    if isinstance(bound, bool) or not math.isfinite(value) or (whole and value != int(value)):
        raise ValueError(bound)
    return int(value) if whole else value


def _check_field(field: str, base: Train) -> None:
    if any(field == own or field.startswith(f"{own}.") for own in OWN):
        raise UserError(f"{field} is set by the sweep itself and cannot be an axis")
    if field.startswith(TERMS):
        check_choice("term of the recipe", field.removeprefix(TERMS).split(".")[0], base.objective.terms)


def _check_values(base: Train, values: Mapping[str, Value]) -> None:
    """Refuse values that make no configuration, or one whose objective cannot be built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is only doubtful is told by the trial that does it
        config = with_values(base, values).objective
        Objective.from_config(config)
    for field in values:
        _check_option(field, config.terms)


def _check_option(field: str, terms: Mapping[str, Term]) -> None:
    """Refuse a value that is not of the type that the loss declares; recipes let any number or text pass."""
    name, options, option = field.removeprefix(TERMS).partition(".options.")
    if not field.startswith(TERMS) or not options or "." in option:
        return
    given = terms[name].options[option]
    if not isinstance(given, Schedule):
        _leaf(given, get_type_hints(find_term(terms[name].loss or name).fn)[option], field)


def own_values(axes: Iterable[Axis], base: Train) -> dict[str, Value] | None:
    """The values that the configuration has by itself; None where one of them lies outside of the space."""
    found: dict[str, Value] = {}
    for axis in axes:
        value: Any = dataclasses.asdict(base)
        for key in axis.field.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if axis.choices:
            value = as_text(value)
        if not _holds(axis, value):
            return None
        found[axis.field] = value
    return found


def _holds(axis: Axis, value: Any) -> bool:
    if axis.choices:
        return value in axis.choices
    kinds = int if axis.kind == "uniformint" else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and axis.low <= value <= axis.high


def as_mapping(axes: Iterable[Axis]) -> dict[str, dict[str, list[Value]]]:
    """The axes as a file holds them."""
    return {axis.field: {axis.kind: list(axis.ends)} for axis in axes}
