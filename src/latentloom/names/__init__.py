"""What class names mean: texts for a text model, and unit vectors of what it reads."""

from latentloom.names.vectors import LabelVectors, centre, label_vectors, read_vectors, write_vectors
from latentloom.names.words import read_descriptions, texts_of, words_of

__all__ = [
    "LabelVectors",
    "centre",
    "label_vectors",
    "read_descriptions",
    "read_vectors",
    "texts_of",
    "words_of",
    "write_vectors",
]
