"""What a text model reads for a class: the words of its name, or a description."""

from __future__ import annotations

import re
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from latentloom.checks import UserError, check_choice

NUMBER = re.compile(r"^\d+\s*\.\s*(?=[^\W\d_])")  # 001.Black_footed_Albatross
SERIAL = re.compile(r"^\d+[\s._-]+(?=[^\W\d_])")  # 01_cat, where every class has a number
# Not in iPod or McDonald, which are words.
HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOWN = 5  # of the names that a message is about


def words_of(name: str) -> str:
    """A class name as words: without underscores, hyphens and leading number, camel case apart, 7 as seven.

    Capitals and other signs stay as they are.

    >>> [words_of(name) for name in ("001.Black_footed_Albatross", "goldenRetriever", "iPod", "7")]
    ['Black footed Albatross', 'golden Retriever', 'iPod', 'seven']
    >>> words_of("T-shirt/top")
    'T shirt/top'
    """
    spaced = HUMP.sub(" ", NUMBER.sub("", name.strip()))
    words = " ".join(re.split(r"[\s_-]+", spaced)).strip()
    return NUMERALS[int(words)] if re.fullmatch("[0-9]", words) else words


def texts_of(names: Sequence[str], descriptions: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What is read for each class: its description where there is one, else the words of its name.

    Numbers that all names begin with are left out, as in 01_cat, 02_dog, unless nothing else tells the
    names apart. No names, and texts that repeat or have no word, are refused; capitals tell no two
    apart, for most text models read none. Classes whose names do not do can be described.

    Args:
        names: of the classes, in their order.
        descriptions: from names, as they are or as words, to texts; classes may be missing.

    >>> texts_of(["01_cat", "02_dog"], {"dog": "a dog that barks"})
    ('cat', 'a dog that barks')
    """
    if not names:
        raise UserError("there are no class names to read; name the classes, or give vectors in a file")
    words = distinct_words(names)
    told: dict[int, str] = {}
    for name, text in (descriptions or {}).items():
        label = _described(name, names, words)
        if not text.strip():
            raise UserError(f"the description of {name!r} is empty; write one, or leave the class out")
        if label in told:
            raise UserError(f"the class {names[label]!r} is described twice; keep one description")
        told[label] = " ".join(text.split())
    texts = [told.get(label, word) for label, word in enumerate(words)]
    _check_texts(texts, names)
    return tuple(texts)


def distinct_words(names: Sequence[str]) -> list[str]:
    """The words of each name, less the numbers that all begin with where the rest tells them apart.

    >>> distinct_words(["01_cat", "02_dog"]), distinct_words(["3-wheeler", "4-wheeler"])
    (['cat', 'dog'], ['3 wheeler', '4 wheeler'])
    """
    return [words_of(name) for name in _without_serial(names)]


def read_descriptions(path: str | Path) -> dict[str, str]:
    """Descriptions by class name from a YAML file of lines `name: text`."""
    import yaml

    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no file of descriptions {path}; give a YAML file of lines `name: text`")
    try:
        # Everything is text to this loader: 7 and yes are names too.
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text; nested without end
        raise UserError(
            f"{path} is not YAML ({' '.join(str(error).split())}); write lines `name: text`"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise UserError(
            f"{path} must hold lines `name: text`, a text for each class, got {reprlib.repr(found)}"
        )
    return found


def _described(name: str, names: Sequence[str], words: Sequence[str]) -> int:
    """The number of the class that a description is of."""
    check_choice("class", name, {*names, *words})
    by_name, by_words = ([label for label, own in enumerate(of) if own == name] for of in (names, words))
    fitting = by_name or by_words
    if len(fitting) > 1:
        same = _some(names[label] for label in fitting)
        raise UserError(
            f"the description of {name!r} fits {len(fitting)} classes ({same}); write whole names"
        )
    return fitting[0]


def _without_serial(names: Sequence[str]) -> Sequence[str]:
    bare = [SERIAL.sub("", name.strip()) for name in names]
    numbered = len(names) > 1 and all(SERIAL.match(name.strip()) for name in names)
    return bare if numbered and len({words_of(name).casefold() for name in bare}) == len(names) else names


def _check_texts(texts: Sequence[str], names: Sequence[str]) -> None:
    """Refuse texts that are empty or stand for more than one class."""
    classes = defaultdict(list)
    for name, text in zip(names, texts, strict=True):
        classes[text.casefold()].append(name)
    if empty := [name for name, text in zip(names, texts, strict=True) if not any(map(str.isalnum, text))]:
        raise UserError(f"no words in the class names {_some(map(repr, empty))}; rename these classes")
    if repeated := [f"{text!r} ({', '.join(same)})" for text, same in classes.items() if len(same) > 1]:
        raise UserError(
            f"what stands for a class repeats: {_some(repeated)}; rename or describe these classes, or give "
            "vectors in a file"
        )


def _some(found: Iterable[str]) -> str:
    shown = list(found)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
