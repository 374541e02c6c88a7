"""C simulation of a generated accelerator with g++.

The Apache-2.0 ``ap_*`` headers come with the package da4ml; streams and AXI words are small
stand-ins of our own (``hls/csim``), on the include path of this simulation only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.codegen.hls import WEIGHTS_FILE
from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.core.process import run_tool
from pyadmm.hardware.input_stream import stream_bytes
from pyadmm.hardware.plan import AcceleratorPlan
from pyadmm.model import INPUT

_AP_TYPES = Path("codegen", "hls", "source", "ap_types", "include")
_SOURCES = ("src/top.cpp", "tb/testbench.cpp")
_INCLUDES = ("src", "include", "csim_include")
FLAGS = (
    "-std=c++14",
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-Wall",
    "-Wextra",
    # Both are inherent to HLS sources: pragmas for another compiler, labels that name loops.
    "-Wno-unknown-pragmas",
    "-Wno-unused-label",
    # Constructors of the ap_* headers read their own storage before they set it.
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
)
_COMPILE_TIMEOUT_S = 600.0
_COMPILE_MEMORY_MB = 8192
_RUN_MEMORY_MB = 8192


@dataclass(frozen=True)
class Inference:
    """The results of one ``infer`` job.

    :param logits: int64 ``(N, classes)``.
    :param frames: integers of every frame by node name, ``(N, C, H, W)``; empty unless asked for.
    """

    logits: NDArray[np.int64]
    frames: dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Simulator:
    """A compiled testbench of an HLS accelerator.

    :param program: the executable.
    :param plan: the accelerator that it simulates.
    """

    program: Path
    plan: AcceleratorPlan
    timeout_s: float = 600.0

    @property
    def log(self) -> Path:
        """The messages of the compiler."""
        return _log_of(self.program)

    def infer(
        self, images: NDArray[np.uint8], weights: NDArray[np.uint32], *, frames: bool = False
    ) -> Inference:
        """Load a weight image and run uint8 ``images`` ``(N, C, H, W)``."""
        return self.infer_models(images, [weights], frames=frames)[0]

    def infer_models(
        self,
        images: NDArray[np.uint8],
        weights: Sequence[NDArray[np.uint32]],
        *,
        frames: bool = False,
    ) -> list[Inference]:
        """Load one weight image after another in the same run, and run all images on each.

        :raises PyadmmError: for images of another type or shape.
        :raises ToolError: where the simulation fails, or weights read back are not those loaded.
        """
        data = stream_bytes(images, self.plan)
        with tempfile.TemporaryDirectory(prefix="pyadmm-csim-") as name:
            folder = Path(name)
            data.tofile(folder / "images.bin")
            jobs: list[str] = []
            for index, image in enumerate(weights):
                image.astype("<u4").tofile(folder / f"weights{index}.bin")
                jobs += ["load", f"weights{index}.bin"]
                if frames:
                    jobs += ["trace", f"frames{index}.bin"]
                jobs += ["infer", "images.bin", f"logits{index}.bin"]
                jobs += ["back", f"back{index}.bin"]
            self._run(folder, jobs)
            results = []
            for index, image in enumerate(weights):
                back = np.fromfile(folder / f"back{index}.bin", "<u4")
                if not np.array_equal(back, image):
                    raise ToolError("csim: the weights read back are not those that were loaded")
                results.append(self._result(folder, index, len(images), frames))
        return results

    def _run(self, folder: Path, jobs: Sequence[str]) -> None:
        run_tool(
            [self.program.resolve(), *jobs],
            cwd=folder,
            log=folder / "csim.log",
            timeout_s=self.timeout_s,
            memory_mb=_RUN_MEMORY_MB,
        )

    def _result(self, folder: Path, index: int, count: int, frames: bool) -> Inference:
        words = np.fromfile(folder / f"logits{index}.bin", "<i4").astype(np.int64)
        logits = words.reshape(count, self.plan.logits)
        if not frames:
            return Inference(logits, {})
        shapes = {INPUT: self.plan.input.shape}
        shapes |= {stage.node: stage.output_shape for stage in self.plan.units}
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        flat = np.fromfile(folder / f"frames{index}.bin", "<i4").astype(np.int64)
        flat = flat.reshape(count, sum(sizes))
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
        named = zip(shapes.items(), parts, strict=True)
        return Inference(logits, {n: part.reshape(count, *s) for (n, s), part in named})


def compiler() -> str:
    """The C++ compiler: ``$CXX`` or g++.

    :raises MissingToolError: where there is none.
    """
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(
            f"{name}: not found; install g++ (for example `apt-get install g++`)"
        )
    return path


def ap_types_dir() -> Path:
    """Folder of the ``ap_*`` headers inside the installed package da4ml.

    :raises MissingToolError: where the package or the headers are missing.
    """
    spec = importlib.util.find_spec("da4ml")
    for root in spec.submodule_search_locations or [] if spec is not None else []:
        folder = Path(root) / _AP_TYPES
        if (folder / "ap_int.h").is_file():
            return folder
    raise MissingToolError("csim: the ap_int headers are missing; install da4ml==0.6.0")


def build_simulator(
    build_dir: Path,
    plan: AcceleratorPlan,
    *,
    exact_widths: bool = False,
    cache_dir: Path | None = None,
) -> Simulator:
    """Compile the testbench of the build written in ``build_dir``, or find it in the cache.

    :param exact_widths: simulate every number at its hardware width (``ap_int``), which is slower;
        otherwise in native integers, which hold the same values.
    :param cache_dir: where programs are kept by the digest of sources, flags and compiler;
        ``None``: ``build_dir/csim``.
    :raises ToolError: where g++ or the headers are missing, or the sources do not compile.
    """
    cache = cache_dir or build_dir / "csim"
    return Simulator(build_testbench(build_dir, cache, exact_widths=exact_widths), plan)


def build_testbench(
    build_dir: Path,
    cache: Path,
    sources: Sequence[str] = _SOURCES,
    *,
    exact_widths: bool = False,
) -> Path:
    """The program of ``sources`` in ``build_dir``; arguments and errors as :func:`build_simulator`."""
    defines = ["PYADMM_CSIM", *(["PYADMM_EXACT_WIDTHS"] if exact_widths else [])]
    command = compile_command(defines, sources)
    cache = cache.resolve()
    program = cache / f"testbench-{_source_digest(build_dir, command)}"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = program.with_name(f".{program.name}.{os.getpid()}")
        run_tool(
            [*command, "-o", partial],
            cwd=build_dir,
            log=_log_of(program),
            timeout_s=_COMPILE_TIMEOUT_S,
            memory_mb=_COMPILE_MEMORY_MB,
            remedy="the generated accelerator does not compile: please report it with the log",
        )
        os.replace(partial, program)
    return program


def compile_command(defines: Sequence[str], sources: Sequence[str] = _SOURCES) -> list[str]:
    """g++ with all flags, include folders and sources, to be run in a build's folder."""
    command = [compiler(), *FLAGS, *(f"-D{name}" for name in defines)]
    for folder in _INCLUDES:
        command += ["-I", folder]
    return [*command, "-isystem", str(ap_types_dir()), *sources]


def _log_of(program: Path) -> Path:
    return program.with_name(f"{program.name}.log")


def _source_digest(build_dir: Path, command: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    for folder in (*_INCLUDES, "tb"):
        for path in sorted((build_dir / folder).iterdir()):
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def csim(build_dir: Path, plan: AcceleratorPlan, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Logits ``(N, classes)`` of the generated C++ for ``images``, on the build's weights."""
    weights = np.fromfile(build_dir / WEIGHTS_FILE, "<u4")
    return build_simulator(build_dir, plan).infer(images, weights).logits
