"""Files of a compiled network for the layer-sequential accelerator: the image and its facts.

``host/sequential.py`` reads them on the board, without pyadmm.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pyadmm.core.files import write_atomic
from pyadmm.hardware.sequential.compiler import Compiled
from pyadmm.hardware.sequential.formats import Format
from pyadmm.hardware.sequential.maps import Map
from pyadmm.hardware.sequential.placement import Place
from pyadmm.hardware.sequential.registers import STATUS_TEXTS

FORMAT = 1


def facts(compiled: Compiled) -> dict[str, Any]:
    """What the driver must know of ``compiled``, as plain data."""
    first, last = compiled.steps[0].step.sources[0], compiled.steps[-1].step.output
    entry, array = compiled.model.input, compiled.program.array
    wide = compiled.steps[-1].runs if last.wide else ()
    return {
        "format": FORMAT,
        "name": compiled.model.name,
        "groups": array.groups,
        "lanes": array.lanes,
        "sha256": hashlib.sha256(compiled.program.image).hexdigest(),
        "memory_bytes": compiled.program.memory_bytes,
        "images": compiled.images,
        "status": {str(code): text for code, text in STATUS_TEXTS.items()},
        "input": {
            **_map(first, compiled.input),
            "image_shape": list(entry.shape),
            "dtype": str(entry.dtype),
            "offset": list(entry.offset),
            "shift": entry.shift,
            "low": entry.format.lo,
            "high": entry.format.hi,
        },
        "output": {
            **_map(last, compiled.output),
            "wide_runs": [[tiles.start, tiles.stop] for tiles in wide],
        },
    }


def _map(held: Map, place: Place) -> dict[str, Any]:
    return {
        "base": place.base,
        "stride": place.stride,
        "shape": list(held.shape),
        "signed": held.held.signed,
        **_format(held.format),
    }


def _format(held: Format) -> dict[str, int]:
    return {
        "rows": held.rows,
        "pitch": held.pitch,
        "row_phases": held.sh,
        "column_phases": held.sw,
        "span": held.span,
    }


def write(compiled: Compiled, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.seq`` and ``name.json`` into ``folder``; returns both."""
    folder.mkdir(parents=True, exist_ok=True)
    image, about = folder / f"{name}.seq", folder / f"{name}.json"
    write_atomic(image, compiled.program.image)
    write_atomic(about, json.dumps(facts(compiled), indent=1) + "\n")
    return image, about
