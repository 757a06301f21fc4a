"""A trained model in use: images in, latents and predictions out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.encoders import ClassEmbeddings, Model
from latentloom.inference.images import ImageForm, read_batches
from latentloom.inference.memory import images_at_once
from latentloom.inference.predicting import Predictions, centre_logits, predictions
from latentloom.latent.geometry import Metric
from latentloom.training.latents import joined, on_cpu
from latentloom.values import Latent

Pictures = Tensor | Sequence[str | Path]


@dataclass(frozen=True, eq=False)
class Trained:
    """A model in evaluation mode, with what its run knew of classes and images; see `load`."""

    model: Model
    form: ImageForm  # how images are prepared
    class_names: tuple[str, ...]  # C
    coarse_names: tuple[str, ...]  # of groups of classes; may be empty
    class_centres: Tensor  # (C, d), means of training latents, on the model's device; nan for none
    about: Mapping[str, Any]  # model.json

    @property
    def class_embeddings(self) -> Tensor | None:
        """The learned vector of each class, (C, d), if there is one."""
        head = self._class_head
        return None if head is None else head.places.detach()

    @property
    def label_embeddings(self) -> Tensor | None:
        """The vector of each class name, (C, d), of length 1, if there is one."""
        head = self.model.label_embeddings
        return None if head is None else head.vectors

    @cached_property
    def at_once(self) -> int:
        """How many images are embedded at a time; see `images_at_once`."""
        f, device = self.form, self.class_centres.device
        return images_at_once(self.model, torch.zeros(f.channels, f.size, f.size, device=device))

    def embed(self, images: Pictures, *, workers: int = 2) -> Latent:
        """The latent of images, float32 on the CPU: z, logits, and what the model has per class.

        The logits of a model without a head that gives any are minus the squared distances to the class
        centres.

        Args:
            images: uint8 (n, c, h, w), resized as the run did it; or floats in [0, 1] of the model's own
                size; or paths of files, each of which must decode.
            workers: threads that decode files.
        """
        if not len(images):
            raise UserError("wanted at least one image, got none")
        return joined([self.embed_batch(x) for x in self._batches(images, workers)])

    def predict(self, images: Pictures, *, workers: int = 2) -> Predictions:
        """The classes of images, taken as `embed` takes them."""
        return self.predictions(self.embed(images, workers=workers))

    def predictions(self, latent: Latent) -> Predictions:
        """What a latent of this model says of its images."""
        head = self._class_head
        metric: Metric = "euclidean" if head is None or head.classify is None else head.classify
        return predictions(latent, self.class_names, metric)

    @torch.no_grad()
    def embed_batch(self, images: Tensor) -> Latent:
        """The latent of images of the model's own form, (n, c, size, size), all at once."""
        latent: Latent = self.model(images.to(self.class_centres.device))
        if "logits" not in latent:
            latent = latent.with_samples(logits=centre_logits(latent.z, self.class_centres))
        return on_cpu(latent.with_shared(class_centres=self.class_centres))

    @property
    def _class_head(self) -> ClassEmbeddings | None:
        return next((head for head in self.model.heads.values() if isinstance(head, ClassEmbeddings)), None)

    def _batches(self, images: Pictures, workers: int) -> Iterator[Tensor]:
        if isinstance(images, Tensor):
            yield from torch.split(self.form.fitted(images), self.at_once)
            return
        paths = [str(path) for path in images]
        for read in read_batches(self.form, in_batches(paths, self.at_once), workers):
            if read.skipped:
                path, reason = read.skipped[0]
                raise UserError(f"{path} does not decode as an image ({reason}); leave it out")
            if read.images is not None:
                yield read.images


def in_batches(paths: Sequence[str], size: int) -> list[Sequence[str]]:
    """As few batches of at most `size` as there can be, of nearly the same length.

    >>> in_batches("abcde", 4)
    ['abc', 'de']
    """
    count = -(-len(paths) // size)
    ends = [-(-len(paths) * k // count) for k in range(count + 1)]
    return [paths[a:b] for a, b in pairwise(ends)]
