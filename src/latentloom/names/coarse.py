"""Coarse labels: which group each class belongs to, and where that is known from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.files import write_text
from latentloom.names.words import distinct_words, words_of
from latentloom.values import ImageSet

Members = Mapping[str, Sequence[str]]  # group -> names of its classes


@dataclass(frozen=True)
class CoarseMap:
    """The group of each class."""

    names: tuple[str, ...]  # of the groups, (G,)
    coarse_of: Tensor  # (C,) int64, the group of each class

    def labels(self, y: Tensor) -> Tensor:
        """Coarse labels (n,) of images with labels y (n,); -1 where unlabelled."""
        return torch.where(y >= 0, self.coarse_of[y.clamp_min(0)], -1)

    def members(self, class_names: Sequence[str]) -> dict[str, list[str]]:
        """The names of the classes of each group, both in their order."""
        numbers = self.coarse_of.tolist()
        return {
            name: [each for each, number in zip(class_names, numbers, strict=True) if number == group]
            for group, name in enumerate(self.names)
        }


def coarse_map(source: str, dataset: str, class_names: Sequence[str]) -> CoarseMap:
    """The groups of a data set's classes from a paper or a file.

    Names of classes are compared as words, whatever their case: "maple_tree" is "Maple-tree". Where all
    classes have a serial number, as in 01_cat, "cat" will do.

    Args:
        source: "paper" for the maps of LARESA (ICLR 2026 submission, Tables 4 to 6), or the path of a
            YAML file, `group: [class, class, ...]`. The paper's map of Tiny ImageNet is refused: about
            half of the classes that it names are not in that data set.
        dataset: its name in the catalogue, by which the paper's map is found.
        class_names: (C,).
    """
    if source == "paper":
        return map_of(_papers(dataset), class_names, f"LARESA's map of {dataset}")
    return map_of(read_groups(Path(source)), class_names, source)


def map_of(members: Members, class_names: Sequence[str], where: str) -> CoarseMap:
    """The map in which each group has these members; every class must be in one group.

    Args:
        members: names of the classes of each group.
        class_names: (C,).
        where: what an error calls the map.
    """
    label = _labels(class_names)
    _check_names(members, label, where)
    coarse_of = torch.full((len(class_names),), -1)
    for group, names in enumerate(members.values()):
        for name in names:
            _check_free(name, int(coarse_of[label[_key(name)]]), list(members), where)
            coarse_of[label[_key(name)]] = group
    if missing := [class_names[number] for number in (coarse_of < 0).nonzero()[:, 0].tolist()]:
        raise UserError(f"{where} has no group for {_listed(missing)}; name every class in one group")
    return CoarseMap(tuple(members), coarse_of)


def coarse_of(image_set: ImageSet) -> Tensor | None:
    """The group of each class, (C,) int64; None without coarse labels.

    What the set holds, or else by images that have both labels, with -1 for a class of which none has.
    Coarse labels must be of classes, not of images: an error where images of one class lie in two groups.
    """
    y, coarse = image_set.labels, image_set.coarse
    if image_set.coarse_of is not None or coarse is None:
        return image_set.coarse_of
    both = (y >= 0) & (coarse >= 0)
    groups = torch.full((len(image_set.class_names),), -1)
    groups[y[both]] = coarse[both]
    torn = y[both & (groups[y.clamp_min(0)] != coarse)]
    if len(torn):
        label = int(torn.min())
        found = sorted({*coarse[both & (y == label)].tolist()})
        known = image_set.coarse_names
        raise UserError(
            f"{image_set.name}: images of the class {image_set.class_names[label]!r} lie in {len(found)} "
            f"groups ({', '.join(known[group] if known else str(group) for group in found)}), wanted one for "
            "each class; correct the coarse labels, or give groups of classes as data.coarse"
        )
    return groups


def read_groups(path: Path) -> dict[str, list[str]]:
    """The members of each group from a YAML file, `group: [class, class, ...]`; all names are text."""
    import yaml

    path = path.expanduser()
    try:
        # The loader that takes nothing for a number or a truth value: a class may be called 0, or "no".
        content = path.read_bytes()
        tree, node = yaml.load(content, yaml.BaseLoader), yaml.compose(content, yaml.BaseLoader)
    except OSError as error:
        raise UserError(
            f"cannot read the groups in {path}: {error.strerror}; give 'paper' or a YAML file"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:  # the second where lists are nested without end
        raise UserError(f"the groups in {path} are not YAML; {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or not all(map(_is_list_of_names, tree.values())):
        raise UserError(f"{path} holds something else than groups; write lines like 'fish: [ray, shark]'")
    found = [key.value for key, _ in node.value] if node else []
    if twice := [group for group in tree if found.count(group) > 1]:
        raise UserError(f"{path} has the group {twice[0]!r} twice; put all its classes in one")
    return {group: names or [] for group, names in tree.items()}


def write_groups(path: Path, groups: CoarseMap, class_names: Sequence[str], note: str = "") -> None:
    """Write groups to a YAML file that can be edited and read again; a file that is there stays.

    Args:
        path: of the file.
        groups: of the classes.
        class_names: (C,).
        note: a line of comment at its head.
    """
    import yaml

    path = path.expanduser()
    if path.exists():
        raise UserError(
            f"{path} is there already, and may have been edited; give another path, or take it away"
        )
    comment = "".join(f"# {line}\n" for line in note.splitlines())
    tree = groups.members(class_names)
    map_of(tree, class_names, "what is to be written")  # what would not be read again is refused now
    write_text(path, comment + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100))


def _papers(dataset: str) -> Members:
    content = (files(__package__) / "packaged" / "coarse-maps.json").read_text(encoding="utf-8")
    maps: dict[str, Members] = json.loads(content)["maps"]
    if dataset not in maps:
        raise UserError(
            f"LARESA has no groups of the classes of {dataset}, only of {', '.join(maps)}; give a YAML file "
            "of groups as data.coarse"
        )
    return maps[dataset]


def _key(name: str) -> str:
    return words_of(name).lower()


def _labels(class_names: Sequence[str]) -> dict[str, int]:
    """The number of each class by what its name is compared with: all its words, or less a serial number."""
    label: dict[str, int] = {}
    for number, (name, words) in enumerate(zip(class_names, distinct_words(class_names), strict=True)):
        for key in (_key(name), words.lower()):
            first = label.setdefault(key, number)
            if first != number:
                raise UserError(
                    f"the classes {class_names[first]!r} and {name!r} have the same name in words; to be put "
                    "in groups, classes need names that differ"
                )
    return label


def _check_names(members: Members, label: Mapping[str, int], where: str) -> None:
    """Refuse a group without a class, and names of no class."""
    if empty := [group for group, names in members.items() if not names]:
        raise UserError(f"{where} has no class in the group {empty[0]!r}; name one, or take the group away")
    if strange := [name for names in members.values() for name in names if _key(name) not in label]:
        near = get_close_matches(_key(strange[0]), label, n=1)
        hint = f"did you mean {near[0]!r} by {strange[0]!r}?" if near else "correct the names"
        raise UserError(f"{where} names what is no class: {_listed(strange)}; {hint}")


def _check_free(name: str, group: int, groups: Sequence[str], where: str) -> None:
    if group >= 0:
        raise UserError(f"{where} names the class {name!r} twice, first in {groups[group]!r}; keep one")


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are.

    >>> _listed(list("abcdefg"))
    '7 classes (a, b, c, d, e, ...)'
    """
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({few})"


def _is_list_of_names(value: object) -> bool:
    return value == "" or (isinstance(value, list) and all(isinstance(name, str) for name in value))
