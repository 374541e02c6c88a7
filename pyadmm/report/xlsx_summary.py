"""The sheet ``Summary`` of ``report.xlsx``."""

from __future__ import annotations

from typing import Any

from pyadmm.report.record import Accuracy, RunRecord
from pyadmm.report.xlsx_workbook import HEAD, INTEGER, PERCENT, RATIO, TEXT, UNKNOWN, Book, Value

_SUMMARY_WIDTHS = (40, 24, 84)


def add_summary(book: Book, record: RunRecord) -> None:
    """Add the sheet with the headline figures, the run's facts and its notices."""
    sheet = book.sheet("Summary")
    for column, width in enumerate(_SUMMARY_WIDTHS):
        sheet.set_column(column, column, width)
    title = f"{record.run.model or 'unknown model'} on {record.run.board or 'unknown board'}"
    sheet.write_string(0, 0, title, book.style(bold=True, font_size=18))
    sheet.set_row(0, 28)
    sheet.freeze_panes(1, 0)
    row = 2
    for heading, lines in _summary_blocks(record):
        _heading(book, sheet, row, heading)
        for offset, (label, value, pattern, note) in enumerate(lines, 1):
            book.write(sheet, row + offset, 0, label)
            book.write(sheet, row + offset, 1, value, num_format=pattern, align="right", indent=0)
            book.write(sheet, row + offset, 2, note)
        row += len(lines) + 2
    for heading, sentences in (
        ("Done in this run", record.done or (UNKNOWN,)),
        ("Needs the vendor's tools or the board", record.needs_vendor_tools or (UNKNOWN,)),
        ("Notices", record.notes or ("none",)),
    ):
        _heading(book, sheet, row, heading)
        for offset, sentence in enumerate(sentences, 1):
            _sentence(book, sheet, row + offset, sentence)
        row += len(sentences) + 2


def _sentence(book: Book, sheet: Any, row: int, text: str) -> None:
    """``text`` across the sheet; merged cells do not grow by themselves."""
    sheet.merge_range(row, 0, row, len(_SUMMARY_WIDTHS) - 1, "", book.style())
    book.write(sheet, row, 0, text)
    sheet.set_row(row, 15 * (1 + len(text) // sum(_SUMMARY_WIDTHS)))


def _heading(book: Book, sheet: Any, row: int, text: str) -> None:
    head = book.style(bold=True, font_color="#FFFFFF", bg_color=HEAD, align="left", indent=1)
    for column in range(len(_SUMMARY_WIDTHS)):
        sheet.write_string(row, column, "" if column else text, head)


_Line = tuple[str, Value, str, str]


def _summary_blocks(record: RunRecord) -> list[tuple[str, list[_Line]]]:
    return [
        ("Results", [*_result_lines(record), _checks_line(record)]),
        ("Run", _run_lines(record)),
        ("Steps: wall time, s", _step_lines(record)),
    ]


def _result_lines(record: RunRecord) -> list[_Line]:
    file, accuracies = record.file, record.accuracies
    hardware, cycles = record.hardware, record.hardware.cycles_per_image
    return [
        _accuracy_line("Accuracy, compressed integers, test", accuracies.integer_test),
        _accuracy_line("Accuracy, dense float, test", accuracies.dense_test),
        _accuracy_line("Accuracy, compressed integers, validation", accuracies.integer_validation),
        _accuracy_line("Accuracy, dense float, validation", accuracies.dense_validation),
        ("Pruning ratio", record.pruning_ratio, RATIO, "dense weights over weights left"),
        ("Weights left", record.nnz, INTEGER, "non-zero weights"),
        ("Weights, dense", record.weights, INTEGER, "biases not counted"),
        (
            "File, bytes",
            None if file is None else file.bytes,
            INTEGER,
            "every byte of the .admm file",
        ),
        (
            "Times smaller",
            None if file is None else file.ratio,
            RATIO,
            "than the dense network, 32-bit floats",
        ),
        (
            "Images per second",
            hardware.images_per_s,
            INTEGER,
            f"accelerator alone; cycles are {cycles.basis if cycles is not None else UNKNOWN}",
        ),
    ]


def _checks_line(record: RunRecord) -> _Line:
    checks = [check.result for check in record.checks]
    skipped = f"{checks.count('fail')} failed, {checks.count('skipped')} skipped"
    passed = checks.count("pass") if checks else None
    return ("Checks passed", passed, "0", f"of {len(checks)}; {skipped}")


def _run_lines(record: RunRecord) -> list[_Line]:
    run, data, text = record.run, record.dataset, TEXT
    return [
        ("Preset", run.preset, text, ""),
        ("Seed", run.seed, "0", ""),
        ("Date", run.date, text, ""),
        ("Part", run.part, text, ""),
        ("pyadmm", run.pyadmm_version, text, ""),
        ("torch", run.torch_version, text, ""),
        ("Machine", run.machine, text, ""),
        ("Data set", data.name, text, data.source or ""),
        ("Data set complete", data.complete, text, ""),
    ]


def _step_lines(record: RunRecord) -> list[_Line]:
    steps: list[_Line] = [
        (step.name, step.seconds, "0.0", "reused from an earlier run" if step.reused else "")
        for step in record.steps
    ]
    return [*steps, ("all steps", record.seconds, "0.0", "")]


def _accuracy_line(label: str, accuracy: Accuracy | None) -> _Line:
    if accuracy is None:
        return (label, None, PERCENT, "")
    error = 100 * accuracy.standard_error
    note = f"{accuracy.images:,} images; one standard error is {error:.2f} points"
    return (label, accuracy.value, PERCENT, note)
