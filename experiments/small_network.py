"""A small network with layer names of three letters, for the break-even table of a model of one's own.

``pyadmm breakeven --model experiments.small_network:net --data mnist --board pynq-z2``
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def net() -> nn.Module:
    """Two convolutions and two fully connected layers for MNIST: 11,912 weights."""
    return nn.Sequential(
        OrderedDict(
            cva=nn.Conv2d(1, 8, 5),
            ra=nn.ReLU(),
            pla=nn.MaxPool2d(2),
            cvb=nn.Conv2d(8, 16, 5),
            rb=nn.ReLU(),
            plb=nn.MaxPool2d(2),
            flt=nn.Flatten(),
            fca=nn.Linear(256, 32),
            rc=nn.ReLU(),
            fcb=nn.Linear(32, 10),
        )
    )
