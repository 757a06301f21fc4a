"""Objectives: terms, their weights, their schedules."""

from latentloom.objective.objective import Objective, batch_counts, not_finite
from latentloom.objective.schedules import alpha_schedule, at, beta_schedule
from latentloom.objective.weighting import weighting_for

__all__ = [
    "Objective",
    "alpha_schedule",
    "at",
    "batch_counts",
    "beta_schedule",
    "not_finite",
    "weighting_for",
]
