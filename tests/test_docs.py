"""What the documents say is so: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import yaml

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.encoders import ENCODERS
from latentloom.evaluation import SCORES
from latentloom.losses import TERMS
from latentloom.objective import Objective
from latentloom.recipes import resolve

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
COMMAND = re.compile(r"^latentloom ([a-z]+)", re.MULTILINE)
INLINE = re.compile(r"`latentloom ([a-z]+)")
OFFERED = re.compile(r"^ {4}([a-z]+)\b", re.MULTILINE)  # in what --help prints
TARGET = re.compile(r"\bmake ([a-z]+)\b")


def blocks(text: str, language: str) -> Iterator[str]:
    """Fenced blocks of a language, moved down to the line on which they stand."""
    for match in FENCED.finditer(text):
        if match[1] == language:
            yield "\n" * text.count("\n", 0, match.start(2)) + match[2]


def run(text: str, name: str) -> None:
    """Run the Python of a document from top to bottom, as one module."""
    names = {"__name__": name}
    for block in blocks(text, "python"):
        exec(compile(block, name, "exec"), names)


def broken_links(path: Path) -> list[str]:
    return [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]


def commands(text: str) -> set[str]:
    return {name for block in blocks(text, "sh") for name in COMMAND.findall(block)} | {*INLINE.findall(text)}


def targets(text: str) -> set[str]:
    return {name for block in blocks(text, "sh") for name in TARGET.findall(block)}


@pytest.fixture
def registries_restored() -> Iterator[None]:
    with patch.dict(TERMS), patch.dict(SCORES), patch.dict(ENCODERS):
        yield


@pytest.mark.usefixtures("registries_restored")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    run(path.read_text(), path.stem)


def test_readme_adds_latent_boost_to_a_loop() -> None:
    readme = (ROOT / "README.md").read_text()
    assert any("latent_boost(" in block and "backward()" in block for block in blocks(readme, "python"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_recipes_are_valid(path: Path) -> None:
    for block in blocks(path.read_text(), "yaml"):
        Objective.from_config(resolve(yaml.safe_load(block)).objective)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main(["--help"])
    offered = set(OFFERED.findall(capsys.readouterr().out))
    assert commands((ROOT / "README.md").read_text()) == offered
    assert all(commands(path.read_text()) <= offered for path in DOCUMENTS)


def test_make_targets_exist() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert all(targets(path.read_text()) <= made for path in DOCUMENTS)


BAD = """Some text, [a link](missing.md) and [another](https://example.org); `latentloom lsit` lists.

```python
x = 1
```

```python
assert x == 2
```

```sh
latentloom tarin baseline
make tset
```

```yaml
objective: {terms: {mganet: {}}}
```
"""


def test_faults_are_seen(tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text(BAD)
    with pytest.raises(AssertionError) as caught:
        run(BAD, "bad.md")
    assert caught.traceback[-1].lineno == BAD.splitlines().index("assert x == 2")
    with pytest.raises(UserError, match="mganet"):
        test_recipes_are_valid(tmp_path / "bad.md")
    assert broken_links(tmp_path / "bad.md") == ["missing.md"]
    assert (commands(BAD), targets(BAD)) == ({"tarin", "lsit"}, {"tset"})
