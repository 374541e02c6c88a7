"""Break-even records found again by a digest of all that decides them.

A record that comes with the package, or was measured before on this machine, is taken as it is; its
``tool`` and ``version`` say what measured it. The digest covers the layer's shape and number
formats, the chip, the settings, the RTL sources of the kernels, the search and the tool's version,
so a record of other kernels is never taken for the present ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pyadmm.breakeven.cases import LayerCase
from pyadmm.breakeven.measure import Measure, OpenFlow, kernel_sources
from pyadmm.breakeven.results import BreakEven, NotMeasured
from pyadmm.breakeven.search import SEARCH_VERSION, break_even
from pyadmm.breakeven.settings import PrunedFamily, Settings
from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.core.schema import from_json, to_json
from pyadmm.eda import yosys
from pyadmm.hardware.boards import Board

Source = Literal["package", "cache", "measured"]
SHIPPED_FILE = Path(__file__).with_name("shipped.jsonl")
"""One line a record: its digest and the record."""
_REMEDY = "make it anew with python -m experiments.shipped_breakeven"
_TOPS = ("sparse_engine", "dense_engine", "ram_sdp")
_BALANCED_TOPS = ("balanced_engine", "dense_engine", "divide_const", "ram_sdp")


@dataclass(frozen=True)
class _Shipped:
    """A line of the table that comes with the package."""

    digest: str
    record: BreakEven


@dataclass(frozen=True)
class Measurements:
    """The break-evens of a network's layers on one board.

    :param sources: where each result is from, in the order of ``results``.
    :param missing: layers without a result, with the reason.
    """

    results: tuple[BreakEven, ...]
    sources: tuple[Source, ...]
    missing: tuple[NotMeasured, ...] = ()

    @property
    def floors(self) -> dict[str, float]:
        """Least pruning ratio at which the hardware of each layer gains, by the layer's name."""
        return {r.name: r.ratio for r in self.results if r.ratio is not None}

    @property
    def origin(self) -> str:
        """Sources of the results, in words."""
        words = {
            "package": "{} from the table that comes with pyadmm",
            "cache": "{} measured before on this machine",
            "measured": "{} measured now",
        }
        counts = {source: self.sources.count(source) for source in words}
        return ", ".join(words[s].format(n) for s, n in counts.items() if n)


def measurements(
    cases: Iterable[LayerCase],
    board: Board,
    settings: Settings | None = None,
    *,
    measure: Measure | None = None,
    family: PrunedFamily = "sparse",
    anew: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Measurements:
    """The break-even of every case on ``board``, measured only where no record is at hand.

    :param cases: the layers (:func:`~pyadmm.breakeven.model_cases`, or one
        :func:`~pyadmm.breakeven.layer_case`).
    :param settings: share of the chip and pruned portions; ``None``: the defaults.
    :param measure: runs the synthesis; ``None``: Yosys on this machine.
    :param family: the kernels that compete with dense ones.
    :param anew: measure every layer, even if a record exists.
    :param progress: called with the label of every layer before it is measured.
    :raises MissingToolError: where a layer has to be measured and Yosys is missing.
    """
    settings = settings or Settings()
    source: Source
    results: list[BreakEven] = []
    sources: list[Source] = []
    missing: list[NotMeasured] = []
    for case in cases:
        at_hand = None if anew else known(case, board, settings, family)
        if at_hand is None and progress is not None:
            progress(case.label)
        try:
            result, source = at_hand or (
                _measured(case, board, settings, measure, family=family),
                "measured",
            )
        except ToolError:
            raise
        except PyadmmError as error:  # no kernel fits the budget
            missing.append(NotMeasured(case.label, board.name, str(error)))
            continue
        results.append(result)
        sources.append(source)
    return Measurements(tuple(results), tuple(sources), tuple(missing))


def known(
    case: LayerCase, board: Board, settings: Settings, family: PrunedFamily = "sparse"
) -> tuple[BreakEven, Source] | None:
    """The record at hand for ``case`` on ``board``, under its own name, and where it is from."""
    for version in _versions():
        digest = digest_of(case, board, settings, version, family)
        if (record := shipped_records().get(digest)) is not None:
            return _named(record, case, board), "package"
        if (record := _cached(digest)) is not None:
            return _named(record, case, board), "cache"
    return None


def digest_of(
    case: LayerCase,
    board: Board,
    settings: Settings,
    version: str,
    family: str = "sparse",
) -> str:
    """SHA-256 of all that decides a break-even; names of layers and boards decide nothing.

    :param version: of Yosys.
    """
    spec = {key: value for key, value in asdict(case.spec).items() if key != "name"}
    facts = {
        "spec": spec,
        "weight_bits": case.weight_bits,
        "activation_bits": case.activation_bits,
        "resident": case.resident,
        "layers_on_chip": case.layers_on_chip,
        "part": board.part,
        "resources": asdict(board.resources),
        "clock_mhz": board.clock_mhz,
        "memory_bandwidth_mb_s": None if case.resident else board.memory_bandwidth_mb_s,
        "settings": asdict(settings),
        "rtl": _rtl_digest(_TOPS if family == "sparse" else _BALANCED_TOPS),
        "search": SEARCH_VERSION,
        "counting": yosys.CACHE_VERSION,
        "yosys": version,
        **({} if family == "sparse" else {"family": family}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def ship(records: Sequence[tuple[LayerCase, Board, BreakEven]], settings: Settings) -> None:
    """Write the table that comes with the package."""
    lines = {
        digest_of(case, board, settings, record.version, record.family): record
        for case, board, record in records
    }
    shipped = (_Shipped(digest, record) for digest, record in sorted(lines.items()))
    text = "".join(to_json(one, lines=False) + "\n" for one in shipped)
    write_atomic(SHIPPED_FILE, text)
    shipped_records.cache_clear()


def remember(case: LayerCase, board: Board, settings: Settings, record: BreakEven) -> None:
    """Keep ``record`` in the cache of this machine."""
    digest = digest_of(case, board, settings, record.version, record.family)
    write_atomic(_cache_file(digest), to_json(record, lines=False))


def _measured(
    case: LayerCase,
    board: Board,
    settings: Settings,
    measure: Measure | None,
    *,
    family: PrunedFamily,
) -> BreakEven:
    record = break_even(case, board, measure or OpenFlow(), settings, family=family)
    if measure is None:
        remember(case, board, settings, record)
    return record


def _named(record: BreakEven, case: LayerCase, board: Board) -> BreakEven:
    return replace(record, layer=case.label, name=case.spec.name, board=board.name)


@cache
def shipped_records() -> dict[str, BreakEven]:
    """The records that come with the package, by their digest.

    :raises PyadmmError: for a damaged table; it names the line and the field.
    """
    if not SHIPPED_FILE.is_file():
        return {}
    found: dict[str, BreakEven] = {}
    for number, line in enumerate(SHIPPED_FILE.read_text(encoding="utf-8").splitlines(), 1):
        subject = f"{SHIPPED_FILE}, line {number}"
        one = from_json(_Shipped, line, subject, remedy=_REMEDY)
        found[one.digest] = one.record
    return found


def _versions() -> list[str]:
    """Versions of Yosys whose records may be taken: the installed one first."""
    versions = {record.version: None for record in shipped_records().values()}
    try:
        return list({yosys.tool_version(): None, **versions})
    except MissingToolError:
        return list(versions)


@cache
def _rtl_digest(tops: tuple[str, ...]) -> str:
    files = sorted({path for top in tops for path in kernel_sources(top)})
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _cache_file(digest: str) -> Path:
    return cache_dir() / "breakeven" / f"{digest}.json"


def _cached(digest: str) -> BreakEven | None:
    try:
        text = _cache_file(digest).read_text(encoding="utf-8")
        return from_json(BreakEven, text, "break-even record of the cache")
    except (OSError, ValueError, PyadmmError):  # absent or damaged: it is measured again
        return None
