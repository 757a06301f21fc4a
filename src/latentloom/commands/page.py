"""The page of runs that have ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloom.commands import Commands, command
from latentloom.flags import Overrides


def add_to(commands: Commands) -> None:
    """The command report."""
    report = command(commands, "report", _report, "the page of runs that have ended, from their folders")
    report.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run's folder, or one that holds runs; the recipe that comes first is compared with",
    )
    report.add_argument("--out", help="the HTML file (report.html in the folder that holds all the runs)")
    report.add_argument("--umap", action="store_true", help="also a map by UMAP, which needs umap-learn")


def _report(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.records import load_record
    from latentloom.report.finished import DEFAULT, common_folder, find_runs
    from latentloom.report.page import write_report
    from latentloom.training.folder import RECORD

    found = find_runs([Path(run) for run in arguments.runs])
    every = [folder for seeds in found.values() for folder in seeds.values()]
    page = Path(arguments.out) if arguments.out else common_folder(every) / "report.html"
    runs = {recipe: [load_record(f / RECORD) for f in seeds.values()] for recipe, seeds in found.items()}
    first = {recipe: next(iter(seeds.values())) for recipe, seeds in found.items()}
    write_report(page, runs, first, [*DEFAULT, *(["UMAP"] if arguments.umap else [])])
    print(f"the page is {page}")
