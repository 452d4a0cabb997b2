"""What TensorFlow computes on."""

import tensorflow as tf


def device() -> tuple[str, tuple[int, int] | None]:
    """`"gpu"`, `"tpu"` or `"cpu"`, and the first GPU's compute capability or `None`."""
    devices = tf.config.list_physical_devices("GPU")
    if devices:
        details = tf.config.experimental.get_device_details(devices[0])
        return "gpu", details.get("compute_capability")
    return ("tpu" if tf.config.list_physical_devices("TPU") else "cpu"), None
