"""Latents of whole splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from latentloom.files import atomically
from latentloom.latent.projection import principal
from latentloom.values import Latent

if TYPE_CHECKING:
    import pandas


@torch.no_grad()
def collect(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> Latent:
    """The latent of all batches in evaluation mode, float32 on the CPU; the model's mode is put back."""
    was_training = model.training
    model.eval()
    seen = [
        on_cpu(model(batch["x"]).with_samples(y=batch["y"], coarse=batch.get("coarse"))) for batch in batches
    ]
    model.train(was_training)
    return joined(seen)


def on_cpu(latent: Latent) -> Latent:
    """The same numbers without their graph, in CPU memory, float32 where they are floating."""
    return Latent(
        *({name: _plain(t) for name, t in part.items()} for part in (latent.samples, latent.shared))
    )


def joined(latents: Sequence[Latent]) -> Latent:
    """One latent of several batches, at least one, in their order."""
    names = latents[0].samples
    rows = {name: torch.cat([latent.samples[name] for latent in latents]) for name in names}
    return Latent(rows, latents[-1].shared)


def _plain(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value.float() if value.is_floating_point() else value


def write_parquet(path: Path, latent: Latent, split: str, class_names: Sequence[str] = ()) -> None:
    """Latents as a table that atlases and notebooks open as it is.

    The columns are z_0 ... z_{d-1}; latent, the same numbers as one list; map_x and map_y, places on a map
    by the two directions in which the latents vary most; y; predicted; where there are names, class and
    predicted_class, empty where unlabelled; and split. What no head predicts is left out.
    """
    import pandas

    table = pandas.DataFrame(latent.z.numpy(), columns=[f"z_{i}" for i in range(latent.z.shape[1])])
    table["latent"] = [*latent.z.numpy()]
    table["map_x"], table["map_y"] = flat_map(latent.z).numpy()
    labels = {"y": latent.y}
    if "logits" in latent:
        labels["predicted"] = latent.logits.argmax(1)
    for (name, label), words in zip(labels.items(), ("class", "predicted_class"), strict=False):
        table[name] = label.numpy()
        if class_names:
            table[words] = [class_names[row] if row >= 0 else "" for row in label.tolist()]
    table["split"] = split
    with atomically(path) as part:
        table.to_parquet(part, index=False)


def flat_map(z: Tensor) -> Tensor:
    """The first two principal coordinates of points (n, d) about their mean, (2, n); 0 where none is left."""
    points = z.double() - z.double().mean(0)
    first = principal(points, torch.ones(len(z), dtype=torch.bool), 1.0)[:, :2]
    return torch.nn.functional.pad((points @ first).T, (0, 0, 0, 2 - first.shape[1])).float()


def read_latents(path: Path) -> Tensor:
    """The points of a table that `write_parquet` wrote, or of a .npy file, (n, d) float32."""
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path, allow_pickle=False)).float()
    import pandas

    table = pandas.read_parquet(path)
    return torch.tensor(table[point_columns(table)].to_numpy(np.float32))


def point_columns(table: pandas.DataFrame) -> list[str]:
    """Names of the coordinates in a table of latents, z_0 ... z_{d-1}, by how many there are."""
    return [f"z_{k}" for k in range(sum(name.startswith("z_") for name in table.columns))]


def clusters_within_classes(z: Tensor, y: Tensor, clusters: int, seed: int) -> Tensor:
    """k-means inside each class: ids y * clusters + k, (n,); -1 where unlabelled.

    A class with fewer points than clusters has one cluster per point.
    """
    from sklearn.cluster import KMeans

    found = torch.full_like(y, -1)
    for label in sorted(set(y[y >= 0].tolist())):
        rows = (y == label).nonzero()[:, 0]
        means = KMeans(min(clusters, len(rows)), n_init=1, random_state=seed)
        assigned = means.fit_predict(z[rows].numpy().astype(np.float32))
        found[rows] = label * clusters + torch.as_tensor(assigned, dtype=found.dtype)
    return found
