"""Networks, heads, and the contract model(x) -> Latent."""

from latentloom.encoders.attach import attach
from latentloom.encoders.decoders import DECODERS, build_decoder
from latentloom.encoders.gaussian import Gaussian, row_noise
from latentloom.encoders.heads import Centres, ClassEmbeddings, Linear, parameter_groups
from latentloom.encoders.model import Model, build_model
from latentloom.encoders.networks import ENCODERS, build_encoder
from latentloom.encoders.normalise import Standardise, measured_standardise, paper_standardise
from latentloom.encoders.semantic import LabelEmbeddings, uniform_noise
from latentloom.encoders.tap import layers

__all__ = [
    "DECODERS",
    "ENCODERS",
    "Centres",
    "ClassEmbeddings",
    "Gaussian",
    "LabelEmbeddings",
    "Linear",
    "Model",
    "Standardise",
    "attach",
    "build_decoder",
    "build_encoder",
    "build_model",
    "layers",
    "measured_standardise",
    "paper_standardise",
    "parameter_groups",
    "row_noise",
    "uniform_noise",
]
