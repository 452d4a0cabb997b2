"""How residual networks are put together: placements, shortcuts, the unit, the network."""

from keras_preact.residual.complexity import count_multiply_adds
from keras_preact.residual.network import build_network
from keras_preact.residual.unit import residual_unit

__all__ = ["build_network", "count_multiply_adds", "residual_unit"]
