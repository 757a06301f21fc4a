"""Published tables run again, beside the print."""

from latentloom.reproduce.plan import trainable
from latentloom.reproduce.result import Comparison, Reproduction
from latentloom.reproduce.run import reproduce

__all__ = ["Comparison", "Reproduction", "reproduce", "trainable"]
