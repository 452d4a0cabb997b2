"""What to cite for a network and its training, as BibTeX."""

import textwrap
from typing import Any

#: The works that this package implements: key, then the fields of an entry.
WORKS = {
    "he2015rectifiers": (
        "inproceedings",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet "
        "Classification",
        "IEEE International Conference on Computer Vision (ICCV)",
        2015,
    ),
    "he2014spatial": (
        "inproceedings",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition",
        "European Conference on Computer Vision (ECCV)",
        2014,
    ),
    "he2016residual": (
        "inproceedings",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Deep Residual Learning for Image Recognition",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2016,
    ),
    "he2016identity": (
        "inproceedings",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Identity Mappings in Deep Residual Networks",
        "European Conference on Computer Vision (ECCV)",
        2016,
    ),
    "ioffe2015batch": (
        "inproceedings",
        "Ioffe, Sergey and Szegedy, Christian",
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate "
        "Shift",
        "International Conference on Machine Learning (ICML)",
        2015,
    ),
    "han2017pyramidal": (
        "inproceedings",
        "Han, Dongyoon and Kim, Jiwhan and Kim, Junmo",
        "Deep Pyramidal Residual Networks",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2017,
    ),
    "zagoruyko2016wide": (
        "inproceedings",
        "Zagoruyko, Sergey and Komodakis, Nikos",
        "Wide Residual Networks",
        "British Machine Vision Conference (BMVC)",
        2016,
    ),
    "xie2017aggregated": (
        "inproceedings",
        "Xie, Saining and Girshick, Ross and Doll{\\'a}r, Piotr and Tu, Zhuowen and He, Kaiming",
        "Aggregated Residual Transformations for Deep Neural Networks",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2017,
    ),
    "he2019bag": (
        "inproceedings",
        "He, Tong and Zhang, Zhi and Zhang, Hang and Zhang, Zhongyue and Xie, Junyuan and Li, Mu",
        "Bag of Tricks for Image Classification with Convolutional Neural Networks",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2019,
    ),
    "huang2016deep": (
        "inproceedings",
        "Huang, Gao and Sun, Yu and Liu, Zhuang and Sedra, Daniel and Weinberger, Kilian Q.",
        "Deep Networks with Stochastic Depth",
        "European Conference on Computer Vision (ECCV)",
        2016,
    ),
    "goyal2017accurate": (
        "misc",
        "Goyal, Priya and Dollár, Piotr and Girshick, Ross and Noordhuis, Pieter and Wesolowski, "
        "Lukasz and Kyrola, Aapo and Tulloch, Andrew and Jia, Yangqing and He, Kaiming",
        "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
        "arXiv:1706.02677",
        2017,
    ),
    "de2020batch": (
        "inproceedings",
        "De, Soham and Smith, Samuel L.",
        "Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks",
        "Advances in Neural Information Processing Systems (NeurIPS)",
        2020,
    ),
    "bachlechner2021rezero": (
        "inproceedings",
        "Bachlechner, Thomas and Majumder, Bodhisattwa Prasad and Mao, Henry and Cottrell, "
        "Garrison and McAuley, Julian",
        "ReZero is All You Need: Fast Convergence at Large Depth",
        "Uncertainty in Artificial Intelligence (UAI)",
        2021,
    ),
    "zhang2019fixup": (
        "inproceedings",
        "Zhang, Hongyi and Dauphin, Yann N. and Ma, Tengyu",
        "Fixup Initialization: Residual Learning Without Normalization",
        "International Conference on Learning Representations (ICLR)",
        2019,
    ),
    "wu2018group": (
        "inproceedings",
        "Wu, Yuxin and He, Kaiming",
        "Group Normalization",
        "European Conference on Computer Vision (ECCV)",
        2018,
    ),
    "qiao2019micro": (
        "misc",
        "Qiao, Siyuan and Wang, Huiyu and Liu, Chenxi and Shen, Wei and Yuille, Alan",
        "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
        "arXiv:1903.10520",
        2019,
    ),
    "brock2021characterizing": (
        "inproceedings",
        "Brock, Andrew and De, Soham and Smith, Samuel L.",
        "Characterizing Signal Propagation to Close the Performance Gap in Unnormalized ResNets",
        "International Conference on Learning Representations (ICLR)",
        2021,
    ),
    "loshchilov2017sgdr": (
        "inproceedings",
        "Loshchilov, Ilya and Hutter, Frank",
        "SGDR: Stochastic Gradient Descent with Warm Restarts",
        "International Conference on Learning Representations (ICLR)",
        2017,
    ),
    "loshchilov2019decoupled": (
        "inproceedings",
        "Loshchilov, Ilya and Hutter, Frank",
        "Decoupled Weight Decay Regularization",
        "International Conference on Learning Representations (ICLR)",
        2019,
    ),
    "kingma2015adam": (
        "inproceedings",
        "Kingma, Diederik P. and Ba, Jimmy",
        "Adam: A Method for Stochastic Optimization",
        "International Conference on Learning Representations (ICLR)",
        2015,
    ),
    "dozat2016nadam": (
        "inproceedings",
        "Dozat, Timothy",
        "Incorporating Nesterov Momentum into Adam",
        "International Conference on Learning Representations (ICLR), Workshop Track",
        2016,
    ),
    "you2020lamb": (
        "inproceedings",
        "You, Yang and Li, Jing and Reddi, Sashank and Hseu, Jonathan and Kumar, Sanjiv and "
        "Bhojanapalli, Srinadh and Song, Xiaodan and Demmel, James and Keutzer, Kurt and Hsieh, "
        "Cho-Jui",
        "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
        "International Conference on Learning Representations (ICLR)",
        2020,
    ),
    "chen2023lion": (
        "inproceedings",
        "Chen, Xiangning and Liang, Chen and Huang, Da and Real, Esteban and Wang, Kaiyuan and "
        "Pham, Hieu and Dong, Xuanyi and Luong, Thang and Hsieh, Cho-Jui and Lu, Yifeng and Le, "
        "Quoc V.",
        "Symbolic Discovery of Optimization Algorithms",
        "Advances in Neural Information Processing Systems (NeurIPS)",
        2023,
    ),
    "pascanu2013difficulty": (
        "inproceedings",
        "Pascanu, Razvan and Mikolov, Tomas and Bengio, Yoshua",
        "On the difficulty of training recurrent neural networks",
        "International Conference on Machine Learning (ICML)",
        2013,
    ),
    "howard2018universal": (
        "inproceedings",
        "Howard, Jeremy and Ruder, Sebastian",
        "Universal Language Model Fine-tuning for Text Classification",
        "Annual Meeting of the Association for Computational Linguistics (ACL)",
        2018,
    ),
    "wightman2021resnet": (
        "inproceedings",
        "Wightman, Ross and Touvron, Hugo and Jegou, Herve",
        "ResNet strikes back: An improved training procedure in timm",
        "NeurIPS 2021 Workshop on ImageNet: Past, Present, and Future",
        2021,
    ),
    "szegedy2016rethinking": (
        "inproceedings",
        "Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon and Wojna, "
        "Zbigniew",
        "Rethinking the Inception Architecture for Computer Vision",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2016,
    ),
    "menon2021longtail": (
        "inproceedings",
        "Menon, Aditya Krishna and Jayasumana, Sadeep and Rawat, Ankit Singh and Jain, Himanshu "
        "and Veit, Andreas and Kumar, Sanjiv",
        "Long-tail learning via logit adjustment",
        "International Conference on Learning Representations (ICLR)",
        2021,
    ),
    "zhang2018mixup": (
        "inproceedings",
        "Zhang, Hongyi and Cisse, Moustapha and Dauphin, Yann N. and Lopez-Paz, David",
        "mixup: Beyond Empirical Risk Minimization",
        "International Conference on Learning Representations (ICLR)",
        2018,
    ),
    "yun2019cutmix": (
        "inproceedings",
        "Yun, Sangdoo and Han, Dongyoon and Oh, Seong Joon and Chun, Sanghyuk and Choe, Junsuk and "
        "Yoo, Youngjoon",
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        "IEEE International Conference on Computer Vision (ICCV)",
        2019,
    ),
    "hoffer2020augment": (
        "inproceedings",
        "Hoffer, Elad and Ben-Nun, Tal and Hubara, Itay and Giladi, Niv and Hoefler, Torsten and "
        "Soudry, Daniel",
        "Augment Your Batch: Improving Generalization Through Instance Repetition",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        2020,
    ),
    "cubuk2020randaugment": (
        "inproceedings",
        "Cubuk, Ekin D. and Zoph, Barret and Shlens, Jonathon and Le, Quoc V.",
        "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
        "Advances in Neural Information Processing Systems (NeurIPS)",
        2020,
    ),
    "muller2021trivialaugment": (
        "inproceedings",
        'M{\\"u}ller, Samuel G. and Hutter, Frank',
        "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
        "IEEE International Conference on Computer Vision (ICCV)",
        2021,
    ),
    "zhong2020random": (
        "inproceedings",
        "Zhong, Zhun and Zheng, Liang and Kang, Guoliang and Li, Shaozi and Yang, Yi",
        "Random Erasing Data Augmentation",
        "AAAI Conference on Artificial Intelligence",
        2020,
    ),
    "devries2017improved": (
        "misc",
        "DeVries, Terrance and Taylor, Graham W.",
        "Improved Regularization of Convolutional Neural Networks with Cutout",
        "arXiv:1708.04552",
        2017,
    ),
}


#: The placements of PyramidNet.
_PYRAMIDNET = ("no_first_relu", "last_bn", "no_first_relu_last_bn")


def citations(parts: Any) -> str:
    """The BibTeX entries of the works that a run uses.

    Args:
        parts: The `Resolved` parts of a `TrainConfig`.

    Returns:
        A `.bib` file's text.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.citations import citations
        >>> "he2016identity" in citations(TrainConfig("resnet20v2").resolve())
        True
    """
    network, recipe, augmentation = parts.network, parts.recipe, parts.augmentation
    from_2016 = network.placement != "original" or network.shortcut not in ("identity", "none")
    wider = network.block == "basic" and network.filters[0] > network.stem_filters
    wide = wider or (network.width > 1 and network.groups == 1) or network.branch_dropout > 0
    used = {
        "he2014spatial": bool(network.pyramid),
        "he2016residual": True,
        "he2016identity": from_2016,
        "zagoruyko2016wide": wide,
        "xie2017aggregated": network.groups > 1,
        "he2019bag": network.stem == "deep" or network.projection_stride == "avg_pool",
        "huang2016deep": network.stochastic_depth > 0,
        "goyal2017accurate": network.zero_init,
        "de2020batch": network.residual_scale == "learned" and not network.normalizes,
        "bachlechner2021rezero": network.residual_scale == "learned",
        "zhang2019fixup": network.normalization == "fixup",
        "wu2018group": network.normalization == "group",
        "qiao2019micro": network.weight_standardization,
        "brock2021characterizing": network.weight_standardization and not network.normalizes,
        "han2017pyramidal": network.placement in _PYRAMIDNET,
        "he2015rectifiers": network.initializer == "he_normal" or "prelu" in network.activation,
        "ioffe2015batch": network.normalization == "batch",
        "loshchilov2017sgdr": recipe.schedule == "cosine",
        "loshchilov2019decoupled": recipe.decoupled,
        recipe.algorithm.work: recipe.algorithm.work is not None,
        "pascanu2013difficulty": recipe.clip_norm,
        "howard2018universal": recipe.layer_decay < 1,
        "wightman2021resnet": recipe.loss == "binary_crossentropy",
        "szegedy2016rethinking": recipe.label_smoothing > 0,
        "menon2021longtail": recipe.balance == "logit_adjustment",
        "hoffer2020augment": recipe.repeats > 1,
        "zhang2018mixup": recipe.mixup > 0,
        "yun2019cutmix": recipe.cutmix > 0,
        "cubuk2020randaugment": augmentation.policy == "rand_augment",
        "muller2021trivialaugment": augmentation.policy == "trivial_augment",
        "zhong2020random": augmentation.erasing > 0,
        "devries2017improved": augmentation.cutout > 0,
    }
    return "\n".join(_entry(key, *WORKS[key]) for key, wanted in used.items() if wanted)


def _entry(key, kind, author, title, source, year):
    where = {"inproceedings": "booktitle", "misc": "howpublished"}[kind]
    return textwrap.dedent(f"""\
        @{kind}{{{key},
          author = {{{author}}},
          title = {{{{{title}}}}},
          {where} = {{{source}}},
          year = {{{year}}},
        }}
        """)
