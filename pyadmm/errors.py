"""Alias of :mod:`pyadmm.core.errors`, where users import the exceptions from."""

from __future__ import annotations

from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError

__all__ = ["MissingToolError", "PyadmmError", "ToolError"]
