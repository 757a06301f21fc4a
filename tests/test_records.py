import json
import math
import subprocess
from dataclasses import replace

import pytest
import torch

from latentloom import records
from latentloom.checks import UserError
from latentloom.records import (
    _hands_on,
    code_hash,
    commit_of,
    hardware,
    load_record,
    record_from_json,
    record_to_json,
    save_record,
    source_hashes,
    stale,
    versions,
)
from latentloom.values import Card, Finding, Record


def a_record(sources=None):
    findings = {
        "accuracy": Finding(0.9, "higher", 0.0, 1.0, "test, 360 images", (0.88, 0.92)),
        "cluster_size": Finding(math.nan, "lower", 0.0, math.inf, "test"),
    }
    return Record(
        recipe="center",
        seed=3,
        config={"seed": 3, "training": {"lr": 1e-3, "stop_patience": math.inf}, "name": "nan-boost"},
        card=Card("test", 360, findings),
        history=[{"epoch": 0, "val/accuracy": -math.inf}, {"epoch": 1, "val/accuracy": math.nan}],
        best_epoch=1,
        seconds=12.25,
        commit="abc+",
        sources=sources or {},
        versions={"python": "3.11.7"},
        hardware="a processor",
        warnings=["collapse: rank one"],
    )


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_a_record_comes_back_from_a_strict_file(tmp_path):
    save_record(a_record(), tmp_path / "record.json")
    assert repr(load_record(tmp_path / "record.json")) == repr(a_record())  # nan equals itself only in print
    data = json.loads((tmp_path / "record.json").read_text(), parse_constant=refuse)
    assert data["card"]["findings"]["cluster_size"]["value"] == "nan"
    assert [row["val/accuracy"] for row in data["history"]] == ["-inf", "nan"]


def test_the_round_trip_notices_what_is_lost():
    for lose in ("interval", "high"):
        data = record_to_json(a_record())
        data["card"]["findings"]["accuracy"][lose] = None
        assert repr(record_from_json(data)) != repr(a_record())


NO_RECORDS = ["", '{"recipe": ', "[]", "{}", '{"card": {"split": "test"}}', "\udcff", "[" * 100_000]


@pytest.mark.parametrize("text", NO_RECORDS, ids=lambda text: text[:20])
def test_a_broken_record_is_named(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"record\.json is not a record of a run .*run again"):
        load_record(path)


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*gone\.json"):
        load_record(tmp_path / "gone.json")


CODE = '''
"""A module."""
class A:
    """A class."""
    def f(self, x: int = 1) -> str:
        """A function."""
        return "text" + str(x)
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', ""),
        ("A class.", "Another class."),
        ('"""A function."""', '"""A longer\n        function."""  # with a comment'),
        ('"text" + str(x)', "(  'text' +\n            str(x))"),
    ],
)
def test_words_and_layout_do_not_count(old, new):
    assert old in CODE
    assert code_hash(CODE.replace(old, new)) == code_hash(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 1)", "= 2)"),
        ("= 1)", "= 1.0)"),
        ("= 1)", "= None)"),
        ('"text"', '"other"'),
        ("x: int", "x: float"),
        ("+ str(x)", "* str(x)"),
        ("def f", "def g"),
        ("def f", "async def f"),
        ("class A:", "@final\nclass A:"),
        ("return", "'not a docstring'; return"),
    ],
)
def test_code_counts(old, new):
    assert old in CODE
    assert code_hash(CODE.replace(old, new)) != code_hash(CODE)


def test_every_version_of_python_finds_the_same_hash():
    assert code_hash(CODE) == "f505e2ab45a47fcc"


def test_hashes_are_of_what_shapes_a_result():
    names = [
        "latentloom",
        "latentloom.values",
        "latentloom.losses",
        "latentloom.config",
        "latentloom.data.catalogue",
        "latentloom.cli",
        "latentloom.report.page",
    ]
    others = ["latentloom.records", "latentloom.no_such_module", "numpy", "latentloomed.values"]
    assert list(source_hashes([*names, *others])) == ["data/catalogue.py", "values.py"]
    assert {"checks.py", "files.py", "values.py"} <= source_hashes().keys()


@pytest.mark.parametrize(
    ("source", "hands_on"),
    [
        ('"""A."""\nimport a\nfrom b import c\n__all__ = ["a", "c"]\n', True),
        ("", True),
        ("from b import c\nlimit = 3\n", False),
        ("from b import c\nc()\n", False),
    ],
)
def test_a_file_that_only_hands_names_on_has_no_hash(source, hands_on):
    assert _hands_on(source) == hands_on


def test_stale_names_files_that_changed_or_went():
    now = source_hashes(["latentloom.values", "latentloom.files"])
    assert stale(a_record(now)) == []
    assert stale(a_record(now | {"values.py": "0" * 16, "gone.py": "0" * 16})) == ["gone.py", "values.py"]


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ({"magnet": {"loss": None}}, ["losses/clusters.py"]),
        ({"mine": {"loss": "triplet"}}, ["losses/pairs.py"]),
        ({"cross_entropy": {}}, []),
    ],
)
def test_a_family_of_losses_that_a_run_did_not_use_does_not_make_it_stale(terms, found):
    changed = {"losses/clusters.py": "0" * 16, "losses/pairs.py": "0" * 16}
    assert stale(replace(a_record(changed), config={"objective": {"terms": terms}})) == found


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, and what runs git in it."""

    def git(*arguments):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *settings, *arguments], check=True, capture_output=True)

    for name in ("src/a.py", "docs/a.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1")
    git("init")
    assert commit_of(tmp_path) == "unknown"
    git("add", "-A")
    git("commit", "-m", "first")
    return tmp_path


def test_a_commit_says_whether_the_source_was_changed(repository):
    clean = commit_of(repository / "src")
    assert len(clean) == 40
    (repository / "docs/a.md").write_text("2")
    (repository / "src/b.py").write_text("2")
    assert commit_of(repository / "src") == clean
    (repository / "src/a.py").write_text("2")
    assert commit_of(repository / "src") == clean + "+"


def test_no_commit_where_git_does_not_track(repository, monkeypatch):
    (repository / "environment").mkdir()
    assert commit_of(repository / "environment") == "unknown"
    monkeypatch.setenv("PATH", "")
    assert commit_of(repository) == "unknown"


def test_versions_are_those_installed(monkeypatch):
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    monkeypatch.setattr(records, "PACKAGES", ("torch", "no-such-package"))
    assert versions()["no-such-package"] == "not installed"


def test_hardware_names_the_gpu_only_where_it_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    assert hardware() == "H100"
    assert "cores" in hardware("cpu")
    assert "H100" not in hardware("cpu")
