"""What a trained model is used for: latents and predictions of new images, and exports.

load -> Trained -> embed (Latent), predict (Predictions); embed_files for many; export for elsewhere
"""

from latentloom.inference.exporting import FORMATS, export
from latentloom.inference.images import ImageForm, image_paths
from latentloom.inference.loading import load
from latentloom.inference.memory import images_at_once
from latentloom.inference.predicting import Predictions, predictions
from latentloom.inference.tables import Outcome, embed_files, predict_files
from latentloom.inference.trained import Trained

__all__ = [
    "FORMATS",
    "ImageForm",
    "Outcome",
    "Predictions",
    "Trained",
    "embed_files",
    "export",
    "image_paths",
    "images_at_once",
    "load",
    "predict_files",
    "predictions",
]
