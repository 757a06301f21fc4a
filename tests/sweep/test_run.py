"""A sweep from start to end, and what is refused before it starts."""

from __future__ import annotations

import functools
import json
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from rich.progress import Progress

from latentloom.checks import UserError
from latentloom.recipes import load_recipe
from latentloom.sweep import sweep
from latentloom.sweep.engine import Ledger, ended
from latentloom.sweep.run import monitored, quick
from latentloom.sweep.trial import Task, Trial, load_trials, save_trial
from latentloom.training.run import run

# Ray ends its processes and does not ask how they ended.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Popen.__del__"),
]
DIGITS = [
    ("data.name", "digits"),
    ("data.limit", "200"),
    ("model.encoder", "mlp"),
    ("training.epochs", "2"),
    ("training.accelerator", "cpu"),
]
SPACE = "training.lr: {loguniform: [1.0e-4, 1.0e-2]}\ndata.limit: {uniformint: [0, 200]}\n"


@pytest.fixture
def space(tmp_path) -> str:
    (tmp_path / "space.yaml").write_text(SPACE)
    return str(tmp_path / "space.yaml")


@pytest.fixture
def descendants(monkeypatch):
    """Processes that were started since, wherever they hang now: what they inherit marks them."""
    mark = f"LATENTLOOM_TEST_{uuid.uuid4().hex}"
    monkeypatch.setenv(mark, "1")

    def found() -> list[str]:
        return [str(p) for p in Path("/proc").glob("[0-9]*") if int(p.name) != os.getpid() and marked(p)]

    def marked(process: Path) -> bool:
        try:
            return mark.encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_three_trials_one_of_which_crashes(space, tmp_path, descendants):
    """Two had begun when the sweep was killed, which fixes their values; the third is the searcher's."""
    folder = tmp_path / "sweep"
    save_trial(Trial(0, {"training.lr": 1e-3, "data.limit": 200}), folder)
    save_trial(Trial(1, {"training.lr": 1e-3, "data.limit": 0}), folder)
    result = sweep("baseline", DIGITS, space=space, trials=3, seeds=2, folder=folder)
    states = {trial.number: trial.state for trial in result.trials}
    assert states[0] == "finished"
    assert states[1] == "failed"
    assert states.keys() == {0, 1, 2}
    first = result.trials[0]
    assert (len(first.scores), first.epochs) == (2, 4)
    assert 0 < first.score <= 1
    assert "Traceback" in (folder / "trials" / "001" / "error.txt").read_text()
    record = json.loads((folder / "trials" / "000" / "seed-1" / "record.json").read_text())
    assert record["config"]["evaluation"]["split"] == "validation"
    assert record["seed"] == 1
    best = load_recipe(str(folder / "best.yaml"))
    assert best.evaluation.split == "test"
    assert run(best, tmp_path / "again", recipe="best", progress=False).card.split == "test"
    for name in ("trials.csv", "trials.md", "parallel.html"):
        assert (folder / name).stat().st_size > 0
    assert not (folder / "ray").exists()
    assert not list(folder.glob("trials/*/seed-*/checkpoints/*"))
    assert not ray.is_initialized()
    assert not descendants()

    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/**/*")}
    again = sweep("baseline", DIGITS, space=space, trials=3, seeds=2, folder=folder)
    assert again == result
    assert {path: path.stat().st_mtime_ns for path in folder.glob("trials/**/*")} == before
    with pytest.raises(UserError, match=r"holds another sweep \(differs in its seeds\)"):
        sweep("baseline", DIGITS, space=space, trials=3, seeds=1, folder=folder)


@pytest.mark.slow
def test_no_trial_succeeds(space, tmp_path):
    with pytest.raises(
        UserError, match=r"no trial of .* has finished \(2 failed\); trial 0 failed first"
    ) as caught:
        sweep(
            "baseline",
            [*DIGITS, ("data.root", "nowhere"), ("data.name", "mnist")],
            space=space,
            trials=2,
            folder=tmp_path,
        )
    assert "mnist" in str(caught.value)
    assert "Traceback" in (tmp_path / "trials" / "001" / "error.txt").read_text()


@pytest.mark.slow
def test_a_trial_that_no_node_has_room_for(space, tmp_path):
    with pytest.raises(UserError, match=r"wants 1000 CPUs and 0 GPUs, but there is no such node"):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path, cpus=1000, gpus=0)
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there(space, tmp_path, monkeypatch):
    # Where Ray looks for a cluster: one that died leaves its address in the usual place, and other tests
    # may have one at work.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))
    before = dict(os.environ)
    with pytest.raises(UserError, match=r"no Ray cluster at auto.*start one with ray start --head"):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path, address="auto")
    assert dict(os.environ) == before


REFUSED = {
    "no trial": ({"trials": 0}, r"--trials must be at least 1, got 0"),
    "no seed": ({"seeds": 0}, r"--seeds must be at least 1, got 0"),
    "no worker": ({"workers": 0}, r"--workers must be at least 1, got 0"),
    "no such search": ({"search": "tpo"}, r"no search 'tpo'; did you mean 'tpe'"),
    "no such space": ({"space": "nothing"}, r"no packaged space"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_written(name, space, tmp_path):
    asked, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        sweep("baseline", DIGITS, **{"space": space, "trials": 1, "folder": tmp_path / "sweep", **asked})
    assert not (tmp_path / "sweep").exists()


def test_a_folder_in_use(space, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match=r"another sweep works in"):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path)


def test_ray_that_does_not_start(monkeypatch, space, tmp_path):
    def init(*what, **more):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        UserError, match=r"no Ray cluster at this machine: The current node timed out.*less busy"
    ):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path)


def test_ray_in_use(monkeypatch, space, tmp_path):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(UserError, match=r"Ray is in use in this process"):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path)


def test_ray_that_is_not_installed(monkeypatch, space, tmp_path):
    monkeypatch.delitem(sys.modules, "latentloom.sweep.engine")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'latentloom\[sweep\]'"):
        sweep("baseline", DIGITS, space=space, trials=1, folder=tmp_path)


def test_the_monitored_score_and_its_direction():
    def found(*score: str) -> tuple[str, str]:
        return monitored(load_recipe("baseline", [("training.monitor", name) for name in score]))

    assert found() == ("accuracy", "higher")
    assert found("knn_accuracy") == ("knn_accuracy", "higher")
    assert found("size_to_distance") == ("size_to_distance", "lower")
    with pytest.raises(UserError, match=r"no score to monitor 'acuracy'; did you mean 'accuracy'"):
        found("acuracy")


def test_trials_do_not_look_at_the_test_split():
    assert quick(load_recipe("baseline")).evaluation.split == "validation"


CONFIG = {"number": 3, "values": {"training.lr": 0.1}}


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"score": 0.5, "scores": [0.5], "epoch": 31, "epochs": 4}, "finished"),
        ({"score": 0.5, "scores": [0.5], "epoch": 5, "epochs": 5}, "stopped"),
        ({"score": float("nan"), "error": "ValueError: no"}, "failed"),
        ({}, "stopped"),
    ],
)
def test_state_of_a_trial_that_ended(result, state):
    assert ended(CONFIG, result, 31).state == state


def test_a_worker_that_dies_for_good_is_a_failed_trial(tmp_path):
    """Ray starts it again twice, and then leaves it; its words are kept."""
    log = tmp_path / "ray.txt"
    log.write_text("Failure # 1\nsomething\n\nThe actor died: killed by the kernel.\n")
    trial = SimpleNamespace(config=CONFIG, last_result={"scores": [0.5], "epochs": 2}, error_file=str(log))
    task = Task("baseline", load_recipe("baseline"), tmp_path, 1, "accuracy", "higher", 31)
    ledger = Ledger(task, [], Progress(), 1)
    ledger.on_trial_start(0, [], trial)
    assert load_trials(tmp_path)[0].state == "running"
    ledger.on_trial_error(0, [], trial)
    (kept,) = load_trials(tmp_path)
    assert (kept.state, kept.error) == ("failed", "its worker died: The actor died: killed by the kernel.")
    assert "Failure # 1" in (tmp_path / "trials" / "003" / "error.txt").read_text()


def test_a_cluster_that_is_dead_is_not_waited_for(monkeypatch, tmp_path):
    task = Task("baseline", load_recipe("baseline"), tmp_path, 1, "accuracy", "higher", 31)
    ledger = Ledger(task, [], Progress(), 1)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}, {"Alive": True}])
    ledger.on_step_end(200, [])
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}])
    ledger.on_step_end(201, [])
    with pytest.raises(UserError, match=r"every node of the Ray cluster has died"):
        ledger.on_step_end(300, [])


def test_checkpoints_go_with_the_trial_unless_it_failed(tmp_path):
    task = Task("baseline", load_recipe("baseline"), tmp_path, 1, "accuracy", "higher", 31)
    ledger = Ledger(task, [], Progress(), 2)
    for number, result in ((0, {"scores": [0.5], "epoch": 5}), (1, {"error": "ValueError"})):
        kept = tmp_path / "trials" / f"{number:03d}" / "seed-0" / "checkpoints" / "last.ckpt"
        kept.parent.mkdir(parents=True)
        kept.touch()
        trial = SimpleNamespace(config={**CONFIG, "number": number}, last_result=result)
        ledger.on_trial_complete(0, [], trial)
        assert kept.exists() == (number == 1)
