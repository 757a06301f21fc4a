"""Whether the classes lie on the components of a prior."""

from __future__ import annotations

from torch import Tensor

from latentloom.evaluation.protocols import agreement
from latentloom.latent.priors import LISTED, Prior
from latentloom.values import Finding


def component_findings(prior: Prior, z: Tensor, y: Tensor, *, split: str) -> dict[str, Finding]:
    """How well the components of a prior and the classes agree, as the line "component_ami" of a card.

    The adjusted mutual information of the component that each point most probably comes from, and its
    class: 1 where either tells the other, 0 by chance. With more components than classes it is below 1 even
    where each component holds one class alone.

    Args:
        prior: of the latents.
        z, y: latents (n, d) and labels (n,); unlabelled rows are left out.
        split: name of the one judged on.

    Returns:
        Nothing for a prior of one component or of more than 4,096, and without a labelled row.
    """
    judged = y >= 0
    if not 1 < prior.count <= LISTED or not judged.any():
        return {}
    _, value = agreement(y[judged], prior.most_responsible(z[judged]))
    said = (
        f"adjusted mutual information of a point's class and the most responsible of {prior.count:,} "
        f"components; {int(judged.sum()):,} images of {split}"
    )
    return {"component_ami": Finding(value, "higher", -1.0, 1.0, said)}
