"""Seeing inside: why residual networks train, measured on a network at hand."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Analysis": ".analyzer",
        "AnalyzeConfig": ".config",
        "Anatomy": ".anatomy",
        "Signals": ".signals",
        "analyze": ".analyzer",
        "chain": ".scalar_chain",
        "chain_in_words": ".scalar_chain",
        "deepen": ".identity_units",
        "dissect": ".anatomy",
        "gradient_propagation": ".gradients",
        "in_words": ".words",
        "initializer_variance": ".variance",
        "learned_slopes": ".rectifiers",
        "measure": ".analyzer",
        "plot_chain": ".layer_plots",
        "plot_equation_4": ".plots",
        "plot_equation_5": ".plots",
        "plot_gates": ".layer_plots",
        "plot_gradients": ".plots",
        "plot_rectifiers": ".layer_plots",
        "plot_responses": ".layer_plots",
        "plot_signals": ".plots",
        "plot_slopes": ".layer_plots",
        "plot_variance": ".layer_plots",
        "signal_propagation": ".signals",
        "summary": ".words",
        "variance_factors": ".variance",
    },
)
