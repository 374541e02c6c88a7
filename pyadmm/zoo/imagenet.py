"""AlexNet and VGG-16 for images of 1000 classes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Output channels of its 3x3 convolutions; 0 is a 2x2 max-pool."""


def alexnet() -> nn.Sequential:
    """AlexNet as in BVLC's Caffe model, without local response norms: 60,954,656 weights.

    Input (3, 227, 227); conv2, conv4 and conv5 have two groups, as on the original's two GPUs. It
    is the network of ADMM-NN's tables.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, 4),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, 2),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(3, 2),
            flatten=nn.Flatten(),
            fc6=nn.Linear(9216, 4096),
            relu6=nn.ReLU(),
            drop6=nn.Dropout(),
            fc7=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            drop7=nn.Dropout(),
            fc8=nn.Linear(4096, 1000),
        )
    )


class _Classified(nn.Module):
    """``features``, then ``classifier`` on the flattened map: torchvision's names."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images ``(N, 3, H, W)``."""
        return self.classifier(self.features(x).flatten(1))


def _classifier(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]


def alexnet_one_column() -> nn.Module:
    """torchvision's AlexNet (Krizhevsky 2014), 61,090,496 weights, input (3, 224, 224)."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    first, relu, *rest = _classifier(256 * 6 * 6)
    head = [nn.Dropout(), first, relu, nn.Dropout(), *rest, nn.Linear(4096, 1000)]
    return _Classified(features, nn.Sequential(*head))


def vgg16() -> nn.Module:
    """VGG-16 (Simonyan and Zisserman, 2015): 138,344,128 weights, input (3, 224, 224)."""
    features: list[nn.Module] = []
    inputs = 3
    for outputs in _VGG16:
        if outputs == 0:
            features.append(nn.MaxPool2d(2))
        else:
            features += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
    first, relu, second, last = _classifier(512 * 7 * 7)
    head = [first, relu, nn.Dropout(), second, last, nn.Dropout(), nn.Linear(4096, 1000)]
    return _Classified(nn.Sequential(*features), nn.Sequential(*head))
