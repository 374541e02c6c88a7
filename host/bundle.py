"""Finding and opening the bundle: in the installed package, or where the command line says."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .accelerator import Accelerator
from .errors import HostError
from .manifest import MANIFEST_NAME

BUNDLE_VARIABLE = "PYADMM_BUNDLE"
BITFILE_VARIABLE = "PYADMM_BITFILE"
TIMEOUT_VARIABLE = "PYADMM_TIMEOUT_S"
DEFAULT_TIMEOUT_S = 5.0


def bundle_folder() -> Path:
    """Folder of the bundle: environment ``PYADMM_BUNDLE``, else the one inside the package.

    :raises HostError: if there is none.
    """
    given = os.environ.get(BUNDLE_VARIABLE)
    folder = Path(given) if given else Path(__file__).with_name("bundle")
    if not (folder / MANIFEST_NAME).is_file():
        raise HostError(
            f"bundle: no {MANIFEST_NAME} in {folder}; install the wheel of a deploy folder, or "
            f"set {BUNDLE_VARIABLE}"
        )
    return folder


def timeout_s() -> float:
    """Limit of a wait on the hardware: environment ``PYADMM_TIMEOUT_S``, else 5 s.

    :raises HostError: if the variable is no positive number.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise HostError(f"{TIMEOUT_VARIABLE}: must be a positive number of seconds, not {text!r}")
    return seconds


def open_accelerator(
    bundle: Path | None = None, bitfile: Path | None = None, model: str | None = None
) -> Accelerator:
    """The accelerator of a bundle, loaded and verified.

    :param bundle: folder of the manifest, by default :func:`bundle_folder`.
    :param bitfile: ``.bit``, by default environment ``PYADMM_BITFILE``, else the bundle's.
    """
    given = os.environ.get(BITFILE_VARIABLE)
    if bitfile is None and given:
        bitfile = Path(given)
    folder = bundle_folder() if bundle is None else bundle
    return Accelerator(bitfile, folder, model=model, timeout_s=timeout_s())


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which bundle, bitstream and model to use."""
    parser.add_argument("--bundle", type=Path, help="folder with manifest.json")
    parser.add_argument("--bitfile", type=Path, help="another .bit than the bundle's")
    parser.add_argument("--model", help="weights to load, by default the manifest's first")


def open_bundle(options: argparse.Namespace) -> Accelerator:
    """The accelerator that the arguments name."""
    return open_accelerator(options.bundle, options.bitfile, options.model)
