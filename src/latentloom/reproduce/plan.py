"""Which runs a published table stands for, at each scale."""

from __future__ import annotations

from collections.abc import Mapping

from latentloom.checks import UserError, check_choice
from latentloom.published import PAPERS, Published, published
from latentloom.reproduce import laresa, latent_boost, moving_targets, vae_dml
from latentloom.reproduce.study import Scale, Setting, Study

STUDIES: Mapping[str, Study] = {
    "laresa": laresa,
    "latent-boost": latent_boost,
    "moving-targets": moving_targets,
    "vae-dml": vae_dml,
}


def settings_of(paper: str, table: str) -> list[Setting]:
    """Every cell of a table, by data set, in the order of the print."""
    found = dict.fromkeys(s for row in published(paper, table) if (s := _setting_of(row)))
    if not found:
        known = "; ".join(f"{name} {', '.join(tables)}" for name, tables in trainable().items())
        raise UserError(
            f"no recipe trains what table {table} of {paper} shows; tables that can be run: {known}"
        )
    order = list(dict.fromkeys(s.dataset for s in found))
    return sorted(found, key=lambda s: order.index(s.dataset))


def trainable() -> dict[str, list[str]]:
    """Paper -> its tables that hold numbers of runs that we can do."""
    able = {p: [t for t in PAPERS[p].tables if any(map(_setting_of, published(p, t)))] for p in PAPERS}
    return {paper: tables for paper, tables in able.items() if tables}


def find_scale(paper: str, name: str) -> Scale:
    """The scale of that name for the tables of a paper."""
    check_choice("scale", name, STUDIES[paper].SCALES)
    return STUDIES[paper].SCALES[name]


def plan(paper: str, table: str, scale: str) -> list[Setting]:
    """The cells of a table that a scale runs."""
    settings = settings_of(paper, table)
    return STUDIES[paper].chosen(table, settings, find_scale(paper, scale))


def _setting_of(row: Published) -> Setting | None:
    return STUDIES[row.paper].setting_of(row)
