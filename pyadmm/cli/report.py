"""``python -m pyadmm.report RUN_DIR``: render the reports of a run again from its record.json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.report import write_report
from pyadmm.report.record import RECORD_FILE, load_record


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr where the record cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m pyadmm.report", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="folder that holds record.json")
    parser.add_argument("--out", type=Path, help="folder for the reports (default: the run's)")
    options = parser.parse_args(arguments)
    try:
        paths = write_report(
            load_record(options.run_dir / RECORD_FILE), options.out or options.run_dir
        )
    except (PyadmmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
