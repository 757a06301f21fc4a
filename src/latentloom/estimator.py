"""A classifier with a latent space, in the manner of scikit-learn: fit, predict, transform, score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.config import Model as ModelConfig
from latentloom.config import Schedule, Term
from latentloom.data import Batches
from latentloom.encoders import ENCODERS, Model, Standardise, build_encoder, build_model, parameter_groups
from latentloom.encoders.normalise import unit_range
from latentloom.evaluation import class_means
from latentloom.latent.geometry import nearness
from latentloom.losses import find_term
from latentloom.objective import Objective, not_finite
from latentloom.values import ImageSet, Latent

# What a term can read here; all else comes of decoders, priors, class names and groups.
READABLE = {"z", "y", "logits", "class_embeddings", "centres"}
AT_ONCE = 1000  # rows that are embedded together


# scikit-learn is not typed.
class LatentClassifier(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """An encoder and a classifier, trained on an objective; transform gives latents, predict gives classes.

    X is an array of features (n, d), or of images (n, h, w) or (n, c, h, w), uint8 or floating. Every
    feature of mlp, and every channel of images, is brought to mean 0 and deviation 1. The same X, y and
    parameters give the same model, on one machine with as many threads.

    Args:
        recipe: a name of `latentloom list recipes`, or a YAML file, whose objective and classifier are
            taken. One that needs a decoder, a prior or class names wants `latentloom train`.
        terms: name -> weight or `Term`, as `Objective` takes them, in place of a recipe.
        encoder: mlp, or for square images any name of `latentloom list encoders`.
        latent_dim: of the latents; the encoder's own unless given.
        epochs: passes over X.
        batch: rows of a step.
        lr: learning rate of Adam.
        random_state: of the first weights and of the order of the rows.
        device: that PyTorch computes on.

    Attributes:
        classes_: labels found in y, sorted, (C,).
        class_centres_: means of the training latents, (C, d); the nearest is predicted where the recipe
            has no classifier.
        loss_curve_: mean loss of each epoch.
        model_: the `Model`. In float64 after training, so that what is predicted for a row does not
            depend on the rows beside it.
        n_features_in_: length of the second axis of X.
    """

    def __init__(
        self,
        recipe: str = "latent-boost",
        *,
        terms: Mapping[str, float | Schedule | Term] | None = None,
        encoder: str = "mlp",
        latent_dim: int | None = None,
        epochs: int = 30,
        batch: int = 128,
        lr: float = 1e-3,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.terms = terms
        self.encoder = encoder
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> LatentClassifier:
        """Learn from X and its classes y (n,), numbers or names."""
        array, labels = validate_data(self, X, y, allow_nd=True)
        check_classification_targets(labels)
        if self.epochs < 1:
            raise UserError(f"epochs must be at least 1, got {self.epochs}")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        self._shape = array.shape[1:]
        x, target = self._images(array), torch.from_numpy(numbers)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            objective, asked = _asked(self.recipe, self.terms)
            model = _built(x, self.encoder, self.latent_dim, len(self.classes_), asked).to(self.device)
            images = ImageSet("", x, target, tuple(map(str, self.classes_)))
            batches = Batches(images, self.batch, seed, self.device)
            self.loss_curve_ = _trained(model, objective.to(self.device), batches, self.epochs, self.lr)
        self.model_ = model.double().eval()
        z = self._embedded(x).z
        self.class_centres_ = class_means(z, target, len(self.classes_)).numpy()
        self._n_features_out = z.shape[1]
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The latents of X, (n, d) float64."""
        return self._latent(X).z.numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most likely class of each row of X, (n,)."""
        likely = self.predict_proba(X).argmax(1)
        classes: np.ndarray = self.classes_[likely]
        return classes

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The softmax of the logits, (n, C); of minus the squared distance to each class centre without."""
        latent = self._latent(X)
        logits = latent.get("logits")
        if logits is None:
            logits = nearness(latent.z, torch.from_numpy(self.class_centres_), "euclidean")
        return logits.softmax(1).numpy()

    def _latent(self, X: ArrayLike) -> Latent:
        check_is_fitted(self)
        array = validate_data(self, X, allow_nd=True, reset=False)
        if array.shape[1:] != self._shape:
            raise UserError(f"a row of X has the shape {array.shape[1:]}, and had {self._shape} in fit")
        return self._embedded(self._images(array))

    @torch.no_grad()
    def _embedded(self, x: Tensor) -> Latent:
        parts = [self.model_(rows.to(self.device)).samples for rows in torch.split(x, AT_ONCE)]
        return Latent({name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]})

    def _images(self, array: np.ndarray) -> Tensor:
        """X as the encoder takes it, (n, c, h, w), uint8 or float32; of mlp every feature is a channel."""
        x = torch.tensor(array if array.dtype == np.uint8 else array.astype(np.float32))
        if self.encoder == "mlp":
            return x.flatten(1)[:, :, None, None]
        check_choice("encoder", self.encoder, ENCODERS)
        x = x.unsqueeze(1) if x.ndim == 3 else x
        if x.ndim != 4 or x.shape[2] != x.shape[3]:
            raise UserError(
                f"encoder {self.encoder!r} takes square images (n, h, w) or (n, c, h, w), got "
                f"{tuple(array.shape)}; choose mlp, or pad them"
            )
        return x


def _asked(recipe: str, terms: Mapping[str, float | Schedule | Term] | None) -> tuple[Objective, ModelConfig]:
    """The objective, and the heads that it needs."""
    if terms is None:
        from latentloom.recipes import load_recipe

        whole = load_recipe(recipe)
        objective, asked = Objective.from_config(whole.objective), whole.model
        _check_readable(objective)
        return objective, asked
    objective = Objective(terms)
    reads = _check_readable(objective)
    embeddings = "class_embeddings" in reads
    near: Any = "euclidean" if embeddings else "none"
    return objective, ModelConfig(
        classifier="linear" if "logits" in reads else near, class_embeddings=embeddings
    )


def _check_readable(objective: Objective) -> set[str]:
    """What the terms read; what there is not here is refused."""
    found: set[str] = set()
    for name, term in objective.terms.items():
        reads = {*find_term(term.loss or name).reads}
        if missing := sorted(reads - READABLE):
            raise UserError(
                f"term {name!r} reads {missing[0]!r}, which LatentClassifier does not have; choose another "
                "recipe, or train with `latentloom train`"
            )
        found |= reads
    return found


def _built(x: Tensor, encoder: str, latent_dim: int | None, classes: int, asked: ModelConfig) -> Model:
    d = latent_dim or ENCODERS[encoder].latent_dim
    if encoder == "mlp":
        own = ENCODERS[encoder].build(x.shape[1], 1)
        network = (
            own if latent_dim is None else nn.Sequential(own, nn.Linear(ENCODERS[encoder].latent_dim, d))
        )
    else:
        network = build_encoder(encoder, x.shape[1], x.shape[2], latent_dim)
    return build_model(
        network,
        latent_dim=d,
        classes=classes,
        standardise=_standardise(x),
        classifier=asked.classifier,
        class_embeddings=asked.class_embeddings,
        learned_centres=asked.learned_centres,
    )


def _standardise(x: Tensor) -> Standardise:
    """Mean 0 and deviation 1 in every channel; one that never changes becomes 0."""
    pixels = unit_range(x)
    std = pixels.std((0, 2, 3), correction=0)
    return Standardise(pixels.mean((0, 2, 3)), torch.where(std > 0, std, 1.0))


def _trained(model: Model, objective: Objective, batches: Batches, epochs: int, lr: float) -> list[float]:
    """Minimise the objective by Adam; the mean loss of each epoch."""
    learned = [*objective.parameters()]
    groups = [*parameter_groups(model), *([{"params": learned}] if learned else [])]
    adam = torch.optim.Adam(groups, lr=lr)
    model.train()
    curve = []
    for epoch in range(epochs):
        losses = []
        for batch in batches:
            latent = model(batch["x"]).with_samples(y=batch["y"])
            turn = batches.step - 1 if objective.alternate == "batch" else epoch
            breakdown = objective(latent, epoch / epochs, turn=turn)
            if not torch.isfinite(breakdown.total):
                names = ", ".join(not_finite(breakdown)) or "their sum"
                raise UserError(f"the loss is not finite in epoch {epoch}: {names}; lower lr, or scale X")
            adam.zero_grad()
            breakdown.total.backward()
            adam.step()
            losses.append(breakdown.total.item())
        curve.append(sum(losses) / len(losses))
    return curve
