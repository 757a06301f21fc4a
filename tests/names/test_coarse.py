"""Groups of classes: read, checked, written, and derived, against loops that share no thought with them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentloom.checks import UserError
from latentloom.names.coarse import CoarseMap, coarse_map, coarse_of, map_of, read_groups, write_groups
from latentloom.names.groups import derive_groups, groups_text, suggest_groups
from latentloom.values import ImageSet

NAMES = ("maple_tree", "Ray", "no", "7", "oak-tree", "shark")
GROUPS = {"trees": ["Maple Tree", "oak_tree"], "fish": ["shark", "ray"], "other": ["no", "7"]}
FINE = [0, 1, 2, 2, 0, 1]
Cost = Callable[[frozenset[int], frozenset[int]], float]  # of joining two groups


def written(folder: Path, text: str) -> str:
    (folder / "groups.yaml").write_text(text, encoding="utf-8")
    return str(folder / "groups.yaml")


# maps


def test_names_are_matched_as_words_whatever_their_case() -> None:
    groups = map_of(GROUPS, NAMES, "here")
    assert groups.names == ("trees", "fish", "other")
    assert groups.coarse_of.tolist() == FINE
    assert groups.coarse_of.dtype == torch.int64
    assert groups.members(NAMES) == {
        "trees": ["maple_tree", "oak-tree"],
        "fish": ["Ray", "shark"],
        "other": ["no", "7"],
    }


def test_a_serial_number_that_all_classes_have_may_be_left_out() -> None:
    names = ("01_cat", "02_dog", "03_oak tree")
    members = {"pets": ["cat", "02_dog"], "plants": ["Oak-Tree"]}
    assert map_of(members, names, "here").coarse_of.tolist() == [0, 0, 1]
    with pytest.raises(UserError, match="names what is no class: 1 class"):  # 3 is what tells it apart
        map_of({"x": ["wheeler"], "y": ["4-wheeler"]}, ("3-wheeler", "4-wheeler"), "here")


def test_a_file_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    groups = map_of(GROUPS, NAMES, "here")
    write_groups(Path("~/mine.yaml"), groups, NAMES)
    assert (tmp_path / "mine.yaml").exists()
    assert coarse_map("~/mine.yaml", "digits", NAMES).names == groups.names


def test_a_group_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = "pets: [cat]\nwild: [lion]\npets: [dog]\n"
    with pytest.raises(UserError, match="has the group 'pets' twice; put all its classes in one"):
        read_groups(Path(written(tmp_path, text)))


def test_coarse_labels_of_images() -> None:
    y = torch.tensor([5, -1, 0, 3, 3, -1])
    assert map_of(GROUPS, NAMES, "here").labels(y).tolist() == [1, -1, 0, 2, 2, -1]
    assert map_of(GROUPS, NAMES, "here").labels(y[:0]).tolist() == []


def test_a_file_names_groups_and_what_looks_like_a_number_or_a_truth_value_is_a_name(tmp_path: Path) -> None:
    text = "# mine\n1: [maple tree, oak tree]\nyes: [shark, ray]\nother:\n  - no\n  - 7\n"
    groups = coarse_map(written(tmp_path, text), "digits", NAMES)
    assert groups.names == ("1", "yes", "other")
    assert groups.coarse_of.tolist() == FINE


@pytest.mark.parametrize(
    ("groups", "complaint"),
    [
        ({**GROUPS, "fish": ["ray"]}, r"here has no group for 1 class \(shark\); name every class"),
        ({}, r"here has no group for 6 classes \(maple_tree, Ray, no, 7, oak-tree, ...\)"),
        (
            {**GROUPS, "fish": ["ray", "shark", "shrak"]},
            r"no class: 1 class \(shrak\); did you mean 'shark' by 'shrak'\?",
        ),
        ({**GROUPS, "x": ["wombat"]}, r"no class: 1 class \(wombat\); correct the names"),
        ({**GROUPS, "more": ["MAPLE tree"]}, "the class 'MAPLE tree' twice, first in 'trees'; keep one"),
        ({**GROUPS, "fish": ["ray", "shark", "Shark"]}, "the class 'Shark' twice, first in 'fish'"),
        ({**GROUPS, "none": []}, "no class in the group 'none'"),
    ],
)
def test_groups_that_are_not_a_map_of_the_classes(groups: dict[str, list[str]], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        map_of(groups, NAMES, "here")


def test_classes_that_read_alike_cannot_be_told_apart() -> None:
    with pytest.raises(UserError, match="the classes 'oak_tree' and 'Oak-tree' have the same name in words"):
        map_of({"trees": ["oak tree"]}, ["oak_tree", "Oak-tree"], "here")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fish: [ray", "are not YAML; .* line 1"),
        ("fish: ray", "holds something else than groups; write lines like"),
        ("- [ray, shark]", "holds something else than groups"),
        ("[" * 3000, "are not YAML"),
        ("", "holds something else than groups"),
        ("fish: [{ray: shark}]", "holds something else than groups"),
        ("trees: [maple tree]\nfish:\n", "no class in the group 'fish'"),
    ],
)
def test_files_that_hold_no_groups(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        coarse_map(written(tmp_path, text), "digits", NAMES)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the groups in .*nowhere\.yaml: No such file"):
        read_groups(tmp_path / "nowhere.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match="are not YAML"):
        read_groups(tmp_path / "bytes.yaml")


# the paper's maps


def packaged() -> dict[str, dict[str, list[str]]]:
    text = (files("latentloom.names") / "packaged" / "coarse-maps.json").read_text(encoding="utf-8")
    maps: dict[str, dict[str, list[str]]] = json.loads(text)["maps"]
    return maps


@pytest.mark.parametrize(
    ("dataset", "groups", "classes", "sizes"),
    [("cifar100", 20, 100, (5, 5)), ("cub200", 28, 200, (1, 30)), ("tinyimagenet", 28, 200, (2, 20))],
)
def test_the_papers_groups_have_their_published_sizes(
    dataset: str, groups: int, classes: int, sizes: tuple[int, int]
) -> None:
    members = packaged()[dataset]
    names = list(itertools.chain(*members.values()))
    counts = [len(each) for each in members.values()]
    assert (len(members), len(names), len(set(names))) == (groups, classes, classes)
    assert (min(counts), max(counts)) == sizes


@pytest.mark.parametrize("separator", ["_", " ", "-"])
@pytest.mark.parametrize("dataset", packaged())
def test_the_papers_map_finds_classes_in_any_writing_and_order(dataset: str, separator: str) -> None:
    group_of = {name: group for group, names in packaged()[dataset].items() for name in names}
    printed = sorted(group_of, key=lambda name: name[::-1])
    found = coarse_map("paper", dataset, [name.replace("-", separator) for name in printed])
    assert [found.names[group] for group in found.coarse_of.tolist()] == [group_of[name] for name in printed]


def test_birds_are_called_as_in_their_data_set() -> None:
    members = packaged()["cub200"]
    names = [f"{name.replace('-', '_')}" for each in members.values() for name in each]
    found = coarse_map("paper", "cub200", names)
    groups = {name: found.names[group] for name, group in zip(names, found.coarse_of.tolist(), strict=True)}
    assert groups["Black_footed_Albatross"] == "Large-Seabirds"
    assert groups["Baird_Sparrow"] == "Sparrows-Allies"
    assert "Swamp_Sparrow" not in groups


def test_the_papers_map_of_tiny_imagenet_does_not_fit_it() -> None:
    """What is printed there names neither pizza nor volleyball, and chitons, of which it has no image."""
    names = ["Egyptian cat", "reel", "volleyball", "pizza", "lemon", "school bus"]
    with pytest.raises(UserError, match=r"LARESA's map of tinyimagenet names what is no class: 199 classes"):
        coarse_map("paper", "tinyimagenet", names)


def test_the_paper_has_no_groups_of_other_data_sets() -> None:
    with pytest.raises(UserError, match="no groups of the classes of digits, only of cifar100, cub200, tiny"):
        coarse_map("paper", "digits", NAMES)


# from images


def images(y: list[int], coarse: list[int] | None, names: tuple[str, ...] = ()) -> ImageSet:
    pixels = torch.zeros(len(y), 1, 2, 2, dtype=torch.uint8)
    labels = None if coarse is None else torch.tensor(coarse)
    return ImageSet("made up", pixels, torch.tensor(y), tuple("abcd"), labels, coarse_names=names)


def test_groups_of_classes_are_read_from_images() -> None:
    found = coarse_of(images([3, 0, -1, 0, 2, 1, 3], [1, 0, 1, -1, 0, -1, 1]))
    assert found is not None
    assert found.tolist() == [0, -1, 0, 1]
    assert found.dtype == torch.int64
    assert coarse_of(images([0, 1], None)) is None


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4), st.lists(st.integers(-1, 3), max_size=30))
def test_images_that_a_map_labelled_give_the_map_back(of: list[int], y: list[int]) -> None:
    groups = CoarseMap(tuple("vwxyz"), torch.tensor(of))
    labelled = images(y, groups.labels(torch.tensor(y, dtype=torch.int64)).tolist())
    if not y:
        return
    found = coarse_of(labelled)
    assert found is not None
    assert found.tolist() == [group if label in y else -1 for label, group in enumerate(of)]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [((), r"of the class 'b' lie in 2 groups \(0, 2\)"), (("x", "y", "z"), r"'b' lie in 2 groups \(x, z\)")],
)
def test_a_class_in_two_groups_has_no_group(names: tuple[str, ...], complaint: str) -> None:
    for coarse in ([0, 2, 1, 0], [0, 0, 1, 2]):
        with pytest.raises(UserError, match=complaint):
            coarse_of(images([1, 1, 2, 1], coarse, names))


# derived


def clouds(classes: int, groups: int, seed: int, spread: float = 0.3) -> tuple[Tensor, list[int]]:
    g = torch.Generator().manual_seed(seed)
    kind = torch.randint(groups, (classes,), generator=g)
    kind[:groups] = torch.arange(groups)
    vectors = torch.randn(groups, 8, generator=g)[kind] + spread * torch.randn(classes, 8, generator=g)
    return vectors * (0.1 + torch.rand(classes, 1, generator=g)), kind.tolist()


def apart(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return 1 - float(a @ b / (a.norm() * b.norm()))


def within(vectors: Tensor, group: frozenset[int]) -> float:
    """Half the mean squared distance of a group's pairs, times its size: its sum of squares."""
    rows = [vectors[k].double() for k in group]
    return sum(float((a - b).square().sum()) for a in rows for b in rows) / (2 * len(rows))


def joined(vectors: Tensor, groups: int, cost: Cost | None = None) -> set[frozenset[int]]:
    """The two groups that cost least are joined, until there are so many: by trying all."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    ward = lambda a, b: within(unit, a | b) - within(unit, a) - within(unit, b)  # noqa: E731
    found = [frozenset([k]) for k in range(len(vectors))]
    while len(found) > groups:
        a, b = min(itertools.combinations(found, 2), key=lambda pair: (cost or ward)(*pair))
        found = [group for group in found if group not in (a, b)] + [a | b]
    return set(found)


def roundness(vectors: Tensor, partition: set[frozenset[int]]) -> float:
    """The mean silhouette from its definition; a class alone counts 0."""
    values = []
    for i, group in ((i, found) for found in partition if len(found) > 1 for i in found):
        own = np.mean([apart(vectors[i], vectors[j]) for j in group - {i}])
        rest = min(np.mean([apart(vectors[i], vectors[j]) for j in other]) for other in partition - {group})
        values.append((rest - own) / max(own, rest))
    return sum(values) / len(vectors)


def partition_of(groups: CoarseMap) -> set[frozenset[int]]:
    return {frozenset((groups.coarse_of == k).nonzero()[:, 0].tolist()) for k in range(len(groups.names))}


def names_of(n: int) -> list[str]:
    return [f"class {k:02}" for k in range(n)]


@pytest.mark.parametrize(("classes", "groups", "seed"), [(3, 2, 0), (7, 3, 1), (12, 4, 2), (12, 2, 3)])
def test_groups_are_those_of_joining_by_hand(classes: int, groups: int, seed: int) -> None:
    vectors, _ = clouds(classes, groups, seed, spread=1.0)
    by_hand = {k: joined(vectors, k) for k in range(2, classes)}
    derived = derive_groups(vectors, names_of(classes))
    expected = {k: roundness(vectors, partition) for k, partition in by_hand.items()}
    assert derived.silhouettes == pytest.approx(expected, abs=1e-9)
    best = max(expected, key=lambda k: expected[k])
    assert partition_of(derived.groups) == by_hand[best]
    for k, partition in by_hand.items():
        assert partition_of(derive_groups(vectors, names_of(classes), k).groups) == partition


def test_other_ways_of_joining_are_seen() -> None:
    vectors, _ = clouds(16, 4, 3, spread=1.5)

    def linkage(of: Callable[[list[float]], float]) -> Cost:
        return lambda a, b: of([apart(vectors[i], vectors[j]) for i in a for j in b])

    def raw(a: frozenset[int], b: frozenset[int]) -> float:
        return within(vectors, a | b) - within(vectors, a) - within(vectors, b)

    costs = {"single": linkage(min), "complete": linkage(max), "average": linkage(np.mean), "raw": raw}
    wrong = {name: joined(vectors, 4, cost) for name, cost in costs.items()}
    wrong["one group fewer"] = joined(vectors, 3)
    right = partition_of(derive_groups(vectors, names_of(16), 4).groups)
    assert {name for name, found in wrong.items() if found == right} == set()
    assert right == joined(vectors, 4)


def test_clouds_are_found_and_counted() -> None:
    vectors, kind = clouds(60, 7, 0, spread=0.2)
    derived = derive_groups(vectors, names_of(60))
    assert partition_of(derived.groups) == {frozenset(i for i in range(60) if kind[i] == k) for k in range(7)}
    assert list(derived.silhouettes) == list(range(2, 60))
    assert derived.silhouettes[7] == max(derived.silhouettes.values()) > 0.5


def test_groups_are_called_by_the_member_nearest_their_mean_and_in_the_order_of_their_first_classes() -> None:
    vectors, _ = clouds(30, 5, 4)
    names = names_of(30)
    groups = derive_groups(vectors, names).groups
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double()
    for name, members in groups.members(names).items():
        rows = [names.index(each) for each in members]
        to_mean = [float((unit[row] - unit[rows].mean(0)).norm()) for row in rows]
        assert name == members[int(np.argmin(to_mean))]
    firsts = [groups.coarse_of.tolist().index(k) for k in range(len(groups.names))]
    assert firsts == sorted(firsts)


def test_groups_depend_on_directions_alone_and_not_on_the_order_of_classes() -> None:
    vectors, _ = clouds(30, 5, 4)
    names = names_of(30)
    once = derive_groups(vectors, names)
    for other in (vectors.half(), vectors * 1e-6, vectors.clone().requires_grad_()):
        assert torch.equal(derive_groups(other, names).groups.coarse_of, once.groups.coarse_of)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    moved = derive_groups(vectors[order], [names[k] for k in order]).groups
    members = {name: set(each) for name, each in once.groups.members(names).items()}
    assert {k: set(v) for k, v in moved.members([names[k] for k in order]).items()} == members


def test_of_equal_silhouettes_the_fewest_groups_and_of_equal_members_the_first() -> None:
    corners = torch.eye(4)  # every cut has a silhouette of 0
    derived = derive_groups(corners, list("abcd"))
    assert set(derived.silhouettes.values()) == {0.0}
    assert len(derived.groups.names) == 2
    pairs = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    assert derive_groups(pairs, list("abcd"), 2).groups.names == ("a", "c")


@pytest.mark.parametrize(
    ("vectors", "names", "groups", "complaint"),
    [
        (torch.eye(2), "ab", None, "got 2 classes; wanted at least 3"),
        (torch.zeros(0, 4), "", None, "got 0 classes"),
        (torch.eye(4), "abcd", 1, "1 groups of 4 classes were asked for; wanted 2 to 3"),
        (torch.eye(4), "abcd", 4, "4 groups of 4 classes"),
        (torch.ones(4, 3), "abcd", None, "the vectors of all 4 classes are one"),
        (torch.eye(4), "abc", None, r"a row for each class, got torch.float32 \(4, 4\)"),
        (torch.ones(3), "abc", None, r"got torch.float32 \(3,\)"),
        (torch.diag(torch.tensor([1.0, 0.0, 1.0])), "abc", None, r"class 1 \(b\) is zero"),
        (torch.eye(3) * torch.nan, "abc", None, "NaN or infinite"),
    ],
)
def test_nothing_to_group(vectors: Tensor, names: str, groups: int | None, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        derive_groups(vectors, list(names), groups)


def test_what_is_shown_for_review() -> None:
    vectors, _ = clouds(60, 7, 0, spread=0.2)
    names = names_of(60)
    derived = derive_groups(vectors, names)
    text = groups_text(derived, names)
    lines = text.splitlines()
    assert lines[0] == str(derived) == f"7 groups of 60 classes, silhouette {derived.silhouettes[7]:.4f}"
    for name, members in derived.groups.members(names).items():
        assert f"{name}  {', '.join(members)}" in lines
    assert [line.split()[0] for line in lines if line.endswith("<")] == ["7"]
    counts = [int(line.split()[0]) for line in lines[lines.index("groups  silhouette") + 1 :]]
    assert counts == sorted(set(counts))
    assert {2, 7, 59} <= set(counts)
    assert len(counts) <= 17
    assert groups_text(derive_groups(torch.eye(3), list("abc")), list("abc")).endswith("0.0000   <")


# written


HARD_NAMES = ["no", "7", "a: b", "# c", "ä ö", "x" * 200, "'", "[", "T-shirt/top", "-"]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=len(HARD_NAMES), max_size=len(HARD_NAMES)))
def test_what_is_written_reads_as_the_same_map(
    tmp_path_factory: pytest.TempPathFactory, of: list[int]
) -> None:
    places = sorted(set(of), key=of.index)
    found = torch.tensor([places.index(group) for group in of])
    groups = CoarseMap(tuple(HARD_NAMES[of.index(group)] for group in places), found)
    path = tmp_path_factory.mktemp("groups") / "below" / "groups.yaml"
    write_groups(path, groups, HARD_NAMES, "two lines\nof comment")
    again = coarse_map(str(path), "digits", HARD_NAMES)
    assert again.names == groups.names
    assert torch.equal(again.coarse_of, groups.coarse_of)
    assert path.read_text(encoding="utf-8").startswith("# two lines\n# of comment\n")
    assert [entry.name for entry in path.parent.iterdir()] == ["groups.yaml"]


def test_derived_groups_can_be_written_edited_and_read(tmp_path: Path) -> None:
    vectors, _ = clouds(12, 3, 0)
    names, path = names_of(12), tmp_path / "groups.yaml"
    derived = derive_groups(vectors, names, 4)
    groups, shown = derived.groups, suggest_groups(vectors, names, path, 4)
    text = path.read_text(encoding="utf-8")
    assert shown.startswith(groups_text(derived, names))
    assert shown.splitlines()[-1].endswith(f"train with --data.coarse {path}")
    assert text.startswith(f"# {derived}\n# rename groups")
    path.write_text(text.replace(f"{groups.names[0]}:", "the first:", 1), encoding="utf-8")
    edited = coarse_map(str(path), "digits", names)
    assert edited.names == ("the first", *groups.names[1:])
    assert torch.equal(edited.coarse_of, groups.coarse_of)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = Path(written(tmp_path, "mine: [a]\n"))
    with pytest.raises(UserError, match="is there already, and may have been edited"):
        write_groups(path, map_of(GROUPS, NAMES, "here"), NAMES)
    assert path.read_text(encoding="utf-8") == "mine: [a]\n"


def test_what_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    groups = CoarseMap(("x", "y"), torch.tensor([0, 1, 0]))
    with pytest.raises(UserError, match="have the same name in words"):
        write_groups(tmp_path / "groups.yaml", groups, ["a", "b_c", "b c"])
    assert list(tmp_path.iterdir()) == []
