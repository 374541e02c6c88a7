"""The compression pipeline: each phase in its own module, and :func:`compress` for all of them."""

from __future__ import annotations

from pyadmm.compression.pipeline import (
    admm_phase,
    compress,
    quantize,
    retrain,
    to_integer,
    to_network,
    train_dense,
)

__all__ = [
    "admm_phase",
    "compress",
    "quantize",
    "retrain",
    "to_integer",
    "to_network",
    "train_dense",
]
