"""Plain nets: the same layers, no shortcuts (Deep Residual Learning, Table 2 and Figure 6)."""

from keras_preact.applications.families import cifar, imagenet

_PLAIN = {"placement": "original", "shortcut": "none"}

PlainNet18 = imagenet("PlainNet18", 18, 11_515_688, 1_794_805_760, **_PLAIN)
PlainNet34 = imagenet("PlainNet34", 34, 21_623_848, 3_644_493_824, **_PLAIN)
PlainNet20 = cifar("PlainNet20", 20, 269_722, 40_551_040, **_PLAIN)
PlainNet32 = cifar("PlainNet32", 32, 464_154, 68_862_592, **_PLAIN)
PlainNet44 = cifar("PlainNet44", 44, 658_586, 97_174_144, **_PLAIN)
PlainNet56 = cifar("PlainNet56", 56, 853_018, 125_485_696, **_PLAIN)
PlainNet110 = cifar("PlainNet110", 110, 1_727_962, 252_887_680, **_PLAIN)

__all__ = [
    "PlainNet18",
    "PlainNet20",
    "PlainNet32",
    "PlainNet34",
    "PlainNet44",
    "PlainNet56",
    "PlainNet110",
]
