"""Seeing inside: why residual networks train, measured on a network at hand."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Analysis": ".look",
        "AnalyzeConfig": ".config",
        "Anatomy": ".anatomy",
        "Signals": ".signals",
        "analyze": ".look",
        "chain": ".scalar_chain",
        "deepen": ".identity_units",
        "dissect": ".anatomy",
        "gradient_propagation": ".gradients",
        "in_words": ".words",
        "initializer_variance": ".variance",
        "learned_slopes": ".rectifiers",
        "measure": ".look",
        "plot_chain": ".plots",
        "plot_equation_4": ".plots",
        "plot_equation_5": ".plots",
        "plot_gates": ".plots",
        "plot_gradients": ".plots",
        "plot_rectifiers": ".plots",
        "plot_responses": ".plots",
        "plot_signals": ".plots",
        "plot_slopes": ".plots",
        "signal_propagation": ".signals",
        "summary": ".words",
        "variance_factors": ".variance",
    },
)
