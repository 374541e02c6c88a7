"""``python -m experiments.code_figures``: sizes of the source that the log follows.

Modules at the top of ``pyadmm/``, its packages, the longest module and function in lines, the 95th
percentile of the functions, tests that patch private names, words of the README, and words per
sentence of the documentation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
_FRAGMENT = 2
"""So few words are no sentence."""
_PRIVATE = re.compile(r"setattr\([^,()]+, \"_|setattr\(\"[^\"]*\._")


def functions() -> Iterator[int]:
    """Lines of every function and method of ``pyadmm``."""
    for path in (ROOT / "pyadmm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.end_lineno - node.lineno + 1


def sentences(folder: Path) -> Iterator[int]:
    """Words of every sentence in the pages under ``folder``; code, tables and headings do not count."""
    for path in sorted(folder.rglob("*.md")):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        prose = "\n".join(x for x in text.splitlines() if not x.startswith(("|", "    ", "#")))
        prose = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "X", prose))
        for paragraph in re.split(r"\n\s*\n|\n[*-] |\n\d+\. ", prose):
            for sentence in re.split(r"(?<=[.!?:;]) (?=[A-Z*])", " ".join(paragraph.split())):
                if (words := len(sentence.split())) > _FRAGMENT:
                    yield words


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
    lengths_of_sentences = np.array(list(sentences(ROOT / "docs")))
    print(
        f"words per sentence in docs/: mean {lengths_of_sentences.mean():.1f}, "
        f"95th percentile {np.percentile(lengths_of_sentences, 95):.0f} "
        f"({len(lengths_of_sentences)} sentences)"
    )


if __name__ == "__main__":
    main()
