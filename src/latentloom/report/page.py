"""One page for a comparison: a single HTML file that needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup

from latentloom.files import write_text
from latentloom.report import figures, generative, geometry
from latentloom.report.classes import class_figures, order_of_classes
from latentloom.report.configuration import configurations, differing
from latentloom.report.finished import DEFAULT, Latents, latents_of
from latentloom.report.generative import Generated, generated_of
from latentloom.report.matrices import distance_map, name_distances
from latentloom.report.progress import shown
from latentloom.report.protocol import doubts, protocol
from latentloom.report.rows import Runs, summary
from latentloom.report.tables import HEADLINE, NOTHING, digits, headings, times
from latentloom.report.weights import weight_areas, weight_legend

HERE = Path(__file__).parent
SCRIPTS = ("page.js", "map.js", "atlas.js", "choice.js")  # all but the first are of maps

CURVES = {
    "val/accuracy": "Validation accuracy",
    "val/silhouette": "Validation silhouette",
    "train/total": "Training loss, each recipe its own",
}
CAPTIONS = {
    "reconstructions": "Images above their reconstructions",
    "walk": "A walk from the first image to the last",
    "samples": "Samples from the prior",
}
COSINE = "Cosine to the own class centre, median"


def write_report(
    path: Path, runs: Runs, folders: Mapping[str, Path], projections: Sequence[str] = DEFAULT
) -> None:
    """Write the page of runs that have ended, with a bar on the terminal.

    Args:
        path: the HTML file.
        runs: recipe -> its runs.
        folders: recipe -> the folder of the first of them.
        projections: names of latentloom.report.projections.PROJECTIONS.
    """
    data = next(iter(runs.values()))[0].config["data"]["name"]
    title = f"{' · '.join(runs)} on {data}"
    with shown() as doing:
        latents = latents_of(runs, folders, projections, doing)
        doing("tables and curves", 1)
        write_page(path, runs, title, latents=latents, generated=generated_of(runs, folders))


def write_page(
    path: Path,
    runs: Runs,
    title: str,
    *,
    latents: Latents | None = None,
    generated: Mapping[str, Generated] | None = None,
) -> None:
    """Write tables, maps, curves, schedules and protocol of a comparison as one file that works offline.

    Args:
        path: the HTML file; written whole or not at all.
        runs: recipe -> its runs; the first recipe is what others are compared with.
        title: heading of the page; any text.
        latents: what the maps and the figures of classes are drawn from; they are left out without.
        generated: recipe -> what its decoder and its prior give, of those that have either.
    """
    text = _template().render(
        title=title,
        style=Markup(_read("page.css")),
        script=Markup("\n".join(map(_read, SCRIPTS if latents else SCRIPTS[:1]))),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        latents=latents,
        captions=CAPTIONS,
        **_scores(runs),
        **_classes(latents),
        **_over_epochs(runs),
        **_classifiers(runs),
        **_clusters(runs),
        **_generated(generated or {}),
        protocol=protocol(runs),
        doubts=doubts(runs),
        differing=differing(runs),
        configurations=configurations(runs),
    )
    write_text(path, text)


def _scores(runs: Runs) -> dict[str, object]:
    """For the tables: a row per recipe, and which scores are shown at once."""
    names = list(
        dict.fromkeys(name for records in runs.values() for r in records for name in r.card.findings)
    )
    rows = summary(runs, names)
    headline = [name for name in HEADLINE if name in names] or names
    return {
        "rows": rows,
        "headline": headline,
        "further": [name for name in names if name not in headline],
        "headings": headings(rows),
        "digits": digits,
        "times": times,
        "nothing": NOTHING,
    }


def _classes(latents: Latents | None) -> dict[str, object]:
    """For the section of the classes: per recipe its distances, confusions and sizes, beside names."""
    if latents is None:
        return {"classes": {}}
    order = order_of_classes(latents.final, latents.classes)
    names = None if latents.name_vectors is None else name_distances(latents.name_vectors)
    drawn = {
        recipe: class_figures(points, latents.classes, order, names)
        for recipe, points in latents.final.items()
    }
    return {
        "classes": {
            recipe: {
                "correlation": None if math.isnan(one.correlation) else one.correlation,
                "confusions": one.confusions,
                "distances": one.distances and _json(one.distances),
                "confusion": one.confusion and _json(one.confusion),
                "sizes": one.sizes and _json(one.sizes),
            }
            for recipe, one in drawn.items()
        },
        "name_distances": None if names is None else _json(distance_map(names, order)),
        "is_grouped": latents.classes.group_of is not None,
    }


def _over_epochs(runs: Runs) -> dict[str, object]:
    """For the curves, the parts of the loss, the weights and the schedules."""
    schedules = {key: figures.curves(runs, key) for key in figures.scheduled(runs)}
    return {
        "recipes": [(name, figures.recipe_colour(k)) for k, name in enumerate(runs)],
        "curves": _all_json({name: figures.curves(runs, key) for key, name in CURVES.items()}),
        "loss_parts": _all_json(generative.loss_parts(runs)),
        "weights": _all_json(weight_areas(runs)),
        "weight_legend": weight_legend(runs),
        "schedules": {key: _json(figure) for key, figure in schedules.items()},
    }


def _classifiers(runs: Runs) -> dict[str, object]:
    """For the section of the classifiers: its legend, curves per recipe, and bars."""
    found = geometry.classifiers(runs)
    return {
        "classifiers": [(style.name, style.colour) for style in found.values()],
        "classifier_curves": _all_json(geometry.classifier_curves(runs)),
        "best_epoch_bars": _json(geometry.best_epoch_bars(runs)),
    }


def _clusters(runs: Runs) -> dict[str, object]:
    """For the section of the clusters: curves over epochs, and size against distance where there are both."""
    path = geometry.size_against_distance(runs)
    cosines = {COSINE: figures.curves(runs, "val/centre_cosine")}
    return {
        "lengths": _all_json(geometry.length_curves(runs) | cosines),
        "size_against_distance": _json(path) if path.data else None,
    }


def _generated(found: Mapping[str, Generated]) -> dict[str, object]:
    """For the sections of the decoders and the priors: images per recipe, and latent planes."""
    planes = {
        name: generative.prior_plane(one.latents, one.pictures.means, one.pictures.logvars)
        for name, one in found.items()
        if one.latents is not None and len(one.pictures.means)
    }
    sheets = {name: generative.sheets(one.pictures) for name, one in found.items()}
    return {"sheets": {name: drawn for name, drawn in sheets.items() if drawn}, "planes": _all_json(planes)}


def _all_json(drawn: Mapping[str, go.Figure]) -> dict[str, Markup]:
    """The figures that show anything."""
    return {name: _json(figure) for name, figure in drawn.items() if figure.data}


def _json(figure: go.Figure) -> Markup:
    """A figure as JSON; Plotly escapes <, > and /, so that no text in it can end a script element."""
    return Markup(figure.to_json())


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
