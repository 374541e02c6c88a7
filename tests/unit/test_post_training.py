"""Compression without training: each step against dense algebra, and whole small networks."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.compression.post_training.augmentation import augmented, widened
from pyadmm.compression.post_training.conditioning import SHARES, choose_damping
from pyadmm.compression.post_training.finetune import divergence, finetune, interpolated
from pyadmm.compression.post_training.methods import METHODS, admm
from pyadmm.compression.post_training.moments import (
    Folds,
    accumulate,
    grouped,
    patches,
    ungrouped,
)
from pyadmm.compression.post_training.pipeline import (
    Calibration,
    compress_post_training,
    measure_sensitivity,
)
from pyadmm.compression.post_training.prior import metric, places_within, within_images
from pyadmm.compression.post_training.problem import (
    Levels,
    Problem,
    best_levels,
    descend,
    fit_scales,
    least_squares,
    limited_scales,
    make_problem,
    nearest_codes,
    project,
    refit_scales,
    round_at_scales,
    round_sequentially,
)
from pyadmm.compression.post_training.sensitivity import (
    GRID,
    Curve,
    allocate,
    divergences,
    layers_to_prune,
    output_gradients,
    output_weights,
)
from pyadmm.compression.post_training.settings import PostTraining
from pyadmm.core.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.model.onnx import export_onnx, run_onnx
from pyadmm.model.types import LayerSpec, QFormat
from pyadmm.network.facts import LayerFacts
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.onnx_import import import_onnx
from pyadmm.network.to_integer import to_compressed
from pyadmm.network.trace import trace

GEOMETRIES = {
    "plain": LayerSpec("c", "conv", (6, 4, 3, 3), (4, 9, 8), 1, 1),
    "stride, sides": LayerSpec("c", "conv", (6, 4, 3, 2), (4, 9, 8), (2, 1), (0, 1, 1, 2)),
    "grouped": LayerSpec("c", "conv", (6, 2, 3, 3), (4, 9, 8), 2, 0, 2),
    "depthwise": LayerSpec("c", "conv", (8, 1, 3, 3), (4, 9, 8), 1, 1, 4),
    "dilated": LayerSpec("c", "conv", (6, 4, 3, 3), (4, 9, 8), 1, 0, 1, 2),
    "1x1, stride": LayerSpec("c", "conv", (6, 4, 1, 1), (4, 9, 8), 2),
    "1x1, grouped": LayerSpec("c", "conv", (6, 2, 1, 1), (4, 9, 8), 1, 0, 2),
    "linear": LayerSpec("c", "linear", (6, 32), (4, 2, 4)),
}


def random_problem(
    groups: int = 1, inputs: int = 24, outputs: int = 5, *, sparsity: float = 0.5, bits: int = 4
) -> tuple[Problem, Tensor]:
    """A problem with correlated inputs, and its dense weights."""
    generator = torch.Generator().manual_seed(3)
    random = torch.randn(groups, 400, inputs, generator=generator, dtype=torch.float64)
    mixed = random @ torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = mixed.relu()
    dense = torch.randn(groups, inputs, outputs, generator=generator, dtype=torch.float64)
    hessian = x.transpose(1, 2) @ x / x.shape[1]
    size = 0.01 * hessian.diagonal(dim1=1, dim2=2).mean()
    damping = (size * torch.eye(inputs)).expand(groups, -1, -1)
    count = round((1 - sparsity) * dense.numel())
    moments = hessian, hessian @ dense
    rows = torch.rand(groups, 1, outputs, generator=generator, dtype=torch.float64) + 0.5
    made = make_problem(moments, dense, damping.double(), count=count, bits=bits, rows=rows)
    return made, dense


def product_of(spec: LayerSpec, x: Tensor, weight: Tensor) -> Tensor:
    if spec.kind == "linear":
        return F.linear(x.flatten(1), weight)
    top, left, bottom, right = spec.padding
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, None, spec.stride, 0, spec.dilation, spec.groups)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_patches_times_weights_are_the_layers_outputs(name: str) -> None:
    spec = GEOMETRIES[name]
    x = torch.randn(3, *spec.input_shape)
    weight = torch.randn(spec.weight_shape)
    _, rows, columns = spec.output_shape
    places = torch.randperm(rows * columns)
    found = patches(spec, x, places) @ grouped(spec, weight)  # g, N * P, O / g
    wanted = product_of(spec, x, weight).reshape(3, spec.groups, -1, rows * columns)[..., places]
    shaped = found.reshape(spec.groups, 3, len(places), -1).permute(1, 0, 3, 2)
    torch.testing.assert_close(shaped, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(ungrouped(spec, grouped(spec, weight)), weight)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_bias_keeps_the_means_of_the_outputs(name: str) -> None:
    """Against the layer itself, on inputs that differ between the two networks."""
    spec = GEOMETRIES[name]
    x = torch.randn(4, *spec.input_shape)
    other = x + 0.3 * torch.randn(4, *spec.input_shape)
    weight, pruned = torch.randn(2, *spec.weight_shape)
    bias = torch.randn(spec.outputs)
    _, rows, columns = spec.output_shape
    moments = Folds.none(spec)
    places = torch.arange(rows * columns)
    accumulate(moments, spec, grouped(spec, weight), (other, x), places)
    found = moments.together().bias(bias, grouped(spec, pruned))
    dense = product_of(spec, x, weight).transpose(0, 1).flatten(1).mean(1) + bias
    kept = product_of(spec, other, pruned).transpose(0, 1).flatten(1).mean(1) + found
    torch.testing.assert_close(kept, dense, rtol=1e-4, atol=1e-5)


def test_moments_are_covariances() -> None:
    spec = GEOMETRIES["linear"]
    x, other = torch.randn(2, 50, 4, 2, 4)
    weight = torch.randn(spec.weight_shape)
    moments = Folds.none(spec)
    accumulate(moments, spec, grouped(spec, weight), (other, x), torch.arange(1))
    hessian, cross = moments.together().centred()
    flat, outputs = other.flatten(1).numpy(), (x.flatten(1) @ weight.T).numpy()
    joint = np.cov(np.concatenate([flat, outputs], 1).T, bias=True)
    np.testing.assert_allclose(hessian[0].numpy(), joint[:32, :32], atol=1e-4)
    np.testing.assert_allclose(cross[0].numpy(), joint[:32, 32:], atol=1e-4)


def test_moments_of_inputs_with_large_means_keep_their_digits() -> None:
    spec = GEOMETRIES["linear"]
    x = 1e4 + torch.randn(200, 4, 2, 4, dtype=torch.float64)
    moments = Folds.none(spec)
    weight = grouped(spec, torch.randn(spec.weight_shape))
    accumulate(moments, spec, weight, (x.float(), x.float()), torch.arange(1))
    wanted = np.cov(x.flatten(1).numpy().T, bias=True)
    np.testing.assert_allclose(moments.together().centred()[0][0].numpy(), wanted, atol=0.01)


def test_an_indefinite_covariance_is_damped_and_no_number_is_refused() -> None:
    _, dense = random_problem()
    hessian = torch.eye(24).double()[None] - 0.05
    weak = 1e-3 * torch.eye(24).double()[None]
    made = make_problem((hessian, hessian @ dense), dense, weak, count=9, bits=4)
    assert bool(made.target.isfinite().all())
    with pytest.raises(PyadmmError, match="finite"):
        make_problem((hessian * torch.nan, hessian @ dense), dense, weak, count=9, bits=4)


def test_the_target_minimises_the_damped_error() -> None:
    """Against a dense solve of the normal equations."""
    problem, dense = random_problem(2)
    torch.testing.assert_close(problem.target, dense)  # outputs that the weights can give exactly
    hessian, cross = problem.hessian, torch.randn(2, 24, 5).double()
    root = torch.randn(2, 24, 24).double()
    damping = root @ root.transpose(1, 2)
    made = make_problem((hessian, cross), dense, damping, count=9, bits=4)
    wanted = torch.linalg.solve(hessian + damping, cross + damping @ dense)
    torch.testing.assert_close(made.target, wanted)


@pytest.mark.parametrize("groups", [1, 3])
def test_least_squares_on_a_support_is_exact(groups: int) -> None:
    problem, dense = random_problem(groups)
    mask = torch.rand(dense.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    found = least_squares(problem, mask, torch.zeros_like(dense), 1e-12)
    goal = problem.hessian @ problem.target
    for group, output in product(range(groups), range(5)):
        support = mask[group, :, output]
        part = problem.hessian[group][support][:, support]
        wanted = torch.linalg.solve(part, goal[group, support, output])
        torch.testing.assert_close(found[group, support, output], wanted, rtol=1e-6, atol=1e-8)
    assert not found[~mask].any()


def test_the_projection_is_the_nearest_of_all_by_brute_force() -> None:
    """All supports and all codes of a small vector, in the norm of the diagonal."""
    weights = torch.tensor([[[1.3], [-0.2], [0.9], [-2.4]]]).double()
    diagonal = torch.tensor([0.5, 40.0, 1.0, 0.3]).double()
    one = torch.ones(1, 1, 1).double()
    problem = Problem(torch.diag_embed(diagonal[None]), weights, 2, 2, one)
    scales = 0.8 * one
    found = project(problem, weights, scales).codes.flatten()
    best: tuple[float, Any] = (float("inf"), None)
    for codes in product(range(-2, 3), repeat=4):
        if sum(code != 0 for code in codes) <= 2:
            levels = 0.8 * torch.tensor(codes).double()
            error = float((diagonal * (weights.flatten() - levels).square()).sum())
            best = min(best, (error, codes))
    assert tuple(found.int().tolist()) == best[1]


def test_refitted_scales_are_the_best() -> None:
    problem, _ = random_problem()
    codes = nearest_codes(problem.target, 0.4 * torch.ones(1, 1, 5).double(), 4)
    levels = Levels(codes, 0.4 * torch.ones(1, 1, 5).double())
    for shared in (False, True):
        best = refit_scales(replace(problem, shared=shared), levels)
        least = problem.objective(best.weights)
        assert least < problem.objective(levels.weights)
        for factor in (0.99, 1.01):
            assert problem.objective(codes * best.scales * factor) > least
        assert len(best.scales.unique()) == (1 if shared else 5)


@pytest.mark.parametrize("groups", [1, 4])
def test_coordinate_descent_never_rises_and_ends_where_no_single_move_helps(groups: int) -> None:
    problem, _ = random_problem(groups, 80 if groups == 1 else 9)
    mask = torch.ones_like(problem.target, dtype=torch.bool)
    scales = fit_scales(problem, problem.target, mask)
    levels = Levels(nearest_codes(problem.target, scales, 4), scales)
    values = [problem.objective(levels.weights)]
    for _ in range(40):
        levels = descend(problem, levels, mask, 1)
        values.append(problem.objective(levels.weights))
    assert all(b <= a + 1e-9 for a, b in pairwise(values))
    assert values[-1] < 0.9 * values[0]
    for k, step in product(range(problem.target.shape[1]), (-1, 1)):
        moved = levels.codes.clone()
        moved[:, k] = (moved[:, k] + step).clamp(-8, 8)
        difference = moved * levels.scales - problem.target
        costs = (problem.rows * difference * (problem.hessian @ difference)).sum(1)
        own = levels.weights - problem.target
        least = (problem.rows * own * (problem.hessian @ own)).sum(1)
        assert bool((costs >= least - 1e-9).all())


def test_sequential_rounding_is_the_optimal_brain_surgeons() -> None:
    """Against its definition: after each input, the other weights move to their best places."""
    problem, _ = random_problem(1, 7, 3)
    mask = torch.ones_like(problem.target, dtype=torch.bool)
    scales = fit_scales(problem, problem.target, mask)
    found = round_sequentially(problem, problem.target, mask, scales)
    weights = problem.target[0].clone()
    for k in range(7):
        rest = torch.linalg.inv(problem.hessian[0, k:, k:])
        code = nearest_codes(weights[k], scales[0, 0], 4)
        error = (weights[k] - code * scales[0, 0]) / rest[0, 0]
        assert torch.equal(found.codes[0, k], code)
        weights[k:] -= rest[:, 0:1] * error


def test_rounding_at_several_scales_is_rounding_at_each() -> None:
    problem, _ = random_problem(3, 9, 4)
    mask = torch.rand_like(problem.target) < 0.7
    scales = fit_scales(problem, problem.target, mask)
    found = round_at_scales(problem, problem.target, mask, scales, (1.0, 0.8))
    for factor, levels in zip((1.0, 0.8), found, strict=True):
        alone = round_sequentially(problem, problem.target, mask, limited_scales(factor * scales))
        assert torch.equal(levels.codes, alone.codes)
        assert problem.objective(levels.weights) <= problem.objective(alone.weights) + 1e-9


def test_each_output_takes_its_best_levels() -> None:
    problem, _ = random_problem(3, 9, 4)
    mask = torch.ones_like(problem.target, dtype=torch.bool)
    scales = fit_scales(problem, problem.target, mask)
    levels = round_at_scales(problem, problem.target, mask, scales, (1.0, 0.9, 0.7, 0.5))
    values = torch.stack([problem.objectives(some.weights) for some in levels])
    best = problem.objectives(best_levels(problem, levels).weights)
    torch.testing.assert_close(best, values.amin(0))
    one = best_levels(replace(problem, shared=True), levels)
    assert problem.objective(one.weights) == pytest.approx(float(values.sum((1, 2, 3)).min()))


def test_admm_reads_as_its_three_lines_and_converges() -> None:
    problem, dense = random_problem(sparsity=0.5)
    levels, trace_ = admm(problem)
    assert levels.nnz <= problem.count
    assert levels.codes.abs().max() <= 8
    assert torch.equal(levels.codes, levels.codes.round())
    assert trace_.rho[0] < trace_.rho[-1]
    assert trace_.primal[-1] < 0.25 * trace_.primal[0]
    plain = METHODS["magnitude"](problem, dense)
    assert problem.objective(levels.weights) < 0.7 * problem.objective(plain.weights)


@pytest.mark.parametrize(("sparsity", "bits"), [*product((0.0, 0.5, 0.8), (3, 4, 8))])
@pytest.mark.parametrize("groups", [1, 6])
def test_admm_is_better_than_magnitude_and_greedy(sparsity: float, bits: int, groups: int) -> None:
    inputs = 60 if groups == 1 else 9
    problem, dense = random_problem(groups, inputs, 16, sparsity=sparsity, bits=bits)
    found = {name: solve(problem, dense) for name, solve in METHODS.items()}
    values = {name: problem.objective(levels.weights) for name, levels in found.items()}
    assert values["admm"] <= values["greedy"] * 1.0001
    assert values["admm"] < values["magnitude"]
    for levels in found.values():
        assert levels.nnz <= problem.count
        assert levels.codes.abs().max() <= 1 << (bits - 1)


def test_one_scale_for_all_outputs() -> None:
    problem, dense = random_problem()
    for solve in METHODS.values():
        assert len(solve(replace(problem, shared=True), dense).scales.unique()) == 1


def test_damping_is_strong_where_images_say_little_and_weak_where_they_say_enough() -> None:
    """Outputs with noise: with 30 samples of 32 inputs, least squares must not fit them."""
    spec = GEOMETRIES["linear"]
    weight = torch.randn(spec.weight_shape, generator=torch.Generator().manual_seed(1))
    chosen = {}
    for count in (30, 8000):
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(count, 4, 2, 4, generator=generator)
        noisy = x + 0.7 * torch.randn(count, 4, 2, 4, generator=generator)
        folds = Folds.none(spec)
        accumulate(folds, spec, grouped(spec, weight), (noisy, x), torch.arange(1))
        chosen[count] = choose_damping(folds, grouped(spec, weight), 0.5)
    assert chosen[30] >= 0.1
    assert chosen[8000] == SHARES[0]


def last_layer(outputs: int = 5, inputs: int = 6) -> WeightedStep:
    spec = LayerSpec("last", "linear", (outputs, inputs), (inputs, 1, 1))
    return WeightedStep(LayerFacts(spec, last=True), torch.zeros(outputs, inputs), torch.zeros(1))


def test_differences_within_images_are_their_covariance() -> None:
    x = torch.randn(4, 6, 3, 5, generator=torch.Generator().manual_seed(1))
    x = x + torch.arange(6)[:, None, None]
    places = places_within(6, 15, 4)
    assert len(places.unique()) == 12
    assert places.max() < 15
    found = within_images(x, torch.arange(15))
    wanted = sum(14 * np.cov(image.flatten(1).numpy()) for image in x)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-3)
    assert len(places_within(6, 15, 10_000)) == 2
    assert len(places_within(600, 15, 3)) == 15


def test_the_metric_of_the_last_layer_has_the_covariance_of_its_class_weights() -> None:
    """It is positive definite, with a mean diagonal of 1; other layers have none."""
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(1, 6, 5, generator=generator)
    root = torch.randn(6, 6, generator=generator)
    for within in (None, root @ root.T, torch.zeros(6, 6)):
        made = metric(last_layer(), dense, within)
        assert made is not None
        assert float(made.diagonal(dim1=1, dim2=2).mean()) == pytest.approx(1)
        assert float(torch.linalg.eigvalsh(made).min()) > 0
    apart = (dense[0] - dense[0].mean(1, keepdim=True)).double()
    plain = metric(last_layer(), dense, None)
    assert plain is not None
    along = torch.linalg.svd(apart)[0]
    costs = (along * (plain[0] @ along)).sum(0)
    assert costs[0] > 1.2 * costs[-1]
    hidden = replace(last_layer().facts, last=False)
    assert metric(WeightedStep(hidden, dense[0].T, torch.zeros(5)), dense, None) is None


# --- allocation ----------------------------------------------------------------------------------


def curve(weights: int, cost: float) -> Curve:
    return Curve(weights, tuple(cost * s**3 for s in GRID))


def test_allocation_meets_the_target_and_prunes_what_is_cheap() -> None:
    curves = {"a": curve(1000, 1.0), "b": curve(9000, 1.0), "c": curve(500, 50.0)}
    for wanted in (0.3, 0.5, 0.9):
        shares = allocate(curves, wanted * 10_500, 0.97)
        total = sum(curves[name].weights * share for name, share in shares.items())
        assert total == pytest.approx(wanted * 10_500, abs=60)
        assert shares["b"] > shares["a"] >= shares["c"]


def test_allocation_obeys_break_even() -> None:
    curves = {"a": curve(1000, 30.0), "b": curve(9000, 1.0), "c": curve(500, 1.0)}
    shares = allocate(curves, 0.6 * 10_500, 0.97, {"a": 2.0, "b": 1.5, "c": 4.0})
    for name, ratio in (("a", 2.0), ("b", 1.5), ("c", 4.0)):
        assert shares[name] == 0 or 1 / (1 - shares[name]) >= ratio - 1e-9
    assert shares["b"] > 0.5


def test_a_curve_goes_through_what_was_measured_and_rises_as_a_power_before_it() -> None:
    measured = Curve(100, (0.0, 0.1, 0.8, 3.0, 9.0))
    np.testing.assert_allclose(measured.at(GRID), measured.costs)
    between = measured.at([0.0, 0.01, 0.15, 0.3, 0.4, 0.6, 0.7, 0.85, 0.9])
    assert (np.diff(between) > 0).all()
    np.testing.assert_allclose(measured.at([0.15]), 0.1 / 8)  # 2 ** 3 from 0.3 to 0.6
    falling = Curve(100, (0.0, 0.2, 0.1, 0.3, 0.4))  # a measurement with noise
    assert (np.diff(falling.at(np.linspace(0, 0.97, 50))) >= 0).all()


def test_the_smallest_layers_stay_dense() -> None:
    weights = {"first": 60, "depthwise": 30, "wide": 9000, "last": 910}
    assert layers_to_prune(weights) == ["wide", "last"]
    assert layers_to_prune({"a": 5, "b": 5}) == ["a", "b"]


# --- networks ------------------------------------------------------------------------------------


def small_network() -> nn.Module:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():  # outputs that depend on the image, as a trained network's do
        for place, gain in ((1, 6), (3, 4), (5, 4), (9, 6)):
            network[place].weight.mul_(gain)
    return network


SPEC = InputSpec((3, 8, 8), QFormat(8, False, 1 / 255))


def images(count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shades = torch.rand(count, 3, 1, 1, generator=generator)
    coarse = shades * torch.rand(count, 3, 4, 4, generator=generator)
    return (255 * F.interpolate(coarse, (8, 8), mode="bilinear")).to(torch.uint8)


def calibrated(count: int = 40) -> Calibration:
    network = small_network()
    network[1].running_mean.uniform_(-0.1, 0.1)
    network[1].running_var.uniform_(0.5, 2)
    return Calibration.of(trace(network, SPEC), images(count))


def logits(network: Network, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(network.encode(x))


def test_eight_bits_are_nearly_the_dense_network_and_equal_the_integers() -> None:
    calibration = calibrated()
    network, reports = compress_post_training(calibration, PostTraining())
    dense = logits(calibration.network, calibration.images)
    found = logits(network, calibration.images)
    assert float((found - dense).square().mean() / dense.var()) < 2e-3
    model = to_compressed(network, "small")
    integers = model.run(calibration.images.numpy())
    scale = model.layers[-1].weight_scale[0] * model.format_of(model.layers[-1].source).scale
    difference = np.abs(integers * scale - found.numpy())
    assert difference.max() < 0.02 * dense.abs().max()
    assert [report.name for report in reports] == list(network.layers)


@pytest.mark.parametrize("method", METHODS)
def test_sparse_networks_have_the_wanted_weights(method: str) -> None:
    calibration = calibrated()
    settings = PostTraining(sparsity=0.5, weight_bits=4, method=method)
    network, _ = compress_post_training(calibration, settings)
    assert network.nnz <= 0.5 * network.weights + 2
    assert all(layer.weight_codes().abs().max() <= 8 for layer in network.layers.values())


def test_a_layer_with_break_even_is_dense_or_sparse_enough() -> None:
    settings = PostTraining(sparsity=0.4, break_even=dict.fromkeys(["0", "3", "5", "9"], 3.0))
    _, reports = compress_post_training(calibrated(), settings)
    assert all(r.sparsity == 0 or 1 / (1 - r.sparsity) >= 3 - 1e-6 for r in reports)


@pytest.mark.parametrize("count", [40, 12])
def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path: Path, count: int) -> None:
    settings = PostTraining(sparsity=0.5, weight_bits=4)
    calibration = calibrated(count)
    whole, _ = compress_post_training(calibration, settings)

    def interrupt(report: Any, layers: int) -> None:
        assert layers == 4
        if report.name == "3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_post_training(calibration, settings, state=tmp_path, watch=interrupt)
    kept = list(tmp_path.rglob("*.pt"))
    assert kept
    resumed, reports = compress_post_training(calibration, settings, state=tmp_path)
    for name, value in whole.state()["tensors"].items():
        assert torch.equal(value, resumed.state()["tensors"][name]), name
    assert len(reports) == 4
    kept[0].write_bytes(b"damaged")
    with pytest.raises(PyadmmError, match="delete it"):
        compress_post_training(calibration, settings, state=tmp_path)


def test_sensitivity_needs_no_labels_and_ranks_outputs() -> None:
    calibration = calibrated()
    sensitivity = measure_sensitivity(calibration, PostTraining(sparsity=0.5))
    for name, layer in calibration.network.layers.items():
        assert sensitivity.rows[name].numel() == layer.facts.spec.outputs
        costs = sensitivity.curves[name].costs
        assert costs[0] == 0 < costs[2] < costs[-1]
    assert not measure_sensitivity(calibration, PostTraining()).curves


def test_few_images_do_not_rank_the_outputs() -> None:
    """They would say which classes these images have: the others would be pruned first."""
    many, few = (measure_sensitivity(calibrated(count), PostTraining()).rows for count in (40, 39))
    assert all(rows.unique().numel() > 1 for rows in many.values())
    assert all(bool((rows == 1).all()) for rows in few.values())


def branched_network() -> nn.Module:
    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 6, 3, padding=1)
            self.left = nn.Conv2d(6, 6, 3, padding=1)
            self.right = nn.Conv2d(6, 6, 1)
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            y = (self.left(x) + self.right(x)).relu() + x
            return self.head(y.mean((2, 3)))

    torch.manual_seed(2)
    return Branched()


def test_divergences_are_those_of_the_network_with_one_layer_changed() -> None:
    """Against whole passes, in a network whose maps are read twice."""
    network = trace(branched_network(), SPEC).fold_norms()
    shown = images(7)

    def halves(name: str) -> list[tuple[Tensor, Tensor]]:
        step = network.layers[name]
        return [(factor * step.weight.detach(), step.bias.detach() + 1) for factor in (0.5, 1)]

    found = divergences(network, shown, halves, ["left", "right", "head"])
    assert list(found) == ["left", "right", "head"]
    wanted = logits(network, shown).log_softmax(1)
    for name, costs in found.items():
        for (weight, bias), cost in zip(halves(name), costs, strict=True):
            other = network.copy()
            other.layers[name].weight.data.copy_(weight)
            other.layers[name].bias.data.copy_(bias)
            changed = logits(other, shown).log_softmax(1)
            divergence = (wanted.exp() * (wanted - changed)).sum(1).mean()
            assert cost == pytest.approx(float(divergence), rel=1e-3, abs=1e-6)


def test_output_gradients_are_the_fisher_information() -> None:
    """Against the definition for the logits: ``E (p_o - [drawn = o])**2``."""
    calibration = calibrated(400)
    network = calibration.network
    found = output_gradients(network, calibration.images, 0)["9"]
    shares = logits(network, calibration.images[:96]).softmax(1)
    wanted = (shares * (1 - shares)).mean(0)
    torch.testing.assert_close(found, wanted, rtol=0.35, atol=0.01)
    assert output_weights(torch.zeros(6), 2).unique().tolist() == [1.0]


def test_finetuning_brings_the_outputs_closer_and_keeps_zeros() -> None:
    calibration = calibrated(200)
    settings = PostTraining(sparsity=0.85, weight_bits=4, method="magnitude")
    before, _ = compress_post_training(calibration, settings)
    after = finetune(before, calibration, 20)
    assert divergence(after, calibration) < 0.8 * divergence(before, calibration)
    for name, layer in after.layers.items():
        assert not layer.weight_codes()[before.layers[name].mask == 0].any()
    again = finetune(before, calibration, 20)
    assert torch.equal(logits(after, images(3)), logits(again, images(3)))
    assert to_compressed(after, "small").nnz <= before.nnz


def test_finetuning_is_never_worse_on_images_held_out_and_keeps_levels_and_zeros() -> None:
    """Of what is learned and what there was, and of networks in between, the best is taken."""
    calibration = calibrated(40)
    before, _ = compress_post_training(calibration, PostTraining(sparsity=0.85, weight_bits=4))
    judges = Calibration.of(calibration.network, calibration.images[::8])
    after = finetune(before, calibration, 3)
    assert divergence(after, judges) <= divergence(before, judges)
    for layer, old in zip(after.layers.values(), before.layers.values(), strict=True):
        codes = layer.weight_codes()
        assert torch.equal(codes, codes.round())
        assert not codes[old.mask == 0].any()


def test_networks_in_between_have_the_same_support_and_end_at_both_networks() -> None:
    calibration = calibrated(40)
    first, _ = compress_post_training(calibration, PostTraining(sparsity=0.7, weight_bits=4))
    second = first.copy()
    for layer in second.layers.values():
        layer.weight.data.mul_(1.3)
        layer.bias.data.add_(0.1)
        layer.log_q.data.add_(0.2)
    for share, end in ((0.0, first), (1.0, second)):
        made = interpolated(first, second, share)
        assert torch.equal(logits(made, images(3)), logits(end, images(3)))
    middle = interpolated(first, second, 0.5)
    for name, layer in middle.layers.items():
        mean = (first.layers[name].weight + second.layers[name].weight) / 2
        torch.testing.assert_close(layer.weight, mean)
        assert torch.equal(layer.mask, first.layers[name].mask)
        codes = layer.weight_codes()
        assert torch.equal(codes, codes.round())
        assert int(codes.abs().max()) <= 8
        assert not codes[layer.mask == 0].any()


def test_interrupted_finetuning_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    calibration = calibrated(60)
    before, _ = compress_post_training(calibration, PostTraining(sparsity=0.85, weight_bits=4))
    whole = finetune(before, calibration, 4)

    def interrupt(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(before, calibration, 4, state=tmp_path, watch=interrupt)
    seen: list[int] = []
    resumed = finetune(before, calibration, 4, state=tmp_path, watch=seen.append)
    assert seen == [3, 4]
    for name, value in whole.state()["tensors"].items():
        assert torch.equal(value, resumed.state()["tensors"][name]), name
    next(tmp_path.glob("finetune-*.pt")).write_bytes(b"damaged")
    with pytest.raises(PyadmmError, match="delete it"):
        finetune(before, calibration, 4, state=tmp_path)


def test_finetuning_that_does_not_help_on_images_held_out_changes_nothing() -> None:
    """Every eighth image judges; of a network that is nearly exact nothing better can be learned."""
    calibration = calibrated(32)
    before, _ = compress_post_training(calibration, PostTraining())
    judges = Calibration.of(calibration.network, calibration.images[::8])
    for epochs in (1, 3):
        after = finetune(before, calibration, epochs)
        assert after is before or divergence(after, judges) < divergence(before, judges)


def test_augmented_images_are_bytes_that_repeat_and_stay_within_what_there_was() -> None:
    small, large = (
        F.interpolate(images(12).float(), (side, side), mode="bilinear").to(torch.uint8)
        for side in (16, 64)
    )
    for part in (small, small[:, :1], large):
        found = augmented(part, torch.Generator().manual_seed(4))
        again = augmented(part, torch.Generator().manual_seed(4))
        assert found.dtype == torch.uint8
        assert found.shape == part.shape
        assert torch.equal(found, again)
        assert not torch.equal(found, part)
        assert part.min() <= found.min()
        assert found.max() <= part.max()


def test_images_are_moved_one_by_one_and_mixed_with_others() -> None:
    """Images of one shade stay so unless they are mixed; few columns are neither shifted nor cut."""
    shades = (20 * torch.arange(12, dtype=torch.uint8)).reshape(-1, 1, 1, 1)
    shown = shades.expand(12, 1, 40, 10).contiguous()
    plain = augmented(shown, torch.Generator().manual_seed(1), mix=False)
    assert torch.equal(plain, shown)
    mixed = augmented(shown, torch.Generator().manual_seed(1))
    assert torch.equal(mixed, mixed[..., :1].expand_as(mixed))
    kinds = [len(image.unique()) for image in mixed]
    assert 1 in kinds
    assert 2 in kinds
    rows = torch.arange(40, dtype=torch.uint8).reshape(-1, 1).expand(12, 1, 40, 10).contiguous()
    moved = augmented(rows, torch.Generator().manual_seed(1), mix=False)
    shifts = {int(image[0, 20, 0]) - 20 for image in moved}
    assert len(shifts) > 3
    assert max(map(abs, shifts)) <= 4


@pytest.mark.parametrize("count", [1, 6, 7])
def test_views_of_an_image_stay_in_its_half(count: int) -> None:
    """Images of one shade each: a version of them has the same shade."""
    shades = torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    found = widened(shades.expand(count, 3, 64, 64).contiguous(), 3, 0)
    assert len(found) == count + 2 * (count - count % 2 if count > 1 else 1)
    for place, image in enumerate(found):
        assert len(image.unique()) == 1
        assert count == 1 or int(image[0, 0, 0]) % 2 == place % 2


@pytest.mark.parametrize(
    ("count", "side", "channels", "views"),
    [(40, 64, 3, 4), (400, 64, 3, 3), (40, 32, 3, 1), (40, 64, 1, 1)],
)
def test_only_few_large_pictures_get_more_views(
    count: int, side: int, channels: int, views: int
) -> None:
    network = nn.Sequential(nn.Conv2d(channels, 2, 3, 4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    shown = torch.randint(0, 255, (count, channels, side, side), dtype=torch.uint8)
    network(shown.float())
    spec = InputSpec((channels, side, side), QFormat(8, False, 1 / 255))
    calibration = Calibration.of(trace(network, spec), shown)
    found = calibration.widened(PostTraining()).images
    assert len(found) == views * count
    assert torch.equal(found[:count], shown)
    assert len(calibration.widened(PostTraining(views=2)).images) == 2 * count


def test_the_quantised_walk_ends_with_the_networks_logits() -> None:
    calibration = calibrated(8)
    network, _ = compress_post_training(calibration, PostTraining(weight_bits=4))
    codes = network.encode(calibration.images)
    walked = dict(network.walk_codes(codes))
    assert [step.name for step in walked] == [step.name for step in network.chain]
    last, _ = walked[network.chain[-1]]
    assert torch.equal(last, network(codes))  # the last layer gives real logits
    first, _ = walked[network.chain[0]]
    assert torch.equal(first, first.round())


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (images()[:, :, :7], "shape"),
        (images()[:0], "at least 1"),
        (images().float(), "bytes"),
        (torch.full((9, 3, 8, 8), 7, dtype=torch.uint8), "one value"),
    ],
)
def test_calibration_images_are_checked(shown: Tensor, message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        Calibration.of(trace(small_network(), SPEC), shown)


def test_one_image_is_enough_to_run() -> None:
    network, _ = compress_post_training(calibrated(1), PostTraining(sparsity=0.5, weight_bits=4))
    assert bool(logits(network, images(3)).isfinite().all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sparsity": 1.0},
        {"weight_bits": 1},
        {"activation_bits": 9},
        {"method": "x"},
        {"damping": 0},
        {"views": 0},
    ],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(PyadmmError, match="post-training"):
        PostTraining(**wrong)


@pytest.mark.parametrize(("name", "bits"), [("ds_cnn", 8), ("ds_cnn", 4)])
def test_a_shared_network_goes_from_its_file_to_integers_that_onnxruntime_computes(
    name: str, bits: int
) -> None:
    """Calibrated on rows 0 … 199 of the keyword data; judged on other rows."""
    folder = Path(os.environ.get("PYADMM_DATA_DIR") or "/nonexistent")
    if not (folder / "networks" / f"{name}.onnx").is_file():
        pytest.skip("PYADMM_DATA_DIR names no folder with networks/*.onnx")
    pytest.importorskip("onnxruntime", reason="pip install 'pyadmm[export]'")
    with np.load(folder / "kws" / "dev.npz") as held:
        x, scale = held["x"], float(held["scale"])
    spec = InputSpec((1, 49, 10), QFormat(9, True, scale), (83,), signed=True)
    network = trace(import_onnx(folder / "networks" / f"{name}.onnx").module, spec)
    calibration = Calibration.of(network, torch.from_numpy(x[:200]))
    found, _ = compress_post_training(calibration, PostTraining(weight_bits=bits))
    model = to_compressed(found, name)
    integers = run_onnx(export_onnx(model), x[200:])
    np.testing.assert_array_equal(model.run(x[200:250]), integers[:50])
    dense = logits(calibration.network, torch.from_numpy(x[200:])).argmax(1).numpy()
    assert np.mean(integers.argmax(1) == dense) >= 0.95
