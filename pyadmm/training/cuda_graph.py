"""The work of a training step on a GPU, recorded once and replayed as a CUDA graph.

A step on a small network is hundreds of kernels of some microseconds each, and starting them one by
one takes longer than running them. A graph starts all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_RUNS = 3
"""In the first ones libraries choose kernels and take memory, which can't be recorded."""


class Captured:
    """``function`` of tensors on a GPU, recorded at the first call and replayed at every call.

    All calls need tensors of the shapes of the first. The result, and whatever else the function
    allocates (gradients), has the same memory in every call.

    :param function: works on the GPU alone: it never asks for a number that the GPU computed.
    :param kept: tensors that the function changes (the statistics of norms); recording it leaves
        them as they were.
    :param forget: called right before recording, to drop what the recording should allocate anew.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        kept: Sequence[Tensor],
        forget: Callable[[], None],
    ) -> None:
        self.function = function
        self.kept = kept
        self.forget = forget
        self._graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self._result = torch.empty(0)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The function of ``tensors``, in memory that the next call overwrites."""
        if self._graph is None:
            self._graph = self._record(tensors)
        torch._foreach_copy_(self.inputs, list(tensors))
        self._graph.replay()
        return self._result

    def _record(self, tensors: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        self.inputs = [tensor.clone() for tensor in tensors]
        before = [tensor.clone() for tensor in self.kept]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_RUNS):
                self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self.function(*self.inputs)
        for tensor, value in zip(self.kept, before, strict=True):
            tensor.copy_(value)
        return graph
