"""Searches with KerasTuner; installed as `keras_preact.tuning`."""
