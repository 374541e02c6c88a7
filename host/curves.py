"""The break-even curves of a bundle: speedup of the sparse kernel over the dense one, same area."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .errors import ManifestError
from .manifest import FileFact, Manifest


@dataclass(frozen=True)
class Curve:
    """One layer on one board.

    :param ratio: break-even pruning ratio; None where sparse is slower over the whole curve.
    :param basis: what the areas and clocks were measured with, by ``tool`` and ``version``.
    :param points: ``(pruned portion, speedup)``; speedup None where no sparse kernel fits.
    """

    layer: str
    board: str
    ratio: float | None
    basis: str
    tool: str
    version: str
    points: tuple[tuple[float, float | None], ...]

    def speedup(self, pruned: float) -> float | None:
        """Speedup at a pruned portion, linear between the measured points.

        None outside the curve and next to points where no sparse kernel fits.
        """
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:]):
            if x0 <= pruned <= x1 and y0 is not None and y1 is not None:
                return y0 if x0 == x1 else y0 + (y1 - y0) * (pruned - x0) / (x1 - x0)
        return None


def read_curves(manifest: Manifest) -> tuple[Curve, ...]:
    """The curves of the bundle; empty where it has none.

    :raises ManifestError: if the file is damaged.
    """
    if manifest.curves is None:
        return ()
    return _parse(manifest.curves)


def _parse(file: FileFact) -> tuple[Curve, ...]:
    try:
        return tuple(_curve(record) for record in json.loads(file.read()))
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"{file.path.name}: is no list of break-even curves: {error}"
        ) from error


def _curve(record: dict[str, Any]) -> Curve:
    points = [
        (float(point["pruned"]), None if point["speedup"] is None else float(point["speedup"]))
        for point in record["curve"]
    ]
    texts = {key: str(record[key]) for key in ("layer", "board", "basis", "tool", "version")}
    ratio = None if record["ratio"] is None else float(record["ratio"])
    return Curve(**texts, ratio=ratio, points=tuple(sorted(points, key=lambda point: point[0])))
