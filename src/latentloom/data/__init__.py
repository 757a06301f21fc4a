"""Images and labels: from the original files to the batches that a model is fed.

catalogue.load -> Splits -> Batches (shuffled, augmented), ordered (as they come)
"""

from latentloom.data.batches import Batches, ordered
from latentloom.data.catalogue import DATASETS, default_encoder, load
from latentloom.data.files import image_shape

__all__ = ["DATASETS", "Batches", "default_encoder", "image_shape", "load", "ordered"]
