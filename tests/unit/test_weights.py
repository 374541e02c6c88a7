"""Weights from a file: by name, whatever wraps them, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.core.errors import PyadmmError

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "weights" / "resnet_cifar10"


def _small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def _state(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return _small().state_dict()


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_loads_by_name(tmp_path: Path, wrapper: str, prefix: str) -> None:
    state = _state()
    held = {prefix + k: v for k, v in state.items() if "num_batches" not in k}
    torch.save({"epoch": 3, wrapper: held} if wrapper else held, tmp_path / "w.pt")
    model = _small()
    zoo.load_weights(model, tmp_path / "w.pt")
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def _torchvision_vgg16() -> dict[str, tuple[int, ...]]:
    """Names and shapes as torchvision writes them."""
    shapes: dict[str, tuple[int, ...]] = {}
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    for place, inputs, outputs in zip(places, widths[:-1], widths[1:], strict=True):
        shapes[f"features.{place}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{place}.bias"] = (outputs,)
    for place, inputs, outputs in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        shapes[f"classifier.{place}.weight"] = (outputs, inputs)
        shapes[f"classifier.{place}.bias"] = (outputs,)
    return shapes


def _torchvision_alexnet() -> dict[str, tuple[int, ...]]:
    layers = {
        "features.0": (64, 3, 11, 11),
        "features.3": (192, 64, 5, 5),
        "features.6": (384, 192, 3, 3),
        "features.8": (256, 384, 3, 3),
        "features.10": (256, 256, 3, 3),
        "classifier.1": (4096, 9216),
        "classifier.4": (4096, 4096),
        "classifier.6": (1000, 4096),
    }
    return {f"{n}.weight": s for n, s in layers.items()} | {
        f"{n}.bias": s[:1] for n, s in layers.items()
    }


def _torchvision_resnet50() -> dict[str, tuple[int, ...]]:
    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}

    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048), "fc.bias": (1000,)}
    shapes |= norm("bn1", 64)
    inputs = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, inputs, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            for number, outputs in ((1, width), (2, width), (3, 4 * width)):
                shapes |= norm(f"{name}.bn{number}", outputs)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes |= norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    return shapes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", _torchvision_vgg16()),
        ("alexnet-torchvision", _torchvision_alexnet()),
        ("resnet50", _torchvision_resnet50()),
    ],
)
def test_names_and_shapes_are_torchvisions(name: str, expected: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        state = zoo.build(name).state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == expected


def test_a_torchvision_state_of_resnet50_loads(tmp_path: Path) -> None:
    state = {k: torch.full(s, 0.5) for k, s in _torchvision_resnet50().items() if s}
    torch.save(state, tmp_path / "r.pth")
    with torch.device("meta"):
        model = zoo.build("resnet50")
    model.to_empty(device="cpu")
    zoo.load_weights(model, tmp_path / "r.pth")
    assert float(model.state_dict()["layer4.2.conv3.weight"].sum()) == 0.5 * 2048 * 512


@pytest.mark.skipif(not BESIDE.is_dir(), reason="the published ResNet weights are not here")
@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_published_resnet_weights_load(name: str) -> None:
    model = zoo.build(name.split("-", maxsplit=1)[0])
    zoo.load_weights(model, BESIDE / name)
    assert float(model.state_dict()["layer3.0.bn1.running_var"].mean()) != 1.0


def _damaged(state: dict[str, Any], kind: str) -> Any:
    if kind == "missing":
        del state["3.bias"]
    elif kind == "shape":
        state["3.weight"] = torch.zeros(3, 9)
    elif kind == "infinite":
        state["0.bias"] = torch.tensor([1.0, float("nan")])
    elif kind == "text":
        state["0.bias"] = "no tensor"
    elif kind == "whole":
        state["0.bias"] = torch.ones(2, dtype=torch.int32)
    elif kind == "sparse":
        state["3.weight"] = state["3.weight"].to_sparse()
    elif kind == "numpy":
        state = {name: value.numpy() for name, value in state.items()}
    elif kind == "empty":
        state = {}
    elif kind == "other":
        state = {"optimizer": {"step": torch.ones(1)}, "epoch": 3}
    elif kind == "unknown":
        state["9.weight"] = torch.zeros(1)
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "do not fit Sequential: missing 3.bias; unknown none"),
        ("unknown", "missing none; unknown 9.weight"),
        ("shape", r"3.weight must have shape \(3, 8\), not \(3, 9\)"),
        ("infinite", "0.bias holds values that are not finite"),
        ("text", "must hold tensors by name"),
        ("whole", "0.bias holds whole numbers .torch.int32., whose scale is not known"),
        ("sparse", "3.weight is no plain tensor .torch.sparse_coo"),
        ("numpy", "holds numpy arrays, .*torch.from_numpy"),
        ("empty", "not a dict of none; save"),
        ("other", "not a dict of optimizer, epoch; save"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, kind: str, message: str) -> None:
    torch.save(_damaged(_state(), kind), tmp_path / "w.pt")
    with pytest.raises(PyadmmError, match=message):
        zoo.load_weights(_small(), tmp_path / "w.pt")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"no torch file")
    with pytest.raises(PyadmmError, match="is no torch file of plain tensors"):
        zoo.load_weights(_small(), tmp_path / "noise")
    with pytest.raises(PyadmmError, match="cannot be read"):
        zoo.load_weights(_small(), tmp_path / "nowhere")
    torch.save(_small(), tmp_path / "module.pt")  # pickled code: never run
    with pytest.raises(PyadmmError, match="is no torch file of plain tensors"):
        zoo.load_weights(_small(), tmp_path / "module.pt")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"epoch": 1, "model_state": {"net": {f"net.{k}": v for k, v in s.items()}}},
        lambda s: {"checkpoint": {"model": {"state_dict": s}}, "optimizer": {"state": {}}},
        lambda s: {"state_dict": {}, "ema": s},
        lambda s: {f"net.encoder.{k}": v for k, v in s.items()},
    ],
    ids=["compiled", "parallel and compiled", "lightning", "nested", "thrice", "average", "deep"],
)
def test_wrapped_states_are_found(
    wrap: Callable[[dict[str, torch.Tensor]], object], tmp_path: Path
) -> None:
    model, other = (nn.Sequential(nn.Flatten(), nn.Linear(9, 2)) for _ in range(2))
    torch.save(wrap(model.state_dict()), tmp_path / "w.pt")
    zoo.load_weights(other, tmp_path / "w.pt")
    assert torch.equal(other[1].weight, model[1].weight)


def test_a_compiled_model_takes_a_plain_state(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    other = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    zoo.load_weights(torch.compile(other), tmp_path / "w.pt")  # type: ignore[arg-type]
    assert torch.equal(other[1].weight, model[1].weight)


def test_a_pickled_module_is_refused_in_one_sentence(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    torch.save(model, tmp_path / "w.pt")
    with pytest.raises(PyadmmError, match=r"whole module.*save model.state_dict\(\)") as error:
        zoo.load_weights(model, tmp_path / "w.pt")
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)
