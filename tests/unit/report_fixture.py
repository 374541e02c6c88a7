"""A made-up but realistic record of a LeNet-5 run, for the report tests only."""

import math

from pyadmm.report.record import (
    Accuracies,
    Accuracy,
    BytePart,
    Check,
    Dataset,
    DesignRecord,
    Epoch,
    FileRecord,
    Hardware,
    Kernel,
    LayerCycles,
    LayerRecord,
    Quantity,
    ResourceUse,
    RunFacts,
    RunRecord,
    SpeedupCurve,
    StepTime,
    Trial,
)


def lenet_record() -> RunRecord:
    """Every field filled; the figures are invented."""
    return RunRecord(
        run=RunFacts(
            model="lenet5",
            board="pynq-z2",
            part="xc7z020clg400-1",
            preset="quick",
            seed=7,
            date="2026-01-31T12:00:00",
            pyadmm_version="0.1.0",
            torch_version="2.13.0",
            machine="2 cores, x86_64, Linux",
            command="python -m pyadmm.flow --board pynq-z2",
        ),
        dataset=Dataset("MNIST", True, "folder given by --data-dir", 55_000, 5_000, 10_000),
        accuracies=Accuracies(
            dense_test=Accuracy(0.9921, 10_000),
            integer_test=Accuracy(0.9907, 10_000),
            dense_validation=Accuracy(0.9918, 5_000),
            integer_validation=Accuracy(0.9902, 5_000),
        ),
        layers=_layers(),
        history=_history(),
        file=FileRecord(
            name="lenet5.admm",
            bytes=3_712,
            dense_bytes=4 * 431_080,
            sections=(
                BytePart("header", 61),
                BytePart("shapes", 44),
                BytePart("requantise", 58),
                BytePart("biases", 410),
                BytePart("positions", 1_980),
                BytePart("levels", 1_155),
                BytePart("checksum", 4),
            ),
            sha256="c0ffee" + 58 * "0",
        ),
        hardware=Hardware(
            target_clock_mhz=100.0,
            clock_mhz=Quantity(112.4, "post-synthesis"),
            cycles_per_image=Quantity(2_930, "cosim"),
            latency_cycles=Quantity(8_412, "cosim"),
            inner_ii=Quantity(1, "cosim"),
            resources=(
                ResourceUse("LUT", Quantity(21_480, "post-synthesis"), 53_200),
                ResourceUse("FF", Quantity(18_112, "post-synthesis"), 106_400),
                ResourceUse("DSP", Quantity(148, "post-synthesis"), 220),
                ResourceUse("BRAM18", Quantity(31, "modelled"), 280),
            ),
        ),
        designs=_designs(),
        trials=(Trial(1.0, 0.9902), Trial(2.0, 0.9871)),
        admm=("converged", "not converged: primal 0.0983, dual 0.031, above 0.001"),
        checks=_checks(),
        steps=tuple(
            StepTime(name, seconds, reused=name == "data")
            for name, seconds in [
                ("data", 1.2),
                ("dense", 61.4),
                ("compress", 402.7),
                ("encode", 0.3),
                ("codegen", 0.6),
                ("csim", 31.9),
                ("report", 2.2),
            ]
        ),
        done=(
            "LeNet-5 was trained, pruned and quantised jointly, and retrained.",
            "The integer model was written to lenet5.admm and read back, bit for bit.",
            "The HLS C++ was generated and simulated with g++ on the whole test set.",
        ),
        needs_vendor_tools=(
            "C synthesis and implementation: Vitis HLS and Vivado.",
            "Bitstream and board measurement: a PYNQ-Z2.",
        ),
    )


def _layers() -> tuple[LayerRecord, ...]:
    rows = [
        ("conv1", "conv", (20, 1, 5, 5), 500, 5, "kept dense", 1.6, 8, 1),
        ("conv2", "conv", (50, 20, 5, 5), 1_700, 3, "pruned", 1.4, 2, 4),
        ("fc1", "linear", (500, 800), 2_300, 3, "pruned", 2.1, 1, 8),
        ("fc2", "linear", (10, 500), 541, 3, "pruned", 2.4, 1, 2),
    ]
    return tuple(
        LayerRecord(
            name=name,
            kind=kind,
            weights=math.prod(shape),
            nnz=nnz,
            shape=shape,
            weight_bits=bits,
            activation_bits=4,
            scales=(0.0625 / bits,),
            parts=(
                BytePart("positions", nnz // 3),
                BytePart("levels", nnz // 5),
                BytePart("biases", shape[0] // 2),
            ),
            break_even=Quantity(break_even, "modelled"),
            curves=tuple(
                SpeedupCurve(
                    family,
                    "post-synthesis",
                    portions,
                    tuple(
                        1 / (1 - portion) / (gain if family == "sparse" else 1.1)
                        for portion in portions
                    ),
                )
                for family, gain, portions in (
                    ("sparse", break_even, (0.3, 0.5, 0.7, 0.9)),
                    ("balanced", 1.1, (0.1, 0.5, 0.9)),
                    ("shared", 1.1, ()),
                )
            ),
            planned=1.1 * break_even,
            active_weights=min(2 * nnz, math.prod(shape)),
            decision=decision,
            why="its ratio is over its break-even" if decision == "pruned" else "too little to win",
            kernel=Kernel("sparse", rows, groups, Quantity(nnz * 1.4, "cosim")),
        )
        for name, kind, shape, nnz, bits, decision, break_even, rows, groups in rows
    )


def _designs() -> tuple[DesignRecord, ...]:
    return tuple(
        DesignRecord(
            name,
            Quantity(2_930 * factor, "modelled"),
            Quantity(8_412 * factor, "modelled"),
            (ResourceUse("LUT", Quantity(21_000, "modelled")),),
            tuple(
                LayerCycles(layer, cycles * factor, "sparse, 2 groups")
                for layer, cycles in (("conv1", 2_000), ("conv2", 2_930), ("fc1", 1_500))
            ),
        )
        for name, factor in (("sparse", 1), ("dense", 9), ("dense, compact", 3))
    )


def _history() -> tuple[Epoch, ...]:
    epochs = [
        Epoch("dense", "train", e, 0.3 / (e + 1), 0.992 - 0.02 / (e + 1), 430_500, seconds=7.5)
        for e in range(8)
    ]
    epochs += [
        Epoch(
            "compress",
            "admm",
            e,
            loss=0.03 + 0.1 / (e + 1),
            val_accuracy=0.985 + 0.0004 * e,
            nnz=int(430_500 / 1.35 ** (e + 1)),
            primal=9 * 0.75**e,
            dual=4 * 0.7**e,
            rho=1e-3 * 1.3**e,
            seconds=11.0,
        )
        for e in range(14)
    ]
    epochs += [
        Epoch("compress", "quantise", e, 0.04, 0.986 + 0.0006 * e, 5_041, seconds=9.0)
        for e in range(6)
    ]
    epochs += [
        Epoch("compress", "retrain", e, 0.02, 0.989 + 0.0002 * e, 5_041, seconds=9.0)
        for e in range(8)
    ]
    return tuple(epochs)


def _checks() -> tuple[Check, ...]:
    return (
        Check("file", "decoded .admm file and the model that was written", "pass"),
        Check("csim logits", "g++ csim and CompressedModel.run", "pass", 10_000),
        Check("csim layers", "every layer's integers in g++ csim and in Python", "pass", 64),
        Check("cosim", "Verilated RTL and CompressedModel.run", "skipped", None, "no Verilator"),
    )
