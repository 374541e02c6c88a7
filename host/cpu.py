"""The same integer network on the board's processor: what the accelerator is compared with.

``y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi)``; a convolution is one matrix
product per group over the input positions that any weight uses, in single precision where
that is exact.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .errors import ManifestError
from .manifest import ModelFact
from .pixels import input_integers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT = 1 << 24
_INPUT = "input"


class Network:
    """The network of one model.

    :raises ManifestError: if the bundle's description of it is incomplete.
    """

    def __init__(self, model: ModelFact) -> None:
        self._input, self._nodes = model.input, model.nodes
        try:
            with np.load(io.BytesIO(model.network.read()), allow_pickle=False) as arrays:
                self._arrays = {name: arrays[name] for name in arrays.files}
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ManifestError(f"{model.network.path.name}: is not an .npz: {error}") from error

    def logits(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """Integer logits ``(N, classes)`` of ``images`` ``(N, C, H, W)`` of the model's type."""
        values = {_INPUT: input_integers(images, self._input)}
        name = _INPUT
        for node in self._nodes:
            try:
                name = node["name"]
                values[name] = _OPERATIONS[node["op"]](self, node, values)
            except (KeyError, TypeError) as error:
                raise ManifestError(f"cpu_nodes: node {name!r} is incomplete: {error}") from error
        return values[name].reshape(len(images), -1)

    def _conv(self, node: dict[str, Any], values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        codes = self._arrays[f"{node['name']}.codes"]
        bias = self._arrays[f"{node['name']}.bias"]
        x, groups = values[node["source"]], node["groups"]
        (down, right), (top, left, bottom, beyond) = node["stride"], node["padding"]
        magnitude = int(np.abs(x).max(initial=1))
        bound = np.abs(codes).reshape(len(codes), -1).sum(1, dtype=np.int64).max() * magnitude
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, beyond)))
        x = x.astype(np.float32 if bound < _EXACT else np.float64)
        windows = sliding_window_view(x, codes.shape[2:], axis=(2, 3))[:, :, ::down, ::right]
        size = windows.shape[2:4]
        acc = np.empty((len(x), len(codes), *size), np.int64)
        per_out, per_in = len(codes) // groups, codes.shape[1]
        for group in range(groups):
            rows = slice(group * per_out, (group + 1) * per_out)
            live = np.nonzero(codes[rows].any(0))
            part = windows[:, group * per_in : (group + 1) * per_in]
            columns = part[:, live[0], :, :, live[1], live[2]].transpose(1, 0, 2, 3)
            weights = codes[rows][:, live[0], live[1], live[2]].astype(x.dtype)
            products = weights @ columns.reshape(len(x), len(live[0]), -1)
            acc[:, rows] = products.reshape(len(x), per_out, *size)
        return _requantise(acc + bias.reshape(1, -1, 1, 1), node)

    def _maxpool(self, node: dict[str, Any], values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        return np.asarray(_windows(node, values).max((-2, -1)))

    def _avgpool(self, node: dict[str, Any], values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        return _requantise(_windows(node, values).sum((-2, -1)), node)

    def _add(self, node: dict[str, Any], values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        a, b = (values[name] * mult for name, mult in zip(node["sources"], node["mult"]))
        return _shift(a + b, node)


_OPERATIONS = {
    "conv": Network._conv,
    "maxpool": Network._maxpool,
    "avgpool": Network._avgpool,
    "add": Network._add,
}


def _windows(node: dict[str, Any], values: dict[str, NDArray[Any]]) -> NDArray[Any]:
    down, right = node["stride"]
    windows = sliding_window_view(values[node["source"]], tuple(node["kernel"]), axis=(2, 3))
    return windows[:, :, ::down, ::right]


def _requantise(acc: NDArray[np.int64], node: dict[str, Any]) -> NDArray[np.int64]:
    mult = np.array(node["mult"], np.int64).reshape(1, -1, *[1] * (acc.ndim - 2))
    return _shift(acc * mult, node)


def _shift(product: NDArray[np.int64], node: dict[str, Any]) -> NDArray[np.int64]:
    half = 1 << (node["shift"] - 1)
    return np.clip((product + half) >> node["shift"], node["lo"], node["hi"])
