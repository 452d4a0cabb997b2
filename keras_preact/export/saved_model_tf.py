"""TensorFlow's SavedModel: the network for TensorFlow Serving, with raw images as its input."""

import errno
import os
import pathlib
import tempfile
from collections.abc import Iterable

import keras
import tensorflow as tf

from keras_preact.data import Geometry
from keras_preact.errors import first_line
from keras_preact.export.fitting_tf import decoded, fit
from keras_preact.export.formats import Wish


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Iterable[str] | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Writes a SavedModel that takes raw images, in batches of any size.

    It has three signatures:

    - `serving_default` takes `images`, uint8 `(batch, h, w, c)`;
    - `serve_bytes` takes `images`, encoded JPEG or PNG files as strings `(batch,)`. They are read
      as they are stored and resized and cropped by the geometry; a network of any size without a
      geometry processes them one by one. A damaged file fails the batch;
    - `serve_features` takes `images` as `serving_default` does.

    The first two return `scores`, float32 `(batch, classes)`, and `label`, the name of the most
    likely class, a string `(batch,)`. The third returns `features`, float32, the input of the
    classifier. The class names are in `assets/classes.txt`, one per line.

    Args:
        model: A `keras.Model` that takes raw images with values from 0 to 255, `(batch, h, w, c)`,
            and whose last layer is its classifier.
        path: Folder to write.
        class_names: Class names in the order of the labels; by default the labels themselves.
        geometry: The network's `keras_preact.data.Geometry`; by default the one for its image size.

    Raises:
        OSError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_saved_model
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> export_saved_model(model, tempfile.mkdtemp() + "/saved_model")
    """
    shape, classes = model.input_shape, model.output_shape[-1]
    geometry = geometry or Geometry(None if None in shape[1:3] else shape[1:3])
    images = tf.TensorSpec(shape, tf.uint8, name="images")
    network = keras.Model(model.input, [model.output, model.layers[-1].input])

    @tf.function(input_signature=[images])  # traced once, for all signatures
    def run(images):
        scores, features = network(tf.cast(images, tf.float32), training=False)
        return tf.cast(scores, tf.float32), tf.cast(features, tf.float32)

    with tempfile.TemporaryDirectory() as folder:
        names = _table(folder, class_names or map(str, range(classes)))

        def answer(scores):
            return {"scores": scores, "label": names.lookup(tf.argmax(scores, axis=1))}

        def image_of(file):
            return fit(decoded(file, shape[3]), geometry)

        def serve_bytes(images):
            if geometry.size is None:
                one = lambda file: run(image_of(file)[None])[0][0]  # noqa: E731
                scores = tf.TensorSpec([classes], tf.float32)
                return answer(tf.map_fn(one, images, fn_output_signature=scores))
            pixels = tf.TensorSpec((*geometry.size, shape[3]), tf.uint8)
            return answer(run(tf.map_fn(image_of, images, fn_output_signature=pixels))[0])

        archive = keras.export.ExportArchive()
        archive.track(network)
        archive.track(names)
        files = tf.TensorSpec([None], tf.string, name="images")
        serve = lambda images: answer(run(images)[0])  # noqa: E731
        archive.add_endpoint("serving_default", serve, input_signature=[images])
        if shape[3] in (1, 3):  # the channels of image files
            archive.add_endpoint("serve_bytes", serve_bytes, input_signature=[files])
        features = lambda images: {"features": run(images)[1]}  # noqa: E731
        archive.add_endpoint("serve_features", features, input_signature=[images])
        _write(archive, path)


def write(model: keras.Model, path: str | os.PathLike, wish: Wish) -> None:
    """`export_saved_model`, as the table of formats calls it."""
    export_saved_model(model, path, wish.class_names, wish.geometry)


def _table(folder, class_names):
    """Class names by label, as a table that the SavedModel stores in a file of its own."""
    file = os.path.join(folder, "classes.txt")
    lines = [" ".join(str(name).splitlines()) for name in class_names]
    pathlib.Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = tf.lookup.TextFileInitializer(
        file,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
    )
    return tf.lookup.StaticHashTable(rows, default_value="")


def _write(archive, path):
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # TensorFlow says where it writes; so does the caller
    try:
        archive.write_out(str(pathlib.Path(path)), verbose=False)
    except tf.errors.OpError as error:  # a full disk is not an OSError here
        raise OSError(errno.EIO, first_line(error), str(path)) from error
    finally:
        logger.setLevel(level)
