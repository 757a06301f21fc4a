import argparse
import dataclasses
import shutil

import pytest

from latentloom.checks import UserError
from latentloom.commands import page as page_command
from latentloom.records import load_record
from latentloom.report.finished import common_folder, find_runs, latents_of
from latentloom.report.page import write_report


def runs_of(folders):
    return {recipe: [load_record(folder / "record.json")] for recipe, folder in folders.items()}


def test_runs_are_found_in_their_folders_and_below_others_in_the_order_given(left):
    place = left["baseline"].parent.parent
    assert list(find_runs([place])) == ["baseline", "boosted"]
    assert list(find_runs([left["boosted"], place])) == ["boosted", "baseline"]
    assert find_runs([left["boosted"]]) == {"boosted": {0: left["boosted"]}}
    assert common_folder(list(left.values())) == place.resolve()


def test_a_run_that_is_there_twice_and_a_place_without_runs_are_refused(left, tmp_path):
    shutil.copytree(left["baseline"], tmp_path / "copy")
    with pytest.raises(UserError, match="both hold baseline with seed 0; give one of them"):
        find_runs([left["baseline"], tmp_path / "copy"])
    for empty in (tmp_path / "gone", left["baseline"] / "latents"):
        with pytest.raises(UserError, match="no finished run in"):
            find_runs([empty])


def test_maps_are_of_the_same_images_in_all_recipes_with_their_thumbnails(left, digits):
    latents = latents_of(runs_of(left), left, ["PCA"])
    final, kept = latents.atlas["views"]
    assert (final["thumbnails"], kept["thumbnails"]) == (len(digits.test), len(digits.validation))
    assert kept["fromTile"] == len(digits.test)
    assert (final["epochs"], kept["epochs"]) == ([2], [5, 10])
    assert [one["recipe"] for one in final["maps"]] == ["baseline", "boosted"]
    assert latents.notes == []
    assert latents.atlas["groupOf"] is None  # digits have no groups, and the first recipe holds none
    assert latents.name_vectors.shape == (10, 12)  # of the recipe that has any, since a name has no words


def test_groups_are_those_of_the_first_recipe(left):
    latents = latents_of(runs_of({"boosted": left["boosted"]}), left, ["PCA"])
    assert latents.atlas["groups"] == ["round", "straight"]
    assert latents.atlas["groupOf"] == [0, 1, 0, 0, 1, 0, 0, 1, 0, 0]


def test_without_the_data_set_there_are_maps_without_images(left):
    gone = {
        recipe: [
            dataclasses.replace(r, config=r.config | {"data": r.config["data"] | {"name": "folder:gone"}})
        ]
        for recipe, (r,) in runs_of(left).items()
    }
    latents = latents_of(gone, left, ["PCA"])
    assert latents.atlas["sprite"] is None
    assert "without them" in latents.notes[0]
    assert len(latents.atlas["views"]) == 2


def test_images_of_other_labels_are_not_shown(left, digits):
    other = {
        recipe: [dataclasses.replace(r, config=r.config | {"data": r.config["data"] | {"test_limit": 100}})]
        for recipe, (r,) in runs_of(left).items()
    }
    final, kept = latents_of(other, left, ["PCA"]).atlas["views"]
    assert (final["thumbnails"], kept["thumbnails"]) == (0, len(digits.validation))


def test_a_recipe_of_other_images_is_on_no_map(left, leave_run, tmp_path, digits):
    fewer = dataclasses.replace(
        digits, test=dataclasses.replace(digits.test, labels=digits.test.labels.flip(0))
    )
    folders = {**left, "other": leave_run(tmp_path / "other", fewer, "other", everything=False)}
    latents = latents_of(runs_of(folders), folders, ["PCA"])
    assert list(latents.final) == ["baseline", "boosted"]
    assert latents.notes == ["other is on no map: it was evaluated on other images."]


def test_the_command_writes_the_page_beside_the_runs(left, tmp_path, capsys):
    place = tmp_path / "compared"
    shutil.copytree(left["baseline"].parent.parent, place)
    parser = argparse.ArgumentParser()
    page_command.add_to(parser.add_subparsers())
    arguments = parser.parse_args(["report", str(place)])
    arguments.run(arguments, [])
    assert f"the page is {place.resolve() / 'report.html'}" in capsys.readouterr().out
    assert "baseline · boosted on digits" in (place / "report.html").read_text(encoding="utf-8")
    arguments = parser.parse_args(["report", str(place / "baseline"), "--out", str(tmp_path / "one.html")])
    arguments.run(arguments, [])
    assert "<h1>baseline on digits</h1>" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_at_most_six_epochs_are_on_the_slider(leave_run, digits, tmp_path):
    folder = leave_run(tmp_path / "baseline" / "seed-0", digits, "baseline", everything=False)
    for epoch in range(10, 30):
        shutil.copy(
            folder / "latents" / "epoch-0009.safetensors",
            folder / "latents" / f"epoch-{epoch:04d}.safetensors",
        )
    found = latents_of({"baseline": [load_record(folder / "record.json")]}, {"baseline": folder}, ["PCA"])
    assert found.atlas["views"][1]["epochs"] == [5, 13, 17, 21, 25, 30]  # of 5, 10, 11, 12, ..., 30


def test_a_page_that_is_made_says_what_is_being_done(left, tmp_path, capsys, monkeypatch):
    runs = {recipe: [load_record(folder / "record.json")] for recipe, folder in left.items()}
    write_report(tmp_path / "report.html", runs, left, ["PCA"])
    assert capsys.readouterr() == ("", "")  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    write_report(tmp_path / "report.html", runs, left, ["PCA"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "page:" in printed.err
