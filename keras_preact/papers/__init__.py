"""What the papers show, as commands: a study each, from its trainings to table and picture."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "InitStudy": ".initialization",
        "init_study": ".initialization",
    },
)
