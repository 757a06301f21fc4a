"""Published tables run again, beside the print."""

from latentloom.reproduce.plan import SCALES, Scale, trainable
from latentloom.reproduce.result import Comparison, Reproduction
from latentloom.reproduce.run import reproduce

__all__ = ["SCALES", "Comparison", "Reproduction", "Scale", "reproduce", "trainable"]
