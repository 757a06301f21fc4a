"""Damaged, odd and hostile inputs end in one clear message or in a right result; in nothing else.

    LATENTLOOM_FUZZ=10000 pytest tests/fuzz

tries so many cases, other ones every time, in place of the 775 that are always the same.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import math
import os
import pickle
import resource
import shutil
import signal
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pandas
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

import latentloom
from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.config import Data
from latentloom.data import load as load_data
from latentloom.data.files import ImageFiles
from latentloom.data.readers import read_cifar, read_idx, read_npz
from latentloom.evaluation.reading import read_labels, read_points
from latentloom.names.coarse import read_groups
from latentloom.names.matrix import read_matrix
from latentloom.names.words import read_descriptions
from latentloom.objective import Objective
from latentloom.recipes import load_recipe, recipes, resolve
from latentloom.records import load_record, save_record
from latentloom.report.cards import card_at
from latentloom.training.model import description, model_for
from latentloom.values import Card, Finding, Record

T = TypeVar("T")
ASKED = int(os.environ.get("LATENTLOOM_FUZZ", "0"))
FEW = 775  # cases of all tests together
SECONDS = 10  # of the processor, for a case
ROOM = 6 * 2**30  # bytes of addresses beyond those in use
LONGEST = 4000  # characters of a message, that it may be on one screen


def cases(few: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many cases, always the same; or the share of those asked for that belongs to this test."""
    return settings(
        max_examples=max(1, round(few * ASKED / FEW)) if ASKED else few,
        derandomize=not ASKED,
        database=None,
        deadline=None,  # by the clock, which other work on the machine turns; see `within`
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True, scope="module")
def limited() -> Iterator[None]:
    """What a case may take of the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Not longer than so many seconds of the processor."""

    def late(*_: object) -> None:
        raise TimeoutError(f"a case took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def lawful(call: Callable[[], T]) -> T | None:
    """What a call returns; None where it refuses in a message that a user can read."""
    with within(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = call()
            event("right")
            return found
        except UserError as error:
            event("refused")
            message = str(error)
            assert 10 < len(message) <= LONGEST, f"{len(message)} characters: {message[:300]}"
            assert message.isprintable() or "\n" in message, repr(message)
            assert message.count("\n") < 20, message
            return None


# Damage

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF]


@st.composite
def damaged(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """A file with a few edits, or bytes that never were one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(wholes))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["flip", "byte", "number", "cut", "drop", "twice", "insert"])):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "byte" if content:
                content[at] = draw(st.integers(0, 255))
            case "number":
                form = draw(st.sampled_from(["<I", ">I", "<Q", "<H"]))
                content[at : at + struct.calcsize(form)] = struct.pack(
                    form, draw(st.sampled_from(NUMBERS)) & (256 ** struct.calcsize(form) - 1)
                )
            case "cut":
                del content[at:]
            case "drop":
                del content[at : at + draw(st.integers(1, 40))]
            case "twice":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
            case _:
                content[at:at] = draw(st.binary(max_size=8))
    return bytes(content)


def of(*files: bytes) -> st.SearchStrategy[bytes]:
    return damaged(st.sampled_from(files))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def npz_bytes(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy_bytes(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


# Original files of data sets


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IDX = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@cases(50)
@given(content=of(IDX, gzip.compress(IDX, mtime=0)))
def test_idx(here: Path, content: bytes) -> None:
    found = lawful(lambda: read_idx(written(here / "x", content)))
    if found is not None:
        plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        assert found.numpy().tobytes() == plain[4 + 4 * plain[3] :]
        assert found.shape == struct.unpack(f">{plain[3]}I", plain[4 : 4 + 4 * plain[3]])


NPZ = npz_bytes(images=np.zeros((2, 3, 3), np.uint8), labels=np.arange(2), class_names=np.array(["a", "b"]))


@cases(60)
@given(content=of(NPZ, npz_bytes(z=np.zeros((2, 2)), o=np.array([{}, None], dtype=object))))
def test_npz(here: Path, content: bytes) -> None:
    path = written(here / "x.npz", content)
    for array in (lawful(lambda: read_npz(path)) or {}).values():
        assert array.dtype.kind in "biufcUSV"
    lawful(lambda: load_data(Data(name=f"npz:{path}"), seed=0))


BATCH = {"data": np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072), "labels": [0, 1], "batch_label": "x"}
META = {"label_names": ["cat", "dog"], "num_vis": 3072}
PICKLES = [
    pickle.dumps(content, protocol).replace(b"numpy._core", b"numpy.core")
    for content in (BATCH, META)
    for protocol in range(4)
]
WORDS = [bytes([code]) for code in b"(.0123NKMJIFGSTUVXabcdeghijlopqrstu}]\x80\x81\x82\x85\x86\x87\x93\x94"]


@cases(60)
@given(content=of(*PICKLES) | st.lists(st.sampled_from(WORDS) | st.binary(max_size=5)).map(b"".join))
def test_cifar(here: Path, content: bytes) -> None:
    path = written(here / "train", content)
    lawful(lambda: read_cifar(path))
    root = here / "root" / "cifar-10-batches-py"
    root.mkdir(parents=True, exist_ok=True)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        written(root / name, PICKLES[2])
    written(root / "batches.meta", PICKLES[6])
    written(root / ("batches.meta" if len(content) % 2 else "data_batch_3"), content)
    splits = lawful(lambda: load_data(Data("cifar10", str(root.parent), unverified=True, validation=0.2), 0))
    if splits is not None:
        assert all(part.images.shape == (len(part), 3, 32, 32) for part in (splits.train, splits.test))


@st.composite
def image_arrays(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Images and labels of many types and shapes, that do not always belong together."""
    n, side = draw(st.integers(0, 12)), draw(st.integers(0, 9))
    shape = draw(
        st.sampled_from([(n, side, side), (n, side, side, 3), (n, 3, side, side), (n, side), (n,), ()])
    )
    kind = draw(st.sampled_from(["uint8"] * 6 + ["float32", "int64", "<U3"]))
    values = draw(st.lists(st.integers(-2, 5), min_size=n, max_size=n + draw(st.integers(0, 1))))
    labels = draw(st.sampled_from(["int64", "int64", "uint64", "float64", "<U3", "bool"]))
    arrays = {"images": np.ones(shape, kind), "labels": np.array(values).astype(labels)}
    if draw(st.booleans()):
        arrays["class_names"] = np.array(draw(st.lists(st.text(max_size=3), max_size=7)))
    return {draw(st.sampled_from([key, key, key, f"test_{key}"])): array for key, array in arrays.items()}


@cases(40)
@given(arrays=image_arrays(), size=st.none() | st.integers(-1, 9))
def test_arrays_of_images(here: Path, arrays: dict[str, np.ndarray], size: int | None) -> None:
    path = written(here / "set.npz", npz_bytes(**arrays))
    splits = lawful(lambda: load_data(Data(name=f"npz:{path}", size=size, validation=0.3), seed=0))
    if splits is not None:
        parts = (splits.train, splits.validation, splits.test)
        assert sum(map(len, parts)) == len(arrays["images"])
        kept = torch.cat([part.labels for part in parts]).tolist()
        assert sorted(kept) == sorted(arrays["labels"].tolist())


def image_bytes(kind: str, mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (7, 5), 1 if mode in ("1", "L", "P", "I;16") else (3,) * len(mode)).save(file, kind)
    return file.getvalue()


PICTURES = [image_bytes(kind, "RGB") for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")]
PICTURES += [image_bytes("png", mode) for mode in ("1", "L", "P", "I;16", "LA", "RGBA")]


@cases(80)
@given(content=of(*PICTURES), size=st.integers(1, 9))
def test_images(here: Path, content: bytes, size: int) -> None:
    path = written(here / "x.png", content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, of what is odd in a file that it reads all the same
        found = lawful(partial(ImageFiles((path,), size).decode, 0))
    assert found is None or (found.shape == (3, size, size) and found.dtype == torch.uint8)


NAMES = st.sampled_from(["train", "test", "val", "cat", "dog", ".hidden", "ü n", "a.png", "x"])


@cases(15)
@given(
    tree=st.lists(st.tuples(NAMES, NAMES, st.integers(0, 3), st.booleans()), max_size=6),
    skip=st.booleans(),
)
def test_folders(here: Path, tree: list[tuple[str, str, int, bool]], skip: bool) -> None:
    root = here / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for first, second, count, good in tree:
        (root / first / second).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            written(root / first / second / f"{k}.png", PICTURES[k] if good else b"no image")
    lawful(lambda: load_data(Data(f"folder:{root}", skip_bad=skip, validation=0.3, workers=1), seed=0))


# Recipes and other YAML

PACKAGED = Path(latentloom.__file__).parent / "recipes"
RECIPES = [(PACKAGED / f"{name}.yaml").read_bytes() for name in recipes()]
ODD = [word.encode() for word in ["null", "~", "-1", "0", "1e400", ".nan", ".inf", "yes", "[]", "{}", "''"]]
ODD += [b"&a [*a]", b"!!binary x", b"2024-01-01", b"!!set {a}", b"? [a]\n: b", b"<<: 1", b"0x1F", b"1_000"]
ODD += [b"", b"'\\0'", b"\xff", b"\t", b"-.5e-3", b"!!timestamp x", b"!!python/name:os.system", b"*a"]


@st.composite
def odd_yaml(draw: st.DrawFn, wholes: list[bytes]) -> bytes:
    """A YAML file in which some words, or some of the bytes, are others."""
    content = draw(st.sampled_from(wholes))
    for _ in range(draw(st.integers(0, 3))):
        parts = [part for part in content.replace(b"\n", b"\n ").split(b" ")]
        at = draw(st.integers(0, len(parts) - 1))
        parts[at] = draw(st.sampled_from(ODD)) + (b"\n" if parts[at].endswith(b"\n") else b"")
        content = b" ".join(parts).replace(b"\n ", b"\n")
    return draw(damaged(st.just(content))) if draw(st.booleans()) else content


FIELDS = ["data", "model", "objective", "training", "evaluation", "seed", "terms", "weight", "options"]
FIELDS += ["cross_entropy", "triplet", "name", "batch", "kind", "start", "stop", "prior", "encoder", "lam"]
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["auto", "linear", "cosine", "digits", "triplet", "softmax", "vamp"])
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | SCALARS.filter(lambda k: k == k), below, max_size=4)
    ),
    max_leaves=12,
)


def _recipe(here: Path, content: bytes) -> None:
    path = written(here / "recipe.yaml", content)
    found = lawful(lambda: load_recipe(str(path)))
    if found is not None:
        # A tree of plain values, so that what is written in a run's folder is read again.
        again = resolve(yaml.safe_load(yaml.safe_dump(dataclasses.asdict(found), sort_keys=False)))
        assert repr(again) == repr(found)
        lawful(lambda: Objective.from_config(found.objective))


@cases(60)
@given(content=odd_yaml(RECIPES))
def test_recipes(here: Path, content: bytes) -> None:
    _recipe(here, content)


@cases(40)
@given(tree=st.dictionaries(st.sampled_from(FIELDS[:6]), TREES, max_size=4) | TREES)
def test_trees_as_recipes(here: Path, tree: Any) -> None:
    _recipe(here, yaml.safe_dump(tree).encode())


GROUPS = [b"fish: [ray, shark]\nbird: [owl]\n", b"cat: a small animal\ndog: barks\n", b"a: {b: c}\n"]


@cases(30)
@given(content=odd_yaml(GROUPS))
def test_groups_and_descriptions(here: Path, content: bytes) -> None:
    path = written(here / "names.yaml", content)
    for read in (read_groups, read_descriptions):
        found = lawful(partial(read, path))
        assert found is None or isinstance(found, dict)


# Latents

N = 12
Z = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = np.arange(N) % 3


def table_bytes(**columns: Any) -> bytes:
    file = io.BytesIO()
    pandas.DataFrame(columns).to_parquet(file)
    return file.getvalue()


LATENTS = {
    ".npy": [npy_bytes(Z), npy_bytes(Y), npy_bytes(np.array([{}, 1], dtype=object))],
    ".npz": [npz_bytes(z=Z, y=Y), npz_bytes(z=Z), npz_bytes(z=Z, y=Y.astype(str))],
    ".parquet": [
        table_bytes(z_0=Z[:, 0], z_1=Z[:, 1], y=Y, split=["train", "test"] * (N // 2)),
        table_bytes(latent=list(Z), label=Y.astype(str)),
    ],
    ".csv": [b"z_0,z_1,y\n0,1,2\n3,4,5\n"],
}


def _right(card: Card) -> None:
    for name, finding in card.findings.items():
        assert math.isnan(finding.value) or finding.low - 1e-9 <= finding.value <= finding.high + 1e-9, name
        assert finding.interval is None or finding.interval[0] <= finding.interval[1]


@cases(80)
@given(suffix=st.sampled_from([*LATENTS]), data=st.data())
def test_latents(here: Path, suffix: str, data: st.DataObject) -> None:
    path = written(here / f"latents{suffix}", data.draw(of(*LATENTS[suffix])))
    labels = written(here / "y.npy", data.draw(of(npy_bytes(Y)))) if data.draw(st.booleans()) else None
    if suffix in (".npy", ".npz", ".parquet"):
        points = lawful(lambda: read_points(path))
        assume(points is None or points.z.size <= 1000)
    card = lawful(lambda: card_at(path, labels=labels))
    if card is not None:
        _right(card)


@st.composite
def odd_latents(draw: st.DrawFn) -> dict[str, Any]:
    n, d = draw(st.integers(0, 15)), draw(st.integers(0, 4))
    kind = draw(st.sampled_from(["float32"] * 4 + ["float64", "float16", "int8", "bool", "complex64", "<U4"]))
    z = np.random.default_rng(n).normal(size=draw(st.sampled_from([(n, d)] * 5 + [(n,), (n, d, 2), ()])))
    if z.size and draw(st.integers(0, 3)) == 0:
        z.flat[0] = draw(st.sampled_from([math.nan, math.inf, 1e30, 1e-30, 1e200]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z = z.astype(kind)
    m = n + draw(st.sampled_from([0] * 8 + [1]))
    y = draw(
        st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), min_size=m, max_size=m).map(np.array)
        | st.lists(st.text(max_size=3), min_size=m, max_size=m).map(np.array)
        | st.lists(st.sampled_from([0.0, 1.0, math.nan, 0.5]), min_size=m, max_size=m).map(np.array)
    )
    return {"z": z, "y": y}


@cases(60)
@given(arrays=odd_latents(), per_class=st.booleans())
def test_latents_of_any_kind(here: Path, arrays: dict[str, Any], per_class: bool) -> None:
    path = written(here / "odd.npz", npz_bytes(**arrays))
    centres = written(
        here / "c.npy", npy_bytes(np.eye(4, max(1, arrays["z"].shape[-1] if arrays["z"].ndim else 1)))
    )
    card = lawful(lambda: card_at(path, centres=centres if per_class else None))
    if card is None:
        return
    _right(card)
    z, y = arrays["z"].astype(np.float64), arrays["y"]
    kept = (y != "") & (y != "nan") & (y != "None") if y.dtype.kind == "U" else y >= 0
    if per_class or not kept.any():
        return
    z, y = z[kept], y[kept]
    away = np.concatenate([np.linalg.norm(z[y == k] - z[y == k].mean(0), axis=1) for k in np.unique(y)])
    scale = np.abs(z).max()
    assert card.value("cluster_size") == pytest.approx(np.median(away), rel=1e-6, abs=1e-6 * scale + 1e-300)


MATRICES = {".npy": npy_bytes(Z), ".safetensors": b""}


@cases(40)
@given(suffix=st.sampled_from([*MATRICES]), data=st.data())
def test_matrices_and_labels(here: Path, suffix: str, data: st.DataObject) -> None:
    if suffix == ".safetensors":
        save_arrays({"vectors": Z}, here / "whole.safetensors")
        whole = (here / "whole.safetensors").read_bytes()
    else:
        whole = MATRICES[suffix]
    path = written(here / f"m{suffix}", data.draw(of(whole)))
    found = lawful(lambda: read_matrix(path))
    assert found is None or isinstance(found[0], torch.Tensor)
    for content, name in ((of(b"0\n1\n\n-1\n", b"cat\ndog\n"), "y.txt"), (of(npy_bytes(Y)), "y.npy")):
        labels = written(here / name, data.draw(content))
        read = lawful(partial(read_labels, labels))
        assert read is None or isinstance(read, np.ndarray)


# Models and records


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model as it starts."""
    folder = tmp_path_factory.mktemp("model")
    config = load_recipe("euclidean-target", [("data.limit", "50")])
    train = load_data(config.data, 0).train
    made = model_for(config, train).eval()
    save_file(
        {name: value.contiguous() for name, value in made.state_dict().items()}, folder / "model.safetensors"
    )
    save_file({"class_centres": torch.zeros(10, 64)}, folder / "class_centres.safetensors")
    (folder / "model.json").write_text(json.dumps(description(config, train)))
    return folder


@st.composite
def odd_json(draw: st.DrawFn, whole: Any) -> Any:
    """A tree of plain values in which one is another."""
    if isinstance(whole, Mapping) and whole and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(whole)))
        if draw(st.integers(0, 9)) == 0:
            return {k: v for k, v in whole.items() if k != key}
        return {**whole, key: draw(odd_json(whole[key]))}
    return draw(TREES)


@cases(60)
@given(
    name=st.sampled_from(["model.json", "model.json", "model.safetensors", "class_centres.safetensors"]),
    data=st.data(),
)
def test_models(here: Path, model: Path, name: str, data: st.DataObject) -> None:
    folder = here / "model"
    shutil.copytree(model, folder, dirs_exist_ok=True)
    whole = (model / name).read_bytes()
    if name == "model.json" and data.draw(st.booleans()):
        whole = json.dumps(data.draw(odd_json(json.loads(whole)))).encode()
    else:
        # The head of a file of weights is where there is something to damage.
        whole = data.draw(of(whole[:3000])) + whole[3000:]
    trained = lawful(lambda: latentloom.load(written(folder / name, whole).parent, device="cpu"))
    if trained is not None:
        f = trained.form
        assume(f.channels * f.size**2 <= 10_000)
        latent = lawful(lambda: trained.embed(torch.zeros(1, f.channels, f.size, f.size, dtype=torch.uint8)))
        assert latent is None or len(latent.z) == 1


RECORD = Record(
    "baseline", 0, {"seed": 0}, Card("test", 3, {"accuracy": Finding(0.5, "higher", 0, 1, "of", (0.4, 0.6))}),
    [{"epoch": 0.0}], 0, 1.0, "abc", {}, {}, "cpu",
)  # fmt: skip


@cases(40)
@given(data=st.data())
def test_records(here: Path, data: st.DataObject) -> None:
    folder = here / "run"
    folder.mkdir(exist_ok=True)
    save_record(RECORD, folder / "record.json")
    whole = (folder / "record.json").read_bytes()
    odd = odd_json(json.loads(whole)).map(lambda tree: json.dumps(tree).encode())
    written(folder / "record.json", data.draw(of(whole) | odd))
    found = lawful(lambda: load_record(folder / "record.json"))
    if found is not None:
        lawful(lambda: str(card_at(folder)))


# The command

TYPED = ["train", "compare", "evaluate", "embed", "predict", "export", "list", "report", "names", "groups"]
TYPED += [
    "baseline",
    "latent-boost",
    "nowhere",
    "terms",
    "recipes",
    "x.npy",
    "digits",
    "onnx",
    "1",
    "0",
    "-1",
]
TYPED += ["--data", "--epochs", "--lam", "--seeds", "--out", "--folder", "--workers", "--format", "--labels"]
TYPED += ["--batch", "--seed", "--objective.terms.triplet.options.margin", "--objective.terms", "--x", "--"]
TYPED += ["--data.size=3", "--training.lr=[", "--data.labels", "--model.prior.kind", "--help=1", "=", ""]
TYPED += ["0.5", "nan", "null"]


@cases(60)
@given(words=st.lists(st.sampled_from(TYPED) | st.text(max_size=4), min_size=1, max_size=7))
def test_flags(
    here: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = SimpleNamespace(card="", best_epoch=0, history=(), seconds=0.0)
    with monkeypatch.context() as patched:
        patched.chdir(here)
        patched.setattr("latentloom.training.run.run", lambda asked, folder, recipe: done)
        patched.setattr("latentloom.report.comparison.compare", lambda *_, **__: ("", ""))
        with within(SECONDS):
            try:
                code = main(words)
            except SystemExit as stop:  # of argparse
                code = stop.code
    said = capsys.readouterr()
    assert code in (0, 2), code
    assert code == 0 or 0 < said.err.count("\n") < 40, said.err
    assert "Traceback" not in said.err


def test_so_many_cases_are_tried_as_are_said() -> None:
    tests = [test for name, test in globals().items() if hasattr(test, "hypothesis")]
    few = [test._hypothesis_internal_use_settings.max_examples for test in tests]
    assert sum(few) == pytest.approx(ASKED or FEW, abs=len(few))
