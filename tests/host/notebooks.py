"""Executes one notebook in the Python with pynq and prints its outputs, cell by cell, as JSON.

``python notebooks.py NOTEBOOK [CODE]``: CODE is run as a last cell, as a user's hand would act.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

LIMIT_S = 120


def text_of(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return str(output["text"])
    data = output.get("data", {})
    return "image/png" if "image/png" in data else str(data.get("text/plain", ""))


def main() -> None:
    notebook = nbformat.read(Path(sys.argv[1]), as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in sys.argv[2:]]
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    print(json.dumps(["".join(map(text_of, cell.outputs)) for cell in cells]))


if __name__ == "__main__":
    main()
