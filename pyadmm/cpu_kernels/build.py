"""Compiling and loading the C++ of this room."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
from pathlib import Path

from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.core.files import cache_dir
from pyadmm.core.process import run_tool

_SOURCES = ("anneal.cpp", "sparse_conv_blocked.cpp", "sparse_conv_pool.cpp", "warp.cpp")
_HEADERS = ("vectors.h",)
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    # Rounding and products may be fused; order of sums and special values stay as written.
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-shared",
    "-fPIC",
    "-fopenmp",
)
_TIMEOUT_S = 300.0
_REMEDY = "set sparse to false and rounding's candidates to 0 to do without compiled code"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled code, from the cache folder where it is there already.

    :raises MissingToolError: where there is no C++ compiler.
    :raises ToolError: where it does not compile or load.
    """
    path = compiled(cache_dir() / "native")
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(f"{path}: cannot be loaded ({error}); delete it, or {_REMEDY}") from error


def pointer(tensor: object) -> ctypes.c_void_p:
    """Pointer to the data of a contiguous tensor on the CPU; ``None`` gives a null pointer.

    The tensor lives as long as the result.
    """
    place = ctypes.c_void_p(None if tensor is None else tensor.data_ptr())  # type: ignore[attr-defined]
    place.tensor = tensor  # type: ignore[attr-defined]
    return place


def compiled(folder: Path) -> Path:
    """The library's file in ``folder``, compiled unless it is there."""
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    if compiler is None:
        raise MissingToolError(
            f"{name}: not found; install g++ (for example `apt-get install g++`), or {_REMEDY}"
        )
    sources = [Path(__file__).with_name(source) for source in _SOURCES]
    path = folder / f"training-{_digest(sources, compiler)}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        run_tool(
            [compiler, *_FLAGS, *sources, "-o", partial],
            log=path.with_suffix(".log"),
            timeout_s=_TIMEOUT_S,
            remedy=_REMEDY,
        )
        os.replace(partial, path)
    return path


def _digest(sources: list[Path], compiler: str) -> str:
    """Of everything that decides the result, the processor included: a cache may be shared."""
    sha = hashlib.sha256("\0".join([compiler, *_FLAGS, _processor()]).encode())
    headers = [Path(__file__).with_name(header) for header in _HEADERS]
    for source in [*sources, *headers]:
        sha.update(source.read_bytes())
    return sha.hexdigest()[:24]


def _processor() -> str:
    """The features that the kernel lists for it; empty where it lists none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
