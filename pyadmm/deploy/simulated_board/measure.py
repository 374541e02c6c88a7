"""In the Python with pynq: classify given images on the simulated board, as a user would.

``python -m pyadmm.deploy.simulated_board.measure IMAGES.npy LOGITS.npy FACTS.json``; what it uses of the board is
the host package's public interface and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from host.bundle import open_accelerator
from host.manifest import SequentialManifest
from pyadmm.deploy.simulated_board.messages import LayerCounters, RunFacts


def measure(images_file: Path, logits_file: Path, facts_file: Path) -> None:
    """Write the logits of the images, and what the run took, to the other two files."""
    begin = time.perf_counter()
    with open_accelerator() as board:
        loaded = time.perf_counter()
        images = np.load(images_file, allow_pickle=False)
        logits = board.logits(images)
        batch = board.last
        sequential = isinstance(board.manifest, SequentialManifest)
        layers = board.layer_cycles() if sequential else ()
        board.logits(images[:1])
        single = board.last
        assert batch is not None
        assert single is not None
        facts = RunFacts(
            device=board.device.name,
            clock_mhz=board.clock_mhz,
            batch_cycles=batch.cycles,
            single_cycles=single.cycles,
            layers=tuple(LayerCounters(*layer) for layer in layers),
            run_images=board.images_per_run(),
            load_s=loaded - begin,
            run_s=batch.end_to_end_s,
        )
    np.save(logits_file, logits, allow_pickle=False)
    facts_file.write_text(json.dumps(asdict(facts)), encoding="utf-8")


if __name__ == "__main__":
    measure(*map(Path, sys.argv[1:4]))
