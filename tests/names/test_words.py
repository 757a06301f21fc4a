"""What a text model reads for a class."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.checks import UserError
from latentloom.names import read_descriptions, texts_of, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("200.Common-Yellowthroat", "Common Yellowthroat"),
        ("12. cat", "cat"),
        ("T-shirt/top", "T shirt/top"),
        ("Ankle boot", "Ankle boot"),
        ("maple_tree", "maple tree"),
        ("medium-sized_mammals", "medium sized mammals"),
        ("vehicles_1", "vehicles 1"),
        ("potter's wheel", "potter's wheel"),
        ("HerbaceousVegetation", "Herbaceous Vegetation"),
        ("goldenRetriever", "golden Retriever"),
        ("DVDPlayer", "DVD Player"),
        ("CD-player", "CD player"),
        ("iPod", "iPod"),
        ("McDonald", "McDonald"),
        ("CDs", "CDs"),
        ("USA", "USA"),
        ("  two \t gaps__and--more ", "two gaps and more"),
        ("0", "zero"),
        ("7", "seven"),
        ("9", "nine"),
        ("10", "10"),
        ("2.5D", "2.5D"),  # a number, not a numbering
        ("3-wheeler", "3 wheeler"),
        ("003.", "003."),
        ("つ", "つ"),
        ("²", "²"),  # a digit to Python, not to int()
        ("__", ""),
    ],
)
def test_names_are_read_as_words(name: str, words: str) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    "name", ["001.Black_footed_Albatross", "goldenRetriever", "T-shirt/top", "7", "iPod"]
)
def test_words_are_read_as_themselves(name: str) -> None:
    assert words_of(words_of(name)) == words_of(name)


def test_numbers_that_all_names_begin_with_are_left_out() -> None:
    assert texts_of(["01_cat", "02-dog", "10 bird"]) == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (["3-wheeler", "4-wheeler"], ("3 wheeler", "4 wheeler")),  # nothing else tells them apart
        (["3-wheeler"], ("3 wheeler",)),
        (["3-wheeler", "bus"], ("3 wheeler", "bus")),
    ],
)
def test_numbers_that_say_something_stay(names: list[str], texts: tuple[str, ...]) -> None:
    assert texts_of(names) == texts


def test_descriptions_stand_for_names_and_may_be_fewer() -> None:
    told = {"maple tree": " a tree with\n lobed leaves ", "sea": "salt water"}
    assert texts_of(["sea", "maple_tree", "lamp"], told) == ("salt water", "a tree with lobed leaves", "lamp")
    assert texts_of(["01_cat", "02_dog"], {"01_cat": "it purrs", "dog": "it barks"}) == (
        "it purrs",
        "it barks",
    )


@pytest.mark.parametrize(
    ("names", "told", "said"),
    [
        ([], {}, "no class names to read"),
        (["cat", "__"], {}, "no words in the class names '__'"),
        (["cat", "--/"], {}, "no words in the class names '--/'"),
        (["a_b", "dog", "a-b"], {}, r"repeats: 'a b' \(a_b, a-b\)"),
        (["Cat", "cat"], {}, r"repeats: 'cat' \(Cat, cat\)"),
        (["001.cat", "002.cat"], {}, r"repeats: 'cat' \(001.cat, 002.cat\)"),
        ([f"{x}_{i}" for i in range(7) for x in ("a", "A")], {}, r"a_4, A_4\) and 2 more; rename"),
        (["cat", "dog"], {"dgo": "it barks"}, "no class 'dgo'; did you mean 'dog'"),
        (["cat", "dog"], {"dog": " \n"}, "the description of 'dog' is empty"),
        (["cat", "dog"], {"dog": "Cat"}, r"repeats: 'cat' \(cat, dog\)"),
        (["cat", "dog"], {"dog": "a pet", "cat": "a  pet"}, r"repeats: 'a pet' \(cat, dog\)"),
        (["cat", "dog"], {"dog": "?!"}, "no words in the class names 'dog'"),
        (
            ["a_b", "a-b"],
            {"a b": "one"},
            r"description of 'a b' fits 2 classes \(a_b, a-b\); write whole names",
        ),
        (["a_b", "a-b"], {"a_b": "one"} | {"a-b": "one"}, "repeats: 'one'"),
        (["a_b", "dog"], {"a_b": "one", "a b": "two"}, "the class 'a_b' is described twice"),
        (["cat", "__"], {"cat": "it purrs"}, "no words in the class names '__'"),
    ],
)
def test_what_stands_for_no_class_or_two_is_refused(
    names: list[str], told: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        texts_of(names, told)


def test_descriptions_tell_apart_what_reads_alike_and_stand_for_what_has_no_word() -> None:
    names = ["crane_", "crane", "--"]
    told = {"crane_": "a bird", "--": "a line"}
    assert texts_of(names, told) == ("a bird", "crane", "a line")


def test_descriptions_are_read_as_text_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "told.yaml"
    path.write_text("no: the kana ノ\n7: \"1\"\n'on': yes\n", encoding="utf-8")
    assert read_descriptions(path) == {"no": "the kana ノ", "7": "1", "on": "yes"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [b", "is not YAML"),
        (b"\xff\xfe\xfa", "is not YAML"),
        (b"- a\n- b", "must hold lines"),
        (b"a: [b, c]", "must hold lines"),
        (b"", "must hold lines"),
        (b"[" * 3000, "is not YAML"),
        # Each list holds the one before nine times: 9^8 values in a few lines.
        (
            b"a: &a [x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (98 + k, 98 + k, b"*%c," % (97 + k) * 9) for k in range(8)),
            "must hold lines",
        ),
        (b"a: !!python/object/apply:os.getcwd []", "must hold lines"),
    ],
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "told.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_descriptions(path)


def test_a_missing_file_of_descriptions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of descriptions"):
        read_descriptions(tmp_path / "none.yaml")
