"""Load a shipped network, look at its layers, and run its integers on random images."""

from pathlib import Path

import numpy as np

from pyadmm import container

MODELS = Path(__file__).parents[1] / "models"

file = MODELS / "lenet5-quick-seed0.admm"
model = container.load(file)
print(f"{file.name}: {file.stat().st_size:,} bytes, {model.pruning_ratio:.0f}x pruned")
for layer in model.layers:
    print(f"  {layer.name}: {layer.nnz} of {layer.spec.weights} weights, {layer.weight_bits} bits")

images = np.random.default_rng(0).integers(0, 256, (8, *model.input.shape), np.uint8)
logits = model.run(images)  # the reference: C++, RTL and the board give the same integers
print("logits:", logits.shape, logits.dtype)
