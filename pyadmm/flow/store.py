"""Step results on disk: keyed by a digest of their inputs, written atomically, checked on use."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyadmm import __version__
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import make_folder, unwritable, write_atomic
from pyadmm.core.schema import from_json, from_plain, to_json
from pyadmm.flow.outcome import Outcome


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class StepResult:
    """The stored result of a step: facts for the report, files for the later steps.

    :param digest: of everything that went in; the step runs again when it changes.
    :param text: one line for the user, and a ``warning`` if there is one.
    :param facts: the step's data class of :mod:`pyadmm.flow.facts`; ``None``: it has none.
    :param files: path relative to the run directory -> SHA-256.
    """

    name: str
    digest: str
    seconds: float
    text: str
    facts: Any
    files: Mapping[str, str]
    warning: str | None = None


def result_of(
    name: str, digest: str, seconds: float, outcome: Outcome, files: Mapping[str, str]
) -> StepResult:
    """The result of a step that took ``seconds``, with the digests of its ``files``."""
    facts = outcome.facts
    return StepResult(name, digest, seconds, outcome.text, facts, files, outcome.warning)


class StepStore:
    """Step results under ``<run>/steps/``; a result whose files changed is no result."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def digest(self, name: str, settings: Any, upstream: list[StepResult]) -> str:
        """Digest of a step's inputs: its settings and the digests of what it reads."""
        inputs = {result.name: result.digest for result in upstream}
        return digest_of([__version__, name, settings, inputs])

    def load(self, name: str, digest: str, kind: type | None) -> StepResult | None:
        """The stored result of step ``name`` if its inputs and its files are unchanged.

        :param kind: class of its facts.
        """
        subject = f"step {name}"
        try:
            result = from_json(StepResult, self._path(name).read_text(encoding="utf-8"), subject)
            if kind is not None and result.facts is not None:
                facts: Any = from_plain(kind, result.facts, subject)
                result = replace(result, facts=facts)
            intact = result.digest == digest and all(
                file_digest(self.run_dir / path) == expected
                for path, expected in result.files.items()
            )
        except (OSError, ValueError, PyadmmError):
            return None
        return result if intact else None

    def save(self, name: str, digest: str, seconds: float, outcome: Outcome) -> StepResult:
        """Record a finished step."""
        files = {str(path.relative_to(self.run_dir)): file_digest(path) for path in outcome.files}
        result = result_of(name, digest, seconds, outcome, files)
        write_atomic(self._path(name), to_json(result) + "\n")
        return result

    def _path(self, name: str) -> Path:
        return self.run_dir / "steps" / f"{name}.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run directory for this process.

        :raises PyadmmError: when another process holds it.
        """
        make_folder(self.run_dir)
        lock = self.run_dir / ".lock"
        try:
            opened = lock.open("w")
        except OSError as error:
            raise unwritable(lock, error) from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise PyadmmError(
                    f"run directory {self.run_dir}: another pyadmm.flow is using it; "
                    "wait for it or choose another with --out"
                ) from error
            yield
