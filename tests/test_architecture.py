"""Laws of the source tree; each is also seen to fail, on a made-up tree that breaks it."""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "latentloom"

# An import points only backwards in this order. The package's own __init__ is a facade: it may read
# everything, and nothing but __main__ may read it.
ORDER = [
    *(
        "values",
        "config",
        "checks",
        "files",
        "records",
        "recipes",
        "names",
        "data",
        "latent",
        "encoders",
        "losses",
    ),
    *(
        "objective",
        "evaluation",
        "training",
        "inference",
        "estimator",
        "report",
        "published",
        "reproduce",
        "cluster",
        "sweep",
        "lists",
        "flags",
        "commands",
        "cli",
    ),
    *("__init__", "__main__"),
]

MANY_FILES = {"utils", "util", "helpers", "helper", "common", "base", "manager"}  # names that say nothing
OPEN_BY_DESIGN = {
    "losses/_table.py call": "the wrapper around every term hands its options on",
    "evaluation/_table.py call": "the wrapper around every score hands its options on",
    "values.py with_samples": "the names are keys of a mapping",
    "values.py with_shared": "the names are keys of a mapping",
}
UNPICKLING = {f"{m}.{f}" for m in ("pickle", "dill", "joblib") for f in ("load", "loads", "Unpickler")}
SAFE = {"weights_only": True, "allow_pickle": False}
HEAVY = {"lightning", "plotly", "torchvision", "sklearn", "pandas", "timm", "huggingface_hub", "ray"}
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.datetime.now", "datetime.datetime.today"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Path inside the package, and syntax tree, of every module."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def imported(tree: ast.AST, folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(local name, full dotted name) of every import, wherever it stands in a module of `folders`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name.partition(".")[0], a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folders[: len(folders) - node.level + 1] if node.level else ()
            origin = [*above, *filter(None, [node.module])]
            yield from ((a.asname or a.name, ".".join([*origin, a.name])) for a in node.names)


def forward_imports(package: Path) -> Iterator[str]:
    """Imports of a part of the package by one that stands before it."""
    for path, tree in modules(package):
        here = path.split("/")[0].removesuffix(".py")
        if here not in ORDER:
            yield f"{path} has no place in the order"
            continue
        for _, name in imported(tree, (package.name, *path.split("/")[:-1])):
            top, part = [*name.split("."), "__init__"][:2]
            there = part if part in ORDER else "__init__"
            if top == package.name and ORDER.index(there) > ORDER.index(here):
                yield f"{path} -> {there}"


def length(function: Function) -> int:
    """Lines of a function, its docstring left out."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def long_functions(package: Path) -> Iterator[str]:
    for path, tree in modules(package):
        yield from (f"{path} {f.name} {length(f)}" for f in functions(tree) if length(f) > 40)


def long_median(package: Path) -> Iterator[str]:
    lengths = [length(f) for _, tree in modules(package) for f in functions(tree)]
    if lengths and statistics.median(lengths) > 10:
        yield f"median {statistics.median(lengths)}"


def long_files(package: Path) -> Iterator[str]:
    for path in sorted(package.rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 300:
            yield f"{path.relative_to(package).as_posix()} {lines}"


def public(tree: ast.Module) -> Iterator[Function]:
    """Functions that others can call; one inside another is its own affair unless it is decorated."""
    inner = {
        f for outer in functions(tree) for f in functions(outer) if f is not outer and not f.decorator_list
    }
    for f in functions(tree):
        if f not in inner and (not f.name.startswith("_") or f.name.startswith("__")):
            yield f


def open_signatures(package: Path) -> Iterator[str]:
    """Public functions that take any keyword."""
    for path, tree in modules(package):
        names = (f"{path} {f.name}" for f in public(tree) if f.args.kwarg)
        yield from (name for name in names if name not in OPEN_BY_DESIGN)


def needless_exemptions(package: Path) -> Iterator[str]:
    open_ones = {
        f"{path} {f.name}" for path, tree in modules(package) for f in functions(tree) if f.args.kwarg
    }
    return iter(sorted(OPEN_BY_DESIGN.keys() - open_ones))


def drawers(package: Path) -> Iterator[str]:
    """Modules and folders named for nothing."""
    for path in sorted(package.rglob("*")):
        if path.name.removesuffix(".py").strip("_") in MANY_FILES:
            yield path.relative_to(package).as_posix()


def deep_classes(package: Path) -> Iterator[str]:
    """Classes more than one step below another class of the package."""
    classes = [n for _, tree in modules(package) for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    bases = {c.name: {ast.unparse(b).partition("[")[0].split(".")[-1] for b in c.bases} for c in classes}
    for name, parents in bases.items():
        if any(grand in bases for parent in parents for grand in bases.get(parent, ())):
            yield name


def unsafe_loads(package: Path) -> Iterator[str]:
    """Reading of pickles by anything but an unpickler that restricts what it finds."""
    for path, tree in modules(package):
        names = dict(imported(tree, ()))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (call := _unsafe_call(node, names)):
                yield f"{path} {call}"
            if isinstance(node, ast.ClassDef) and _open_unpickler(node):
                yield f"{path} {node.name}"


def _unsafe_call(node: ast.Call, names: Mapping[str, str]) -> str | None:
    head, dot, rest = ast.unparse(node.func).partition(".")
    called = names.get(head, head) + dot + rest
    values = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
    unsafe = called in UNPICKLING or any(values.get(k, safe) is not safe for k, safe in SAFE.items())
    return called if unsafe else None


def _open_unpickler(node: ast.ClassDef) -> bool:
    unpickles = any(ast.unparse(base).endswith("Unpickler") for base in node.bases)
    return unpickles and "find_class" not in {f.name for f in functions(node)}


def wall_clocks(package: Path) -> Iterator[str]:
    """Reading of a clock that can be set, by which a duration can be negative."""
    for path, tree in modules(package):
        names = dict(imported(tree, ()))
        for node in ast.walk(tree):
            head, dot, rest = (
                ast.unparse(node.func).partition(".") if isinstance(node, ast.Call) else [""] * 3
            )
            if (called := names.get(head, head) + dot + rest) in WALL_CLOCKS:
                yield f"{path} {called}"


@dataclass(frozen=True)
class Law:
    """What finds the breaches of a law, and a made-up package with those it must find."""

    breaches: Callable[[Path], Iterator[str]]
    files: Mapping[str, str]
    found: list[str]


def _function(lines: int) -> str:
    return 'def f():\n    """Not\n    counted."""\n' + "    pass\n" * (lines - 1)


LAWS = {
    "imports only look back": Law(
        forward_imports,
        {
            "values.py": "import latentloom",
            "checks.py": "if TYPE_CHECKING:\n    from latentloom.values import x\n    import latentloom.cli",
            "data/labels.py": "def f():\n    from ..report import page",
            "latent/pairs.py": "from .geometry import x\nfrom latentloom import values, losses, Objective",
            "stray.py": "",
        },
        [
            "checks.py -> cli",
            "data/labels.py -> report",
            "latent/pairs.py -> losses",
            "latent/pairs.py -> __init__",
            "stray.py has no place in the order",
            "values.py -> __init__",
        ],
    ),
    "no function is over 40 lines": Law(
        long_functions, {"a.py": _function(40), "b.py": _function(41)}, ["b.py f 41"]
    ),
    "the median function has at most 10": Law(
        long_median, {"a.py": _function(10), "b.py": _function(12)}, ["median 11.0"]
    ),
    "no file is over 300 lines": Law(
        long_files, {"a.py": "x = 1\n" * 300, "b/c.py": "x = 1\n" * 301}, ["b/c.py 301"]
    ),
    "signatures say what they take": Law(
        open_signatures,
        {
            "a.py": "def f(**k):\n    def g(**k): ...\n    @wraps\n    def h(**k): ...\ndef _f(**k): ...",
            "b.py": "class A:\n    def __init__(self, **k): ...",
            "losses/_table.py": "def term(f):\n    @wraps(f)\n    def call(**k): ...\ndef other(**k): ...",
        },
        ["a.py f", "a.py h", "b.py __init__", "losses/_table.py other"],
    ),
    "an exemption is needed": Law(
        needless_exemptions,
        {"losses/_table.py": "def call(**k): ...", "values.py": "def with_samples(**k): ..."},
        ["evaluation/_table.py call", "values.py with_shared"],
    ),
    "modules are named for what they know": Law(
        drawers, {"a.py": "", "data/_utils.py": "", "helpers/a.py": ""}, ["data/_utils.py", "helpers"]
    ),
    "classes are at most two levels deep": Law(
        deep_classes,
        {"a.py": "class A: ...\nclass B(A): ...", "b.py": "class C(a.B[int]): ..."},
        ["C"],
    ),
    "durations are of a clock that nobody sets": Law(
        wall_clocks,
        {
            "a.py": "import time\nfrom time import time as now\ntime.time()\nnow()\ntime.monotonic()",
            "b.py": "from datetime import datetime\ndatetime.now()",
        },
        ["a.py time.time", "a.py time.time", "b.py datetime.datetime.now"],
    ),
    "no pickle is read unrestricted": Law(
        unsafe_loads,
        {
            "a.py": "import pickle as p\np.load(f)\ntorch.load(f, weights_only=False)\ntorch.load(f)",
            "b.py": "from pickle import loads\nloads(f)\nnp.load(f, allow_pickle=True)\njson.load(f)",
            "c.py": "class A(pickle.Unpickler): ...",
            "d.py": "class A(pickle.Unpickler):\n    def find_class(self): ...\nA(f).load()",
        },
        ["a.py pickle.load", "a.py torch.load", "b.py pickle.loads", "b.py np.load", "c.py A"],
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_package_keeps_the_law(name: str) -> None:
    assert list(LAWS[name].breaches(PACKAGE)) == []


@pytest.mark.parametrize("name", LAWS)
def test_law_sees_what_breaks_it(name: str, tmp_path: Path) -> None:
    law, package = LAWS[name], tmp_path / "latentloom"
    for path, text in law.files.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    assert list(law.breaches(package)) == law.found


def loaded_by(code: str, folder: Path = ROOT / "src") -> set[str]:
    """Packages that a fresh interpreter holds after running `code`."""
    report = "\nimport json, sys; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", code + report],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import latentloom",
        "from latentloom import Objective, attach",
        "from latentloom.losses import latent_boost",
    ],
)
def test_own_training_loop_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_help_answers_without_torch() -> None:
    code = """
from latentloom.cli import main
try:
    assert not main(["--help"])
except SystemExit as end:
    assert not end.code
"""
    assert loaded_by(code) & {"torch", "numpy", "scipy", *HEAVY} == set()


def test_what_is_loaded_is_seen(tmp_path: Path) -> None:
    (tmp_path / "plotly.py").touch()
    (tmp_path / "toy.py").write_text("def f():\n    import plotly")
    assert loaded_by("import toy", tmp_path) & HEAVY == set()
    assert loaded_by("import toy; toy.f()", tmp_path) & HEAVY == {"plotly"}


# Absolute paths of one machine, and hosts that serve package indexes.
TRACES = re.compile(
    r"(?<![\w.~])/(?:home|root|work|Users|opt|mnt|tmp)/\w+"
    r"|[A-Z]:\\Users"
    r"|\b(?:pypi|pythonhosted|download\.pytorch|conda\.anaconda)\.org\b"
    r"|--(?:extra-)?index[-]url"
)


def traces(root: Path) -> Iterator[str]:
    """Where files that belong to the repository name a machine or an index."""
    listed = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in sorted(filter(None, set(names))):
        if (root / name).is_file():
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            yield from (f"{name} {match}" for match in TRACES.findall(text))


def test_no_file_names_a_machine_or_an_index() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert list(traces(ROOT)) == []


def test_traces_are_seen(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("hidden.txt")
    (tmp_path / "hidden.txt").write_text("/" + "root/x")
    (tmp_path / "a.md").write_text("see https://example.org/home/x, ~/work/x\nroot: /" + "home/me/images")
    (tmp_path / "b.toml").write_text("url = 'https://pypi" + ".org/simple'")
    assert list(traces(tmp_path)) == ["a.md /" + "home/me", "b.toml pypi" + ".org"]
