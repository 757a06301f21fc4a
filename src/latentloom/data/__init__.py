"""Images and labels: from the original files to the batches that a model is fed.

catalogue.load -> Splits -> Batches (shuffled, augmented), ordered (as they come)
keep_labels withholds labels; TwoStreams sets a class-balanced batch of the rest beside each of the Batches
"""

from latentloom.data.batches import Batches, ordered
from latentloom.data.catalogue import DATASETS, default_encoder, load
from latentloom.data.files import image_shape
from latentloom.data.labels import absent_classes, balanced_rows, class_rows, keep_labels
from latentloom.data.streams import TwoStreams

__all__ = [
    "DATASETS",
    "Batches",
    "TwoStreams",
    "absent_classes",
    "balanced_rows",
    "class_rows",
    "default_encoder",
    "image_shape",
    "keep_labels",
    "load",
    "ordered",
]
