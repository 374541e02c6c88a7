"""A truncated or hostile manifest gives one error that names the field."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from host.errors import ManifestError
from host.manifest import Manifest, read_manifest

from .models import DIGEST


@pytest.fixture
def facts(deploy: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((deploy / "bundle" / "manifest.json").read_text())
    return document


def read(facts: Any, folder: Path) -> Manifest:
    path = folder / "manifest.json"
    path.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return read_manifest(folder)


def change(facts: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the field at dotted ``path`` replaced, or removed where ``value`` is ``...``."""
    result = copy.deepcopy(facts)
    *parents, last = path.split(".")
    place: Any = result
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return result


def test_a_sound_manifest_gives_every_fact(deploy: Path) -> None:
    manifest = read_manifest(deploy / "bundle")
    assert manifest.models[0].input.shape == (1, 9, 7)
    assert (manifest.packed, manifest.pixel_bits) == (False, 8)
    assert (manifest.input_words, manifest.output_words) == (16, 5)
    assert manifest.design.ident == int(DIGEST[:8], 16)
    assert manifest.design.bitfile is None
    assert manifest.clock_mhz == 100
    assert manifest.registers["cycles"] == 0x30
    first, second = manifest.models
    assert [layer.name for layer in first.layers] == ["conv1", "fc1"]
    assert sum(layer.words for layer in first.layers) == first.words == second.words
    assert len(first.weights.read()) == 4 * first.words


WRONG: list[tuple[str, Any, str]] = [
    ("format", "other", "field format"),
    ("version", 2, "field version"),
    ("version", True, "field version"),
    ("board", ..., "field board is missing"),
    ("board", "\n", "field board"),
    ("input", [], "field input must be an object"),
    ("input.shape", [1, 9], "field input.shape"),
    ("input.shape", [1, 9, -7], "field input.shape"),
    ("input.shape", [1, 9, 1 << 40], "field input.shape"),
    ("input.offset", [0, 0], "field input.offset"),
    ("input.dtype", "float32", "field input.dtype"),
    ("streams.word_bits", 64, "field streams.word_bits"),
    ("streams.input_words", 15, "field streams.input_words must be a whole number from 16 to 16"),
    ("streams.output_words", 4, "field streams.output_words"),
    ("classes", 0, "field classes"),
    ("clock.mhz", "100", "field clock.mhz"),
    ("clock.mhz", 1e9, "field clock.mhz"),
    ("clock.index", 4, "field clock.index"),
    ("design.digest", "0x00", "field design.digest"),
    ("design.ident", 7, "field design.ident"),
    ("design.kernel", "magic", "field design.kernel must be one of hls, rtl"),
    ("design.bitfile", "../../etc/passwd", "field design.bitfile"),
    ("design.vlnv", "a:b", "field design.vlnv"),
    ("registers.mode", 0x11, "field registers.mode"),
    ("registers.mode", 0x00, "field registers.mode"),
    ("registers.ident", ..., "field registers.ident is missing"),
    ("registers.extra", 0x40, "field registers.extra is unknown"),
    ("modes.load", 0, "field modes.load"),
    ("models", [], "field models"),
    ("models.0.words", -1, "field models[0].words"),
    ("models.1.layers.1.offset", 1, "field models[1].layers[1].offset"),
    ("models.0.layers.0.words", 1, "field models[0].layers[1].offset"),
    ("models.0.weights.file", "/dev/zero", "field models[0].weights.file"),
    ("models.0.weights.sha256", "A" * 64, "field models[0].weights.sha256"),
    ("models.1.name", "first", "two models of one name"),
    ("models.0.logit_scale", 0, "field models[0].logit_scale"),
    ("models.0.cpu_nodes", {}, "field models[0].cpu_nodes"),
    ("curves", 5, "field curves must be null or an object"),
    ("surprise", 1, "field surprise is unknown"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_field_is_named(
    facts: dict[str, Any], tmp_path: Path, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read(change(facts, path, value), tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith("manifest.json: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 100_000, '{"version": NaN}', "\x00", '"x"', "1e999"]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        read(text, tmp_path)


def test_every_truncation_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(facts)
    for length in random.Random(1).sample(range(len(text)), 60):
        with pytest.raises(ManifestError):
            read(text[:length], tmp_path)


def test_no_damaged_byte_gives_anything_but_a_manifest_or_its_error(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    content = json.dumps(facts).encode()
    rng = random.Random(2)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "manifest.json").write_bytes(damaged)
        try:
            read_manifest(tmp_path)
        except ManifestError:
            refused += 1
    assert refused > 150


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="larger than"):
        read_manifest(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path / "manifest.json")
