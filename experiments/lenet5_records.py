"""``python -m experiments.lenet5_records``: record files of LeNet-5 and the rows of ADMM-NN, by seed.

One dense network per seed is pruned further and further: the float network of each preset of a
chain (:data:`CHAINS`) is where the next one starts, and each is quantised to a file of its own.
Everything is checkpointed after every epoch, so an interrupted command goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pyadmm import container, zoo
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.pipeline import (
    PhaseResult,
    admm_phase,
    quantize,
    retrain,
    set_widths,
    shared_teacher,
    to_integer,
    to_network,
    train_dense,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.datasets import mnist
from pyadmm.settings import CompressSettings, preset
from pyadmm.training import devices
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data, Images
from pyadmm.training.seeds import digest_of, seed_of

_LONG = "record-205", "record-300"
CHAINS = (
    ("admm-nn",),
    ("admm-nn-85",),
    ("admm-nn-167",),
    ("record-85",),
    (*_LONG, "record-360", "record-369", "record-352"),
    (*_LONG, "record-410"),
)
"""Presets that prune one network in turn; the first of a chain starts from the dense one.

(``record-352`` gives some weights back to what ``record-369`` left.) The presets ``admm-nn*`` are the
method of ADMM-NN as published, with which the records are compared.
"""
COLUMNS = (
    "preset", "seed", "training_images", "nnz", "pruning_ratio", "weight_bytes", "bytes",
    "float_validation_accuracy", "validation_accuracy", "test_accuracy", "cpu_minutes", "pruning",
)  # fmt: skip
"""Of the CSV; ``weight_bytes`` are the bits of the weights alone (ADMM-NN's count), ``bytes`` the file.

``pruning`` says whether ADMM pruning converged, ``cpu_minutes`` are this process' minutes for the
preset without the dense network (too few where the command was resumed).
"""
NAMES = tuple(dict.fromkeys(name for names in CHAINS for name in names))
LAST = CHAINS[-1][-1]
MODEL = "lenet5"
_SHAPE = (1, 28, 28)
_VALIDATED = "validation_accuracy", "float_validation_accuracy"
_HELP = f"""\
examples:
  python -m experiments.lenet5_records --dry-run                 what would be trained
  python -m experiments.lenet5_records --seeds 30-34             train the long chain, five seeds
  python -m experiments.lenet5_records --seeds 30-34 --test      then read the test set, once for each file
  python -m experiments.lenet5_records --seeds 30-34 --until record-85
  python -m experiments.lenet5_records --seeds 0-4 --until admm-nn --csv rows.csv

Chains: {"; ".join(" -> ".join(("dense", *names)) for names in CHAINS)}.
Each preset (pyadmm/settings/settings.py) works in the flow as well, where it starts from the dense network
(record-369 and record-352, which prune in few rounds, are only meant for the end of their chain):
  python -m pyadmm.flow --board pynq-z2 --preset record-300
Several commands with different seeds may run side by side in one folder."""


@dataclass(frozen=True)
class RecordFile:
    """A file of the chain and what is known about it, kept beside it as JSON."""

    path: Path

    @classmethod
    def of(cls, folder: Path, name: str, seed: int) -> RecordFile:
        """The file of preset ``name`` and ``seed``."""
        return cls(folder / f"{MODEL}-{name}-seed{seed}.admm")

    @property
    def facts_path(self) -> Path:
        """The JSON file with the facts of the record."""
        return self.path.with_suffix(".json")

    def facts(self) -> dict[str, Any] | None:
        """What was written last; ``None`` before the first time.

        :raises PyadmmError: where it cannot be read.
        """
        if not self.facts_path.exists():
            return None
        try:
            facts = json.loads(self.facts_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PyadmmError(f"record {self.facts_path}: cannot be read ({error})") from error
        if not isinstance(facts, dict) or not facts.keys() >= {"settings", "bytes", "nnz"}:
            raise PyadmmError(f"record {self.facts_path}: is no record; delete it to train again")
        return facts

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace the JSON file."""
        write_atomic(self.facts_path, (json.dumps(facts, indent=1) + "\n").encode())


def chain(seed: int, until: str = LAST) -> list[tuple[str, CompressSettings]]:
    """The presets that lead to ``until``, and their settings for ``seed``.

    :raises PyadmmError: for a name that is in no chain.
    """
    for names in CHAINS:
        if until in names:
            wanted = names[: names.index(until) + 1]
            steps = [replace(preset(name), seed=seed) for name in wanted]
            steps = [steps[0], *map(_continuing, steps, steps[1:])]
            return list(zip(wanted, steps, strict=True))
    raise PyadmmError(f"record: preset {until!r} is unknown; choose one of: {', '.join(NAMES)}")


def _continuing(before: CompressSettings, after: CompressSettings) -> CompressSettings:
    """``after`` with all its rounds spent on the way from the ratio of ``before``."""
    step = (after.pruning_ratio / before.pruning_ratio) ** (1 / after.admm.rounds)
    return replace(after, admm=replace(after.admm, first_ratio=before.pruning_ratio * step))


def parse_seeds(text: str) -> list[int]:
    """Seeds from a list of numbers and ranges.

    >>> parse_seeds("3,10-12")
    [3, 10, 11, 12]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or "-" not in part)):
            raise PyadmmError(f"record: seeds must be like 3 or 10-14 or 1,5-7, not {text!r}")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds:
        raise PyadmmError(f"record: {text!r} holds no seed; give the lower one of a range first")
    return seeds


def train_chain(
    seed: int,
    until: str,
    data: Data,
    folder: Path,
    device: torch.device = devices.CPU,
    *,
    last: Data | None = None,
) -> Iterator[dict[str, Any]]:
    """Train one seed; yields the facts of each file as soon as it is there.

    Files whose settings are still the same are taken as they are, training and all.

    :param last: what the last preset trains on instead of ``data``: its validation images are taken
        as seen, and their accuracy is not reported.
    """
    steps = chain(seed, until)
    checkpoints = folder / f"seed{seed}"
    first = steps[0][1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initial weights"))
        model = zoo.build(MODEL).to(device)
    say = _Progress(f"seed {seed}")
    train_dense(model, first, data, checkpoint_dir=checkpoints / "dense", progress=say)
    network = dense = to_network(model, first, _SHAPE)
    teacher = shared_teacher(dense, first)
    for name, settings in steps:
        seen = last if name == until else None
        if seen is not None:
            data, teacher = seen, shared_teacher(dense, settings)
        file = RecordFile.of(folder, name, seed)
        common: dict[str, Any] = {
            "checkpoint_dir": checkpoints / name,
            "progress": _Progress(f"seed {seed}, {name}"),
            "teacher": teacher,
        }
        began = time.process_time()
        network = network.copy()
        set_widths(network, settings)
        pruned = admm_phase(network, settings, data, **common)
        tuned = retrain(pruned.network, settings, data, **common)
        key = digest_of(repr(settings), tuned.network.state())
        known = file.facts()
        if known is None or known["settings"] != key or not file.path.exists():
            final = quantize(tuned.network, settings, data, **common, name=MODEL)
            known = {
                "preset": name,
                "seed": seed,
                "training_images": len(data.train),
                **_save(final, data, file.path),
                "float_validation_accuracy": _last_accuracy(tuned),
                "cpu_minutes": round((time.process_time() - began) / 60, 2),
                "pruning": "; ".join(pruned.status),
                "settings": key,
            }
            known |= dict.fromkeys(_VALIDATED) if seen is not None else {}
            file.write(known)
        network = tuned.network
        yield known


def _save(quantized: PhaseResult, data: Data, path: Path) -> dict[str, Any]:
    """Write the ``.admm`` file; its figures."""
    integer = to_integer(quantized.network, data, MODEL)
    model = smallest(integer.model)
    content = container.encode(model)
    write_atomic(path, content)
    return {
        "bytes": len(content),
        "nnz": model.nnz,
        "weight_bytes": sum(int((la.codes != 0).sum()) * la.weight_bits for la in model.layers)
        // 8,
        "pruning_ratio": round(model.pruning_ratio, 2),
        "layers": {layer.name: int((layer.codes != 0).sum()) for layer in model.layers},
        "validation_accuracy": integer.validation_accuracy,
    }


def _last_accuracy(result: PhaseResult) -> float | None:
    return result.records[-1].val_accuracy if result.records else None


class _Progress:
    """One line for every phase that ends, with the seconds that it took."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.seconds = 0.0

    def __call__(self, record: EpochRecord, epochs: int) -> None:
        self.seconds += record.seconds
        if record.epoch + 1 == epochs:
            print(
                f"{time.strftime('%H:%M:%S')} {self.where}: {record.phase}, {epochs} epochs, "
                f"{self.seconds:.0f} s, {record.nnz:,} weights, loss {record.loss:.4f}, "
                f"validation {100 * record.val_accuracy:.2f} %",
                flush=True,
            )
            self.seconds = 0.0


def read_test(files: Sequence[RecordFile], data: mnist.Mnist) -> None:
    """Add the test accuracy to the facts of every file that has none yet."""
    for file in files:
        facts = file.facts()
        if facts is not None and "test_accuracy" not in facts:
            model = container.load(file.path)
            facts["test_accuracy"] = model.accuracy(data.test_images, data.test_labels)
            file.write(facts)


def write_csv(folder: Path, path: Path) -> None:
    """All finished files of a folder as rows with :data:`COLUMNS`."""
    found = (json.loads(p.read_text(encoding="utf-8")) for p in folder.glob(f"{MODEL}-*.json"))
    rows = sorted(found, key=lambda row: (NAMES.index(row["preset"]), row["seed"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Mean and spread over the seeds of each preset, as a Markdown table."""
    lines = [
        "| preset | seeds | pruning | bytes | validation, % | test, % | test, least to most |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in NAMES:
        rows = [record for record in records if record["preset"] == name]
        if not rows:
            continue
        tests = [100 * row["test_accuracy"] for row in rows if "test_accuracy" in row]
        sizes = [row["bytes"] for row in rows]
        lines.append(
            f"| {name} | {len(rows)} | {min(row['pruning_ratio'] for row in rows):.1f}x | "
            f"{statistics.mean(sizes):.0f} ({min(sizes)} to {max(sizes)}) | "
            f"{_validated(rows)} | "
            f"{_mean_and_spread(tests) if tests else 'not read'} | "
            f"{f'{min(tests):.2f} to {max(tests):.2f}' if tests else ''} |"
        )
    return "\n".join(lines)


def _validated(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean and spread of the validation accuracy, in per cent, if the images were not trained on.

    >>> _validated([{"validation_accuracy": 0.99}]), _validated([{"validation_accuracy": None}])
    ('99.00', 'trained on')
    """
    shares = [row["validation_accuracy"] for row in rows]
    return "trained on" if None in shares else _mean_and_spread([100 * s for s in shares])


def _mean_and_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation.

    >>> _mean_and_spread([99.0, 99.2])
    '99.10 ± 0.14'
    """
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def plan(seeds: Sequence[int], until: str) -> str:
    """What a command would train, in words."""
    lines = []
    for name, settings in chain(seeds[0], until):
        admm, quant = settings.admm, settings.quantize
        cycles, searches = settings.regrow.cycles, settings.local_search.cycles
        tries = settings.rounding.candidates
        lines.append(
            f"{name}: to {settings.pruning_ratio:g}x in rounds of {admm.iterations} + "
            f"{admm.retrain_epochs} epochs, "
            + (f"{cycles} cycles of regrowing, " if cycles else "")
            + f"{settings.retrain.epochs} epochs of retraining, "
            + (f"the best of {tries} roundings to" if tries else f"{quant.epochs} with")
            + f" {settings.weight_bits}-bit levels"
            + (f", {searches} cycles of local search" if searches else "")
            + (f", at most {settings.most_bytes:,} bytes" if settings.most_bytes else "")
        )
    dense = chain(seeds[0], until)[0][1].dense
    first = f"dense: {dense.epochs} epochs; seeds {', '.join(map(str, seeds))}, each by itself"
    return "\n".join([first, *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.lenet5_records",
        description="Train the record files of LeNet-5, resumably.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", default="30-34", help="such as 3, 10-14 or 1,5-7 (%(default)s)")
    parser.add_argument("--until", default=LAST, help="last preset of its chain (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/record"), help="(%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder with the MNIST files")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--all-images",
        action="store_true",
        help="the last preset trains on the validation images too, once its settings are fixed",
    )
    parser.add_argument("--test", action="store_true", help="read the test set for finished files")
    parser.add_argument("--csv", type=Path, help="write a row for every file of --out")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and stop")
    options = parser.parse_args(argv)
    try:
        _run(options)
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    seeds = parse_seeds(options.seeds)
    print(plan(seeds, options.until))
    if options.dry_run:
        return
    device = devices.choose(options.device)
    loaded = mnist.load(options.data_dir)
    everything = Images.from_numpy(loaded.train_images, loaded.train_labels)
    data = Data.split(everything)
    last = Data(everything, data.validation) if options.all_images else None
    records = []
    for seed in seeds:
        for facts in train_chain(seed, options.until, data, options.out, device, last=last):
            records.append(facts)
            print(
                f"seed {seed}, {facts['preset']}: {facts['nnz']:,} weights, {facts['bytes']:,} "
                f"bytes, validation, %: {_validated([facts])}"
            )
    if options.test:
        files = [RecordFile.of(options.out, row["preset"], row["seed"]) for row in records]
        read_test(files, loaded)
        records = [known for file in files if (known := file.facts()) is not None]
    if options.csv:
        write_csv(options.out, options.csv)
    print(table(records))


if __name__ == "__main__":
    sys.exit(main())
