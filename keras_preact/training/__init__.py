"""Training: recipes, the optimiser, and the one path from a config to a run folder."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Logger": ".loggers",
        "RECIPES": ".cards",
        "Recipe": ".recipes",
        "Result": ".finish",
        "SGD": ".optimizer",
        "TrainConfig": ".config",
        "doctor": ".check",
        "dry_run": ".check",
        "freeze": ".fine_tune",
        "recipe_card": ".cards",
        "replace_head": ".fine_tune",
        "start_from": ".fine_tune",
        "train": ".trainer",
    },
)
