import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from latentloom.checks import UserError
from latentloom.report.points import (
    Points,
    final_points,
    group_of_classes,
    kept_epochs,
    kept_points,
    lengthened,
    tensors,
)


def test_final_latents_are_stratified_throughout_and_know_their_rows(left, digits):
    points = final_points(left["boosted"], "test")
    labels = digits.test.labels.numpy()
    np.testing.assert_array_equal(points.y, labels[points.rows])
    np.testing.assert_array_equal(np.sort(points.rows), np.arange(len(labels)))
    for n in (10, 50, 200):
        assert np.ptp(np.bincount(points.y[:n], minlength=10)) <= 2
    wrong = points.predicted != points.y
    np.testing.assert_array_equal(wrong, points.rows % 10 == 0)


def test_marks_are_found_where_the_run_left_them(left):
    marks = final_points(left["boosted"], "test").marks
    shapes = {kind: places.shape for kind, places in marks.items()}
    of_classes = dict.fromkeys(("class centres", "class embeddings", "label embeddings"), (10, 12))
    assert shapes == {**of_classes, "prior components": (3, 12)}
    assert list(final_points(left["baseline"], "test").marks) == ["class centres"]


def test_marks_that_do_not_lie_in_the_latent_space_are_left_out(left, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "latents.parquet").write_bytes((left["baseline"] / "latents.parquet").read_bytes())
    save_file({"heads.label_embeddings.vectors": np.zeros((10, 5), np.float32)}, folder / "model.safetensors")
    assert final_points(folder, "test").marks == {}


def test_kept_epochs_count_from_1_and_hold_what_is_fixed(left, digits):
    found = kept_epochs(left["baseline"])
    assert list(found) == [5, 10]
    points = kept_points(found[5], most=1000)
    assert points.z.dtype == np.float32
    np.testing.assert_array_equal(points.y, digits.validation.labels.numpy()[points.rows])
    assert list(points.marks) == ["class centres"]
    assert len(kept_points(found[5], most=20).z) == 20
    assert kept_epochs(left["baseline"] / "nowhere") == {}


def test_kept_latents_need_nothing_beside_them(tmp_path):
    held = {"z": np.ones((3, 2), np.float16), "y": np.arange(3, dtype=np.int32)}
    save_file(held, tmp_path / "epoch-0000.safetensors")
    points = kept_points(tmp_path / "epoch-0000.safetensors", most=10)
    assert points.predicted is None
    assert sorted(points.y) == [0, 1, 2]


def test_directions_are_drawn_out_to_the_mean_length_of_latents():
    none = np.zeros(2, int)
    marks = {"label embeddings": np.array([[0.0, 1.0], [0.0, 0.0]]), "class centres": np.array([[1.0, 0.0]])}
    drawn = lengthened(
        Points(np.array([[3.0, 4.0], [0.0, 1.0]]), none, None, none, marks), {"label embeddings"}
    )
    np.testing.assert_allclose(drawn.marks["label embeddings"], [[0, 3], [0, 0]])
    np.testing.assert_allclose(drawn.marks["class centres"], [[1, 0]])


def test_latents_that_are_not_finite_are_seen():
    none = np.zeros(1, int)
    assert not Points(np.array([[np.inf]]), none, None, none, {}).is_finite()
    assert Points(np.array([[1.0]]), none, None, none, {"class centres": np.array([[np.nan]])}).is_finite()


def test_groups_are_those_of_the_model(left):
    np.testing.assert_array_equal(group_of_classes(left["boosted"]), [0, 1, 0, 0, 1, 0, 0, 1, 0, 0])
    assert group_of_classes(left["baseline"]) is None


def test_a_file_that_holds_no_tensors_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_text(json.dumps({}))
    for path in (tmp_path / "model.safetensors", tmp_path / "gone.safetensors"):
        with pytest.raises(UserError, match=f"cannot read .*{path.name}"):
            tensors(path)
