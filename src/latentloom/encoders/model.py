"""The one contract between a model and all that follows: model(x) -> Latent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders.gaussian import Gaussian
from latentloom.encoders.heads import Centres, ClassEmbeddings, Linear, joined
from latentloom.encoders.normalise import Standardise, unit_range
from latentloom.encoders.semantic import LabelEmbeddings, label_embeddings_among, noise_of_names
from latentloom.latent.priors import Prior
from latentloom.latent.pullback import pullback_metric
from latentloom.values import Latent

Classifier = Literal["linear", "euclidean", "cosine", "none"]


class Model(nn.Module):
    """Images to a `Latent`: an encoder and what hangs on its end.

    Args:
        encoder: (n, c, h, w) -> (n, d), or a `Latent` with z and logits, as `attach` gives it.
        heads: modules (n, d) -> `Latent`.
        gaussian: makes of what the encoder ends in a Gaussian for each image, from which z is drawn.
        decoder: (n, d) -> images (n, c, h, w).
        pullback: also give, in training, the metric of the decoder at z: samples["pullback"], (n, d, d).
    """

    def __init__(
        self,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
        gaussian: Gaussian | None = None,
        decoder: nn.Module | None = None,
        pullback: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.gaussian = gaussian
        self.decoder = decoder
        self.pullback = pullback
        self.prior: Prior | None = None  # a module; one of pseudo-inputs is made with `posterior`

    def forward(
        self,
        x: Tensor,
        rows: Tensor | None = None,
        step: int = 0,
        *,
        generate: bool | None = None,
        pullback: bool = True,
    ) -> Latent:
        """The latent of images.

        Args:
            x: uint8, or floats in [0, 1], (n, c, h, w).
            rows: number of each image in its set, (n,); a Gaussian needs it in training. With them, and
                with label embeddings, there is samples["noise"], (n,), in evaluation too.
            step: batches seen before.
            generate: also give what a decoder and a prior make of z: samples["reconstruction"] beside the
                images themselves, samples["x"], in [0, 1]; and samples["log_prior"]. In training alone
                unless said.
            pullback: also give the metric of a model that has it; False spares the time.
        """
        latent = self._encoded(x)
        if self.gaussian is not None:
            latent = joined([latent, self.gaussian(latent.z, rows, step)])
        parts = [latent, *(head(latent.z) for head in self.heads.values())]
        parts.append(noise_of_names(self.label_embeddings, rows, step))
        if self.training if generate is None else generate:
            parts += self._generated(x, latent.z)
        if self.training and self.pullback and pullback:
            parts.append(Latent({"pullback": pullback_metric(self.decode, latent.z)}))
        return joined(parts)

    @property
    def label_embeddings(self) -> LabelEmbeddings | None:
        """The head that holds what the class names mean, if there is one."""
        return label_embeddings_among(self.heads.values())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the Gaussian of each image, (n, d) each."""
        if self.gaussian is None:
            raise UserError("the model gives points and no Gaussians; set --model.prior.kind")
        return self.gaussian.moments(self._encoded(x).z)

    def decode(self, z: Tensor) -> Tensor:
        """The images that points (n, d) stand for, as the decoder gives them, (n, c, h, w)."""
        if self.decoder is None:
            raise UserError("the model has no decoder; set --model.decoder")
        images: Tensor = self.decoder(z)
        return images

    def _encoded(self, x: Tensor) -> Latent:
        """What the encoder gives: z, and more where it is a model of the one contract itself."""
        given = self.encoder(x)
        return given if isinstance(given, Latent) else Latent({"z": given})

    def _generated(self, x: Tensor, z: Tensor) -> Iterator[Latent]:
        if self.decoder is not None:
            yield Latent({"reconstruction": self.decode(z), "x": unit_range(x)})
        if self.prior is not None:
            yield Latent({"log_prior": self.prior.log_prob(z)})


def build_model(
    encoder: nn.Module,
    *,
    latent_dim: int,
    classes: int,
    standardise: Standardise,
    classifier: Classifier = "linear",
    class_embeddings: Tensor | bool = False,
    tied: bool = False,
    learned_centres: bool = False,
    label_embeddings: LabelEmbeddings | None = None,
    gaussian: Gaussian | None = None,
    decoder: nn.Module | None = None,
    pullback: bool = False,
) -> Model:
    """An encoder, fed with images as they are, with its heads.

    Args:
        encoder: images (n, c, h, w) -> (n, latent_dim), or what the Gaussian takes; see `Model`.
        latent_dim: of z.
        classes: C.
        standardise: what images pass first.
        classifier: a linear head, the nearest class embedding, or none.
        class_embeddings: add a learned vector per class; a tensor (C, d) is what they start at.
        tied: class embeddings keep the shape that they start in, and one factor for all is learned.
        learned_centres: add one learned point per class.
        label_embeddings: what the class names mean.
        gaussian, decoder, pullback: as `Model` takes them.
    """
    if classifier in ("euclidean", "cosine") and class_embeddings is False:
        raise UserError(
            f"the classifier {classifier!r} takes the nearest class embedding, and the model has none; "
            "add --model.class_embeddings true"
        )
    heads: dict[str, nn.Module] = {}
    if classifier == "linear":
        heads["linear"] = Linear(latent_dim, classes)
    if class_embeddings is not False:
        start = class_embeddings if isinstance(class_embeddings, Tensor) else None
        by = classifier if classifier in ("euclidean", "cosine") else None
        heads["class_embeddings"] = ClassEmbeddings(latent_dim, classes, start, by, tied=tied)
    if learned_centres:
        heads["centres"] = Centres(latent_dim, classes)
    if label_embeddings is not None:
        heads["label_embeddings"] = label_embeddings
    # Channels last makes the convolutions of the small CNN nearly twice as fast on one core.
    whole = nn.Sequential(standardise, encoder).to(memory_format=torch.channels_last)
    return Model(whole, heads, gaussian, decoder, pullback)
