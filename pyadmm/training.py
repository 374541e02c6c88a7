"""Training: labelled images, one epoch, resumable phases.

A *phase* is a function of its start state and its settings: all its random numbers come from
``(seed, phase, epoch)``, and after every epoch its whole state is written atomically. A run that is
killed and started again gives bit for bit the result of an undisturbed run.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import distributed
from pyadmm.capture import Captured
from pyadmm.devices import CPU, rounds_products
from pyadmm.errors import PyadmmError
from pyadmm.files import write_atomic
from pyadmm.native.build import library
from pyadmm.native.images import moved

EVALUATION_BATCH = 500
EVALUATION_BYTES = 1 << 23
"""Of the images that are evaluated together: their maps take some hundred times as much."""
VALIDATION_IMAGES = 5_000
VALIDATION_SHARE = 12
"""At most one in so many training images is held out, which matters for small data sets."""
_TEACHER_CACHE_BYTES = 1 << 28
_TEACHER_CACHE_SHIFTS = 9
"""Computing the logits of more shifts than this costs more than most phases have epochs."""
_BOX_BITS = 16
_MEAN = -1
"""Key of the means over views among numbers of pixels."""


@dataclass(frozen=True)
class Images:
    """Labelled byte images, in memory or in a mapped file: some or all rows of ``pool``.

    Parts of one data set share its pool, so that splitting it copies nothing.

    :param pool: uint8, ``(M, C, H, W)``.
    :param labels: int64, ``(N,)``.
    :param places: int64, ``(N,)``, rows of the pool; ``None``: all of them, in order.
    """

    pool: Tensor
    labels: Tensor
    places: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pool.dtype != torch.uint8 or self.pool.ndim != 4:
            raise PyadmmError(
                f"data: images must be uint8 of shape (N, C, H, W), not {self.pool.dtype} "
                f"of shape {tuple(self.pool.shape)}"
            )
        count = len(self.pool if self.places is None else self.places)
        if tuple(self.labels.shape) != (count,) or self.labels.dtype != torch.int64:
            raise PyadmmError("data: labels must be int64, one per image")
        if count == 0:
            raise PyadmmError("data: there are no images")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        channels, height, width = self.pool.shape[1:]
        return channels, height, width

    @property
    def images(self) -> Tensor:
        """All images, in memory if they are only some of the pool: for small sets."""
        return self.at(slice(None))

    def at(self, index: Tensor | slice) -> Tensor:
        """The images at ``index``, ``(K, C, H, W)``."""
        return self.pool[index if self.places is None else self.places[index]]

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the pool that the images at ``index`` are."""
        return index if self.places is None else self.places[index]

    @property
    def all_rows(self) -> Tensor:
        """Rows of the pool that the images are."""
        return self.rows(torch.arange(len(self)))

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and labels, in order, up to :data:`EVALUATION_BATCH` at a time."""
        size = self.evaluated_together(EVALUATION_BATCH)
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.at(rows), self.labels[rows]

    def evaluated_together(self, most: int) -> int:
        """``most``, or as many images as :data:`EVALUATION_BYTES` hold."""
        return max(1, min(most, EVALUATION_BYTES // math.prod(self.shape)))

    def take(self, rows: Tensor) -> Images:
        """Some of the images, of the same pool."""
        return Images(self.pool, self.labels[rows], self.rows(rows))

    @classmethod
    def of(cls, loader: Images | Iterable[tuple[Tensor, Tensor]]) -> Images:
        """The data of a DataLoader or any iterable of batches, read once into memory.

        Images must be bytes, or floats in 0 … 1 that are bytes over 255 (as ``ToTensor`` gives).
        """
        if isinstance(loader, Images):
            return loader
        pairs = [(_as_bytes(images), labels.long()) for images, labels in loader]
        if not pairs:
            raise PyadmmError("data: the loader gives no batches")
        return cls(torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))

    @classmethod
    def from_numpy(cls, images: np.ndarray, labels: np.ndarray) -> Images:
        """From numpy arrays, which must not change later; a mapped file stays one."""
        pool = images if images.flags.writeable else images.copy()
        return cls(torch.from_numpy(pool), torch.from_numpy(labels.astype(np.int64)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all bytes, computed once."""
        sha = hashlib.sha256(repr((len(self), *self.shape)).encode())
        for images, _ in self.parts():
            sha.update(images.numpy().tobytes())
        sha.update(self.labels.numpy().tobytes())
        return sha.hexdigest()


def _as_bytes(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    scaled = images.float() * 255
    rounded = scaled.round()
    if not bool(((scaled - rounded).abs() < 0.01).all() and (rounded >= 0).all()) or bool(
        (rounded > 255).any()
    ):
        raise PyadmmError(
            "data: float images must be bytes / 255, in 0 to 1, not normalised; give bytes, and "
            "describe offset and scale in the settings' input"
        )
    return rounded.to(torch.uint8)


@dataclass(frozen=True)
class Data:
    """The training images and the validation split that every choice is made on."""

    train: Images
    validation: Images

    @classmethod
    def split(cls, everything: Images) -> Data:
        """Training images with up to 5,000 held out to choose on, the same ones every time."""
        count = min(VALIDATION_IMAGES, len(everything) // VALIDATION_SHARE)
        generator = torch.Generator().manual_seed(seed_of(0, "validation split"))
        order = torch.randperm(len(everything), generator=generator)
        held_out, kept = order[:count], order[count:]
        return cls(everything.take(kept), everything.take(held_out))

    @property
    def digests(self) -> tuple[str, str]:
        """Of the training and of the validation images."""
        return self.train.digest, self.validation.digest


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, for reports: plain numbers.

    ``primal``, ``dual`` and ``rho`` are those of ADMM, ``None`` in other phases.
    """

    step: str
    phase: str
    epoch: int
    loss: float
    val_accuracy: float
    nnz: int
    seconds: float
    primal: float | None = None
    dual: float | None = None
    rho: float | None = None


def as_text(records: Sequence[EpochRecord]) -> str:
    """JSON for a checkpoint."""
    return json.dumps([asdict(record) for record in records])


def records_of(text: str) -> list[EpochRecord]:
    """What :func:`as_text` wrote."""
    return [EpochRecord(**record) for record in json.loads(text)]


Progress = Callable[[EpochRecord, int], None]
"""Is told every epoch and how many epochs its phase has."""


@dataclass(frozen=True)
class Batch:
    """Some training images: bytes, labels, and where they come from (for the teacher's logits).

    :param index: their rows of the pool.
    :param shift: of each image, as in :func:`shifted`.
    :param varied: whether images may be mirrored, distorted or patched, so that their logits are
        not kept.
    :param weight: of these images in the mean over the batch of all processes.
    :param counted: images that they stand for in sums over all processes.
    :param key: of the :class:`Moves` that they were moved by.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    shift: Tensor
    varied: bool = False
    weight: float = 1.0
    counted: float = 0.0
    key: Hashable = None


@dataclass(frozen=True)
class Patches:
    """Rectangles of other images that cover a part of some (CutMix: Yun et al. 2019, section 3).

    :param rows: int64 ``(N,)``, of the pool: where patches are taken from, at the same place.
    :param box: int64 ``(N, 4)``: first row and column, and the ones behind the last, which are the
        first ones where an image stays whole; in units of ``2**-_BOX_BITS`` of a side.
    """

    rows: Tensor
    box: Tensor

    @classmethod
    def draw(
        cls, count: int, generator: torch.Generator, *, share: float, among: Tensor
    ) -> Patches:
        """Of ``count`` images, a ``share`` of which get one; its area is 0 to 1, uniformly."""
        rows = among[torch.randint(len(among), (count,), generator=generator)]
        area, chance, *middle = torch.rand(4, count, generator=generator)
        half = torch.where(chance < share, area.sqrt() / 2, 0.0)
        ends = torch.stack([m + sign * half for sign in (-1, 1) for m in middle], 1)
        return cls(rows, (ends.clamp(0, 1) * 2**_BOX_BITS).long())

    def to(self, device: torch.device) -> Patches:
        """The same on another device."""
        return Patches(self.rows.to(device), self.box.to(device))

    def over(self, images: Tensor, places: Tensor) -> Tensor:
        """Which pixels of ``images``, at ``places``, are covered: boolean ``(K, 1, H, W)``."""
        height, width = images.shape[2:]
        top, left, bottom, right = self.box[places, :, None].unbind(1)

        def inside(size: int, first: Tensor, behind: Tensor) -> Tensor:
            at = torch.arange(size, device=images.device) * 2**_BOX_BITS
            return (at >= first * size) & (at < behind * size)

        return (
            inside(height, top, bottom)[:, None, :, None]
            & inside(width, left, right)[:, None, None, :]
        )


@dataclass(frozen=True)
class Moves:
    """How every training image is moved, mirrored, distorted and patched in an epoch.

    :param pixels: most that an image is shifted by; ``shift`` is as in :func:`shifted`.
    :param shift: int64 ``(N,)``.
    :param mirrored: boolean ``(N,)``; ``None``: none is.
    :param maps: float32 ``(N, 2, 2)``, as in :func:`distorted`; ``None``: images keep their form.
    :param patches: what covers a part of them; ``None``: nothing does.
    :param native: images are distorted by compiled code, on the CPU, which may round otherwise.
    :param key: what the images are known by, where epochs see the very same again.
    """

    pixels: int
    shift: Tensor
    mirrored: Tensor | None
    maps: Tensor | None
    patches: Patches | None = None
    native: bool = False
    key: Hashable = None

    @classmethod
    def draw(
        cls,
        count: int,
        generator: torch.Generator,
        *,
        pixels: int,
        flip: bool,
        distort: float,
        native: bool,
        cutmix: float = 0.0,
        among: Tensor | None = None,
    ) -> Moves:
        """Of ``count`` images; as many random numbers are drawn whatever they are used for.

        :param among: rows of the pool that patches are taken from.
        """
        shift = torch.randint((2 * pixels + 1) ** 2, (count,), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        maps = torch.eye(2) + distort * (2 * torch.rand(count, 2, 2, generator=generator) - 1)
        patches = None
        if cutmix and among is not None:
            patches = Patches.draw(count, generator, share=cutmix, among=among)
        return cls(
            pixels, shift, mirrored if flip else None, maps if distort else None, patches, native
        )

    def to(self, device: torch.device) -> Moves:
        """The same on another device."""
        mirrored = None if self.mirrored is None else self.mirrored.to(device)
        maps = None if self.maps is None else self.maps.to(device)
        patches = None if self.patches is None else self.patches.to(device)
        return replace(
            self, shift=self.shift.to(device), mirrored=mirrored, maps=maps, patches=patches
        )

    def of(self, pool: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Images of ``pool``, moved as the ones at ``places`` are, on the moves' device."""
        images = self._moved(pool, rows, places)
        if self.patches is None:
            return images
        others = self._moved(pool, self.patches.rows[places].to(rows.device), places)
        return torch.where(self.patches.over(images, places), others, images)

    def _moved(self, pool: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        shift = self.shift[places]
        if self.native and self.maps is not None:
            images = moved(pool.contiguous(), rows, shift, self.pixels, self.maps[places])
        else:
            images = shifted(pool[rows].to(shift.device), self.pixels, shift)
            if self.maps is not None:
                images = distorted(images, self.maps[places])
        if self.mirrored is not None:
            which = self.mirrored[places, None, None, None]
            images = torch.where(which, images.flip(3), images)
        return images


def batches(
    data: Images,
    size: int,
    shift_pixels: int,
    seed: int,
    *,
    flip: bool = False,
    distort: float = 0.0,
    device: torch.device = CPU,
    native: bool = False,
    cutmix: float = 0.0,
    look: Moves | None = None,
) -> Iterator[Batch]:
    """All of ``data`` once; ``seed`` decides their order, shifts, flips, distortions and patches.

    :param device: where they go, batch by batch; the random numbers are the same everywhere.
    :param native: as in :class:`Moves`.
    :param look: of all rows of the pool, instead of moves that ``seed`` decides.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    moves = look or Moves.draw(
        len(data),
        generator,
        pixels=shift_pixels,
        flip=flip,
        distort=distort,
        native=native,
        cutmix=cutmix,
        among=data.all_rows,
    )
    moves, labels = moves.to(device), data.labels.to(device)
    varied = any(part is not None for part in (moves.mirrored, moves.maps, moves.patches))
    for whole in order.split(size):
        chosen, weight = distributed.share(whole)
        rows = data.rows(chosen)
        index, places = rows.to(device), chosen.to(device)
        which = places if look is None else index
        images, shift = moves.of(data.pool, rows, which), moves.shift[which]
        counted = weight * len(whole)
        yield Batch(images, labels[places], index, shift, varied, weight, counted, moves.key)


def shifted(images: Tensor, pixels: int, shift: Tensor) -> Tensor:
    """Images moved by ``shift`` (``0 … (2 pixels + 1)**2 - 1``, row-major), zeros moving in."""
    if pixels == 0:
        return images
    span = 2 * pixels + 1
    height, width = images.shape[2:]
    windows = F.pad(images, (pixels,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(len(images), device=images.device)
    return windows[each, :, shift // span, shift % span]


def distorted(images: Tensor, maps: Tensor) -> Tensor:
    """Byte images seen through linear maps about their centre; zeros lie outside.

    :param maps: ``(N, 2, 2)``, from a place in the result to the place in the image that is shown
        there, interpolated between its four neighbours.
    """
    grid = F.affine_grid(F.pad(maps, (0, 1)), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)


class Teacher:
    """Logits of the dense network for training batches, computed once where memory allows.

    :param views: an image's logits are the mean over all its shifts by up to so many pixels,
        however it is mirrored or distorted.
    :param precision: of the products of ``network``, as in ``TrainSettings``.
    """

    def __init__(
        self,
        network: nn.Module,
        encode: Callable[[Tensor], Tensor],
        views: int = 0,
        precision: str = "float32",
    ) -> None:
        self.network = network.eval()
        self.encode = encode
        self.views = views
        self.precision = precision
        self._pool: Tensor | None = None
        self._known: dict[Hashable, Tensor] = {}
        self._tables: dict[Hashable, Tensor] = {}

    @torch.no_grad()
    def prepare(self, data: Images, shift_pixels: int) -> None:
        """Compute the logits of all images in all shifts, if they fit the cache.

        They are kept by the rows of one pool, which parts of a data set share.
        """
        self._take_up(data)
        if self.views > 0:
            self._complete(_MEAN, data, self._mean_of)
            return
        shifts = (2 * shift_pixels + 1) ** 2
        if shifts <= _TEACHER_CACHE_SHIFTS and self._fits(data, shifts):
            self._complete(shift_pixels, data, lambda part: self._shifted(part, shift_pixels))

    @torch.no_grad()
    def prepare_look(self, data: Images, look: Moves, looks: int) -> None:
        """Compute the logits of all images as ``look`` shows them, if all ``looks`` fit."""
        self._take_up(data)
        if self._fits(data, looks):
            self._complete(look.key, data, lambda part: self._seen(part, look))

    def _take_up(self, data: Images) -> None:
        """Forget what is known of another pool."""
        if self._pool is not data.pool:
            self._pool, self._known, self._tables = data.pool, {}, {}

    def _fits(self, data: Images, times: int) -> bool:
        """Whether the logits of all rows of the pool may be kept so many times."""
        classes = self.network(self.encode(data.at(slice(1)))).shape[1]
        return times * len(data.pool) * classes * 4 <= _TEACHER_CACHE_BYTES

    def _complete(self, key: Hashable, data: Images, find: Callable[[Images], Tensor]) -> None:
        """Add the logits of ``data`` to a table, ``([shifts,] rows of the pool, classes)``."""
        known = self._known.setdefault(key, torch.zeros(len(data.pool), dtype=torch.bool))
        rows = data.all_rows
        new = (~known[rows]).nonzero()[:, 0]
        if not len(new):
            return
        found = find(data.take(new))
        if key not in self._tables:
            size = *found.shape[:-2], len(data.pool), found.shape[-1]
            self._tables[key] = found.new_zeros(size)
        self._tables[key][..., rows[new].to(found.device), :] = found
        known[rows[new]] = True

    def _shifted(self, data: Images, pixels: int) -> Tensor:
        shifts = range((2 * pixels + 1) ** 2)
        return torch.stack([self._logits_of(data, pixels, shift) for shift in shifts])

    def _mean_of(self, data: Images) -> Tensor:
        shifts = (2 * self.views + 1) ** 2
        total = self._logits_of(data, self.views, 0)
        for shift in range(1, shifts):
            total += self._logits_of(data, self.views, shift)
        return total / shifts

    def _logits_of(self, data: Images, shift_pixels: int, shift: int) -> Tensor:
        parts = [
            self.encode(shifted(part, shift_pixels, torch.full((len(part),), shift)))
            for part, _ in data.parts()
        ]
        return torch.cat([self._asked(part) for part in parts])

    def _seen(self, data: Images, look: Moves) -> Tensor:
        size = data.evaluated_together(EVALUATION_BATCH)
        parts = data.all_rows.split(size)
        images = (look.of(data.pool, part, part.to(look.shift.device)) for part in parts)
        return torch.cat([self._asked(self.encode(part)) for part in images])

    def _asked(self, codes: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        device = codes.device
        if not rounds_products(self.precision, device):
            return (network or self.network)(codes).float()
        with torch.autocast(device.type, torch.bfloat16):
            return (network or self.network)(codes).float()

    @torch.no_grad()
    def logits(
        self,
        batch: Batch,
        codes: Tensor,
        shift_pixels: int,
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Logits for ``batch``, whose input codes are ``codes``.

        :param network: the teacher's own by default, or a faster equal of it.
        """
        if batch.key is not None and batch.key in self._tables:
            return self._tables[batch.key][batch.index]
        if _MEAN in self._tables:
            return self._tables[_MEAN][batch.index]
        if shift_pixels in self._tables and not batch.varied:
            return self._tables[shift_pixels][batch.shift, batch.index]
        return self._asked(codes, network)


def distillation_loss(
    logits: Tensor, labels: Tensor, teacher: Tensor | None, weight: float, temperature: float
) -> Tensor:
    """``(1 - weight) CE(logits, labels) + weight T^2 KL(teacher | logits)``."""
    loss = F.cross_entropy(logits, labels)
    if teacher is None or weight == 0:
        return loss
    target = F.softmax(teacher / temperature, 1)
    soft = F.cross_entropy(logits / temperature, target) + (target * target.log()).sum(1).mean()
    return (1 - weight) * loss + weight * temperature**2 * soft


@torch.no_grad()
def accuracy(forward: Callable[[Tensor], Tensor], data: Images) -> float:
    """Share of right answers of ``forward``, which takes byte images."""
    right = sum(
        int((forward(images).argmax(1).cpu() == labels).sum()) for images, labels in data.parts()
    )
    return right / len(data)


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimizers, :class:`~pyadmm.admm.Admm`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> object: ...


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything printable."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def digest_of(*parts: object) -> str:
    """SHA-256 of tensors, mappings, sequences and printable values."""
    sha = hashlib.sha256()
    _feed(sha, parts)
    return sha.hexdigest()


def _feed(sha: Any, part: object) -> None:
    if isinstance(part, Tensor):
        sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
        sha.update(part.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(part, Mapping):
        for key, value in part.items():
            sha.update(repr(key).encode())
            _feed(sha, value)
    elif isinstance(part, list | tuple):
        for value in part:
            _feed(sha, value)
    else:
        sha.update(repr(part).encode())


class Checkpoint:
    """The state of one phase in one file, replaced atomically after every epoch.

    :param folder: ``None`` keeps nothing.
    :param fingerprint: digest of everything that decides the phase; a file with another one belongs
        to another run and is refused.
    """

    def __init__(self, folder: Path | None, phase: str, fingerprint: str) -> None:
        self.path = None if folder is None else folder / f"{phase}.pt"
        self.fingerprint = fingerprint

    def load(self) -> dict[str, Any] | None:
        """What was saved last, if anything."""
        if self.path is None or not self.path.exists():
            return None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch.load raises whatever the damage happens to hit
            raise PyadmmError(
                f"checkpoint {self.path}: cannot be read ({error}); delete it to train again"
            ) from error
        if not isinstance(state, dict) or state.get("fingerprint") != self.fingerprint:
            raise PyadmmError(
                f"checkpoint {self.path}: belongs to other settings, data or seed; delete it or "
                f"choose another directory"
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file; of several processes the first one does."""
        if self.path is not None and distributed.rank() == 0:
            buffer = io.BytesIO()
            torch.save(_on_cpu({**state, "fingerprint": self.fingerprint}), buffer)
            write_atomic(self.path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file, if there is one; of several processes the first one does."""
        if self.path is not None and distributed.rank() == 0:
            self.path.unlink(missing_ok=True)


def _on_cpu(state: Any) -> Any:
    """``state`` with its tensors on the CPU, so that a machine without a GPU can go on from it."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_on_cpu(value) for value in state)
    return state


@dataclass
class Best:
    """The best state of a network so far, by validation accuracy (the later of equals)."""

    accuracy: float = -1.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, accuracy: float, network: nn.Module) -> None:
        """Remember ``network`` if it is not worse."""
        if accuracy >= self.accuracy:
            self.accuracy = accuracy
            self.tensors = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Both fields."""
        return {"accuracy": self.accuracy, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.accuracy, self.tensors = state["accuracy"], state["tensors"]


@dataclass(frozen=True)
class Phase:
    """Name and surroundings of a phase.

    :param step: name of the flow's step that it belongs to.
    :param start: whatever decides the phase's result besides ``seed``: settings, data, networks.
    """

    step: str
    name: str
    epochs: int
    seed: int
    start: tuple[object, ...]
    folder: Path | None = None
    progress: Progress | None = None

    def run(
        self,
        parts: Mapping[str, Stateful],
        epoch: Callable[[int], tuple[dict[str, Any], bool]],
    ) -> list[EpochRecord]:
        """Train, or go on training, for :attr:`epochs` epochs.

        :param parts: everything that changes during the phase.
        :param epoch: trains one; gives the figures of its record, and whether to stop early.
        """
        checkpoint = self.checkpoint
        state = checkpoint.load() or {"epoch": 0, "done": False, "records": "[]"}
        for name, part in parts.items():
            if name in state:
                part.load_state_dict(state[name])
        records = records_of(state["records"])
        done, first = bool(state["done"]), int(state["epoch"])
        for number in range(first, self.epochs):
            if done:
                break
            begin = time.perf_counter()
            distributed.agree("phase and epoch", f"{self.name} {number} {checkpoint.fingerprint}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_of(self.seed, self.name, number))
                figures, done = epoch(number)
            seconds = time.perf_counter() - begin
            records.append(EpochRecord(self.step, self.name, number, seconds=seconds, **figures))
            checkpoint.save(
                {
                    "epoch": number + 1,
                    "done": done,
                    "records": as_text(records),
                    **{name: part.state_dict() for name, part in parts.items()},
                }
            )
            if self.progress is not None:
                self.progress(records[-1], self.epochs)
        return records

    @property
    def checkpoint(self) -> Checkpoint:
        """Where its state is kept."""
        return Checkpoint(self.folder, self.name, digest_of(self.seed, self.epochs, *self.start))

    def epoch_seed(self, epoch: int) -> int:
        """Seed of an epoch's order and shifts."""
        return seed_of(self.seed, self.name, epoch, "batches")


def compiled(*functions: Callable[[Tensor], Tensor]) -> list[Callable[[Tensor], Tensor]]:
    """The functions through ``torch.compile``, for one shape of their input.

    Only one list at a time: what was compiled before is forgotten, as torch would count every new
    network of a run against a limit and then go on uncompiled without a word.
    """
    torch.compiler.reset()
    return [_with_clear_errors(torch.compile(f, dynamic=False, fullgraph=True)) for f in functions]


def _with_clear_errors(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        try:
            return function(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise PyadmmError(
                f"settings, compiled: torch.compile failed ({str(error).strip().splitlines()[0]}); "
                "it needs a C++ compiler, $CXX or g++, and on a GPU Triton. Install them, "
                "or set compiled to false"
            ) from error

    return call


def require_compilers(
    device: torch.device, *, dynamo: bool, native: bool, annealing: bool = False
) -> None:
    """Refuse before any training what would be refused at the first step.

    :param dynamo: :func:`compiled` will be needed.
    :param native: training will need :mod:`pyadmm.native`.
    :param annealing: something else will, which is on the CPU anyway.
    :raises PyadmmError: if that does not work here.
    """
    if dynamo:
        (probe,) = compiled(lambda x: x.square() + 1)
        probe(torch.ones(2, device=device))
    if native and device.type != "cpu":
        raise PyadmmError(
            f"settings, sparse: computes on the CPU, not on {device}; set sparse to false"
        )
    if native or annealing:
        library()


@dataclass
class EpochTrainer:
    """Trains a network for one epoch.

    :param forward: logits of input codes.
    :param learning_rate: of the share of the epoch that is done.
    :param precision: of the products of ``forward``, as in ``TrainSettings``.
    :param before_step: after ``backward``, before the optimizer (ADMM's penalty).
    :param after_step: after the optimizer (masks).
    :param module: whose buffers several processes average after the epoch.
    :param compiled: ``forward`` and the teacher run through ``torch.compile`` on whole batches; the
        last one of an epoch may be smaller and is not worth another compilation.
    :param captured: whole batches go through one recorded CUDA graph.
    :param native: as in :func:`batches`.
    :param looks: seeds of the moves that an epoch's images may get; none: new ones in every epoch.
    :param cutmix: share of the images that get :class:`Patches`.
    :param among: rows of the pool that patches are taken from; ``None``: those of the epoch.
    """

    forward: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    batch_size: int
    shift_pixels: int = 0
    teacher: Teacher | None = None
    distill_weight: float = 0.0
    temperature: float = 1.0
    precision: str = "float32"
    flip: bool = False
    distort: float = 0.0
    before_step: Callable[[], None] | None = None
    after_step: Callable[[], None] | None = None
    module: nn.Module | None = None
    compiled: bool = False
    captured: bool = False
    native: bool = False
    looks: Sequence[int] = ()
    cutmix: float = 0.0
    among: Tensor | None = None
    _rounded: bool = field(default=False, init=False)
    _fast: list[Callable[[Tensor], Tensor]] = field(default_factory=list, init=False)
    _recorded: Captured | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Compiled code multiplies in float32; it keeps its maps in bfloat16 (Network.rounded).
        self._rounded = not self.native and rounds_products(self.precision, self._device)

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.optimizer.param_groups[0]["params"][0].device
        return device

    def train(
        self, data: Images, seed: int, where: str, learning_rate: Callable[[float], float]
    ) -> float:
        """One epoch; returns its mean loss.

        :raises PyadmmError: as soon as the loss is not finite.
        """
        device = self._device
        total = torch.zeros((), device=device)
        steps = math.ceil(len(data) / self.batch_size)
        if self.compiled and not self._fast:
            tutors = [] if self.teacher is None else [self.teacher.network]
            self._fast = compiled(self.forward, *tutors)
        whole = 0
        for step, batch in enumerate(self._batches(data, seed)):
            whole = whole or len(batch.images)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step / steps)
            loss = self._step(batch, len(batch.images) == whole)
            total += loss * batch.counted
            if step % 50 == 0 or step == steps - 1:
                _require_finite(float(total), where)
        if self.module is not None:
            distributed.average_buffers(self.module)
        return float(distributed.total(total)) / len(data)

    def loss(self, data: Images, seed: int) -> float:
        """Mean loss over an epoch's images without training."""
        total = torch.zeros((), device=self._device)
        with torch.no_grad():
            for batch in self._batches(data, seed):
                total += self._loss(batch, []) * batch.counted
        return float(distributed.total(total)) / len(data)

    def _batches(self, data: Images, seed: int) -> Iterator[Batch]:
        """The images of an epoch, once the teacher knows what it can know of them before."""
        varied = self.flip or self.distort > 0 or self.cutmix > 0
        look = self._look(data, seed) if self.looks else None
        if self.teacher is not None and look is not None:
            if not self.captured:  # A graph asks it anew for every batch.
                self.teacher.prepare_look(data, look, len(self.looks))
        elif self.teacher is not None and (self.teacher.views > 0 or not varied):
            self.teacher.prepare(data, self.shift_pixels)
        return batches(
            data,
            self.batch_size,
            self.shift_pixels,
            seed,
            flip=self.flip,
            distort=self.distort,
            device=self._device,
            native=self.native,
            cutmix=self.cutmix,
            look=look,
        )

    def _look(self, data: Images, seed: int) -> Moves:
        """That of the looks which an epoch's seed picks."""
        chosen = self.looks[seed % len(self.looks)]
        among = data.all_rows if self.among is None else self.among
        moves = Moves.draw(
            len(data.pool),
            torch.Generator().manual_seed(chosen),
            pixels=self.shift_pixels,
            flip=self.flip,
            distort=self.distort,
            native=self.native,
            cutmix=self.cutmix,
            among=among,
        )
        moved = self.shift_pixels, self.flip, self.distort, self.native
        key = chosen, *moved, self.cutmix, digest_of(among) if self.cutmix else None
        return replace(moves.to(self._device), key=key)

    def slopes(self, data: Images, seed: int) -> Iterator[int]:
        """The images of every batch; its gradients, left in the parameters, are not followed."""
        for batch in self._batches(data, seed):
            self._gradients(batch, False)
            yield round(batch.counted / batch.weight)

    def _step(self, batch: Batch, whole: bool) -> Tensor:
        loss = self._gradients(batch, whole)
        if self.before_step is not None:
            self.before_step()
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()
        return loss

    def _gradients(self, batch: Batch, whole: bool) -> Tensor:
        """The loss; its gradients, of all processes, are left in the parameters."""
        fast = self._fast if whole else []
        if self.captured and whole:
            loss = self._replayed(batch, fast)
        else:
            self.optimizer.zero_grad(set_to_none=False)
            loss = self._backward(batch, fast)
        if distributed.size() > 1:
            groups = self.optimizer.param_groups
            distributed.sum_gradients((p for g in groups for p in g["params"]), batch.weight)
        return loss

    def _backward(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """The loss, its gradients added to those of the parameters."""
        loss = self._loss(batch, fast)
        loss.backward()
        return loss.detach()

    def _loss(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        forward, tutor = [*fast, None, None][:2]
        codes = self.encode(batch.images)
        goal = None
        with torch.autocast(codes.device.type, torch.bfloat16, enabled=self._rounded):
            if self.teacher is not None:
                goal = self.teacher.logits(batch, codes, self.shift_pixels, tutor)
            logits = (forward or self.forward)(codes).float()
        return distillation_loss(logits, batch.labels, goal, self.distill_weight, self.temperature)

    def _replayed(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """:meth:`_backward` by a graph, which gives new gradients instead of adding to old ones."""
        if self._recorded is None:

            def function(images: Tensor, labels: Tensor, index: Tensor, shift: Tensor) -> Tensor:
                return self._backward(Batch(images, labels, index, shift, batch.varied), fast)

            kept = [] if self.module is None else list(self.module.buffers())
            self._recorded = Captured(function, kept, self.optimizer.zero_grad)
        return self._recorded(batch.images, batch.labels, batch.index, batch.shift)


def _require_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise PyadmmError(
            f"{where}: the loss is {loss}; training stopped, the checkpoint of the last good epoch "
            f"is kept. Use a lower learning rate (lr) or penalty (rho)"
        )


def cosine(peak: float, done: float, warm: float = 0.05) -> float:
    """Learning rate after the share ``done`` of a phase: short linear warm-up, then half a cosine.

    >>> [round(cosine(1.0, t), 3) for t in (0.0, 0.05, 0.525, 1.0)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if done < warm:
        return peak * (0.1 + 0.9 * done / warm)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))
