"""Choose the kernels of a network for a board, and write the accelerator in HLS C++ and RTL."""

import sys
from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.codegen.hls import generate
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import search
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.model.compact import compact

out = Path(sys.argv[1] if len(sys.argv) > 1 else "accelerator")
model = compact(container.load(Path(__file__).parents[1] / "models" / "lenet5-quick-seed0.admm"))
board = load_board("pynq-z2")

found = search(model, board)
print(found.table())

plan = plan_accelerator(model, board, found.configs)
images = np.random.default_rng(0).integers(0, 256, (2, *model.input.shape), np.uint8)
generate(model, plan, images).write(out / "hls")
generate_rtl(plan, model=model).write(out / "rtl")
print("wrote", ", ".join(str(path) for path in sorted(out.glob("*/*"))[:6]), "…")
