"""How the tables of Moving Targets (2023) are run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from latentloom import config
from latentloom.published import Published
from latentloom.recipes import load_recipe
from latentloom.reproduce.study import Measure, Scale, Setting, ends

SCALES: Mapping[str, Scale] = {
    "smoke": Scale(images=1_000, test_images=1_000, epochs=1, seeds=1, cells="ends"),
    "cpu": Scale(images=10_000, test_images=None, epochs=5, seeds=3, cells="some"),
    "full": Scale(images=None, test_images=None, epochs=30, seeds=3, cells="all"),
}
CHANGES: Mapping[str, tuple[str, str]] = {}

# What the paper calls a thing -> what it is called here.
DATASETS = {
    "MNIST": "mnist",
    "Fashion-MNIST": "fashion-mnist",
    "KMNIST": "kmnist",
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
}
ENCODERS = {"ResNet18": "resnet18", "ResNet50": "resnet50", "ResNet101": "resnet101"}
RECIPES = {
    "euclidean": "euclidean-target-paper",
    "cosine": "cosine-target-paper",
    "class_proximity": "class-proximity-paper",
    "push_and_pull": "push-pull-paper",
    "pure_cross_entropy": "pure-resnet-paper",
}
CLASSIFIERS = {
    "nn_euclid_class_embeddings": ("embedding", "nearest_embedding_accuracy"),
    "nn_cosine_class_embeddings": ("embedding, cosine", "nearest_embedding_cosine_accuracy"),
    "nn_euclid_class_centres": ("centre", "nearest_centre_accuracy"),
    "nn_cosine_class_centres": ("centre, cosine", "nearest_centre_cosine_accuracy"),
    "linear_argmax": ("linear layer", "accuracy"),
}
NAMES: Mapping[str, str] = {
    "class_proximity": "proximity",
    "push_and_pull": "push and pull",
    "pure_cross_entropy": "pure",
}
NOTE = (
    "measures: accuracy in %, of the class embedding or class centre that is nearest, or of largest cosine; "
    "a class centre is the mean of the training latents of its class."
)


def setting_of(row: Published) -> Setting | None:
    """The cell that a printed number belongs to: a network trained with one loss on one data set."""
    loss, _, classifier = row.method.partition("/")
    if loss not in RECIPES or classifier not in CLASSIFIERS:
        return None
    return Setting(row.dataset, row.model, loss, _options(row.hyperparameters))


def measure_of(row: Published) -> Measure:
    """The accuracy of the classifier that a printed number is of."""
    label, score = CLASSIFIERS[row.method.partition("/")[2]]
    return Measure(label, 2, lambda record: 100 * record.card.value(score), NOTE)


def chosen(table: str, settings: Sequence[Setting], scale: Scale) -> list[Setting]:
    """All cells, those of the smallest network, or of these the ends."""
    if scale.cells == "all":
        return list(settings)
    smallest = [s for s in settings if s.model == "ResNet18"]
    return ends(smallest) if scale.cells == "ends" else smallest


def asked(setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
    """The run of a cell: the recipe of its loss as it was run, with the printed hyper-parameters.

    Of `data`, size, batch and augmentation give way to the paper's.
    """
    train = _recipe(RECIPES[setting.method])
    paper, options = train.data, dict(setting.options)
    d = options.get("d")
    return replace(
        train,
        data=replace(
            data,
            name=DATASETS[setting.dataset],
            limit=scale.images,
            test_limit=scale.test_images,
            size=paper.size,
            resize=paper.resize,
            batch=paper.batch,
            augment=paper.augment,
        ),
        model=replace(train.model, encoder=ENCODERS[setting.model], latent_dim=d if d is None else int(d)),
        objective=_with_r(train.objective, options.get("r")),
        training=replace(train.training, epochs=scale.epochs, lr=options["lr"], keep_latents=0, logger=False),
        seed=seed,
    )


def caveat(scale: str, data: config.Data) -> str:
    """How the protocol of a scale differs from that of the print."""
    if scale != "full":
        return (
            "NOT COMPARABLE with the printed numbers: only scale full has all images, 30 epochs and the "
            "networks of all three sizes."
        )
    return (
        "The printed numbers are optimistic: each is the best of 30 epochs on the TEST images, for each "
        "classifier apart, of a network trained on all training images. Ours are all of one epoch, that of "
        f"the best validation accuracy, with {100 * data.validation:g} % of the training images held out for "
        "it, and the test images are read once."
    )


_recipe = cache(load_recipe)


def _options(printed: str) -> tuple[tuple[str, float], ...]:
    """Learning rate, latent dimension and strength of the push, those that a cell has.

    >>> _options("lr=0.001;d=200;r_cp=-;r_pp=0.95;batch=100;max_epochs=30")
    (('lr', 0.001), ('d', 200.0), ('r', 0.95))
    """
    names = {"lr": "lr", "d": "d", "r_cp": "r", "r_pp": "r"}
    pairs = (part.split("=") for part in printed.split(";"))
    return tuple((names[name], float(value)) for name, value in pairs if name in names and value != "-")


def _with_r(objective: config.Objective, r: float | None) -> config.Objective:
    """The same objective, its term with that strength of the push where there is one."""
    if r is None:
        return objective
    terms = {name: replace(term, options={**term.options, "r": r}) for name, term in objective.terms.items()}
    return replace(objective, terms=terms)
