"""What other collections' networks have other than ours, as fields of `ResNetConfig`."""

#: What turns `ResNet50` into the network of `keras.applications.ResNet50`, weight for weight.
KERAS_V1 = {
    "placement": "original",
    "conv_bias": "always",
    "norm_momentum": 0.99,
    "norm_epsilon": 1.001e-5,
}

#: The same for `ResNet50V2` and its kin.
KERAS_V2 = {
    "conv_bias": "without_norm",
    "stride_on": "3x3",
    "downsample_at": "last_unit",
    "subsample_shortcut": "max_pool",
    "first_unit_entry": "unit",
    "norm_momentum": 0.99,
    "norm_epsilon": 1.001e-5,
}

#: By name, for the catalogue of trained weights; the layout of a network is some of these. Those of
#: osmr/imgclsmob are read in tf2cv 0.0.18 (models/resnet*.py, models/preresnet*.py).
LAYOUTS = {
    "option_b": {"projection": "B"},
    "stride_on_3x3": {"stride_on": "3x3"},
    "entry_in_branch": {"first_unit_entry": "branch"},
    "entry_in_both": {"first_unit_entry": "both"},
    "keras_v1": KERAS_V1,
    "keras_v2": KERAS_V2,
}
