"""Location of the files that come with the package: kernels, templates, boards, host code.

In a checkout they are folders next to ``pyadmm/``; in an installed wheel they are package data.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def asset_dir(name: str) -> Path:
    """Folder ``name`` (``boards``, ``hls``, ``templates``, ``host`` …) of the checkout or wheel."""
    installed = _PACKAGE / "_assets" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def asset_file(name: str) -> Path:
    """File ``name`` (``build.tcl``) of the checkout or the installed wheel."""
    installed = _PACKAGE / "_assets" / name
    return installed if installed.is_file() else _PACKAGE.parent / name
