import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from latentloom.records import load_record
from latentloom.report.generative import Generated
from latentloom.report.geometry import CLASSIFIERS
from latentloom.report.maps import MapData
from latentloom.report.page import CAPTIONS, write_page, write_report
from latentloom.training.pictures import Pictures

NASTY = '<b>x</b></script><script>alert("x")</script>'


class Reader(HTMLParser):
    """Collects what a browser would load, show and run."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.shown, self.inside = [], [], [], []
        self.texts = {"script": [], "style": []}

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [
            value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag in self.texts:
            self.inside.append(tag)
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        if tag in self.texts:
            self.inside.pop()

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside[-1]][-1] += data
        else:
            self.shown.append(data)


@pytest.fixture
def page(make_record, tmp_path):
    """A page of three recipes, one with a name and a class that must be escaped, as read by a browser."""
    runs = {
        recipe: [
            make_record(
                recipe,
                seed,
                {"accuracy": 0.9 + 0.01 * k + 0.001 * seed * k, "-cluster_size": 3.0 - k * 0.9**seed},
                warnings=[NASTY] if k == 2 else [],
                **{"val/silhouette": (0.1, 0.2, 0.3), "train/total": (3.0, 2.0, 1.0)},
                **({"lambda": (0.5, 0.5, 0.5), "latent_boost.alpha": (1.0, 0.5, 0.0)} if k == 1 else {}),
            )
            for seed in range(3)
        ]
        for k, recipe in enumerate(("baseline", "latent-boost", NASTY))
    }
    write_page(tmp_path / "report.html", runs, f"Title {NASTY}")
    return read(tmp_path / "report.html")


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def texts(page):
    return [text.strip() for text in page.shown]


def figures_of(page):
    return [json.loads(script) for script in page.texts["script"] if script.startswith("{")]


def test_the_reader_sees_what_a_page_would_load():
    reader = Reader()
    reader.feed('<script src="https://a.b/c.js"></script><link href="//a.b/c.css"><p>text')
    assert (reader.loads, reader.shown) == (["https://a.b/c.js", "//a.b/c.css"], ["text"])


def test_a_page_loads_nothing(page):
    assert page.loads == []
    assert not {"link", "img", "iframe", "base"} & set(page.tags)
    (style,) = page.texts["style"]
    assert not re.search(r"url\(|@import", style)


def test_plotly_is_in_the_page_once(page):
    assert sum("plotly.js v" in script for script in page.texts["script"]) == 1
    assert sum(len(script) > 1_000_000 for script in page.texts["script"]) == 1


def test_every_recipe_score_and_verdict_is_shown(page):
    text = " ".join(" ".join(page.shown).split())
    for wanted in (
        "baseline", "latent-boost", NASTY, f"Title {NASTY}", f"{NASTY}, seed 0: {NASTY}",
        "accuracy ↑", "cluster_size ↓", "0.9000 ± 0.0000", "0.9110 ± 0.0010", "(+1.22 %)",
        "better", "Validation silhouette", "lambda", "latent_boost.alpha", "360 test images",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_names_cannot_become_elements(page):
    assert "b" not in page.tags
    assert not any(
        "alert" in script for script in page.texts["script"] if not script.lstrip().startswith("{")
    )


def test_figures_are_readable_and_escape_names_for_plotly(page):
    figures = figures_of(page)
    assert len(figures) == 3 + 2  # curves, schedules
    names = [trace.get("name") or "" for figure in figures for trace in figure["data"]]
    assert any("&lt;b&gt;x" in name for name in names)
    assert not any("<" in name for name in names)


@pytest.fixture(scope="module")
def mapped(left, tmp_path_factory):
    """A page with maps, of classes of which one must be escaped, as read by a browser."""
    path = tmp_path_factory.mktemp("mapped") / "report.html"
    write_report(
        path, {recipe: [load_record(f / "record.json")] for recipe, f in left.items()}, left, ["PCA"]
    )
    return read(path)


def test_a_page_with_maps_loads_nothing_either_and_has_no_element_of_a_name(mapped):
    assert mapped.loads == []
    assert "img" not in mapped.tags
    assert {"Latent maps", "Classes", "Taken for another most often", "Configuration"} <= set(texts(mapped))
    atlas = next(figure for figure in figures_of(mapped) if "views" in figure)
    assert any("<img" in name for name in atlas["classes"])  # as text of a script, and no element
    assert atlas["sprite"]["address"].startswith("data:image/webp;base64,")


def test_matrices_are_of_each_recipe_and_of_names_once(mapped):
    shown = texts(mapped)
    assert shown.count("Distances between centres") == shown.count("Confusions") == 2
    assert shown.count("Distances between names") == 1
    assert "rank correlation with names 1.00" not in shown
    traces = [trace for figure in figures_of(mapped) for trace in figure.get("data", [])]
    names = [name for trace in traces if trace["type"] == "heatmap" for name in trace["x"]]
    assert any("&lt;img" in name for name in names)
    assert not any("<" in name for name in names)


def test_a_page_without_maps_has_neither_their_section_nor_their_script(page):
    assert not {"Latent maps", "Classes"} & set(texts(page))
    assert not any("atlas" in script for script in page.texts["script"] if "plotly.js v" not in script)


def test_scores_that_matter_most_come_first_and_the_others_are_folded(page):
    shown = texts(page)
    assert "1 more score" in shown
    assert shown.index("accuracy ↑") < shown.index("1 more score") < shown.index("cluster_size ↓")


def test_configurations_are_shown(page):
    assert any("monitor: accuracy" in text for text in page.shown)


def test_classifiers_and_clusters_are_shown_where_runs_have_them(page, judged_runs, tmp_path):
    write_page(tmp_path / "judged.html", judged_runs, "Judged")
    judged = read(tmp_path / "judged.html")
    headings = {"Classifiers", "At the best epoch", "Clusters", "Cluster size against centre distance"}
    assert headings <= set(texts(judged))
    assert not headings & set(texts(page))
    figures = figures_of(judged)
    assert len(figures) == 1 + (3 + 1) + (3 + 1 + 1)  # accuracy; classifiers, bars; lengths, cosine, path
    assert not any("<" in (trace.get("name") or "") for figure in figures for trace in figure["data"])


def test_classifiers_have_a_legend_of_their_own(judged_runs, tmp_path):
    write_page(tmp_path / "judged.html", judged_runs, "Judged")
    shown = texts(read(tmp_path / "judged.html"))
    assert all(shown.count(style.name) == 1 for style in CLASSIFIERS.values())


def test_a_page_of_class_centres_without_lengths_has_no_clusters(make_record, tmp_path):
    columns = {"val/nearest_centre_accuracy": (0.4, 0.6, 0.5)}
    write_page(tmp_path / "judged.html", {"baseline": [make_record(**columns)]}, "Judged")
    shown = texts(read(tmp_path / "judged.html"))
    assert "Classifiers" in shown
    assert "Clusters" not in shown


def some_pictures(images=10, components=3):
    pixels = [np.zeros((n, 1, 8, 8), np.uint8) for n in (images, images, images, images)]
    return Pictures(*pixels, *np.zeros((2, components, 2)))


GENERATIVE = ["What the decoder makes of it", "Prior components", "Parts of the loss"]


def test_decoders_priors_and_parts_are_shown_where_runs_have_them(page, make_record, tmp_path):
    columns = {"train/reconstruction": (3.0, 2.0, 1.0), "train/kl": (0.5, 0.4, 0.3)}
    runs = {recipe: [make_record(recipe, **columns)] for recipe in ("baseline", "vae", NASTY)}
    plane = MapData(np.zeros((4, 2)), np.arange(4) % 2, ("cat", NASTY), seed=0)
    generated = {"vae": Generated(some_pictures(), None), NASTY: Generated(some_pictures(), plane)}
    write_page(tmp_path / "decoded.html", runs, "Decoded", generated=generated)
    shown = read(tmp_path / "decoded.html")
    assert [text for text in texts(shown) if text in GENERATIVE] == GENERATIVE
    assert not set(GENERATIVE) & set(texts(page))
    assert shown.tags.count("img") == len(shown.loads) == 2 * len(CAPTIONS)
    assert all(address.startswith("data:image/png;base64,") for address in shown.loads)
    assert len(figures_of(shown)) == 1 + 1 + 2  # accuracy; a plane; parts
    assert "b" not in shown.tags


def test_a_prior_without_a_decoder_has_a_plane_and_an_autoencoder_has_none(make_record, tmp_path):
    runs = {recipe: [make_record(recipe)] for recipe in ("prior", "autoencoder")}
    plane = MapData(np.zeros((4, 2)), np.arange(4) % 2, ("cat", "dog"), seed=0)
    for recipe, pictures in (
        ("prior", some_pictures(images=0)),
        ("autoencoder", some_pictures(components=0)),
    ):
        generated = {recipe: Generated(pictures, plane)}
        write_page(tmp_path / "one.html", {recipe: runs[recipe]}, "One", generated=generated)
        shown = [text for text in texts(read(tmp_path / "one.html")) if text in GENERATIVE]
        assert shown == [GENERATIVE[recipe == "prior"]]
