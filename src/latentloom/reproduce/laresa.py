"""How the tables of LARESA (ICLR 2026 submission) are run again."""

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
    "cpu": Scale(images=10_000, test_images=None, epochs=10, seeds=3, cells="some"),
    "full": Scale(images=None, test_images=None, epochs=1_000, seeds=3, cells="all"),
}
CHANGES: Mapping[str, tuple[str, str]] = {}

# What the paper calls a thing -> what it is here. Images keep their size, but for CUB-200-2011, whose
# photographs have many: they are cropped to 224 pixels, ours from 256, which is not printed.
DATASETS = {
    "CIFAR-100": config.Data(name="cifar100", augment=["autoaugment", "crop", "flip"]),
    "CUB-200-2011": config.Data(
        name="cub200", size=224, resize=256, coarse="paper", augment=["autoaugment-imagenet", "flip"]
    ),
    "TinyImageNet": config.Data(
        name="tinyimagenet", augment=["autoaugment-imagenet", "resized-crop", "flip"]
    ),
}
WITHOUT_GROUPS = ("TinyImageNet",)  # the printed groups are of other classes
ENCODERS = {
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "ConvNeXt-S": "convnext_small",
    "ConvNeXt-B": "convnext_base",
    "C.NeXt-B": "convnext_base",
    "ConvNeXt-Base": "convnext_base",
    "ConvNeXt-L": "convnext_large",
    "ViT-Small": "vit_small_patch32",
    "ViT-Small-32": "vit_small_patch32",
    "ViT-Base": "vit_base_patch32",
    "ViT-Base-32": "vit_base_patch32",
    "ViT-Large": "vit_large_patch32",
    "ViT-Large-32": "vit_large_patch32",
}
RECIPES = {
    "ce": "laresa-ce-paper",
    "CE": "laresa-ce-paper",
    "ce+reg": "laresa-reg-paper",
    "ce+anchor": "laresa-anchor-paper",
    "ce+anchor+reg": "laresa-anchor-reg-paper",
    "ce+triplet": "laresa-triplet-paper",
    "ce+triplet+reg": "laresa-triplet-reg-paper",
    "ce+anchor+triplet": "laresa-anchor-triplet-paper",
    "ce+anchor+triplet+reg(full LARESA)": "laresa-paper",
    "LARESA": "laresa-paper",
}
NAMES: Mapping[str, str] = {
    "laresa-ce-paper": "CE",
    "laresa-reg-paper": "CE + reg",
    "laresa-anchor-paper": "CE + anchor",
    "laresa-anchor-reg-paper": "CE + anchor + reg",
    "laresa-triplet-paper": "CE + triplet",
    "laresa-triplet-reg-paper": "CE + triplet + reg",
    "laresa-anchor-triplet-paper": "CE + anchor + triplet",
    "laresa-paper": "LARESA",
}
SHORT = "ResNet50"  # the cells that short runs stand for, with this in place of the network:
SHORT_ENCODER, SHORT_CUB_SIZE = "small_cnn", 64
SCRATCH_LR, PRETRAINED_LR = 1e-3, 3e-4

PROTOCOL = """\
The paper's protocol: all training images train, half of the TEST images choose the epoch, and the other \
half are scored, at most 5,000, so that chance alone moves an accuracy by 0.6 points or more; one seed. \
Adam, learning rate 0.001 for ResNets from scratch and 0.0003 for ConvNeXts and ViTs from ImageNet \
weights, no schedule, up to 1,000 epochs, 100 without a better validation accuracy. Images of CIFAR-100 \
and TinyImageNet keep their 32 and 64 pixels: at 32 a ViT reads a single patch, and the last map of a \
ConvNeXt is 1 x 1.
Ours, where it states nothing: batch {batch}, halves with as many images of every class, AutoAugment by \
the policy of CIFAR-10 for CIFAR-100 and that of ImageNet for the others, a 3 x 3 stem for ResNets below \
64 pixels, ViT weights of ImageNet-21k and then 1k, the anchor loss, whose equation is lost, by the text \
around it. Pixels are standardised by the training images; there by ImageNet on CUB-200-2011, and by \
nothing that is listed for CIFAR-100. TinyImageNet has no groups here, for those printed name classes \
that it does not have: its anchors are names of classes alone, and it has no scores of groups.
Doubtful in print: learned weights move to whichever loss is smallest, so that cross-entropy fades and \
early stopping alone saves the accuracy; LARESA is the best of its ablations in 15 of 27 rows."""

GAINS = (
    "The table's gains of LARESA over CE, in points, are differences of two of its accuracies; they are not "
    "set beside ours."
)
GROUPS = (
    "silhouette: over groups of classes, by Euclidean distance, which is not printed; hit rate: of classes, "
    "at best 97.5 % on CUB-200-2011, where five are alone in their group, from centres of training latents; "
    "Spearman, Pearson: of Euclidean distances between the centres of groups and cosine distances between "
    "their names, neither of which is printed."
)


def _share(label: str, decimals: int, score: str, note: str) -> Measure:
    return Measure(label, decimals, lambda record: 100 * record.card.value(score), note)


def _of_groups(label: str, score: str) -> Measure:
    return Measure(label, 4, lambda record: record.card.value(score), GROUPS)


MEASURES = {
    "top1_accuracy_pct": _share("accuracy, %", 2, "accuracy", GAINS),
    "nn_hit_rate_pct": _share("hit rate, %", 2, "hit_rate", GROUPS),
    "silhouette_coarse": _of_groups("silhouette", "coarse_silhouette"),
    "spearman": _of_groups("Spearman", "coarse_spearman"),
    "pearson": _of_groups("Pearson", "coarse_pearson"),
    "epochs_to_peak_validation": Measure(
        "epochs",
        0,
        lambda record: record.best_epoch + 1,
        "epochs: until the best validation accuracy, that one included.",
    ),
}
NEED_GROUPS = tuple(metric for metric, measure in MEASURES.items() if measure.note == GROUPS)


def setting_of(row: Published) -> Setting | None:
    """The cell that a printed number belongs to: a network trained with some of the losses on a data set.

    None for gains, and for scores of groups on a data set without them.
    """
    groupless = row.dataset in WITHOUT_GROUPS and row.metric in NEED_GROUPS
    if row.metric not in MEASURES or groupless:
        return None
    return Setting(row.dataset, row.model, RECIPES[row.method], ())


def measure_of(row: Published) -> Measure:
    """The score that a printed number is of."""
    return MEASURES[row.metric]


def chosen(table: str, settings: Sequence[Setting], scale: Scale) -> list[Setting]:
    """All cells, those of the smallest ResNet, or of these the ends."""
    if scale.cells == "all":
        return list(settings)
    smallest = [s for s in settings if s.model == SHORT]
    return ends(smallest) if scale.cells == "ends" else smallest


def asked(setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
    """The run of a cell: the recipe of its losses as printed, on the network and images of the print.

    Of `data`, size, split, groups and augmentation give way to the paper's.
    """
    train, short = _recipe(setting.method), scale.cells != "all"
    encoder = SHORT_ENCODER if short else ENCODERS[setting.model]
    pretrained = encoder.startswith(("convnext", "vit"))
    return replace(
        train,
        data=_images(setting.dataset, scale, data),
        model=replace(train.model, encoder=encoder, pretrained=pretrained),
        training=replace(
            train.training,
            epochs=scale.epochs,
            lr=PRETRAINED_LR if pretrained else SCRATCH_LR,
            keep_latents=0,
            logger=False,
        ),
        seed=seed,
    )


def caveat(scale: str, data: config.Data) -> str:
    """How the protocol of a scale differs from that of the print."""
    warning = (
        "NOT COMPARABLE with the printed numbers: only scale full trains the printed networks. Here "
        f"{SHORT_ENCODER}, two convolutions, stands in for ResNet-50, birds have {SHORT_CUB_SIZE} pixels, "
        f"and epochs are {SCALES[scale].epochs} at most, where the print's best came after 100 to 320.\n"
    )
    return ("" if scale == "full" else warning) + PROTOCOL.format(batch=data.batch)


_recipe = cache(load_recipe)


def _images(dataset: str, scale: Scale, data: config.Data) -> config.Data:
    """The images of a data set as the paper fed them; birds smaller in short runs, which take hours else."""
    printed = DATASETS[dataset]
    smaller = scale.cells != "all" and printed.size is not None
    return replace(
        data,
        name=printed.name,
        limit=scale.images,
        test_limit=scale.test_images,
        split="paper",
        coarse=printed.coarse,
        size=SHORT_CUB_SIZE if smaller else printed.size,
        resize=None if smaller else printed.resize,
        augment=printed.augment,
    )
