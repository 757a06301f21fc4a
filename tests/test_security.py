"""What comes from elsewhere is data: it is not executed, not followed out of its place, and bounded."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import json
import os
import pickle
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.commands import runs
from latentloom.config import Data
from latentloom.data import load, originals
from latentloom.data.files import ImageFiles
from latentloom.data.readers import read_cifar
from latentloom.data.trees import cub200, tinyimagenet
from latentloom.inference.images import ImageForm, read_batches
from latentloom.recipes import load_recipe

ROOT = Path(__file__).parent.parent
SHIPPED = [path for part in ("src", "benchmarks", "examples") for path in (ROOT / part).rglob("*.py")]

# Calls, by their full names

EXECUTING = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load", "runpy.run_path"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "joblib.load"),
    *("marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle", "cloudpickle.load"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "tempfile.mktemp"),
}
# A call of these must say so in as many words, whatever the default is in some version.
SAYING = {
    "torch.load": ("weights_only", "True"),
    "numpy.load": ("allow_pickle", "False"),
    "numpy.lib.format.read_array": ("allow_pickle", "False"),
}
UNPACKING = ("extractall", "unpack_archive")  # methods that may write outside of their folder
IMPORTING = {
    "training/classifier.py": "a function that the user names with the command, and no file can name",
    "training/loggers.py": "a package of ours, by its name in the file",
    "__init__.py": "a module of ours, by its name in the file",
}


def full_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> full name, of everything that is imported."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                      for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def complaints(source: str, path: str = "a.py") -> Iterator[str]:
    """What a file does that nothing here may do."""
    tree = ast.parse(source)
    names = full_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, dot, rest = ast.unparse(node.func).partition(".")
            yield from complaint(names.get(head, head) + dot + rest, node, path)


def complaint(called: str, node: ast.Call, path: str) -> Iterator[str]:
    said = {k.arg: ast.unparse(k.value) for k in node.keywords}
    loader = said.get("Loader", ast.unparse(node.args[1]) if len(node.args) > 1 else "")
    if called in EXECUTING or called.rpartition(".")[2] in UNPACKING:
        yield called
    if called in SAYING and said.get(SAYING[called][0]) != SAYING[called][1]:
        yield f"{called} without {'='.join(SAYING[called])}"
    if called == "yaml.load" and loader not in ("yaml.BaseLoader", "yaml.SafeLoader"):
        yield "yaml.load of any object"
    if said.get("shell", "False") != "False":
        yield "shell"
    if called.endswith("import_module") and path not in IMPORTING:
        yield "import_module"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_call_executes_what_it_reads(path: Path) -> None:
    inside = path.relative_to(ROOT / "src/latentloom").as_posix() if "src" in path.parts else path.name
    assert list(complaints(path.read_text(encoding="utf-8"), inside)) == []


def test_exemptions_are_needed() -> None:
    for name in IMPORTING:
        assert "import_module" in complaints((ROOT / "src/latentloom" / name).read_text(encoding="utf-8"))


BREACHES = {
    "import pickle\npickle.load(f)": "pickle.load",
    "import pickle as p\np.loads(f)": "pickle.loads",
    "from pickle import loads as l\nl(f)": "pickle.loads",
    "import torch\ntorch.load(f)": "torch.load without weights_only=True",
    "import torch\ntorch.load(f, weights_only=False)": "torch.load without weights_only=True",
    "import numpy as np\nnp.load(f)": "numpy.load without allow_pickle=False",
    "import numpy as np\nnp.load(f, allow_pickle=True)": "numpy.load without allow_pickle=False",
    "import numpy\nnumpy.lib.format.read_array(f)": (
        "numpy.lib.format.read_array without allow_pickle=False"
    ),
    "import yaml\nyaml.load(f)": "yaml.load of any object",
    "import yaml\nyaml.load(f, yaml.Loader)": "yaml.load of any object",
    "import yaml\nyaml.unsafe_load(f)": "yaml.unsafe_load",
    "eval('1')": "eval",
    "exec('1')": "exec",
    "import subprocess\nsubprocess.run('ls', shell=True)": "shell",
    "import os\nos.system('ls')": "os.system",
    "import tarfile\ntarfile.open(f).extractall()": "tarfile.open(f).extractall",
    "import shutil\nshutil.unpack_archive(f)": "shutil.unpack_archive",
    "from importlib import import_module\nimport_module(f)": "import_module",
}


@pytest.mark.parametrize("source", BREACHES)
def test_calls_that_execute_are_seen(source: str) -> None:
    assert list(complaints(source)) == [BREACHES[source]]


def test_calls_that_do_not_are_let_pass() -> None:
    allowed = """
import numpy, re, subprocess, torch, yaml
torch.load(f, weights_only=True), numpy.load(f, mmap_mode="c", allow_pickle=False), yaml.safe_load(f)
yaml.load(f, yaml.BaseLoader), model.eval(), re.compile(t), torch.compile(m), subprocess.run(["ls"])
json.load(f), yaml.load(f, Loader=yaml.SafeLoader)
"""
    assert list(complaints(allowed)) == []


# Pickles of CIFAR


class _Calls:
    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


def _refused(path: Path, content: bytes, wanted: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=wanted):
        read_cifar(path)


@pytest.mark.parametrize("call", [os.system, subprocess.Popen, eval, __import__, exec, torch.load, open])
def test_a_malicious_pickle_is_refused_and_not_executed(call: object, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    content = pickle.dumps({"data": _Calls(call, f"touch {victim}")}, protocol=2)
    _refused(tmp_path / "train", content, "refused, for its pickle asks for")
    assert not victim.exists()


def test_a_pickle_cannot_tell_numpy_what_to_trust(tmp_path: Path) -> None:
    objects, wide = np.array([{}], dtype=object), np.zeros(3, np.float64)
    for array in (objects, wide):
        _refused(tmp_path / "train", pickle.dumps({"data": array}, protocol=2), "not of bytes")
    honest = pickle.dumps({"data": np.zeros((2, 2), np.uint8)}, protocol=2)
    _refused(tmp_path / "train", honest.replace(b"K\x02K\x02\x86", b"K\x09K\x02\x86"), "cannot reshape")


def test_a_pickle_cannot_ask_for_a_codec_or_for_memory(tmp_path: Path) -> None:
    text = pickle.dumps({"data": b"abc"}, protocol=2)
    _refused(tmp_path / "train", text.replace(b"latin1", b"idna\x20\x20"), "not in latin1")
    _refused(tmp_path / "train", b"\x80\x02}r\xff\xff\xff\x7f.", "remembers object 2147483647")


# Names in lists of a data set


def test_lists_of_a_data_set_cannot_name_files_outside_of_it(tmp_path: Path) -> None:
    for name in ("../../secret.jpg", "/etc/passwd", "a/../../b.jpg"):
        tables = {
            "images.txt": f"1 {name}\n",
            "image_class_labels.txt": "1 1\n",
            "train_test_split.txt": "1 1\n",
            "classes.txt": "1 001.Bird\n",
        }
        for table, text in tables.items():
            (tmp_path / table).write_text(text)
        with pytest.raises(UserError, match="lies outside of it"):
            cub200({table: tmp_path / table for table in tables}, Data())
        (tmp_path / "val").mkdir(exist_ok=True)
        trees = {"wnids.txt": "n0\n", "words.txt": "n0\tcat\n", "val/val_annotations.txt": f"{name}\tn0\n"}
        for spoiled in (trees, {**trees, "wnids.txt": f"{name}\n", "val/val_annotations.txt": ""}):
            for file, text in spoiled.items():
                (tmp_path / file).write_text(text)
            with pytest.raises(UserError, match="lies outside of it"):
                tinyimagenet({file: tmp_path / file for file in spoiled}, Data())


@pytest.mark.parametrize("kind", ["CIFAR10", "CIFAR100"])
def test_an_archive_is_unpacked_only_with_its_known_md5(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import utils

    asked: list[str] = []
    monkeypatch.setattr(
        utils, "download_and_extract_archive", lambda url, root, filename, md5: asked.append(md5)
    )
    originals.torchvision_cifar(kind)(tmp_path)
    assert [len(md5) for md5 in asked] == [32]


# Recipes


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {victim}']",
        "seed: !!python/object/new:subprocess.Popen [['touch', '{victim}']]",
        "seed: !!python/name:os.system",
        "model: {{function: 'os:system'}}",
        "model: {{<<: {{function: 'os:system'}}}}",
    ],
)
def test_a_recipe_cannot_run_code(text: str, tmp_path: Path) -> None:
    recipe, victim = tmp_path / "recipe.yaml", tmp_path / "victim"
    recipe.write_text(text.format(victim=victim))
    with pytest.raises(UserError, match=r"is not YAML|names code"):
        load_recipe(str(recipe))
    assert not victim.exists()


@pytest.mark.parametrize("data", ["folder:../../../etc", "npz:/etc/x/../y", "folder:a\\..\\b"])
def test_a_recipe_cannot_say_where_a_run_is_kept(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def run(asked: object, folder: Path, recipe: str) -> SimpleNamespace:
        folders.append(folder)
        return SimpleNamespace(card="", best_epoch=0, history=(), seconds=0.0)

    monkeypatch.setattr("latentloom.training.run.run", run)
    recipe = tmp_path / "..recipe.yaml"
    recipe.write_text(json.dumps({"data": {"name": data}}))
    assert main(["train", str(recipe)]) == 0
    assert [folder.parent for folder in folders] == [Path("runs")]
    assert runs.recipe_label(f"{recipe},data.name={data}").count("/") == 0


# Images that are larger than they look


def _png(path: Path, width: int, height: int) -> Path:
    """The beginning of a PNG of so many pixels, in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return path


large = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@large
@pytest.mark.parametrize(("width", "height"), [(10_000, 9_000), (40_000, 40_000)])
def test_an_image_of_more_pixels_than_are_read_is_named(width: int, height: int, tmp_path: Path) -> None:
    path = _png(tmp_path / "bomb.png", width, height)
    with pytest.raises(UserError, match=r"bomb\.png does not decode .*pixels.*data\.skip_bad true"):
        ImageFiles((path,), 8).decode(0)


@large
def test_such_an_image_is_left_out_of_a_folder_and_of_what_is_embedded(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for k in range(6):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.new("RGB", (9, 9), (k, 0, 0)).save(tmp_path / kind / f"{k}.png")
    bomb = _png(tmp_path / "cat" / "bomb.png", 10_000, 9_000)
    with pytest.raises(UserError, match=r"bomb\.png does not decode"):
        load(Data(name=f"folder:{tmp_path}", validation=0.3), seed=0)
    with pytest.warns(UserWarning, match="left out 1 of"):
        load(Data(name=f"folder:{tmp_path}", validation=0.3, skip_bad=True), seed=0)
    paths = [[str(bomb), str(tmp_path / "dog" / "0.png")]]
    (read,) = read_batches(ImageForm(3, 8), paths, workers=1)
    assert read.paths == paths[0][1:]
    ((path, why),) = read.skipped
    assert path == str(bomb)
    assert "90,000,000 pixels, more than the 89,478,485 that are read" in why


def test_a_file_is_read_as_the_images_it_may_be_and_not_as_postscript(tmp_path: Path) -> None:
    """Pillow hands PostScript to another program, whatever the file is called."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with Image.open(path) as image:
        assert image.format == "EPS"
    with pytest.raises(UserError, match=r"a\.png does not decode"):
        ImageFiles((path,), 8).decode(0)


# Secrets


SECRET = "hunter2-0xC0FFEE"


def test_no_variable_of_the_environment_is_in_what_a_run_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "LATENTLOOM_X"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://me:{SECRET}@example.org")
    folder = tmp_path / "run"
    fields = [
        "--epochs",
        "1",
        "--data.limit",
        "100",
        "--data.test_limit",
        "50",
        "--evaluation.bootstrap",
        "0",
    ]
    assert main(["train", "baseline", "--folder", str(folder), *fields]) == 0
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {"record.json", "config.yaml", "model.json"} <= {path.name for path in kept}
    assert [path.name for path in kept if SECRET.encode() in path.read_bytes()] == []


# Known vulnerabilities of what is installed


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tests" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answers(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, out: str, err: str = "") -> None:
    """pip-audit says this, and the service can be reached."""
    monkeypatch.setattr(audit, "unreachable", lambda service: "")
    done = SimpleNamespace(stdout=out, stderr=err)
    monkeypatch.setattr(audit.subprocess, "run", lambda command, **how: done)


def _package(name: str, *bad: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "version": "1.0", "vulns": list(bad)}


def test_a_known_vulnerability_fails_the_audit_and_is_named(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"id": "GHSA-1", "fix_versions": ["1.1"]}
    packages = [_package("good"), _package("bad", found), {"name": "odd", "skip_reason": "not there"}]
    _answers(audit, monkeypatch, json.dumps({"dependencies": packages}))
    assert audit.main() == 1
    assert capsys.readouterr().out == (
        "bad 1.0: GHSA-1, mended in 1.1\n2 of 3 packages audited, 1 known vulnerabilities\n"
    )
    _answers(audit, monkeypatch, json.dumps({"dependencies": [_package("good")]}))
    assert audit.main() == 0


def test_an_audit_of_nothing_says_so(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answers(audit, monkeypatch, json.dumps({"dependencies": [{"name": "odd", "skip_reason": "not there"}]}))
    assert audit.main() == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    _answers(audit, monkeypatch, "", "Traceback")
    assert audit.main() == 1
    assert "pip-audit came to no result" in capsys.readouterr().err


def test_a_service_that_cannot_be_reached_is_named_and_fails_nothing(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: pytest.fail("asked all the same"))
    assert audit.main("http://localhost:1/") == 0
    assert "NOT AUDITED" in (said := capsys.readouterr().out)
    assert "http://localhost:1/ cannot be reached" in said


def test_a_service_that_answers_anything_is_reached(audit: ModuleType) -> None:
    server = http.server.HTTPServer(("localhost", 0), http.server.BaseHTTPRequestHandler)  # 501 to all
    threading.Thread(target=server.handle_request, daemon=True).start()
    assert audit.unreachable(f"http://localhost:{server.server_port}/") == ""
    server.server_close()
