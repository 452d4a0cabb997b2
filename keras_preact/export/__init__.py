"""Export of trained networks."""


def __getattr__(name: str):
    if name != "export_saved_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here, because it needs TensorFlow, which other backends do without.
    from keras_preact.export.saved_model_tf import export_saved_model

    return export_saved_model


__all__ = ["export_saved_model"]
