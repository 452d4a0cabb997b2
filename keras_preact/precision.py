"""`choose_dtype`: float32, or mixed bfloat16 where the hardware supports it."""

import os
import re
from typing import Any, NamedTuple

import keras

from keras_preact.errors import ConfigError
from keras_preact.machine import cpu_flags

#: What says that a CPU multiplies matrices of bfloat16: without these units TensorFlow's bfloat16
#: convolutions are up to ten times slower than those of float32.
MATRIX_UNITS = "amx_bf16"

#: Environment variable that says what `"auto"` means, for this process and those that it starts.
DTYPE = "KERAS_PREACT_DTYPE"


class Choice(NamedTuple):
    """A dtype policy and why it was chosen.

    Attributes:
        policy: Name of a Keras dtype policy.
        reason: Why, in a few words.
    """

    policy: str
    reason: str


def choose_dtype(wanted: str = "auto") -> Choice:
    """The dtype policy to train with on this machine.

    Args:
        wanted: `"auto"`, or the name of a policy, which is then used.

    Returns:
        A `Choice`. For `"auto"`: the policy in the environment variable `KERAS_PREACT_DTYPE`, if
        set; else `"mixed_bfloat16"` on GPUs from compute capability 8.0 on (Ampere), on TPUs, and
        under TensorFlow on x86 processors with AMX; else `"float32"`.

    Raises:
        ConfigError: For a name that is not a dtype policy.

    Example:
        >>> from keras_preact import choose_dtype
        >>> choose_dtype("float32").reason
        'as requested'
        >>> choose_dtype().policy in ("float32", "mixed_bfloat16")
        True
    """
    if wanted != "auto":
        return Choice(dtype_policy(wanted).name, "as requested")
    if named := os.environ.get(DTYPE):
        return Choice(dtype_policy(named, DTYPE).name, f"set by {DTYPE}")
    device, capability = _device()
    backend = keras.backend.backend()
    if device == "tpu":
        return Choice("mixed_bfloat16", "a TPU computes in bfloat16")
    if device == "gpu":
        if capability is None:
            return Choice("float32", "the GPU does not say whether it computes in bfloat16")
        number = ".".join(map(str, capability))
        if capability >= (8, 0):
            return Choice("mixed_bfloat16", f"GPU of compute capability {number}, at least 8.0")
        return Choice("float32", f"GPU of compute capability {number}, below 8.0")
    if backend != "tensorflow":
        return Choice("float32", f"CPU under {backend}")
    if MATRIX_UNITS in cpu_flags():
        return Choice("mixed_bfloat16", f"the CPU has matrix units for it ({MATRIX_UNITS})")
    return Choice("float32", f"the CPU has no matrix units for bfloat16 ({MATRIX_UNITS})")


def serving_dtype(trained_in: str) -> Choice:
    """The dtype policy to classify images with on this machine.

    Args:
        trained_in: The policy that the network was trained in.

    Returns:
        A `Choice`: that policy; but float32 if it is a 16-bit policy that a CPU does not compute in
        natively, or that `KERAS_PREACT_DTYPE` does not name.

    Example:
        >>> from keras_preact.precision import serving_dtype
        >>> serving_dtype("float32")
        Choice(policy='float32', reason='as in training')
    """
    if trained_in == "float32" or (not os.environ.get(DTYPE) and _device()[0] != "cpu"):
        return Choice(trained_in, "as in training")
    here = choose_dtype()
    if dtype_policy(here.policy).compute_dtype == dtype_policy(trained_in).compute_dtype:
        return Choice(trained_in, "as in training")
    return Choice("float32", f"trained in {trained_in}; {here.reason}")


def dtype_policy(dtype: Any, name: str = "dtype") -> Any:
    """The Keras dtype policy for a name, a policy, or `None` (the global policy).

    Raises:
        ConfigError: For anything else; `name` is the name that the message uses.
    """
    try:
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    except (ValueError, TypeError):
        policy = None
    if policy is None or not keras.backend.is_float_dtype(policy.compute_dtype):
        expected = "None or a dtype policy, such as 'float32' or 'mixed_bfloat16'"
        raise ConfigError(f"`{name}` must be {expected}. Received: {name}={dtype!r}.")
    return policy


def _device():
    """`"cpu"`, `"gpu"` or `"tpu"`, and a GPU's compute capability or `None`."""
    find = {"tensorflow": _tensorflow_device, "jax": _jax_device, "torch": _torch_device}
    return find.get(keras.backend.backend(), lambda: ("cpu", None))()


def _tensorflow_device():
    from keras_preact.precision_tf import device

    return device()


def _jax_device():
    import jax

    device = jax.devices()[0]
    capability = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
    return device.platform, capability and tuple(map(int, capability.groups()))


def _torch_device():
    import torch

    if torch.cuda.is_available():
        return "gpu", torch.cuda.get_device_capability()
    return "cpu", None
