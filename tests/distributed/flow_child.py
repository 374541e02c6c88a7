"""The flow on made-up digits; the second process dies when the file ``DOOMED_AFTER`` appears."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import torch

from pyadmm.cli.run import main
from pyadmm.datasets import mnist
from tests.flow.driver import made_up_digits


def die_after(file: Path) -> None:
    """End this process, as if it were killed, once ``file`` exists."""
    while not file.exists():
        time.sleep(0.005)
    os._exit(9)


if __name__ == "__main__":
    mnist.load = made_up_digits  # type: ignore[assignment]
    torch.set_num_threads(1)
    if "DOOMED_AFTER" in os.environ and os.environ["RANK"] == "1":
        file = Path(os.environ["DOOMED_AFTER"])
        threading.Thread(target=die_after, args=(file,), daemon=True).start()
    sys.exit(main())
