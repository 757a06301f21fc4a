import dataclasses

from latentloom.records import source_hashes
from latentloom.report.protocol import doubts, protocol


def test_protocol_says_what_a_reader_must_know(make_record):
    runs = {recipe: [make_record(recipe, seed) for seed in (0, 2)] for recipe in ("baseline", "center")}
    notes = dict(protocol(runs))
    assert notes["data"] == "digits"
    assert notes["images"] == "all training images, 10% of them for validation; scores on 360 test images"
    assert notes["selection"] == (
        "the epoch with the best validation accuracy; the test images are read once, after training"
    )
    assert notes["epochs"] == "at most 30, stopped after 20 without improvement"
    assert notes["seeds"] == "0, 2 (4 runs)"
    assert {"hardware", "commit", "versions"} <= notes.keys()
    assert doubts(runs) == []


def test_scores_of_validation_images_are_called_optimistic(make_record):
    record = make_record()
    record = dataclasses.replace(record, card=dataclasses.replace(record.card, split="validation"))
    assert "optimistic" in dict(protocol({"baseline": [record]}))["selection"]


def test_labels_that_were_withheld_and_an_epoch_that_nothing_chose_are_told(make_record):
    record = make_record()
    assert dict(protocol({"baseline": [record]}))["labels"] == "all"
    record.config["data"]["labels"] = 60
    record.config["training"]["select"] = "last"
    notes = dict(protocol({"baseline": [record]}))
    assert notes["labels"] == "60 of the training images"
    assert notes["selection"].startswith("the last epoch, whatever validation says")
    assert notes["epochs"] == str(record.config["training"]["epochs"])
    record.config["data"]["labels"] = 0.01
    assert dict(protocol({"baseline": [record]}))["labels"] == "1 % of the training images"


def test_what_differs_is_a_doubt_and_both_are_named(make_record):
    other = dataclasses.replace(make_record("center"), hardware="another processor")
    other.config["data"]["limit"] = 500
    runs = {"baseline": [make_record()], "center": [other]}
    assert doubts(runs) == [
        "the runs differ in images: "
        "all training images, 10% of them for validation; scores on 360 test images; "
        "500 of the training images, 10% of them for validation; scores on 360 test images",
        "the runs differ in hardware: a processor; another processor",
    ]


def test_changed_code_and_warnings_are_doubts(make_record):
    now = source_hashes(["latentloom.values"])
    old = dataclasses.replace(make_record(seed=1, warnings=["collapse"]), sources={"values.py": "0" * 16})
    runs = {"baseline": [dataclasses.replace(make_record(), sources=now), old]}
    assert doubts(runs) == [
        "code changed since 1 of 2 runs: values.py; run them again to be sure",
        "baseline, seed 1: collapse",
    ]
