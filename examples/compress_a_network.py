"""Compress your own network: train it, prune and quantise it with ADMM, and write its file."""

import sys
from pathlib import Path

import torch
from torch import nn

import pyadmm
from pyadmm import container
from pyadmm.settings import from_dict

out = Path(sys.argv[1] if len(sys.argv) > 1 else "stripes.admm")
torch.manual_seed(0)

# Pictures of horizontal and vertical stripes, with noise, as bytes.
labels = torch.randint(0, 2, (512,))
stripes = torch.arange(12).div(2, rounding_mode="floor").remainder(2).float()
clean = torch.where(labels[:, None, None] == 0, stripes[:, None], stripes[None, :].expand(12, 12))
noisy = 150 * clean + 60 * torch.rand(512, 12, 12)
images = noisy.to(torch.uint8)[:, None]

model = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 2)
)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(30):
    loss = nn.functional.cross_entropy(model(images / 255), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

settings = from_dict(
    {
        "preset": "quick",
        "pruning_ratio": 8,
        "weight_bits": 4,
        "filters_kept": 1.0,
        "neurons_kept": 1.0,
        "continuous": {"epochs": 0},
        "admm": {
            "rounds": 2,
            "iterations": 1,
            "retrain_epochs": 4,
            "first_ratio": 3,
            "batch_size": 32,
        },
        "retrain": {"epochs": 15, "batch_size": 32},
        "quantize": {"epochs": 15, "batch_size": 32},
    }
)
train, validation = [(images[:384], labels[:384])], [(images[384:], labels[384:])]
compressed = pyadmm.compress(model, settings, train, validation, name="stripes")
container.save(compressed, out)
accuracy = compressed.accuracy(images[384:].numpy(), labels[384:].numpy())
print(f"{out}: {out.stat().st_size} bytes, {compressed.nnz} of {compressed.weights} weights left")
print(f"accuracy of the integers on the validation images: {accuracy:.3f}")
