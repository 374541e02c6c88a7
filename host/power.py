"""Power while the accelerator works: from the board's rails, else from a meter's CSV, else None.

A figure is measured or absent; nothing here estimates.
"""

from __future__ import annotations

import csv
import math
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import HostError

METER_COLUMNS = ("time_s", "watts")
_INTERVAL_S = 0.02
_METER_LIMIT = 64 << 20


@dataclass(frozen=True)
class PowerReading:
    """Mean power of each rail, watts.

    Rails may contain one another (an input rail feeds the rest), so they are not summed.

    :param source: ``rails`` or ``meter``.
    :param samples: readings that each mean is made of.
    """

    source: str
    rails: dict[str, float]
    samples: int


class RailRecorder:
    """Samples the power rails in the background while its ``with`` block runs."""

    def __init__(self, rails: dict[str, Any] | None = None) -> None:
        found = board_rails() if rails is None else rails
        self._sensors = {name: rail for name, rail in found.items() if _watts(rail) is not None}
        self._sums = dict.fromkeys(self._sensors, 0.0)
        self._samples = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RailRecorder:
        if self._sensors:
            self._thread = threading.Thread(target=self._record, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _record(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            readings = {name: _watts(rail) for name, rail in self._sensors.items()}
            for name, watts in readings.items():
                self._sums[name] += watts or 0.0
            self._samples += 1

    @property
    def available(self) -> bool:
        """Whether the board has a rail whose power can be read."""
        return bool(self._sensors)

    @property
    def reading(self) -> PowerReading | None:
        """The means; None where the board has no power sensors or the block was too short."""
        if not self._samples:
            return None
        means = {name: total / self._samples for name, total in self._sums.items()}
        return PowerReading("rails", means, self._samples)


def board_rails() -> dict[str, Any]:
    """The board's power rails as pynq finds them through libsensors; empty where it has none.

    Without pynq there are none: a meter's log still works.
    """
    try:
        import pynq  # noqa: PLC0415
    except ImportError:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # pynq warns where libsensors is absent: then there are none
        return dict(pynq.get_rails())


def _watts(rail: Any) -> float | None:
    """Power of a pynq rail: its own sensor, else voltage times current, else None."""
    if rail.power is not None:
        return float(rail.power.value)
    if rail.voltage is not None and rail.current is not None:
        return float(rail.voltage.value) * float(rail.current.value)
    return None


def read_meter(path: str | Path, begin_s: float, end_s: float) -> PowerReading:
    """Mean power that an external meter logged between two points of Unix time.

    :param path: CSV with the columns ``time_s`` (Unix time) and ``watts``.
    :raises HostError: names file, row and field of anything that is no reading.
    """
    path = Path(path)
    total, samples = 0.0, 0
    try:
        if path.stat().st_size > _METER_LIMIT:
            raise HostError(f"meter {path.name}: is larger than {_METER_LIMIT} bytes")
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = set(METER_COLUMNS) - set(rows.fieldnames or ())
            if missing:
                raise HostError(f"meter {path.name}: has no column {sorted(missing)[0]}")
            for row in rows:
                moment, watts = (_number(path, rows.line_num, k, row[k]) for k in METER_COLUMNS)
                if begin_s <= moment <= end_s:
                    total, samples = total + watts, samples + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HostError(f"meter {path.name}: cannot be read as CSV: {error}") from error
    if not samples:
        raise HostError(
            f"meter {path.name}: has no reading between {begin_s:.1f} and {end_s:.1f} s of Unix "
            f"time; is its clock the board's ({time.time():.1f})?"
        )
    return PowerReading("meter", {"meter": total / samples}, samples)


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HostError(f"meter {path.name}: line {line}, {column} is {text!r}, no number")
    return value
