"""The names that Keras may look up for a model file: those that image classifiers are made of.

They are names, not modules: a module such as `keras.models` has functions that open further files.
Anything that is not listed is refused, even if it is harmless.
"""

#: Layers of Keras. Those whose vocabulary may be a path or a URL are not included.
LAYERS = (
    # inputs, preprocessing and augmentation
    "InputLayer", "CenterCrop", "Normalization", "Rescaling", "Resizing",
    "AutoContrast", "CutMix", "Equalization", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop",
    "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
    "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
    "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
    "Solarization",
    # with weights
    "BatchNormalization", "Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D",
    "EinsumDense", "Embedding", "GroupNormalization", "GroupQueryAttention",
    "LayerNormalization", "MultiHeadAttention", "PReLU", "RMSNormalization", "SeparableConv2D",
    # without
    "Activation", "ActivityRegularization", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D",
    "Add", "AlphaDropout", "Attention", "Average", "AveragePooling2D", "Concatenate", "Cropping2D",
    "Dot", "Dropout", "ELU", "Flatten", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "Identity", "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum",
    "Multiply", "Permute", "ReLU", "RepeatVector", "Reshape", "Softmax", "SpatialDropout2D",
    "Subtract", "UnitNormalization", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip

#: Activations: as functions, and as strings in a config.
ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold",
)  # fmt: skip

INITIALIZERS = (
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
    "IdentityInitializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal",
    "OrthogonalInitializer", "RandomNormal", "RandomUniform", "TruncatedNormal",
    "VarianceScaling", "Zeros",
)  # fmt: skip

#: The training setup in the file of a compiled model, which is not used.
LOSSES = (
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy", "CategoricalHinge",
    "CosineSimilarity", "Dice", "Hinge", "Huber", "KLDivergence", "LogCosh", "MeanAbsoluteError",
    "MeanSquaredError", "Poisson", "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky",
)  # fmt: skip
METRICS = (
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore",
    "FalseNegatives", "FalsePositives", "Hinge", "KLDivergence", "Mean", "MeanAbsoluteError",
    "MeanMetricWrapper", "MeanSquaredError", "Poisson", "Precision", "PrecisionAtRecall", "Recall",
    "RecallAtPrecision", "RootMeanSquaredError", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives",
    "TruePositives",
)  # fmt: skip
OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion",
    "LossScaleOptimizer", "Muon", "Nadam", "RMSprop", "SGD", "ScheduleFreeAdamW",
)  # fmt: skip
SCHEDULES = (
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
    "PiecewiseConstantDecay", "PolynomialDecay",
)  # fmt: skip

#: Functions of losses and metrics that a compiled model may name.
SCORES = (
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
    "categorical_focal_crossentropy", "categorical_hinge", "hinge", "huber", "kl_divergence",
    "log_cosh", "mean_absolute_error", "mean_squared_error", "poisson",
    "sparse_categorical_crossentropy", "squared_hinge",
)  # fmt: skip
ACCURACIES = (
    "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
)  # fmt: skip

#: Operations of a graph that are not layers, such as `x / 255.0`; none repeats its input.
NUMPY = (
    "Abs", "Absolute", "Add", "Amax", "Amin", "Average", "Clip", "Concatenate", "Cos", "Divide",
    "Exp", "ExpandDims", "Expm1", "Flip", "Floor", "GetItem", "Log", "Log10", "Log1p", "Log2",
    "Matmul", "Max", "Maximum", "Mean", "Min", "Minimum", "Moveaxis", "Multiply", "Negative",
    "Pad", "Power", "Prod", "Ravel", "Reciprocal", "Reshape", "Round", "Sign", "Sin", "Sqrt",
    "Square", "Squeeze", "Stack", "Std", "Subtract", "Sum", "Swapaxes", "Tanh", "Transpose",
    "TrueDivide", "Var",
)  # fmt: skip
NN = (
    "AdaptiveAveragePool", "AdaptiveMaxPool", "AveragePool", "Celu", "Elu", "Gelu", "Glu",
    "HardShrink", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid", "LogSoftmax",
    "MaxPool", "Normalize", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "SoftShrink", "Softmax",
    "Softplus", "Softsign", "SparsePlus", "SparseSigmoid", "Sparsemax", "Squareplus", "TanhShrink",
    "Threshold",
)  # fmt: skip

_MODELS = ("Model", "Sequential")
_POLICIES = (
    "DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "Int4DTypePolicy", "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy",
)  # fmt: skip

#: Classes, by the module that a config gives.
CLASSES: dict[str, tuple[str, ...]] = {
    "keras": (*_MODELS, "DTypePolicy", "FloatDTypePolicy"),
    "keras.models": _MODELS,
    "keras.src.models.functional": ("Functional",),
    "keras.src.models.sequential": ("Sequential",),
    "keras.dtype_policies": _POLICIES,
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": ("L1", "L1L2", "L2", "OrthogonalRegularizer"),
    "keras.constraints": ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
    "keras.losses": LOSSES,
    "keras.metrics": METRICS,
    "keras.optimizers": OPTIMIZERS,
    "keras.optimizers.schedules": SCHEDULES,
    "keras.quantizers": ("AbsMaxQuantizer", "Int4QuantizationConfig", "Int8QuantizationConfig"),
    "keras.src.ops.numpy": NUMPY,
    "keras.src.ops.nn": NN,
    "keras.src.ops.core": ("Cast",),
    "keras.src.ops.math": ("Logsumexp", "Rsqrt"),
    # Layers that two networks of keras.applications define themselves.
    "keras.src.applications.convnext": ("LayerScale",),
    "keras.src.applications.inception_resnet_v2": ("CustomScaleLayer",),
    "keras_preact.layers.batch_normalization": ("BatchNormalization",),
    "keras_preact.layers.conv2d": ("Conv2D",),
    "keras_preact.layers.prelu": ("PReLU",),
    "keras_preact.layers.repeat": ("Repeat",),
    "keras_preact.layers.scalar_affine": ("ScalarAffine",),
    "keras_preact.layers.spatial_pyramid_pooling": (
        "SlidingPyramidPooling", "SpatialPyramidPooling",
    ),
    "keras_preact.layers.standardized_conv": ("StandardizedConv2D",),
    "keras_preact.layers.stochastic_depth": ("StochasticDepth",),
    "keras_preact.training.optimizer": (
        "Adam", "Lamb", "Lion", "Nadam", "OneCycle", "RMSprop", "SGD",
    ),
}  # fmt: skip

#: Functions, by the module that a config gives; for "builtins" Keras looks in its own tables.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "keras.activations": ACTIVATIONS,
    "keras.losses": SCORES,
    "keras.metrics": (*SCORES, *ACCURACIES),
    "builtins": (*ACTIVATIONS, *SCORES, *ACCURACIES),
}

#: The class names that Keras writes for plain values. `__lambda__` is code, and `__typespec__`
#: looks up classes by another key; neither is allowed.
VALUES = ("__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")

#: Classes of Keras that run code, or read a file or a URL from their config.
UNSAFE = (
    "FlaxLayer", "HashedCrossing", "Hashing", "IntegerLookup", "JaxLayer", "Lambda",
    "StringLookup", "TFSMLayer", "TextVectorization", "TorchModuleWrapper",
)  # fmt: skip
