"""The ``.admm`` file: a :class:`CompressedModel` in as few bytes as we can, and back bit for bit.

A file is ``magic and version (1 byte) · CRC-24 of the rest (3 bytes, big-endian) · coded data``.
The coded data are one range-coder stream of the network's nodes in order, a layer's weights right
after its shape. ``docs/container.md`` describes the format.

Decoding is bounded: what a file may make us allocate or compute is limited by its own length and
by the constants below, whatever it declares.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from pyadmm.container.budget import SYMBOL_LIMIT, Budget
from pyadmm.container.network_coding import NetworkCoder
from pyadmm.container.range_coder import Coder, Decoder, Encoder
from pyadmm.container.sparse import is_balanced
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.model import (
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    Lookup,
    MaxPool,
    Node,
    Product,
)

MAGIC = b"\xa2"
"""``a``, and the version of the format; no UTF-8 text starts with such a byte."""
EXTENDED = b"\xa3"
"""The same of networks that version 2 cannot describe (:func:`needs_extension`)."""
BALANCED = b"\xa4"
"""Version 3 with a coding for window-balanced layers, where that makes the file smaller."""
TABLED = b"\xa5"
"""Version 4 of networks with tables or products of maps."""
FILE_LIMIT = 1 << 28
WEIGHT_LIMIT = 1 << 28
FREE_WEIGHTS = 1 << 20
WEIGHTS_PER_BYTE = 1 << 10
"""A file of ``n`` bytes holds at most ``FREE_WEIGHTS + n * WEIGHTS_PER_BYTE`` weights."""
FREE_SYMBOLS = 1 << 20
SYMBOLS_PER_BYTE = 1 << 6
"""The same for the gaps between non-zeros in layers that are coded statically."""
_HEAD = 4
_CRC_MASK = (1 << 24) - 1
_DAMAGED = "get the file again"
PARTS = ("header", "positions", "levels", "biases")


def encode(model: CompressedModel) -> bytes:
    """The file of ``model``.

    :raises PyadmmError: for models beyond the limits above.
    """
    return _encode(model)[0]


def _encode(model: CompressedModel) -> tuple[bytes, dict[str, float]]:
    """The file of the version that gives the fewest bytes, the older one of equals."""
    if any(isinstance(node, Lookup | Product) for node in model.nodes):
        return encode_as(model, TABLED)
    plain = encode_as(model, EXTENDED if needs_extension(model) else MAGIC)
    if not any(is_balanced(layer.spec.window_shape, layer.codes) for layer in model.layers):
        return plain
    return min(plain, encode_as(model, BALANCED), key=lambda file: len(file[0]))


def encode_as(model: CompressedModel, magic: bytes) -> tuple[bytes, dict[str, float]]:
    """The file of ``model`` in one version of the format, and the bits of its parts by name.

    :param magic: ``EXTENDED`` or ``BALANCED``, or ``MAGIC`` unless :func:`needs_extension`;
        ``TABLED`` of networks with tables or products.
    :raises PyadmmError: for models beyond the limits above.
    """
    encoder = Encoder()
    session = _session(encoder, WEIGHT_LIMIT, Budget(), magic)
    session.model(model)
    # Zeros after the stream change nothing; they entitle a nearly empty network to its weights.
    owed = max(
        -(-(session.weights - FREE_WEIGHTS) // WEIGHTS_PER_BYTE),
        -(-(SYMBOL_LIMIT - session.budget.symbols - FREE_SYMBOLS) // SYMBOLS_PER_BYTE),
    )
    content = encoder.finish().ljust(owed - _HEAD, b"\0")
    return seal(content, magic), encoder.sections


def _session(coder: Coder, weight_limit: int, budget: Budget, magic: bytes) -> NetworkCoder:
    return NetworkCoder(
        coder,
        magic != MAGIC,
        weight_limit=weight_limit,
        budget=budget,
        balanced=magic in (BALANCED, TABLED),
        tabled=magic == TABLED,
    )


def needs_extension(model: CompressedModel) -> bool:
    """Whether ``model`` has what only version 3 of the format describes.

    That is signed data, unequal strides or paddings, dilation, pools with oblong windows, padding
    or a border, and concatenation.
    """
    return model.input.signed or any(_is_extended(node) for node in model.nodes)


def _is_extended(node: Node) -> bool:
    if isinstance(node, CompressedLayer):
        spec = node.spec
        even = len({*spec.stride}) == len({*spec.padding}) == 1
        return not even or spec.dilation != (1, 1)
    if isinstance(node, MaxPool | AvgPool):
        border = node.border if isinstance(node, AvgPool) else None
        square = len({*node.kernel}) == len({*node.stride}) == 1
        return not square or any(node.padding) or border is not None
    return isinstance(node, Concat)


def seal(content: bytes, magic: bytes = MAGIC) -> bytes:
    """The file of coded data ``content``: magic, version and checksum before it.

    The checksum is the lower 24 bits of CRC-32.
    """
    return magic + (zlib.crc32(content) & _CRC_MASK).to_bytes(_HEAD - 1, "big") + content


def decode(data: bytes) -> CompressedModel:
    """The model that :func:`encode` was given.

    :raises PyadmmError: for anything else than such a file.
    """
    magic = bytes(data[:1])
    known, old = magic in (MAGIC, EXTENDED, BALANCED, TABLED), data[:3] == b"ADM"
    if old or (data and data[0] >> 4 == MAGIC[0] >> 4 and not known):
        version = data[3] if old and len(data) > 3 else data[0] & 15
        raise PyadmmError(
            f".admm file: version must be {MAGIC[0] & 15} to {TABLED[0] & 15}, not {version}; "
            "read it with the pyadmm that wrote it"
        )
    if not known:
        raise PyadmmError(
            f".admm file: starts with {bytes(data[:4])!r}, so it is no such file; {_DAMAGED}"
        )
    if len(data) > FILE_LIMIT:
        raise PyadmmError(f".admm file: must be at most {FILE_LIMIT} bytes, not {len(data)}")
    content = bytes(data[_HEAD:])
    if seal(content, magic) != data:
        raise PyadmmError(f".admm file: checksum is wrong, it is damaged or truncated; {_DAMAGED}")
    weights = min(WEIGHT_LIMIT, FREE_WEIGHTS + WEIGHTS_PER_BYTE * len(data))
    symbols = min(SYMBOL_LIMIT, FREE_SYMBOLS + SYMBOLS_PER_BYTE * len(data))
    try:
        budget = Budget(symbols=symbols)
        return _session(Decoder(content), weights, budget, magic).model(None)
    except PyadmmError as error:
        said = " ".join(str(error).split())  # A damaged name may hold line breaks.
        raise PyadmmError(f".admm file: not a valid model: {said}") from error


def save(model: CompressedModel, path: str | Path) -> None:
    """Write ``model`` to the ``.admm`` file ``path``, atomically.

    :raises PyadmmError: for a model beyond the limits of the format.
    :raises OutputError: where the file cannot be written.
    """
    write_atomic(Path(path), encode(model))


def load(path: str | Path) -> CompressedModel:
    """Read the model in the ``.admm`` file ``path``.

    :raises PyadmmError: naming the file, where it cannot be read or is no valid file.
    """
    try:
        return decode(read_bytes(Path(path)))
    except PyadmmError as error:
        raise PyadmmError(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of the file ``path``, at most one more than a valid file may have."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise PyadmmError(f"cannot be read: {error.strerror}; check the path") from error


def breakdown(data: bytes) -> list[tuple[str, float]]:
    """Bits of each part of a file, in file order; they sum to its whole length.

    Parts are ``checksum`` (magic, version and CRC), ``header``, then for every layer
    ``NAME.header``, ``.positions``, ``.levels``, ``.biases``, and ``padding``: what rounding up to
    whole bytes adds (it may be slightly below 0 where the last interval holds a short number).
    """
    model = decode(data)
    _, sections = _encode(model)
    parts = [("checksum", 8.0 * _HEAD), *sections.items()]
    return [*parts, ("padding", 8.0 * len(data) - sum(bits for _, bits in parts))]
