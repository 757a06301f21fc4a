"""What recipes were run with, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from latentloom.report.rows import Runs
from latentloom.report.tables import NOTHING


def differing(runs: Runs) -> dict[str, list[str]]:
    """Field -> its value in each recipe, of the fields that recipes differ in; the seed is none of them.

    The fields are those of the first run of each.
    """
    flat = [dict(_fields(records[0].config)) for records in runs.values()]
    names = dict.fromkeys(name for fields in flat for name in fields if name != "seed")
    found = {name: [str(fields.get(name, NOTHING)) for fields in flat] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def configurations(runs: Runs) -> dict[str, str]:
    """Recipe -> the whole configuration of its first run, as YAML."""
    return {
        name: yaml.safe_dump(_plain(records[0].config), sort_keys=False, allow_unicode=True)
        for name, records in runs.items()
    }


def _fields(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values, of what is not empty."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{at}{key}.")
        elif value is not None and value != []:
            yield f"{at}{key}", value


def _plain(value: Any) -> Any:
    """The same of what YAML has: mappings and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
