"""Export of trained networks; TensorFlow is imported only when it is needed."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Exported": ".artefacts",
        "export": ".artefacts",
        "export_litert": ".litert_tf",
        "export_onnx": ".onnx_tf",
        "export_openvino": ".openvino_tf",
        "export_saved_model": ".saved_model_tf",
        "push": ".hub",
    },
)
