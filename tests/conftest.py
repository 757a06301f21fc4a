"""Tests that must not be left out are counted in the last lines of a session."""

from __future__ import annotations

import os

import pytest

COUNTED = {"processes": "of several processes", "faults": "of faults"}
OUTCOMES = ("passed", "failed", "error", "skipped")


def outcomes(config: pytest.Config) -> dict[str, list[pytest.TestReport]]:
    """The reports of tests that are counted."""
    stats = config.pluginmanager.get_plugin("terminalreporter").stats
    return {
        outcome: [report for report in stats.get(outcome, []) if COUNTED.keys() & marks(report, config)]
        for outcome in OUTCOMES
    }


def marks(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> set[str]:
    """The marks of a test; of a file that was skipped as a whole, all that it mentions."""
    if isinstance(report, pytest.TestReport):
        return set(report.keywords)
    path = config.rootpath / report.nodeid
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {mark for mark in COUNTED if f"mark.{mark}" in text}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = outcomes(config)
    every = {report.nodeid: report for reports in found.values() for report in reports}.values()
    if not every:
        return
    many = (sum(mark in marks(report, config) for report in every) for mark in COUNTED)
    counted = ", ".join(f"{n} {kind}" for n, kind in zip(many, COUNTED.values(), strict=True))
    came = ", ".join(f"{outcome} {len(reports)}" for outcome, reports in found.items() if reports)
    terminalreporter.write_line(f"tests {counted}: {came}")
    if os.environ.get("CI") and found["skipped"]:
        terminalreporter.write_line("none of these may be skipped in CI", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    on_worker = hasattr(session.config, "workerinput")  # of pytest-xdist, whose reports go elsewhere
    if os.environ.get("CI") and not on_worker and outcomes(session.config)["skipped"]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
