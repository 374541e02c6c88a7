"""Write a compressed network as an ONNX graph and check it with onnxruntime."""

import sys
from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.model.onnx import check, export_onnx

out = Path(sys.argv[1] if len(sys.argv) > 1 else "lenet5.onnx")
model = container.load(Path(__file__).parents[1] / "models" / "lenet5-quick-seed0.admm")
graph = export_onnx(model)
images = np.random.default_rng(0).integers(0, 256, (16, *model.input.shape), np.uint8)
check(model, graph, images, qonnx=False)  # raises where a logit differs
out.write_bytes(graph)
print(f"{out}: {len(graph):,} bytes; logits equal the integer model's on {len(images)} images")
