"""The generated C++ equals the golden model, at hardware widths and in native integers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.core.process import run_tool
from pyadmm.datasets import mnist
from pyadmm.eda import gxx
from pyadmm.eda.gxx import Simulator, build_simulator
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, KernelConfig, Pool, index_width
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import LayerSpec, QFormat
from tests.hls.chains import Recipe, layer_spec, random_chain
from tests.unit.models import U4, planned, random_images, random_lenet5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None, reason="csim needs g++: no generated C++ has been checked"
    ),
]
BOARD = load_board("pynq-z2")
REPOSITORY = Path(__file__).resolve().parents[2]
LENET5_KEPT = (250, 1750, 2600, 450)
S5 = QFormat(5, True)
U1 = QFormat(1, False)
U8 = QFormat(8, False)


def sparse(rows: int, groups: int, bits: int) -> KernelConfig:
    return KernelConfig("sparse", rows, groups, bits)


def dense(rows: int, groups: int) -> KernelConfig:
    return KernelConfig("dense", rows, groups)


def balanced(rows: int, groups: int, bits: int, window: int, walkers: int = 1) -> KernelConfig:
    return KernelConfig("balanced", rows, groups, bits, window=window, walkers=walkers)


@dataclass(frozen=True)
class Design:
    """A random chain and the kernel of each of its layers."""

    input: InputSpec
    layers: tuple[tuple[Recipe, KernelConfig], ...]

    def make(self, seed: int) -> CompressedModel:
        recipes = [recipe for recipe, _ in self.layers]
        return random_chain("design", self.input, recipes, np.random.default_rng(seed))

    def plan(self, model: CompressedModel, spare_acc_bits: int = 0) -> AcceleratorPlan:
        names = [layer.name for layer in model.layers]
        configs = dict(zip(names, (config for _, config in self.layers), strict=True))
        return plan_accelerator(model, BOARD, configs, spare_acc_bits=spare_acc_bits)


DESIGNS = {
    # Odd sizes, stride 2 with padding, rows per tile that do not divide, pools across tiles,
    # signed input with offset, one-bit weights, a channel advance of one.
    "strided sparse": Design(
        InputSpec((3, 13, 11), S5, offset=(100, 128, 140), shift=3),
        (
            (Recipe(7, (3, 2), 2, 1, density=0.2, weight_bits=5, pool=(2, 2)), sparse(2, 3, 1)),
            (Recipe(6, (1, 1), density=0.15, weight_bits=1, output=S5), sparse(2, 4, 2)),
            (Recipe(5, (2, 3), padding=2, per_channel=True, output=U8), sparse(3, 5, 3)),
            (Recipe(9, density=0.05, weight_bits=8), sparse(1, 9, 2)),
            (Recipe(4, density=0.03, weight_bits=2, output=None), sparse(1, 3, 4)),
        ),
    ),
    # The same kinds of shapes on dense kernels; convolution groups; a pool with gaps.
    "dense": Design(
        InputSpec((4, 9, 10), QFormat(3, False), shift=5),
        (
            (Recipe(8, (3, 3), 2, 1, groups=2, density=0.9, pool=(2, 3)), dense(3, 2)),
            (Recipe(6, (1, 2), groups=2, density=1.0, per_channel=True, output=S5), dense(1, 3)),
            (Recipe(5, density=0.5, weight_bits=8, output=U1), dense(1, 2)),
            (Recipe(3, density=1.0, weight_bits=1, output=None), dense(1, 3)),
        ),
    ),
    # Overlapping pools, images of width 1, one input channel (no index), empty channels, grouped
    # sparse convolution, both families in one chain, logits that are a map.
    "narrow mixed": Design(
        InputSpec((1, 37, 1), U8),
        (
            (Recipe(4, (5, 1), density=0.12, weight_bits=4, pool=(1, 2)), sparse(4, 2, 0)),
            (Recipe(6, (3, 1), 1, 0, groups=2, density=0.1, output=U1), sparse(15, 6, 1)),
            (Recipe(8, (3, 1), 3, 0, density=0.5, weight_bits=7), dense(2, 3)),
            (Recipe(2, (2, 1), density=0.02, output=None), sparse(3, 2, 3)),
        ),
    ),
    # Windows of whole rows, of parts of them and of one place; strides; folded channels that the
    # window does not divide; more groups than channels are left for; rows without weights; walkers.
    "balanced": Design(
        InputSpec((3, 12, 11), S5, offset=(100, 128, 140), shift=3),
        (
            (
                Recipe(7, (3, 5), 1, 2, density=0.3, weight_bits=5, pool=(2, 2)),
                balanced(3, 3, 1, 3),
            ),
            (
                Recipe(5, (2, 2), 2, 1, density=0.2, weight_bits=1, output=S5),
                balanced(2, 4, 3, 1, walkers=2),
            ),
            (
                Recipe(11, density=0.3, weight_bits=8, per_channel=True),
                balanced(1, 6, 1, 2, walkers=3),
            ),
            (Recipe(6, density=0.1, weight_bits=3), balanced(1, 5, 1, 3)),
            (Recipe(3, density=0.5, weight_bits=2, output=None), balanced(1, 2, 3, 1)),
        ),
    ),
    "overlapping pools": Design(
        InputSpec((2, 16, 15), QFormat(4, False), shift=4),
        (
            (Recipe(5, (3, 3), padding=1, density=0.4, pool=(3, 2)), sparse(5, 2, 1)),
            (Recipe(4, (2, 2), density=0.3, output=S5, pool=(3, 1)), dense(2, 4)),
            (Recipe(6, (4, 3), density=0.0001, output=None), sparse(1, 1, 2)),
        ),
    ),
}


@pytest.fixture(scope="module")
def simulator(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[CompressedModel, AcceleratorPlan, bool], Simulator]:
    cache = tmp_path_factory.mktemp("csim-cache")

    def build(model: CompressedModel, plan: AcceleratorPlan, exact: bool) -> Simulator:
        folder: Path = tmp_path_factory.mktemp("build")
        generate(model, plan).write(folder)
        simulator = build_simulator(folder, plan, exact_widths=exact, cache_dir=cache)
        assert "warning" not in simulator.log.read_text(encoding="utf-8")
        return simulator

    return build


def assert_same(simulator: Simulator, models: list[CompressedModel], images: np.ndarray) -> None:
    """Every frame and all logits of every model, loaded one after another in one program."""
    weights = [weight_image(model, simulator.plan) for model in models]
    results = simulator.infer_models(images, weights, frames=True)
    for model, result in zip(models, results, strict=True):
        golden = model.run_nodes(images)
        for name, frame in result.frames.items():
            np.testing.assert_array_equal(frame, golden[name], err_msg=name)
        np.testing.assert_array_equal(result.logits, model.run(images))


def any_of(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def random_design(rng: np.random.Generator) -> Design:
    """One to four layers of any shape that the kernels take, on any kernel."""
    x = any_of(rng, U1, U4, S5, U8)
    shape = (int(rng.integers(1, 5)), int(rng.integers(3, 13)), int(rng.integers(1, 13)))
    first = InputSpec(shape, x, shift=8 - x.bits)
    layers = []
    count = int(rng.integers(1, 5))
    for index in range(count):
        recipe = random_recipe(rng, shape, index == count - 1)
        spec = layer_spec("any", shape, recipe)
        layers.append((recipe, random_config(rng, spec)))
        shape = spec.output_shape
        if recipe.pool is not None:
            shape = (shape[0], *(Pool(*recipe.pool).output(size) for size in shape[1:]))
    return Design(first, tuple(layers))


def random_recipe(rng: np.random.Generator, shape: tuple[int, int, int], last: bool) -> Recipe:
    channels, height, width = shape
    outputs = int(rng.integers(1, 10))
    recipe = Recipe(
        outputs,
        density=any_of(rng, 0.0, 0.02, 0.2, 0.5, 1.0),
        weight_bits=int(rng.integers(1, 9)),
        output=None if last else any_of(rng, U1, U4, S5, U8),
        per_channel=bool(rng.integers(2)),
    )
    if rng.random() < 0.3:
        return recipe
    groups = any_of(rng, *(g for g in range(1, channels + 1) if channels % g == 0))
    kernel = tuple(int(rng.integers(1, min(size, 5) + 1)) for size in (height, width))
    recipe = replace(
        recipe,
        outputs=groups * int(rng.integers(1, 5)),
        kernel=kernel,
        stride=int(rng.integers(1, 4)),
        padding=int(rng.integers(0, 3)),
        groups=groups,
    )
    _, rows, columns = layer_spec("any", shape, recipe).output_shape
    window = int(rng.integers(1, min(rows, columns, 4) + 1))
    pool = (window, int(rng.integers(1, 4))) if rng.random() < 0.5 else None
    return replace(recipe, pool=pool)


def random_config(rng: np.random.Generator, spec: LayerSpec) -> KernelConfig:
    rows = int(rng.integers(1, spec.output_shape[1] + 1))
    groups = int(rng.integers(1, spec.outputs + 1))
    if rng.random() < 0.4:
        per_group = spec.outputs // spec.groups
        fitting = [g for g in range(1, groups + 1) if per_group % g == 0]
        return dense(rows, groups if spec.groups == 1 else any_of(rng, *fitting))
    limit = index_width(spec.input_shape[0])
    return sparse(rows, groups, int(rng.integers(min(1, limit), limit + 1)))


@pytest.mark.parametrize("seed", range(int(os.environ.get("PYADMM_FUZZ", "2"))))
def test_random_designs_at_hardware_widths(seed: int, simulator) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    model = design.make(seed)
    images = random_images(rng, 5, model.input.shape)
    assert_same(simulator(model, design.plan(model), True), [model], images)


@pytest.mark.parametrize("name", DESIGNS)
def test_awkward_designs_at_hardware_widths(name: str, simulator) -> None:  # type: ignore[no-untyped-def]
    design = DESIGNS[name]
    model = design.make(1)
    images = random_images(np.random.default_rng(2), 20, model.input.shape)
    assert_same(simulator(model, design.plan(model), True), [model], images)


def test_native_integers_and_models_reloaded_at_run_time(simulator) -> None:  # type: ignore[no-untyped-def]
    design = DESIGNS["strided sparse"]
    models = [design.make(seed) for seed in (3, 4, 5)]
    roomy = Design(
        design.input,
        tuple(
            (recipe, KernelConfig("sparse", c.tile_rows, c.groups, c.index_bits, 90, 8))
            for recipe, c in design.layers
        ),
    )
    plan = roomy.plan(models[0], spare_acc_bits=2)
    images = random_images(np.random.default_rng(6), 67, plan.input.shape)
    assert_same(simulator(models[0], plan, False), models, images)


def test_lenet5_on_searched_kernels(simulator) -> None:  # type: ignore[no-untyped-def]
    model = random_lenet5(kept=LENET5_KEPT)
    plan = planned(model)
    images = random_images(np.random.default_rng(7), 100, model.input.shape)
    assert_same(simulator(model, plan, False), [model], images)


def test_all_mnist_test_images(simulator) -> None:  # type: ignore[no-untyped-def]
    folder = Path(os.environ.get("PYADMM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set PYADMM_DATA to check all MNIST test images")
    images = mnist.load(folder).test_images
    assert len(images) == 10_000
    model = random_lenet5(kept=LENET5_KEPT)
    plan = planned(model)
    logits = simulator(model, plan, False).infer(images, weight_image(model, plan)).logits
    np.testing.assert_array_equal(logits, model.run(images))


def test_sources_compile_without_our_simulation_helpers(tmp_path: Path) -> None:
    # What the vendor tools get: no tracing, no stack relief, hardware widths, the bare UNROLL.
    model = DESIGNS["narrow mixed"].make(1)
    generate(model, DESIGNS["narrow mixed"].plan(model)).write(tmp_path)
    command = gxx.compile_command(["PYADMM_EXACT_WIDTHS", "__VITIS_HLS__"])
    run = run_tool([*command, "-fsyntax-only"], cwd=tmp_path, log=tmp_path / "log", timeout_s=300)
    assert "warning" not in run.output
