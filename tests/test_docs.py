"""What the documents say is so: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import yaml

from latentloom.checks import UserError
from latentloom.cli import _parser, main
from latentloom.encoders import ENCODERS
from latentloom.evaluation import SCORES
from latentloom.flags import field_of, taken_apart
from latentloom.losses import TERMS
from latentloom.objective import Objective
from latentloom.recipes import load_recipe, resolve
from latentloom.sweep import load_space

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

NAMED = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
OBJECT = re.compile(r"^::: (\S+)$", re.MULTILINE)  # shown by the site, under an anchor of its own
COMMAND = re.compile(r"^latentloom ([a-z]+)", re.MULTILINE)
INLINE = re.compile(r"`latentloom ([a-z]+)")
LINE = re.compile(r"^(?:[A-Z_]+=\S+ )?latentloom (.*)$", re.MULTILINE)
SET_IN = re.compile(r"^ {4}(.*)$", re.MULTILINE)  # a block without a fence
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
    return [link for link in LINK.findall(path.read_text()) if not leads_somewhere(path, link)]


def leads_somewhere(path: Path, link: str) -> bool:
    """Whether there is the file that a link names, and the heading in it."""
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def anchors(text: str) -> set[str]:
    """What a link can lead to: headings as GitHub and MkDocs both call them, and objects of the reference."""
    for language in ("python", "sh"):
        for block in blocks(text, language):
            text = text.replace(block.lstrip("\n"), "")  # a comment in it is no heading
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in HEADING.findall(text))
    return {re.sub(r"\s", "-", word) for word in words} | {*OBJECT.findall(text)}


def commands(text: str) -> set[str]:
    return {name for block in blocks(text, "sh") for name in COMMAND.findall(block)} | {*INLINE.findall(text)}


def command_lines(text: str) -> list[str]:
    """Commands with their arguments, lines that go on joined; without those that say RECIPE for a recipe."""
    shell = [block for language in ("sh", "bash") for block in blocks(text, language)]
    shell.append("\n".join(SET_IN.findall(text)))
    found = LINE.findall(re.sub(r" \\\n\s*", " ", "\n".join(shell)))
    return [line for line in found if not re.search(r"\b[A-Z]{3,}\b|\.\.\.", line)]


def understand(line: str) -> None:
    """Take the arguments of a command as it would take them, and resolve the recipes, without running it."""
    words, fields = taken_apart(shlex.split(line, comments=True))
    arguments, rest = _parser().parse_known_args(words)
    assert not rest, rest
    overrides = [(field_of(name), text) for name, text in fields]
    assert arguments.settable or not overrides, overrides
    recipes = [*getattr(arguments, "recipes", []), *filter(None, [getattr(arguments, "recipe", None)])]
    for name, *own in (recipe.split(",") for recipe in recipes):
        if not name.endswith(".yaml"):  # one that a command before it has written
            load_recipe(name, [*overrides, *(tuple(pair.split("=", 1)) for pair in own)])


def targets(text: str) -> set[str]:
    return {name for block in blocks(text, "sh") for name in TARGET.findall(block)}


@pytest.fixture
def registries_restored() -> Iterator[None]:
    with patch.dict(TERMS), patch.dict(SCORES), patch.dict(ENCODERS):
        yield


@pytest.mark.usefixtures("registries_restored")
@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMED)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    run(path.read_text(), path.stem)


def test_readme_adds_latent_boost_to_a_loop() -> None:
    readme = (ROOT / "README.md").read_text()
    assert any("latent_boost(" in block and "backward()" in block for block in blocks(readme, "python"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMED)
def test_recipes_are_valid(path: Path) -> None:
    for block in blocks(path.read_text(), "yaml"):
        Objective.from_config(resolve(yaml.safe_load(block)).objective)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMED)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main(["--help"])
    offered = set(OFFERED.findall(capsys.readouterr().out))
    assert commands((ROOT / "README.md").read_text()) == offered
    assert all(commands(path.read_text()) <= offered for path in DOCUMENTS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMED)
def test_command_lines_are_understood(path: Path) -> None:
    for line in command_lines(path.read_text()):
        try:
            understand(line)
        except SystemExit:
            pytest.fail(f"latentloom {line}")


def test_the_search_space_is_valid(tmp_path: Path) -> None:
    (block,) = blocks((ROOT / "docs/how-to/cluster.md").read_text(), "yml")
    (tmp_path / "mine.yaml").write_text(block)
    assert len(load_space(str(tmp_path / "mine.yaml"), load_recipe("latent-boost"))) == 4


def test_make_targets_exist() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert all(targets(path.read_text()) <= made for path in DOCUMENTS)


BAD = """# A heading: bad

Some text, [a link](missing.md) and [another](https://example.org); `latentloom lsit` lists.
[Here](#a-heading-bad), [there](bad.md#a-heading) and [in the code](#x).

```python
# x
x = 1
```

```python
assert x == 2
```

```sh
latentloom tarin baseline
latentloom train basline
latentloom train baseline --epocs 3
LATENTLOOM_DATA=data latentloom train baseline \\
    --epochs 3 --seeds 5
latentloom train RECIPE
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
    assert broken_links(tmp_path / "bad.md") == ["missing.md", "bad.md#a-heading", "#x"]
    assert (commands(BAD), targets(BAD)) == ({"tarin", "train", "lsit"}, {"tset"})
    lines = command_lines(BAD)
    assert len(lines) == 4
    for line, error in zip(lines, (SystemExit, UserError, UserError, AssertionError), strict=True):
        with pytest.raises(error):
            understand(line)
