"""`ScalarAffine`: one learned factor and one learned offset for a whole tensor."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class ScalarAffine(keras.layers.Layer):
    """y = s x + b with one learned number each, for networks without normalisation.

    With a factor that starts at 0, a residual branch adds nothing at first, and gradients reach
    every depth: SkipInit (De and Smith 2020, arXiv 2002.10444) and ReZero (Bachlechner et al. 2020,
    arXiv 2003.04887). Fixup (Zhang et al. 2019, arXiv 1901.09321) has a factor from 1 at the end of
    a branch, and an offset from 0 before each convolution and activation.

    Args:
        scale: Initial factor; `None` for no factor.
        bias: Initial offset; `None` for no offset.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor of any shape, a tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import ScalarAffine
        >>> layer = ScalarAffine(scale=0.5, bias=1.0)
        >>> np.asarray(layer(np.array([[2.0, 4.0]], "float32"))).tolist(), layer.count_params()
        ([[2.0, 3.0]], 2)
    """

    def __init__(self, scale: float | None = 1.0, bias: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self._starts = {"scale": scale, "bias": bias}
        self.scale: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        for name, start in self._starts.items():
            if start is not None:
                constant = keras.initializers.Constant(start)
                setattr(self, name, self.add_weight((), constant, name=name))

    def call(self, inputs: Any) -> Any:
        outputs = inputs if self.scale is None else inputs * self.scale
        return outputs if self.bias is None else outputs + self.bias

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._starts}
