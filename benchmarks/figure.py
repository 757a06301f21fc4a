"""The figure of the README: maps of two recipes of a comparison, as one HTML file to take a picture of.

python benchmarks/figure.py runs/fashion-mnist maps.html baseline latent-boost
chromium --headless --hide-scrollbars --window-size=1000,480 --screenshot=docs/maps.png maps.html
"""

from __future__ import annotations

import sys
from pathlib import Path

from plotly.subplots import make_subplots

from latentloom.records import load_record
from latentloom.report.comparison import maps_of
from latentloom.report.figures import latent_map


def main() -> None:
    folder, out, *recipes = sys.argv[1:]
    runs = {name: [load_record(Path(folder, name, "seed-0", "record.json"))] for name in recipes}
    maps = maps_of(runs, Path(folder))
    titles = [f"{name}: silhouette {runs[name][0].card.value('silhouette'):.2f}" for name in recipes]
    figure = make_subplots(1, len(recipes), subplot_titles=titles, horizontal_spacing=0.03)
    for column, name in enumerate(recipes, start=1):
        for trace in latent_map(maps[name]).data:
            figure.add_trace(trace.update(showlegend=False), row=1, col=column)
    figure.update_xaxes(visible=False).update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(
        template="plotly_white", width=1000, height=480, margin={"l": 5, "r": 5, "t": 40, "b": 5}
    )
    figure.write_html(out, include_plotlyjs=True, config={"displayModeBar": False})


if __name__ == "__main__":
    main()
