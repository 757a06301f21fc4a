from __future__ import annotations

import gzip
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from latentloom.checks import UserError
from latentloom.data.readers import read_cifar, read_idx, read_npz


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(300,), (5, 3, 4), (0, 2, 2)])
def test_idx_is_read_packed_or_not_whatever_it_is_called(tmp_path, idx_bytes, counting, shape, packed):
    array, path = counting(shape), tmp_path / "images.anything"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    assert torch.equal(read_idx(path), torch.from_numpy(array))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda whole: whole[:-1], "truncated or damaged: 59 values for shape"),
        (lambda whole: whole + b"\0", "truncated or damaged: 61 values for shape"),
        (lambda whole: whole[:7], "truncated or damaged"),
        (lambda whole: b"", "not an idx file"),
        (lambda whole: b"\0\0\x0d" + whole[3:], "begins with 00000d03"),
        (lambda whole: b"\0\0\x08\0", "not an idx file"),
        (lambda whole: gzip.compress(whole)[:-9], "truncated or damaged"),
        (lambda whole: gzip.compress(whole)[:20] + b"xx" + gzip.compress(whole)[22:], "truncated or damaged"),
    ],
)
def test_idx_that_is_not_whole_is_named(tmp_path, idx_bytes, counting, spoil, complaint):
    path = tmp_path / "train-images"
    path.write_bytes(spoil(idx_bytes(counting((5, 3, 4)))))
    with pytest.raises(UserError, match=rf"train-images is .*{complaint}"):
        read_idx(path)


@pytest.mark.parametrize("protocol", range(5))
def test_cifar_of_any_protocol_is_read(tmp_path, counting, protocol):
    content = {"data": counting((2, 3072)), "labels": [3, 1], "batch_label": "training batch 1 of 5"}
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_cifar(path)
    np.testing.assert_array_equal(read.pop("data"), content.pop("data"))
    assert read == content


def test_cifar_of_python_2_is_read(tmp_path, cifar_bytes, counting):
    path = tmp_path / "train"
    path.write_bytes(cifar_bytes({"data": counting((2, 3072)), "names": ["apple"]}))
    assert b"numpy.core.multiarray" in path.read_bytes()
    np.testing.assert_array_equal(read_cifar(path)["data"], counting((2, 3072)))


class _Runs:
    """Unpickling this calls a function."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [os.mkdir, eval, exec, np.load, OrderedDict, np.ndarray.tofile, getattr])
def test_a_pickle_that_would_do_anything_else_is_refused(tmp_path, call, protocol):
    victim = str(tmp_path / "victim")
    path = tmp_path / "train"
    try:
        path.write_bytes(pickle.dumps({"data": _Runs(call, victim)}, protocol=protocol))
    except pickle.PicklingError:
        pytest.skip("this protocol cannot say it")
    with pytest.raises(
        UserError, match=r"train: refused, for its pickle asks for [\w.]+, which no CIFAR file"
    ):
        read_cifar(path)
    assert not os.path.exists(victim)


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"data": b"x" * 99})[:-20], b"\x80\x02N"])
def test_a_damaged_pickle_is_named(tmp_path, content):
    path = tmp_path / "train"
    path.write_bytes(content)
    with pytest.raises(UserError, match="train is truncated or damaged"):
        read_cifar(path)


def test_a_pickle_of_something_else_is_named(tmp_path):
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="holds a list, wanted the dictionary"):
        read_cifar(path)


def test_npz_is_read(tmp_path, counting):
    np.savez(tmp_path / "set.npz", images=counting((2, 4, 4)), class_names=np.array(["cat", "dog"]))
    arrays = read_npz(tmp_path / "set.npz")
    assert arrays.keys() == {"images", "class_names"}
    np.testing.assert_array_equal(arrays["images"], counting((2, 4, 4)))


def _npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _npz(images=np.zeros(99))[:-30],
        _npz(images=np.array([{"a": 1}, None], dtype=object)),
        _npy(),
        pickle.dumps({"images": 1}),
        b"",
    ],
    ids=["truncated", "objects", "a single array", "a pickle", "empty"],
)
def test_npz_that_does_not_hold_plain_arrays_is_named(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"set\.npz does not read as plain arrays"):
        read_npz(path)


def test_npz_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file .*none\.npz"):
        read_npz(tmp_path / "none.npz")
