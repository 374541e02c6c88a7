"""The two networks of LeCun et al. (1998) in the forms that the pruning papers use."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet5() -> nn.Sequential:
    """Caffe's LeNet-5, 20-50-500-10: 430,500 weights (431,080 with biases), input (1, 28, 28).

    Caffe has its only ReLU after fc1; here conv1 and conv2 have one too (after the pool, which is
    the same as before it), so that all hidden activations are unsigned.

    >>> sum(p.numel() for n, p in lenet5().named_parameters() if n.endswith("weight"))
    430500
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def lenet300() -> nn.Sequential:
    """LeNet-300-100: 784-300-100-10, 266,200 weights, input (1, 28, 28).

    >>> sum(p.numel() for n, p in lenet300().named_parameters() if n.endswith("weight"))
    266200
    """
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, 10),
        )
    )
