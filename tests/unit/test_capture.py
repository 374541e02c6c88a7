"""What a recorded step does around its graph, which a stand-in replays by a call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pyadmm.training.cuda_graph import Captured


class _Stream:
    def wait_stream(self, other: object) -> None:
        pass


class _Graph:
    """Notes what happens; ``work`` is what a replay does."""

    events: list[str]
    work: object

    def replay(self) -> None:
        self.events.append("replay")
        assert callable(self.work)
        self.work()


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    noted: list[str] = []
    _Graph.events = noted

    @contextlib.contextmanager
    def recording(graph: _Graph) -> Iterator[None]:
        noted.append("record")
        yield

    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", _Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return noted


def test_recording_leaves_the_statistics_and_replays_see_the_new_inputs(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    count, result = torch.zeros(()), torch.zeros(2)

    def function(x: Tensor) -> Tensor:
        events.append("call")
        count.add_(1)
        return result.copy_(2 * x)

    recorded = Captured(function, [count], lambda: events.append("forget"))
    monkeypatch.setattr(
        _Graph, "work", staticmethod(lambda: function(recorded.inputs[0])), raising=False
    )
    first = torch.tensor([1.0, 2.0])
    assert recorded(first).tolist() == [2, 4]
    assert events == ["call"] * 3 + ["forget", "record", "call", "replay", "call"]
    assert count == 1  # of all those calls the replay alone is a step
    assert recorded(torch.tensor([5.0, 6.0])).tolist() == [10, 12]
    assert first.tolist() == [1, 2]
    assert events[-2:] == ["replay", "call"]
    assert count == 2
