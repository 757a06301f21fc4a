"""Search for hyper-parameters: trials over a space of recipe fields, on Ray Tune."""

from latentloom.sweep.result import SweepResult
from latentloom.sweep.run import sweep
from latentloom.sweep.space import Axis, load_space, spaces
from latentloom.sweep.trial import Trial

__all__ = ["Axis", "SweepResult", "Trial", "load_space", "spaces", "sweep"]
