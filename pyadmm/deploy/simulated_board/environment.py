"""A Python that has pynq: the host code runs in it, since pynq pins numpy < 2.

``python -m pyadmm.deploy.simulated_board.environment`` creates it and prints its path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.files import cache_dir

PYTHON_VARIABLE = "PYADMM_HOST_PYTHON"
_REQUIREMENTS = "requirements-sim.txt"
_INSTALL_LIMIT_S = 900
_CHECK_LIMIT_S = 60
_REMEDY = (
    f"set {PYTHON_VARIABLE} to a Python with the packages of host/{_REQUIREMENTS}, or give "
    "pip access to a package index"
)


def host_python(*, create: bool = True) -> Path:
    """A Python interpreter that can import pynq.

    It is the environment's ``PYADMM_HOST_PYTHON``, else a virtual environment in the cache folder,
    made on first use.

    :param create: whether to make it where it does not exist yet.
    :raises MissingToolError: if there is none and it cannot, or must not, be made.
    """
    given = os.environ.get(PYTHON_VARIABLE)
    if given:
        path = Path(given)
        if not _has_pynq(path):
            raise MissingToolError(f"{PYTHON_VARIABLE}: {given} cannot import pynq; {_REMEDY}")
        return path
    folder = environment_folder()
    python = folder / "bin" / "python"
    if python.is_file():
        return python
    if not create:
        raise MissingToolError(
            f"simulated board: no Python with pynq at {folder}; "
            f"'python -m pyadmm.deploy.simulated_board.environment' makes it, or {_REMEDY}"
        )
    _create(folder)
    return python


def environment_folder() -> Path:
    """Folder of the virtual environment; its name changes with the requirements."""
    requirements = asset_dir("host") / _REQUIREMENTS
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:12]
    return cache_dir() / f"host-{digest}"


def _has_pynq(python: Path) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", "import pynq"],
            capture_output=True,
            timeout=_CHECK_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _create(folder: Path) -> None:
    """Make the environment in a temporary folder and rename it when it is complete.

    A virtual environment cannot be renamed freely: its scripts carry its path, but its ``python``
    does not, and only that is used.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    requirements = asset_dir("host") / _REQUIREMENTS
    python = str(partial / "bin" / "python")
    try:
        _run([sys.executable, "-m", "venv", str(partial)])
        _run([python, "-m", "pip", "install", "--quiet", "-r", str(requirements)])
        if not _has_pynq(Path(python)):
            raise MissingToolError(
                f"simulated board: pynq was installed but cannot be imported; {_REMEDY}"
            )
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "bin" / "python").is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(
            f"simulated board: {command[2:4]} failed: {error}; {_REMEDY}"
        ) from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise MissingToolError(
            f"simulated board: cannot make a Python with pynq:\n{tail}\n{_REMEDY}"
        )


def main() -> int:
    """Make the environment and print its interpreter; gives the exit status."""
    try:
        print(host_python())
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
