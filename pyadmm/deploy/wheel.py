"""The wheel of the board's package, written without any build tool.

A wheel is a zip file with a list of its contents (PyPA, binary distribution format); written here,
it needs no network and is the same, byte for byte, for the same bundle.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

from pyadmm import __version__
from pyadmm.core.assets import asset_dir
from pyadmm.hardware.plan import files_digest

_WHEEL_DATE = (1980, 1, 1, 0, 0, 0)
_HOST_SUFFIXES = (".py", ".c", ".ipynb")


def host_files() -> dict[str, bytes]:
    """The board's package, ``host/…`` to content."""
    root = asset_dir("host")
    paths = sorted(p for p in root.rglob("*") if p.suffix in _HOST_SUFFIXES and p.is_file())
    return {f"host/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def build_wheel(bundle: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Name and content of the wheel: ``host`` with the bundle inside.

    Its local version is the digest of its files, so that pip replaces an older one.
    """
    files = host_files() | {f"host/bundle/{name}": content for name, content in bundle.items()}
    version = f"{__version__}+{files_digest(files)[:10]}"
    info = f"pyadmm_host-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: pyadmm-host\nVersion: {version}\n"
        "Summary: driver, weights and notebooks of a pyadmm accelerator, for pynq or plain Linux\n"
        "Requires-Python: >=3.8\nRequires-Dist: numpy>=1.20\n"
        "Provides-Extra: pynq\nRequires-Dist: pynq; extra == 'pynq'\n"
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: pyadmm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = (
        b"[pynq.lib]\npyadmm = host.driver\n\n[pynq.notebooks]\npyadmm = host.notebooks\n"
    )
    record = f"{info}/RECORD"
    lines = [f"{name},{_record_digest(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    return f"pyadmm_host-{version}-py3-none-any.whl", _zip(files)


def _record_digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _WHEEL_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
