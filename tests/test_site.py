"""The documents as a site: it builds without a warning, holds what is registered, and asks no other host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from latentloom.evaluation import SCORES
from latentloom.losses import TERMS
from latentloom.recipes import recipes

ROOT = Path(__file__).parent.parent
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"(https?://[^\"]*)\"")
TAG = re.compile(r"<[^>]+>")


def script(name: str) -> ModuleType:
    """A script beside the documents, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(f"docs{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mkdocs", reason="the site is built by MkDocs: pip install 'latentloom[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)


def text_of(page: Path) -> str:
    return unescape(TAG.sub("", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_site_builds_and_holds_what_is_registered(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    losses, scores = (tmp_path / "reference" / f"{kind}.html" for kind in ("losses", "scores"))
    for page, registered in ((losses, TERMS), (scores, SCORES)):
        html, text = page.read_text(encoding="utf-8"), text_of(page)
        for name, info in registered.items():
            assert f'id="{info.fn.__module__}.{name}"' in html, name  # in full, where the table leads
            assert first_line(info.fn) in text, name
    fields = text_of(tmp_path / "reference" / "configuration.html")
    assert "use only this many training images, stratified" in fields  # the comment of a field
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    others = {page.name: LOADED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert not any(others.values()), others


def test_the_tables_have_a_line_for_all_that_is_registered() -> None:
    tables = script("_site").TABLES
    for name, info in TERMS.items():
        (line,) = (line for line in tables["terms"]().splitlines() if line.startswith(f"| [`{name}`]"))
        assert all(f"`{key}`" in line for key in (*info.reads, *info.may_read))
        assert all(f"`{option} = " in line for option in info.options)
    for name, info in SCORES.items():
        (line,) = (line for line in tables["scores"]().splitlines() if line.startswith(f"| [`{name}`]"))
        assert all(word in line for word in (info.title, info.better, *info.reads))
    assert all(f"| `{name}` |" in tables["recipes"]() for name in recipes())


def test_every_mark_in_a_document_has_a_table() -> None:
    site = script("_site")
    marks = {mark for path in (ROOT / "docs").rglob("*.md") for mark in site.MARK.findall(path.read_text())}
    assert marks == set(site.TABLES)


def test_pages_from_above_the_documents_keep_their_links() -> None:
    site = script("_site")
    assert site._as_page("[a](docs/start.md) [b](CONTRIBUTING.md)") == "[a](start.md) [b](contributing.md)"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/own-loss.md"), meta={})
    linked = "[c](../../CONTRIBUTING.md#a-loss) [d](../attach.md)"
    assert site.on_page_markdown(linked, page) == "[c](../contributing.md#a-loss) [d](../attach.md)"


def test_tables_of_figures_alone_are_not_searched() -> None:
    site = script("_site")
    for uri, meta in (("results/few.md", {"search": {"exclude": True}}), ("how-to/few-labels.md", {})):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=uri), meta={})
        site.on_page_markdown("| 1 |", page)
        assert page.meta == meta


def test_bars_in_the_code_of_a_table_are_bars() -> None:
    html = r"<td><code>\|z\|</code></td><p>\|</p>"
    assert script("_site").on_page_content(html) == r"<td><code>|z|</code></td><p>\|</p>"


DOCSTRING = """A line.

coverage  a share
risk      another,
          over two lines

Text of one  line
and another.

>>> 1 + 1
2

Args:
    x: one.
"""


def test_columns_and_examples_of_docstrings_are_code() -> None:
    pytest.importorskip("griffe", reason="docstrings are read by griffe: pip install 'latentloom[docs]'")
    found = script("_docstrings").as_markdown(DOCSTRING).split("\n\n")
    assert found[1].splitlines() == [
        "    coverage  a share",
        "    risk      another,",
        "              over two lines",
    ]
    assert found[2:4] == ["Text of one  line\nand another.", "```pycon\n>>> 1 + 1\n2\n```"]
    assert found[4].startswith("Args:\n    x")


MADE = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Made:
    """A thing."""

    a: int  # the first
    # the second,
    # of two lines
    b: int = 2
    c: int = 3
'''


def test_fields_are_told_by_their_comments(tmp_path: Path) -> None:
    griffe = pytest.importorskip(
        "griffe", reason="docstrings are read by griffe: pip install 'latentloom[docs]'"
    )
    (tmp_path / "made.py").write_text(MADE)
    extensions = griffe.load_extensions(str(ROOT / "docs" / "_docstrings.py"))
    made = griffe.load("made", search_paths=[tmp_path], extensions=extensions)
    told = made["Made"].docstring.value.split("Attributes:\n")[1]
    assert told.splitlines() == ["    a: the first", "    b: the second, of two lines", "    c:"]


def first_line(fn: object) -> str:
    return (fn.__doc__ or "").strip().splitlines()[0]
