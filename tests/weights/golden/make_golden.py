"""Makes the files beside it: tiny networks of other libraries, and what these give for two images.

    python make_golden.py    # needs torch, torchvision, timm, transformers and keras_hub

Values are few and multiples of powers of two, which float16 holds as they are and which compress.
"""

import json
import pathlib
import tempfile
import zipfile

import keras
import keras_hub
import numpy as np
import timm
import torch
import torchvision
import transformers
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import resnet as timm_resnet
from timm.models.resnetv2 import ResNetV2
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

HERE = pathlib.Path(__file__).parent
IMAGES = np.random.default_rng(0).integers(-8, 9, (2, 33, 38, 3)).astype("float32") / 4
CLASSES = 5


def values(name, shape, random):
    """Values for a weight, by what it is called."""
    if name.endswith(("variance", "running_var", "gamma")) or (
        name.endswith("weight") and len(shape) == 1
    ):
        return random.choice([0.5, 0.75, 1.0, 1.25], shape)
    if len(shape) > 1:
        fan_in = np.prod(shape[:-1] if name.endswith("kernel") else shape[1:])
        return random.choice([-1, 0, 0, 0, 0, 0, 0, 1], shape) * 2 ** np.round(
            np.log2(np.sqrt(8 / fan_in))
        )
    return random.choice([-0.25, 0.0, 0.125, 0.25], shape)


def torchvision_net(block, **fields):
    net = torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=CLASSES, **fields)
    net.inplanes = 8
    net.conv1, net.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    net.layer1 = net._make_layer(block, 8, 1)
    net.layer2 = net._make_layer(block, 16, 2, stride=2)
    net.layer3 = net.layer4 = nn.Identity()
    net.fc = nn.Linear(16 * block.expansion, CLASSES)
    return net


def timm_d_net():
    net = timm_resnet.ResNet(
        timm_resnet.Bottleneck,
        layers=(1, 2),
        channels=(8, 16),
        num_classes=CLASSES,
        stem_type="deep",
        stem_width=4,
        avg_down=True,
    )
    net.layer3 = net.layer4 = nn.Identity()
    return net


def timm_net(basic, **fields):
    return ResNetV2(
        layers=(1, 2),
        channels=(8, 16) if basic else (32, 64),
        num_classes=CLASSES,
        stem_chs=8,
        basic=basic,
        conv_layer=create_conv2d,
        norm_layer=BatchNormAct2d,
        bottle_ratio=1.0 if basic else 0.25,
        **fields,
    )


def transformers_net(kind, **fields):
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16] if kind == "basic" else [32, 64],
        depths=[1, 2],
        layer_type=kind,
        num_labels=CLASSES,
        **fields,
    )
    return transformers.ResNetForImageClassification(config)


def keras_hub_net(block, preactivated):
    deep = block == "bottleneck_block_vd"
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[4, 4, 8] if deep else [64 if block == "basic_block" else 8],
        input_conv_kernel_sizes=[3, 3, 3] if deep else [3],
        stackwise_num_filters=[64, 4],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type=block,
        use_pre_activation=preactivated,
    )
    return keras_hub.models.ImageClassifier(backbone=backbone, num_classes=CLASSES)


def save_torch(name, net):
    random = np.random.default_rng(1)
    for key, tensor in net.state_dict().items():
        if tensor.ndim:
            tensor.copy_(torch.from_numpy(values(key, tuple(tensor.shape), random)))
    with torch.no_grad():
        outputs = net.eval()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)))
    outputs = getattr(outputs, "logits", outputs).numpy()
    arrays = {key: tensor.half().numpy() for key, tensor in net.state_dict().items()}
    np.savez_compressed(HERE / f"{name}.npz", outputs=outputs, **arrays)


def save_transformers(name, net):
    save_torch(name, net)
    known = ("model_type", "layer_type", "hidden_act", "downsample_in_first_stage",
             "downsample_in_bottleneck")  # fmt: skip
    about = {key: value for key, value in net.config.to_dict().items() if key in known}
    (HERE / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


def save_keras_hub(name, net):
    random = np.random.default_rng(1)
    for weight in net.weights:
        weight.assign(values(weight.path, tuple(weight.shape), random))
    with tempfile.TemporaryDirectory() as folder:
        net.save_to_preset(folder)
        np.save(f"{folder}/outputs.npy", net.predict(IMAGES, verbose=0))
        known = ("config.json", "model.weights.h5", "task.weights.h5", "outputs.npy")
        with zipfile.ZipFile(
            HERE / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as file:
            for part in known:
                file.write(f"{folder}/{part}", part)


if __name__ == "__main__":
    np.save(HERE / "images.npy", IMAGES.astype("float16"))
    save_torch("torchvision_basic", torchvision_net(BasicBlock))
    save_torch("torchvision_bottleneck", torchvision_net(Bottleneck))
    save_torch("torchvision_groups", torchvision_net(Bottleneck, groups=2, width_per_group=96))
    save_torch("timm_d", timm_d_net())
    save_torch("timm_v2_d", timm_net(basic=False, stem_type="deep", avg_down=True))
    save_torch("timm_v2_basic", timm_net(basic=True))
    save_torch("timm_v2_bottleneck", timm_net(basic=False))
    save_transformers("transformers_basic", transformers_net("basic"))
    save_transformers("transformers_bottleneck", transformers_net("bottleneck"))
    save_transformers(
        "transformers_stride_on_1x1",
        transformers_net("bottleneck", downsample_in_bottleneck=True),
    )
    for preactivated in (False, True):
        version = "_v2" if preactivated else ""
        save_keras_hub(f"keras_hub{version}_basic", keras_hub_net("basic_block", preactivated))
        save_keras_hub(
            f"keras_hub{version}_bottleneck", keras_hub_net("bottleneck_block", preactivated)
        )
    save_keras_hub("keras_hub_d", keras_hub_net("bottleneck_block_vd", False))
    for library in (torch, torchvision, timm, transformers, keras, keras_hub):
        print(library.__name__, library.__version__)
