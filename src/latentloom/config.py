"""What a user can ask for, as typed dataclasses; imports nothing heavy, so that --help is instant.

A recipe is a YAML file of the fields of `Train`; every field can be set from the command line by its
dotted name, e.g. `--objective.terms.latent_boost.options.beta 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Schedule:
    """A number that moves with progress p in [0, 1], the share of the epochs that are done.

    linear       start + (stop - start) * min(p / until, 1)
    exponential  stop + (start - stop) * exp(-p / until)
    step         start while p < until, then stop
    warmup       start + (stop - start) * (1 - cos(pi * min(p / until, 1))) / 2
    """

    kind: Literal["linear", "exponential", "step", "warmup"]
    start: float = 0.0
    stop: float = 1.0
    until: float = 1.0  # a share of the epochs, > 0
    minimum: float | None = None  # the value never falls below


# In this order: with float first, `k: 3` would become 3.0.
Number = bool | int | float | str | Schedule | None


@dataclass
class Term:
    """A loss in an objective."""

    weight: float | Schedule = 1.0
    options: dict[str, Number] = field(default_factory=dict)  # keyword arguments of the loss
    loss: str | None = None  # registered name; the key of the term unless given


@dataclass
class Objective:
    """Weighted terms.

    With `lam` L the terms that shape the latent space count L * weight, and cross_entropy counts
    (1 - L) * weight; without it every term counts its own weight. With `alpha` A the terms that read
    labels count (1 - A) * weight, and those that do not A * weight. A `weighting` other than fixed
    multiplies the weight of each term by one that moves with the losses.
    """

    terms: dict[str, Term] = field(default_factory=dict)
    lam: float | Schedule | None = None
    alpha: float | Schedule | None = None
    # Terms that read labels count in every step, in every second epoch, or in every second batch.
    alternate: Literal["never", "epoch", "batch"] = "never"
    weighting: Literal["fixed", "softmax", "floor", "frozen", "fixed_ce", "uncertainty", "random", "stch"] = (
        "fixed"
    )
    floor: float = 0.05  # of weighting floor: no weight falls below it; less than 1 / number of terms
    freeze_after: float = 0.1  # of weighting frozen: the share of the training that weights are learned in


@dataclass
class Data:
    """Which images, and how they are split and fed."""

    name: str = "digits"  # a name of `latentloom list data`, folder:PATH or npz:PATH
    root: str | None = None  # folder of the data sets; the variable LATENTLOOM_DATA unless given
    download: bool = False
    unverified: bool = False  # accept files whose md5 is not the known one
    skip_bad: bool = False  # leave out images that do not decode, counting them
    limit: int | None = None  # use only this many training images, stratified
    test_limit: int | None = None  # use only this many test images, stratified
    # Where validation images are from. train: a share of the training images; paper: as LARESA did, all
    # training images train, half of the test images validate, and the others test; both stratified.
    split: Literal["train", "paper"] = "train"
    validation: float = 0.1  # share of the training images, of split: train
    # Coarse labels. paper: LARESA's groups of classes; a path: those of a YAML file, group: [class, ...];
    # the data set's own, if any, unless given.
    coarse: str | None = None
    size: int | None = None  # images are resized and centre-cropped to size x size; files have a default
    resize: int | None = None  # the shorter side before the crop, >= size; size unless given
    # Of: crop, flip, resized-crop, autoaugment, autoaugment-imagenet.
    augment: list[str] = field(default_factory=list)
    batch: int = 128  # images in a step, of all processes together
    # Images of a class in a batch, which then holds batch / balanced classes; and from how many groups of the
    # coarse labels those are.
    balanced: int | None = None
    balanced_groups: int | None = None
    labels: int | float = 1.0  # of the training images: a number of labels to keep, or with a point a share
    stratified: bool = True  # labels are kept of every class alike
    labelled_batch: int | None = None  # rows a step of the losses that read labels; batch unless given
    workers: int = 2  # threads that decode the images of folders; small sets need none


@dataclass
class Prior:
    """What latents are wished to look like. With one, each image has a Gaussian in the latent space.

    unit       N(0, 1) in each dimension
    hypercube  equal Gaussians at the vertices of a hypercube
    sphere     equal Gaussians evenly spread on a sphere
    vamp       the Gaussians of learned pseudo-inputs, which start at training images
    fitted     a mixture fitted on the latents of another run
    """

    kind: Literal["none", "unit", "hypercube", "sphere", "vamp", "fitted"] = "none"
    components: int = 10  # of sphere, vamp and fitted
    logvar: float = -2.0  # log-variance in each dimension, of hypercube and sphere
    side: float = 2.0  # of the hypercube
    radius: float | None = None  # of the sphere; sqrt(d) unless given
    learned: bool = False  # the sphere is what means, variances and weights start at
    fresh: int | None = None  # pseudo-inputs encoded anew in a step; all unless given
    latents: str | None = None  # file that a fitted prior is fitted on: .parquet of a run, or .npy (n, d)


@dataclass
class Names:
    """Vectors of what the class names mean. With them latents have their length, by a linear projection."""

    source: str = "none"  # none; names; or a file of vectors, .npy or .safetensors, a row per class
    model: str | None = None  # that reads names of which the package has no vectors; all-MiniLM-L6-v2
    revision: str | None = None  # of that model
    descriptions: str | None = None  # a YAML file, class: text, read in place of names
    centred: bool = False  # less their mean, and of length 1 again
    learned_balance: bool = True  # of class and group, where the data have groups


@dataclass
class Model:
    """Encoder and what hangs on it."""

    encoder: str = "auto"  # a name of `latentloom list encoders`; auto follows the data
    # A classifier of your own in place of an encoder, module:function, called with the number of classes;
    # on the command line alone. z is what its layer gives, the logits are its own.
    function: str | None = None
    layer: str | int | list[str | int] | None = None  # of that classifier, one or several
    read: Literal["output", "input"] = "output"  # of the layer
    pool: Literal["mean", "max", "class_token", "flatten"] = "mean"  # what makes points of maps and tokens
    channels: Literal["first", "last"] | None = None  # of maps, where their shape does not tell
    latent_dim: int | None = None  # a linear projection where it differs from the encoder's own
    stem: Literal["auto", "small", "full"] = "auto"  # of a ResNet; auto is small below 64 pixels
    pretrained: bool = False  # start from ImageNet weights, which are downloaded
    weights: str | None = None  # a local file of weights to start from, .safetensors or .pth
    normalise: Literal["measured", "paper"] = (
        "measured"  # paper: constants of Moving Targets, as applied there
    )
    # A linear head, the nearest class embedding, or none: class centres and probes alone.
    classifier: Literal["linear", "euclidean", "cosine", "none"] = "linear"
    class_embeddings: bool = False  # one learned vector per class, read by the target losses
    # What they start at: a .npy or .safetensors file (C, d), or names, the label embeddings; else N(0, 1).
    embeddings_from: str | None = None
    embeddings_tied: bool = False  # they stay there but for one learned factor, and so are as far apart
    label_embeddings: Names = field(default_factory=Names)
    learned_centres: bool = False  # one learned point per class, read by the center loss
    decoder: str | None = None  # a name of `latentloom list decoders`
    pullback: bool = False  # give the decoder's metric at each point, for triplet with distance: pullback
    prior: Prior = field(default_factory=Prior)
    clusters: int = 1  # per class, for magnet and latent_boost; > 1 runs k-means every epoch


@dataclass
class Training:
    """How long and how fast."""

    epochs: int = 30
    lr: float = 1e-3
    heads_lr: float | None = None  # of class embeddings and learned centres; lr unless given
    weight_decay: float = 0.0
    plateau_factor: float = 0.2
    plateau_patience: int = 10
    stop_patience: int = 20
    monitor: str = "accuracy"  # a validation score
    select: Literal["best", "last"] = "best"  # last: no label of a validation image has a say in the run
    # Of the unlabelled training images, the share that learn as of the class of the nearest class centre.
    pseudo_labels: float | Schedule = 0.0
    pseudo_from: int = 1  # first epoch in which they do, from 0
    centres_sample: int = 2000  # training images whose class means classify validation images every epoch
    eval_after_first_epoch: bool = (
        False  # batch norm and dropout stay still, as the code of Moving Targets had it
    )
    precision: str = (
        "32-true"  # of networks, as Lightning names it: 16-mixed, bf16-mixed, 64-true; losses have 32
    )
    compile: bool = False  # networks by torch.compile; some tens of seconds at the start
    accelerator: str = "auto"
    devices: int = 1  # processes on each machine that train as one, each with a part of every batch
    num_nodes: int = 1  # machines
    # ddp saves a look at the graph in each step, and wants every parameter to be in the loss of every step.
    strategy: Literal["auto", "ddp"] = "auto"
    deterministic: bool = True
    checkpoint_steps: int | None = None  # also save in mid-epoch, every so many steps
    keep_latents: int = 5  # every so many epochs; 0 keeps none
    kept_latents: int = 1000  # validation images whose latents are kept
    # Where curves are also logged: true is tensorboard; mlflow and wandb come with the extra [track].
    logger: bool | Literal["tensorboard", "mlflow", "wandb"] = True


@dataclass
class Evaluation:
    """What the card is taken on."""

    split: Literal["validation", "test"] = "test"  # tune on validation; test is looked at once
    bootstrap: int = 1000  # resamples behind each interval
    probe_limit: int = 10_000  # training latents that probes are fitted on
    protocols: bool = False  # also fit four probes on all labels, and on those that were kept


@dataclass
class Train:
    """One run."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0
