"""`serve_bytes`: the pixels of `Geometry.fit`, of any image, in little memory."""

import io
import resource

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact.data import Geometry
from keras_preact.data.picture import Picture

pytestmark = pytest.mark.tensorflow

SIZES = [(1, 1), (1, 300), (300, 1), (2, 7), (33, 20), (20, 33), (24, 24), (31, 47), (47, 31),
         (60, 44), (97, 24), (113, 219), (219, 113), (250, 30), (30, 250)]  # fmt: skip


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), "uint8")


def photo(height, width):
    """Without pixels that are black or white, beside which the order of Pillow's passes counts."""
    coarse = Image.fromarray(noise(height // 12 + 2, width // 12 + 2) // 2 + 64)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.sample(16)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "shorter", "crop"),
    [
        (24, None, "center"),
        (24, 27, "center_floor"),
        ((20, 33), None, "center"),
        (33, None, "squash"),
        (24, 27, "squash"),
    ],
    ids=str,
)
def test_pixels_are_those_of_fit(size, shorter, crop, interpolation):
    import tensorflow as tf

    from keras_preact.export.fitting_tf import fit

    geometry = Geometry(size, shorter, interpolation, crop)
    images = [tf.TensorSpec([None, None, 3], tf.uint8)]
    serve = tf.function(lambda image: fit(image, geometry), images, autograph=False)
    for shape in SIZES:
        for image in (noise(*shape), photo(*shape)):
            if interpolation == "bicubic" and image.max() > 250:
                continue
            far = np.abs(serve(image).numpy().astype(int) - geometry.fit(Picture(image)))
            assert far.max() <= (0 if interpolation == "nearest" else 2), shape


def encoded(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def served(shape, geometry, files, folder):
    """Mean colours, and those that a SavedModel's `serve_bytes` gives."""
    import tensorflow as tf

    from keras_preact.export import export_saved_model

    images = keras.Input((*shape, 3))
    colour = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Softmax()(colour))
    export_saved_model(model, folder, None, geometry)
    loaded = tf.saved_model.load(str(folder))

    def serve(files):
        return loaded.signatures["serve_bytes"](images=tf.constant(files))["scores"].numpy()

    geometry = geometry or Geometry(None if None in shape else shape)
    fitted = [geometry.fit(Picture(file, 3)) for file in files]
    expected = [model(pixels[None].astype("float32"))[0].numpy() for pixels in fitted]
    np.testing.assert_allclose(serve(files), expected, atol=0.003)
    return serve


@pytest.mark.parametrize(
    ("shape", "geometry"),
    [
        ((8, 8), None),
        ((8, 12), None),
        ((None, None), Geometry(24, 27, "bicubic")),
        ((None, None), None),
    ],
    ids=str,
)
@pytest.mark.sample(4)
def test_images_of_unlike_sizes_are_served_together(shape, geometry, tmp_path):
    files = [encoded(photo(31, 47), "JPEG"), encoded(photo(60, 44), "PNG")]
    files += [encoded(photo(24, 24)[..., 0], "PNG")]
    served(shape, geometry, files, tmp_path / "model")


@pytest.mark.thorough
def test_a_long_image_needs_no_more_than_its_crop(tmp_path):
    """The whole of it, scaled, would have 12 GB."""
    serve = served((224, 224), None, [encoded(photo(31, 47), "PNG")], tmp_path / "model")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ((1, 20_000), (20_000, 1)):
        serve([encoded(photo(*shape), "PNG")])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB
