"""One page for a comparison: a single HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup

from latentloom.files import write_text
from latentloom.report import figures, generative, geometry
from latentloom.report.generative import Generated
from latentloom.report.maps import MapData
from latentloom.report.protocol import doubts, protocol
from latentloom.report.rows import Runs, summary
from latentloom.report.tables import NOTHING, digits, headings, times
from latentloom.report.weights import weight_areas, weight_legend

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


def write_page(
    path: Path,
    records_by_recipe: Runs,
    maps: Mapping[str, MapData],
    title: str,
    generated: Mapping[str, Generated] | None = None,
) -> None:
    """Write tables, curves, schedules, maps and protocol of a comparison as one file that works offline.

    Args:
        path: the HTML file; written whole or not at all.
        records_by_recipe: recipe -> its runs; the first recipe is what others are compared with.
        maps: recipe -> its map; recipes without one are left out of the maps.
        title: heading of the page; any text.
        generated: recipe -> what its decoder and its prior give, of those that have either.
    """
    scores = {
        name: None for records in records_by_recipe.values() for r in records for name in r.card.findings
    }
    rows = summary(records_by_recipe, list(scores))
    text = _template().render(
        title=title,
        rows=rows,
        headings=headings(rows),
        digits=digits,
        times=times,
        nothing=NOTHING,
        recipes=[(name, figures.recipe_colour(k)) for k, name in enumerate(records_by_recipe)],
        curves=_curves(records_by_recipe),
        **_classifiers(records_by_recipe),
        **_clusters(records_by_recipe),
        **_generated(generated or {}),
        captions=CAPTIONS,
        loss_parts=_all_json(generative.loss_parts(records_by_recipe)),
        weights=_all_json(weight_areas(records_by_recipe)),
        weight_legend=weight_legend(records_by_recipe),
        schedules={
            key: _json(figures.curves(records_by_recipe, key)) for key in figures.scheduled(records_by_recipe)
        },
        maps={name: (data, _json(figures.latent_map(data))) for name, data in maps.items()},
        protocol=protocol(records_by_recipe),
        doubts=doubts(records_by_recipe),
        plotly=Markup(plotly.offline.get_plotlyjs()),
    )
    write_text(path, text)


def _curves(runs: Runs) -> dict[str, Markup]:
    return _all_json({name: figures.curves(runs, key) for key, name in CURVES.items()})


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


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
