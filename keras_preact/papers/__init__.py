"""The papers' tables as data, with functions to reproduce them and a figure."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "InitStudy": ".initialization",
        "Order": ".tables",
        "PaperRow": ".tables",
        "PaperTable": ".tables",
        "ReproduceConfig": ".plan",
        "Reproduction": ".reproduction",
        "Planned": ".schedule",
        "init_study": ".initialization",
        "paper_orders": ".tables",
        "paper_rows": ".tables",
        "paper_table": ".tables",
        "paper_tables": ".tables",
        "plot_study": ".plots",
        "reproduce": ".reproduction",
        "reproduce_plan": ".schedule",
        "reproduce_together": ".together",
        "time_plan": ".schedule",
        "reproduced_frame": ".results",
    },
)
