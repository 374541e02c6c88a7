"""The objects of one run, each made when first asked for and from then on the same.

Training phases resume from their checkpoints, so asking for the result of a finished phase is cheap
in a later process too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pyadmm import breakeven, container, settings
from pyadmm.breakeven import BreakEven, LayerCase, LayerFormat, Measurements, network_cases
from pyadmm.breakeven.settings import PrunedFamily, Settings
from pyadmm.breakeven.store import known
from pyadmm.codegen.hls import generate
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.compression import hardware_aware
from pyadmm.compression import pipeline as compression
from pyadmm.compression.adaptation import RatioChoice, choose_ratio
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.hardware_aware import RatioPlan
from pyadmm.compression.patterns import Patterns, choose_patterns
from pyadmm.compression.phase import PhaseResult
from pyadmm.compression.pipeline import IntegerResult
from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.core.files import cache_dir
from pyadmm.datasets import DataSet
from pyadmm.eda import area_closure, hierarchical_synthesis, verilator
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.verilator import RtlSimulator
from pyadmm.flow.array import ArrayOfRun
from pyadmm.flow.config import DATAFLOW, SEQUENTIAL, FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.forecast import MOST_WEIGHTS, obstacle, obstacle_of, sketch
from pyadmm.flow.store import file_digest
from pyadmm.flow.target_model import TargetModel, resolve, teacher_of
from pyadmm.hardware.design_space import SearchResult, chip_limit, search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, BuildPlan, KernelConfig
from pyadmm.hardware.sequential.compiler import Compiled, compile_model
from pyadmm.hardware.sequential.roofline import best_images
from pyadmm.model import CompressedModel
from pyadmm.model.reorder import sort_channels
from pyadmm.model.types import Resources
from pyadmm.network.graph import Network, input_bits
from pyadmm.network.names import step_name
from pyadmm.settings import CompressSettings, InputSettings, LayerTarget
from pyadmm.training import devices
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data, Images, accuracy
from pyadmm.training.distillation import Teacher
from pyadmm.training.seeds import digest_of, seed_of

TESTBENCH_IMAGES = 20


def model_digest(source: str | None, module: nn.Module, network: Network) -> str:
    """Digest of what a model computes: its source file, its modules, its traced network's state.

    Names and places do not count; neither do the addresses of functions that modules show.
    """
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    return digest_of(source, shown, network.state())


class Session(ArrayOfRun):
    """One run of the flow.

    :raises PyadmmError: at once for an unknown board, model or preset, or impossible settings.
    """

    def __init__(self, config: FlowConfig, reporter: Reporter) -> None:
        super().__init__(config)
        self.reporter = reporter
        if config.architecture == SEQUENTIAL:
            # A board that lacks the facts or the room is refused before any training.
            _ = self.memory_rate, self.array
        self.settings = replace(
            settings.override(settings.preset(config.preset), config.compress, "compress"),
            seed=config.seed,
        )
        self.target: TargetModel = resolve(config)
        self.teacher_target: TargetModel | None = teacher_of(config, self.target)
        self.device = devices.choose(config.device)
        self._unsynthesised: ToolError | None = None
        self.settings = replace(
            self.settings, input=self._input_settings(), **self._unmoved(self.settings)
        )
        if self.target.given is not None:
            self.outputs = math.prod(self.target.given.shape_of(self.target.given.nodes[-1].name))
            self.model_digest = digest_of(self.target.source)
        else:
            model = self._fresh_model()
            self.settings = self._quantised_as_given()
            self._traced, found = compression.to_adapted(model, self.settings, self.target.shape)
            self.settings = replace(found, **self._unmoved(found))
            self.outputs = compression.output_count(self._traced)
            self.model_digest = model_digest(self.target.source, model, self._traced)
        classes = self.target.label_count(config.data_dir)
        if classes is not None:
            self._require_classes(classes)
        if self.teacher_target is not None:
            _ = self.teacher_network  # what cannot be traced is refused before any training

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about the parts of the model that tracing left out."""
        traced = self._traced.notes if self.target.given is None else ()
        untrained: tuple[str, ...] = ()
        if self.target.is_trained and "dense" in self.config.compress:
            untrained = ("it comes with its weights, so the settings of dense have no effect",)
        return (*self.target.notes, *traced, *untrained)

    @cached_property
    def obstacle(self) -> str:
        """The reason why the kernels or the board cannot take the network; empty where they can."""
        if self.target.given is not None:
            return obstacle_of(hardware_form(self.target.given), self.board)
        return obstacle(self._traced, self.settings, self.board)

    def expected_architecture(self) -> str:
        """The architecture in words, before training: what ``auto`` will take is a forecast."""
        if self.config.architecture != "auto":
            return self.config.architecture
        reason = self.obstacle
        if not reason and self.target.given is None and self._traced.weights > MOST_WEIGHTS:
            return "auto, decided by the compressed network: it is too large for a forecast"
        return f"{SEQUENTIAL} (auto): {reason}" if reason else f"{DATAFLOW} (auto, modelled)"

    @cached_property
    def dataset(self) -> DataSet:
        """All images of the data set, training and test."""
        found = self.target.load_data(self.config.data_dir)
        self._require_classes(found.highest_label + 1)
        return found

    def _require_classes(self, classes: int) -> None:
        if classes > self.outputs:
            raise PyadmmError(
                f"model {self.target.name}: has {self.outputs} outputs, but the data have "
                f"{classes} classes; give it an output for each"
            )

    def _unmoved(self, settings: CompressSettings) -> dict[str, Any]:
        """The phases of ``settings`` that train, without the presets' moves where the data are no pictures.

        A window of a signal is a different window after a shift. The user's own settings win.
        """
        if self.target.loaded is None or self.target.loaded.pictures:
            return {}
        phases: dict[str, Any] = {}
        for name in ("dense", "admm", "retrain", "quantize_norms", "quantize"):
            said = self.config.compress.get(name, {})
            still = {move: 0 for move in ("shift_pixels", "distort", "cutmix") if move not in said}
            phases[name] = replace(getattr(settings, name), **still)
        return phases

    def _input_settings(self) -> InputSettings:
        """Encoding of the inputs: the user's, otherwise the one that suits the data.

        One's own data are read with all their 8 bits unless the user says otherwise; the presets'
        narrower inputs are made for MNIST.
        """
        said = self.config.compress.get("input", {})
        found = self.settings.input
        if self.target.is_own_data and "bits" not in said:
            found = replace(found, bits=8)
        encoding = None if self.target.loaded is None else self.target.loaded.encoding
        if encoding is None or said.keys() & {"offset", "scale", "mean", "std"}:
            return found
        return replace(found, offset=(encoding.offset,), scale=255 * encoding.step)

    def _quantised_as_given(self) -> CompressSettings:
        """The settings, with the bits of a quantised file where the user says nothing of them."""
        imported = self.target.imported
        if imported is None:
            return self.settings
        said = self.config.compress
        found = tuple(
            LayerTarget(
                step_name(name, ()),
                weight_bits=None if "weight_bits" in said else weights,
                activation_bits=None if "activation_bits" in said else activations,
            )
            for name, (weights, activations) in imported.bits().items()
        )
        return replace(self.settings, layers=(*found, *self.settings.layers))

    @cached_property
    def test_images(self) -> NDArray[np.uint8] | NDArray[np.int8]:
        """The test images, of the type that the integer model reads."""
        return self.dataset.test.as_read_by(self.model)

    @cached_property
    def data(self) -> Data:
        """Training and validation images; the test images are not in it."""
        return Data.split(Images.from_numpy(self.dataset.train_images, self.dataset.train_labels))

    @cached_property
    def dense(self) -> tuple[nn.Module, list[EpochRecord]]:
        """The trained dense network and its epochs; none where its weights came from a file."""
        model = self._fresh_model()
        if self.target.is_trained:
            return model, []
        records = compression.train_dense(
            model,
            self.settings,
            self.data,
            **self._resumable,
            identity=self.model_digest,
            ending=self._traced.ending,
        )
        return model, records

    @cached_property
    def network(self) -> Network:
        """The dense network, traced."""
        return compression.to_network(self.dense[0], self.settings, self.target.shape)

    @cached_property
    def teacher(self) -> Teacher:
        """Whose logits are distilled, in all phases: what it keeps of them is computed once."""
        network = self.network if self.teacher_target is None else self.teacher_network
        return compression.shared_teacher(network, self.settings)

    @cached_property
    def teacher_network(self) -> Network:
        """The other network, traced."""
        assert self.teacher_target is not None
        model = self.teacher_target.module().to(self.device)
        return compression.to_teacher(model, self.settings, self.target.shape)

    @cached_property
    def layer_cases(self) -> tuple[LayerCase, ...]:
        """The layers of the traced network, with the bits that the settings compress them to."""
        widths = input_bits(self._traced)
        formats = [
            LayerFormat(layer.facts.spec, layer.facts.weight_bits, widths[name])
            for name, layer in self._traced.layers.items()
        ]
        return network_cases(self.target.name, formats, self.board)

    @cached_property
    def measured_break_even(self) -> Measurements:
        """Break-even of every layer: from the package, the cache, or measured by synthesis.

        :raises MissingToolError: where one has to be measured and Yosys is missing.
        """
        return breakeven.measurements(
            self.layer_cases, self.board, anew=self.config.measure, progress=self._measuring
        )

    def _measuring(self, label: str) -> None:
        self.reporter.line(f"  measuring the break-even of {label} by synthesis")

    @cached_property
    def break_even(self) -> tuple[BreakEven, ...]:
        """Break-even ratios that the compression obeys; none where they are off or Yosys is missing."""
        if not self.config.obeys_break_even:
            return ()
        try:
            return self.measured_break_even.results
        except MissingToolError:
            return ()  # The step that measures it has said so.

    @property
    def family_records(self) -> tuple[BreakEven, ...]:
        """The records that the compression obeys, and those of other families that are at hand."""
        if not self.break_even:
            return ()
        found = (
            known(case, self.board, Settings(), family)
            for case in self.layer_cases
            for family in get_args(PrunedFamily)[1:]
        )
        return (*self.break_even, *(record for record, _ in filter(None, found)))

    @cached_property
    def floors(self) -> dict[str, float]:
        """Least pruning ratios by layer."""
        return Measurements(self.break_even, ()).floors

    @cached_property
    def final_settings(self) -> CompressSettings:
        """The settings that all phases after the dense one take: they know the floors."""
        if not self.floors and self.config.hardware_aware is None:
            return self.pattern_settings
        return self.ratio_plan.settings

    @cached_property
    def ratio_choice(self) -> RatioChoice:
        """The settings, with a pruning ratio by short trials where nobody gave one."""
        return choose_ratio(self.network, self.settings, self.data, **self._distilled)

    @cached_property
    def patterns(self) -> Patterns | None:
        """Which layers short trials made balanced; ``None`` where nobody asked."""
        if self.config.balance is None:
            return None
        return choose_patterns(
            self.network,
            self.ratio_choice.settings,
            self.data,
            loss=self.config.balance / 100,
            speed=self._cycles,
            **self._resumable,
        )

    @property
    def pattern_settings(self) -> CompressSettings:
        """The settings with the ratio and the patterns that were chosen."""
        found = self.ratio_choice.settings
        return found if self.patterns is None else self.patterns.settings

    @property
    def family(self) -> str | None:
        """Kernels that the search may use: balanced ones too, where a layer may be balanced."""
        settings = self.settings
        asked = settings.sparsity, *(layer.sparsity for layer in settings.layers)
        return "any" if self.config.balance is not None or "balanced" in asked else None

    @cached_property
    def pruned(self) -> PhaseResult:
        """The pruned network, with the decisions of the schedule."""
        result = compression.admm_phase(
            self.network, self.final_settings, self.data, **self._distilled
        )
        if self.final_settings is self.pattern_settings:
            return result
        return replace(result, decisions=self.ratio_plan.decisions)

    @cached_property
    def ratio_plan(self) -> RatioPlan:
        """The ratios that obey break-even; raised as far as short trials allow, where asked for."""
        constrained = replace(self.pattern_settings, break_even=self.floors)
        loss = self.config.hardware_aware
        if loss is None:
            return hardware_aware.plan(self.network, constrained, self.data, self._cycles)
        return hardware_aware.raise_ratios(
            self.network,
            constrained,
            self.data,
            loss=loss / 100,
            speed=self._cycles,
            **self._resumable,
        )

    def _cycles(self, model: CompressedModel) -> float:
        """Cycles between two images (modelled); infinite where ``model`` does not fit the board."""
        try:
            return self._search(model, self.chip_limit).best.interval
        except PyadmmError:
            return math.inf

    @cached_property
    def retrained(self) -> PhaseResult:
        """The pruned network after masked retraining."""
        return compression.retrain(
            self.pruned.network, self.final_settings, self.data, **self._distilled
        )

    @cached_property
    def quantized(self) -> PhaseResult:
        """The network with quantised weights and activations."""
        return compression.quantize(
            self.retrained.network,
            self.final_settings,
            self.data,
            **self._distilled,
            name=self.target.name,
        )

    def validation_stages(self) -> tuple[float, float, float] | None:
        """Accuracies on the validation images: dense, pruned, integer; ``None`` without the second."""
        records = self.retrained.records or self.pruned.records
        if not records:
            return None
        pruned, integer = records[-1].val_accuracy, self.integer.validation_accuracy
        return self.dense_validation_accuracy(), pruned, integer

    @cached_property
    def integer(self) -> IntegerResult:
        """The integer model, its hidden channels in the order that makes the smallest file."""
        found = compression.to_integer(self.quantized.network, self.data, self.target.name)
        form = smallest if self.settings.most_bytes else sort_channels
        return replace(found, model=form(found.model))

    @cached_property
    def model(self) -> CompressedModel:
        """The integer model as its file holds it: what is reported is what was saved."""
        return container.load(self.admm_file)

    @property
    def admm_file(self) -> Path:
        """Path of the compressed network's file."""
        return self.run_dir / f"{self.target.name}.admm"

    @cached_property
    def compact(self) -> CompressedModel:
        """The model that hardware is made for: the same logits without inactive channels."""
        return hardware_form(self.model)

    @cached_property
    def kernels(self) -> SearchResult:
        """The kernel of every layer: the design-space search's choice and its runners-up.

        Synthesis corrects the choice, unless it is switched off or cannot run (the step ``synth`` says
        why).
        """
        if self.config.synthesis:
            try:
                return area_closure.search_and_synthesise(
                    self.compact, self.board, self._rtl_with, self._search, self.chip_limit
                )
            except ToolError as error:
                self._unsynthesised = error
        return self._search(self.compact, self.chip_limit)

    @property
    def chip_limit(self) -> Resources:
        """Resources of the chip that the accelerator may use."""
        config = self.config
        return chip_limit(self.board, config.chip_share, open_tools=config.open_tools)

    def _search(self, model: CompressedModel, budget: Resources) -> SearchResult:
        """The kernels of ``model`` as the configuration lets them be chosen."""
        return search(
            model,
            self.board,
            family=self.family,
            unrolled=self.config.unrolled,
            stream=self.config.stream,
            budget=budget,
        )

    def _rtl_with(self, configs: Mapping[str, KernelConfig]) -> BuildPlan:
        plan = plan_accelerator(self.compact, self.board, configs, stream=self.config.stream)
        return generate_rtl(plan, model=self.compact)

    @cached_property
    def plan(self) -> AcceleratorPlan:
        """The accelerator plan of the chosen kernels."""
        kernels = self.kernels.best.configs
        return plan_accelerator(self.compact, self.board, kernels, stream=self.config.stream)

    @cached_property
    def hls_build(self) -> BuildPlan:
        """The accelerator in HLS C++, its first test images as the testbench's vectors."""
        return generate(self.compact, self.plan, self.dataset.test_images[:TESTBENCH_IMAGES])

    @cached_property
    def rtl_build(self) -> BuildPlan:
        """The same accelerator in SystemVerilog."""
        return generate_rtl(self.plan, model=self.compact)

    @cached_property
    def synthesis(self) -> SynthesisReport:
        """Synthesis of the whole RTL by the open flow; results are cached by the tool's room.

        :raises ToolError: as :func:`~pyadmm.eda.hierarchical_synthesis.synthesise_build`; a tool that failed or hung
            while the kernels were chosen is not run again.
        """
        build = self.rtl_build
        if self._unsynthesised is not None:
            raise self._unsynthesised
        return hierarchical_synthesis.synthesise_build(build, self.board)

    @cached_property
    def architecture(self) -> Literal["dataflow", "sequential"]:
        """The architecture of the compressed model: what was asked for, or what ``auto`` takes."""
        if self.config.architecture != "auto":
            return self.config.architecture
        return SEQUENTIAL if self.dataflow_refusal else DATAFLOW

    @cached_property
    def dataflow_refusal(self) -> str:
        """The reason why no dataflow design of the compressed model fits the board; empty where one fits.

        :raises ToolError: where a tool failed for another reason than the size of the design.
        """
        try:
            self._require_dataflow()
        except ToolError:
            raise
        except PyadmmError as error:
            return str(error)
        return ""

    def _require_dataflow(self) -> None:
        """Raise where the plan cannot be made, or is too large by synthesis where that is asked for."""
        _ = self.plan
        if not self.config.synthesis or self._unsynthesised is not None:
            return
        self.require_fit()

    def require_fit(self) -> None:
        """Raise where the synthesised accelerator is too large for the board."""
        modelled = self.kernels.best.resources
        area_closure.require_fit(
            self.synthesis, modelled, self.compact, self.board, self.chip_limit
        )

    @cached_property
    def sequential(self) -> Compiled:
        """The program of the compressed model for the layer-sequential array."""
        return best_images(self.model, self.array, self.memory_rate)

    def array_obstacle(self) -> str:
        """Why there will be no program for the layer-sequential array; empty where there will be one.

        Before training, a network pruned in one shot stands for the compressed one.
        """
        try:
            _ = self.memory_rate
            given = self.target.given
            compile_model(given or sketch(self._traced, self.settings, hardware=False), self.array)
        except PyadmmError as error:
            return (
                f"there will be no program for the sequential array on {self.board.name}: {error}"
            )
        return ""

    @cached_property
    def rtl_simulator(self) -> RtlSimulator:
        """The compiled simulation of the RTL."""
        return verilator.build_simulator(self.rtl_build, self.plan, cache_dir() / "verilator")

    @property
    def weights_digest(self) -> str | None:
        """SHA-256 of the file of trained weights, if there is one."""
        file = self.target.weights
        return None if file is None else file_digest(file)

    @property
    def teacher_facts(self) -> list[str]:
        """Digest of the teacher, its weights included, where it is another network."""
        if self.teacher_target is None:
            return []
        network = self.teacher_network
        return [model_digest(self.teacher_target.source, network, network)]

    def dense_validation_accuracy(self) -> float:
        """Share of the validation images that the dense float network gets right."""
        return self._dense_accuracy(self.data.validation)

    def dense_test_accuracy(self) -> float:
        """Share of the test images that the dense float network gets right."""
        test = Images.from_numpy(self.dataset.test_images, self.dataset.test_labels)
        return self._dense_accuracy(test)

    def _dense_accuracy(self, data: Images) -> float:
        return accuracy(lambda images: self.network(self.network.encode(images)), data)

    @property
    def _resumable(self) -> dict:
        return {
            "checkpoint_dir": self.run_dir / "checkpoints",
            "progress": self.reporter.epoch,
        }

    @property
    def _distilled(self) -> dict:
        return {**self._resumable, "teacher": self.teacher}

    def _fresh_model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.config.seed, "initial weights"))
            return self.target.module().to(self.device)
