"""What is measured: a function each from a `Spec` to a step that runs to its end when called."""

import functools
import importlib.util
import os
import re

import numpy as np

from benchmarks.augmenters import AUGMENTERS
from benchmarks.loaders import LOADERS


def _data(spec):
    """Random images as floats, labels, and what is known of the network if it is one of ours."""
    from keras_preact import list_models, model_info

    info = model_info(spec.model) if spec.model in list_models() else None
    size = spec.image_size or (info.input_shape[0] if info else 224)
    random = np.random.default_rng(0)
    x = random.random((spec.batch_size, size, size, 3), dtype="float32")
    return x, random.integers(0, info.classes if info else 1000, spec.batch_size), info


def _keras_step(model, spec, x, y):
    """A training step, or a prediction in a compiled graph, that waits for its result."""
    import keras

    if spec.train:
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(),
        )
        x, y = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
        return lambda: float(model.train_on_batch(x, y))
    x = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        predict = tf.function(lambda x: model(x, training=False))
        return lambda: np.asarray(predict(x))
    import jax

    trainable, fixed = model.trainable_variables, model.non_trainable_variables
    values = [v.value for v in trainable], [v.value for v in fixed]
    predict = jax.jit(lambda t, n, x: model.stateless_call(t, n, x, training=False)[0])
    return lambda: np.asarray(predict(*values, x))


def _network(spec, info, size):
    from keras_preact import create_model

    return create_model(
        spec.model,
        input_shape=(size, size, 3),
        dtype=spec.dtype,
        packaging=spec.packaging,
        recompute=spec.recompute,
        **spec.fields,
    )


def ours(spec, folds=True):
    """This package; for predictions norms are folded, and weights are constants."""
    x, y, info = _data(spec)
    model = _network(spec, info, x.shape[1])
    if folds and not spec.train:
        from keras_preact import fold_batch_norm

        model = fold_batch_norm(model, dtype=None)
    if spec.train:
        return _keras_step(model, spec, x, y)
    from keras_preact import predict_function

    predict = predict_function(model)
    return lambda: predict(x)


def stock(spec):
    """The same network in Keras's own layers."""
    import keras  # before this package, whose import would turn oneDNN on

    from keras_preact.residual import parts

    parts.BatchNormalization = keras.layers.BatchNormalization
    parts.PReLU = keras.layers.PReLU
    x, y, info = _data(spec)
    return _keras_step(_network(spec, info, x.shape[1]), spec, x, y)


def keras_applications(spec):
    """A network of `keras.applications`; in place of one of this package, `ResNet50V2`."""
    import keras  # before this package, whose import would turn oneDNN on

    x, y, info = _data(spec)
    keras.config.set_dtype_policy(spec.dtype)
    builder = getattr(keras.applications, "ResNet50V2" if info else spec.model)
    return _keras_step(builder(weights=None, input_shape=x.shape[1:]), spec, x, y)


def accelerated(spec):
    """A network of `keras.applications` through `accelerate`."""
    import keras

    from keras_preact import accelerate

    x, y, _ = _data(spec)
    keras.config.set_dtype_policy(spec.dtype)
    model = getattr(keras.applications, spec.model)(weights=None, input_shape=x.shape[1:])
    return _keras_step(accelerate(model), spec, x, y)


def _peer(spec, info):
    from benchmarks.torch_networks import preact_resnet

    return preact_resnet(info.config.replace(**spec.fields), info.classes)


def _timm(spec, info):
    import timm

    name = re.sub(r"resnet(\d+)v2", r"resnetv2_\1", spec.model)  # `resnet50` is theirs as well
    if not info or not timm.is_model(name):
        raise ValueError(f"timm has no {name!r}: beside it resnet50v2, resnet50 and their like.")
    return timm.create_model(name, num_classes=info.classes)


def _torch_step(spec, make=_peer, compiled=False):
    """A step in PyTorch: channels last, bfloat16 by autocast."""
    import torch

    x, y, info = _data(spec)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    network = make(spec, info).to(device=device, memory_format=torch.channels_last)
    x = torch.from_numpy(x.transpose(0, 3, 1, 2)).to(device, memory_format=torch.channels_last)
    y = torch.from_numpy(y).to(device)
    half = torch.autocast(device, torch.bfloat16, enabled=spec.dtype == "mixed_bfloat16")
    network.train(spec.train)
    run = torch.compile(network) if compiled else network
    if not spec.train:

        @torch.inference_mode()
        def predict():
            with half:
                return run(x).float().cpu()

        return predict
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        with half:
            loss = torch.nn.functional.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CONTENDERS = {
    "keras_preact": ours,
    "keras_preact, unfolded": functools.partial(ours, folds=False),
    "stock Keras": stock,
    "stock Keras, oneDNN": stock,
    "keras.applications": keras_applications,
    "keras.applications, oneDNN": keras_applications,
    "accelerated": accelerated,
    "PyTorch": _torch_step,
    "torch.compile": functools.partial(_torch_step, compiled=True),
    "timm": functools.partial(_torch_step, make=_timm),
    "timm, compiled": functools.partial(_torch_step, make=_timm, compiled=True),
    **LOADERS,
    **AUGMENTERS,
}


def fields_for(model, contenders, fields=None):
    """Fields of this package's network, in the layout of the library beside it."""
    from keras_preact.weights.layouts import KERAS_V2, TORCH_V1, TORCH_V2

    keras, timm = (
        any(name.startswith(library) for name in available(contenders))
        for library in ("keras.applications", "timm")
    )
    if keras and timm:
        raise ValueError("keras.applications and timm have networks of different layouts.")
    timms = TORCH_V2 if model.endswith("v2") else TORCH_V1
    return {**(fields or {}), **(KERAS_V2 if keras else timms if timm else {})}


def available(names):
    """Those of the contenders that this machine can run."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return [
        name
        for name in names
        if importlib.util.find_spec(backend if library(name) == "keras" else library(name))
    ]


def library(contender):
    """The library that a contender is built with; a process imports it before the clock starts."""
    of_their_own = {"timm": "timm", "tf.data": "tensorflow", "torchvision": "torchvision"}
    for name, package in of_their_own.items():
        if contender.startswith(name):
            return package
    return "torch" if "orch" in contender else "keras"
