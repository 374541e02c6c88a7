"""The headline figures of ``report.html`` and the notices above them."""

from __future__ import annotations

from pyadmm.report.html_page import Tile
from pyadmm.report.html_words import UNKNOWN, number, times
from pyadmm.report.record import Hardware, RunRecord


def alerts_of(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Kind and text of every notice above the figures."""
    alerts = [
        ("bad", f"Check failed: {check.name} ({check.compared}). {check.reason}")
        for check in record.checks
        if check.result == "fail"
    ]
    if record.dataset.complete is False:
        name = record.dataset.name or "data"
        alerts.append(
            ("bad", f"Only a part of the {name} data was used: figures are not comparable.")
        )
    over = [r.name for r in record.hardware.resources if (r.share or 0) > 1]
    if over:
        alerts.append(("bad", f"The design does not fit the board: {', '.join(over)}."))
    return (*alerts, *(("note", note) for note in record.notes))


def convergence(record: RunRecord) -> str:
    """Number of runs of ADMM that converged, and the end of the last one."""
    endings = record.admm
    if not endings:
        return ""
    converged = sum(ending == "converged" for ending in endings)
    return f"Converged: {converged} of {len(endings)} runs of ADMM; the last one: {endings[-1]}."


def tiles_of(record: RunRecord) -> tuple[Tile, ...]:
    """The headline figures: accuracy, pruning, file, speed, checks."""
    return (
        _accuracy_tile(record),
        Tile(
            "Pruning ratio",
            times(record.pruning_ratio),
            f"{number(record.nnz)} of {number(record.weights)} weights left",
        ),
        _file_tile(record),
        _speed_tile(record.hardware),
        _checks_tile(record),
    )


def _accuracy_tile(record: RunRecord) -> Tile:
    accuracy, dense = record.accuracies.integer_test, record.accuracies.dense_test
    dense_percent = None if dense is None else 100 * dense.value
    before = f"dense float network: {number(dense_percent, '{:.2f} %')}"
    if accuracy is None:
        return Tile("Accuracy", UNKNOWN, "integer model, test set", before)
    return Tile(
        "Accuracy",
        f"{100 * accuracy.value:.2f} %",
        f"± {100 * accuracy.standard_error:.2f} (one standard error), integer model, "
        f"{accuracy.images:,} test images",
        before,
    )


def _file_tile(record: RunRecord) -> Tile:
    file = record.file
    if file is None:
        return Tile("File", UNKNOWN, "no file is recorded")
    smaller = "size of the dense network unknown"
    if file.ratio is not None:
        smaller = f"{times(file.ratio)} smaller than 32-bit floats ({number(file.dense_bytes)} B)"
    return Tile("File", f"{file.bytes:,} B", smaller, f"{file.name}, every byte counted")


def _speed_tile(hardware: Hardware) -> Tile:
    cycles = hardware.cycles_per_image
    if hardware.images_per_s is None or cycles is None:
        return Tile("Throughput", UNKNOWN, "images per second of the accelerator")
    return Tile(
        "Throughput",
        f"{hardware.images_per_s:,.0f} /s",
        f"images, {cycles.value:,.0f} cycles each at {_clock_text(hardware)}",
        "accelerator alone, without the host's transfers",
        cycles.basis,
    )


def _clock_text(hardware: Hardware) -> str:
    reached = hardware.clock_mhz
    text = f"{hardware.working_clock_mhz:g} MHz"
    if reached is None:
        return f"{text} (target)"
    how = hardware.clock_name.lower()
    return f"{text} (target; {how} {reached.value:.0f} MHz, {reached.basis})"


def _checks_tile(record: RunRecord) -> Tile:
    results = [check.result for check in record.checks]
    if not results:
        return Tile("Checks", UNKNOWN, "no check is recorded")
    counts = f"{results.count('fail')} failed, {results.count('skipped')} skipped"
    most = max((check.images or 0 for check in record.checks if check.result == "pass"), default=0)
    on = f"bit for bit, on up to {most:,} images" if most else ""
    return Tile("Checks", f"{results.count('pass')} / {len(results)}", f"passed; {counts}", on)
