"""Foreign input at the edge of ``compress``: taken, or refused in one line before any training."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyadmm
from pyadmm.core.errors import PyadmmError
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.checkpoint import EpochRecord

FAST = {
    "pruning_ratio": 2,
    "filters_kept": 1.0,
    "neurons_kept": 1.0,
    "continuous": {"epochs": 0},
    "admm": {"rounds": 1, "iterations": 1, "retrain_epochs": 1, "first_ratio": 1.5},
    "retrain": {"epochs": 1},
    "quantize": {"epochs": 1},
}
X = torch.randint(0, 256, (24, 1, 6, 6), generator=torch.Generator().manual_seed(0)).byte()
Y = torch.arange(24) % 4
PAIRS = [(X, Y)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))


def outcome(
    model: Any = None, train: Any = PAIRS, validation: Any = PAIRS, **more: Any
) -> tuple[str, list[EpochRecord]]:
    """``ok`` or the text of our error, and the epochs that were trained; others pass through."""
    epochs: list[EpochRecord] = []
    config = more.pop("config", None) or from_dict({**FAST, **more.pop("settings", {})})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyadmm.compress(
                network() if model is None else model,
                config,
                train,
                validation,
                progress=lambda record, _: epochs.append(record),
                **more,
            )
    except PyadmmError as error:
        return str(error), epochs
    return "ok", epochs


class Single(torch.utils.data.Dataset):
    """A data set of single images, as torchvision's are."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.labels[index]


@pytest.mark.parametrize(
    "train",
    [
        torch.utils.data.TensorDataset(X, Y),
        Single(X, Y.tolist()),
        Single(X.numpy(), Y.numpy()),
        [(X.long(), Y.int())],
        [(X.numpy(), Y.numpy())],
        [(X.float() / 255, Y.double())],
        torch.utils.data.DataLoader(Single(X.float() / 255, Y), batch_size=5),
        [[X, Y]],
    ],
    ids=["TensorDataset", "Single", "numpy items", "int64", "numpy", "floats", "loader", "lists"],
)
def test_what_is_taken_gives_the_same_model(train: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random labels cannot be learnt
        expected = pyadmm.compress(network(), from_dict(FAST), PAIRS, PAIRS)
        found = pyadmm.compress(network(), from_dict(FAST), train, PAIRS)
    for one, other in zip(expected.layers, found.layers, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.bias, other.bias)


def failing() -> Iterator[tuple[Tensor, Tensor]]:
    yield X, Y
    raise KeyError("worker")


def failing_worker() -> Iterator[tuple[Tensor, Tensor]]:
    """As a DataLoader tells what a worker process raised."""
    yield X, Y
    raise RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n  ...\n"
        "RuntimeError: no such file"
    )


NAN = network()
NAN[1].weight.data[0, 0] = float("nan")  # type: ignore[index,union-attr]


class Raises(nn.Module):
    """Fails while it computes."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


BAD_DATA = [
    (None, "the loader failed"),
    (5, "the loader failed"),
    ([], "gives no batches"),
    ([1], "must give pairs"),
    ([(X,)], "must give pairs"),
    ([{"x": X, "y": Y}], "must give pairs"),
    ([(X, Y, Y)], "must give pairs"),
    ([(X, Y[:3])], r"images .N, C, H, W. and labels"),
    ([(X[:, 0], Y)], r"images .N, C, H, W. and labels"),
    ([(X, nn.functional.one_hot(Y))], r"numbers of the classes: labels.argmax\(1\)"),
    ([("a", "b")], "images of type str, which are no numbers; give the data set a transform"),
    ([(X, ["cat"] * len(X))], "labels of type list, which are no numbers; give the number of"),
    ([(X, None)], "labels of type NoneType"),
    ([(X.permute(0, 2, 3, 1), Y)], r"look like \(H, W, C\); give them as \(C, H, W\)"),
    ([(X.flatten(1), Y)], r"make vectors maps of one value: images\[:, :, None, None\]"),
    ([(X.numpy().astype(np.uint16) * 256, Y)], "convert them to uint8"),
    (failing_worker(), r"RuntimeError: no such file\); it must give"),
    ([(X, Y + 0.5)], "labels must be whole numbers"),
    ([(X, Y * 1j)], "labels must be whole numbers"),
    ([(X.float(), Y)], "not normalised"),
    ([(X.float() * torch.nan, Y)], "values of images are not finite"),
    ([(X.long() - 128, Y)], "convert them to uint8"),
    ([(X > 5, Y)], "convert them to uint8"),
    ([(X.cfloat(), Y)], "convert them to uint8|not normalised|images of"),
    ([(X, Y), (X[:, :, 1:], Y)], "one shape"),
    ([(X[:0], Y[:0])], "there are no images"),
    ([(X, Y + 4)], "labels must be 0 to 3, as the model has 4 outputs, not 7"),
    ([(X, Y - 1)], "labels must be 0 to 3, as the model has 4 outputs, not -1"),
    (failing(), r"the loader failed .KeyError"),
]
"""What a loader may give, and what is said then."""


@pytest.mark.parametrize(("bad", "words"), BAD_DATA, ids=range(len(BAD_DATA)))
@pytest.mark.parametrize("place", ["train", "validation"])
def test_bad_data_are_refused_before_any_training(place: str, bad: Any, words: str) -> None:
    if isinstance(bad, Iterator):
        bad = failing_worker() if "no such file" in words else failing()
    said, epochs = outcome(**{place: bad})
    assert not epochs
    assert re.search(words, said), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": NAN}, "layer 1: its weight holds values that are not finite"),
        ({"model": Raises()}, "no such thing|Raises"),
        ({"model": "resnet"}, "model: must be a torch.nn.Module, not str"),
        ({"model": nn.Sequential()}, "layer|model|network"),
        ({"model": nn.Sequential(nn.Flatten(), nn.LazyLinear(4))}, "Lazy|ninitialized"),
        ({"config": {"pruning_ratio": 3}}, "must be CompressSettings, not dict"),
        ({"settings": {"activation_bits": 1}, "model": nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 4)
        )}, "layer 0: activation_bits must be at least 2"),
        ({"settings": {"layers": [{"pattern": "0", "activation_bits": 1}]}, "model": nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 4)
        )}, "layer 0: activation_bits must be at least 2"),
    ],
)  # fmt: skip
def test_bad_models_and_settings_are_refused_before_any_training(
    arguments: dict[str, Any], words: str
) -> None:
    said, epochs = outcome(**arguments)
    assert said != "ok"
    assert not epochs
    assert re.search(words, said), said


def test_one_bit_after_a_relu_is_possible() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    assert outcome(model, settings={"activation_bits": 1})[0] == "ok"


def test_a_folder_of_checkpoints_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said, _ = outcome(checkpoint_dir=tmp_path / "file")
    assert "file" in said
    assert "cannot be" in said


def test_what_the_callers_own_callback_raises_passes() -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        pyadmm.compress(network(), from_dict(FAST), PAIRS, PAIRS, progress=stop)


def test_a_checkpoint_of_other_settings_is_trained_anew(tmp_path: Path) -> None:
    for ratio in (2, 3, 2):
        settings = {"pruning_ratio": ratio}
        assert outcome(settings=settings, checkpoint_dir=tmp_path)[0] == "ok"
    said, epochs = outcome(settings=settings, checkpoint_dir=tmp_path)
    assert (said, epochs) == ("ok", [])


def learnt(settings: CompressSettings) -> list[str]:
    """Warnings of compressing a network that knows its images well."""
    codes = torch.zeros(40, 1, 6, 6, dtype=torch.uint8)
    labels = torch.arange(40) % 4
    codes[torch.arange(40), 0, labels] = 250
    model = network()
    with torch.no_grad():
        model[1].weight.zero_()  # type: ignore[index,union-attr]
        for label in range(4):
            model[1].weight[label, 6 * label : 6 * label + 6] = 1.0  # type: ignore[index,union-attr]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pyadmm.compress(model, settings, [(codes, labels)], [(codes, labels)])
    return [str(one.message) for one in caught if "accuracy is lost" in str(one.message)]


def test_a_collapse_is_said_and_no_collapse_is_not() -> None:
    assert learnt(from_dict(FAST)) == []
    (said,) = learnt(from_dict({**FAST, "pruning_ratio": 144}))
    assert "pruning_ratio" in said
