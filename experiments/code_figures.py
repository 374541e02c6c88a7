"""``python -m experiments.code_figures``: sizes of the source that the log follows.

Modules at the top of ``pyadmm/``, its packages, the longest module and function in lines, the 95th
percentile of the functions, tests that patch private names, words of the README.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
_PRIVATE = re.compile(r"setattr\([^,()]+, \"_|setattr\(\"[^\"]*\._")


def functions() -> Iterator[int]:
    """Lines of every function and method of ``pyadmm``."""
    for path in (ROOT / "pyadmm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.end_lineno - node.lineno + 1


def main() -> None:
    """Print one figure a line."""
    modules = list((ROOT / "pyadmm").rglob("*.py"))
    lengths = {m: len(m.read_text(encoding="utf-8").splitlines()) for m in modules}
    longest = max(modules, key=lengths.__getitem__)
    counts = np.array(list(functions()))
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("*.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    packages = [p.parent.name for p in (ROOT / "pyadmm").glob("*/__init__.py")]
    print(f"modules at the top of pyadmm/: {len(list((ROOT / 'pyadmm').glob('*.py')))}")
    print(f"packages: {len(packages)}: {', '.join(sorted(packages))}")
    print(f"longest module: {lengths[longest]} lines ({longest.relative_to(ROOT)})")
    print(f"longest function: {counts.max()} lines")
    print(f"95th percentile of functions: {np.percentile(counts, 95):.0f} lines")
    print(f"patches of private names in tests: {len(_PRIVATE.findall(tests))}")
    print(f"words in README.md: {len(readme.split())}")


if __name__ == "__main__":
    main()
