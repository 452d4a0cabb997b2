"""A map over an image: scaled to its size, and as colours."""

import numpy as np

#: Colours of evidence for a class, and against it.
FOR, AGAINST = (214, 39, 40), (31, 99, 180)

#: Opacity of the colour at the largest value of a map.
_MOST = 0.8


def scaled_map(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scales maps linearly between the centres of their cells; constant outside the outermost ones.

    If the new size is a multiple of the old one, the mean does not change.

    Args:
        grid: `[..., rows, columns]`.
        shape: Height and width.

    Returns:
        float32 `[..., height, width]`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.overlay import scaled_map
        >>> scaled_map(np.array([[0.0, 4.0]]), (1, 4))
        array([[0., 1., 3., 4.]], dtype=float32)
    """
    down, across = (_between(old, new) for old, new in zip(grid.shape[-2:], shape, strict=True))
    return (down @ grid.astype(np.float64) @ across.T).astype(np.float32)


def _between(old, new):
    """The matrix that interpolates `new` values from `old` ones."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(old)), 0)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlays a map in colours on a grey image: red for a class, blue against it.

    Args:
        image: uint8 `[h, w, 1 or 3]`.
        heat: A map of the same size, `[h, w]`; zero shows only the image, and the colour is
            strongest at the largest value.

    Returns:
        uint8 `[h, w, 3]`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.overlay import overlay
        >>> overlay(np.full((1, 2, 1), 100, "uint8"), np.array([[0.0, 1.0]])).tolist()
        [[[100, 100, 100], [191, 51, 52]]]
    """
    grey = image.mean(axis=2, keepdims=True)
    largest = np.abs(heat).max()
    share = (heat / largest if largest > 0 else heat * 0)[..., None]
    colour = np.where(share > 0, FOR, AGAINST)
    share = _MOST * np.abs(share)
    return np.rint((1 - share) * grey + share * colour).astype(np.uint8)
