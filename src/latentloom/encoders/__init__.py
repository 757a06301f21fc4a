"""Networks, heads, and the contract model(x) -> Latent."""

from latentloom.encoders.attach import attach
from latentloom.encoders.heads import Centres, Linear
from latentloom.encoders.model import Model, build_model
from latentloom.encoders.networks import ENCODERS, build_encoder

__all__ = ["ENCODERS", "Centres", "Linear", "Model", "attach", "build_encoder", "build_model"]
