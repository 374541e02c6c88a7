"""What the pretended device refuses and allows, a line each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from tests.devices import pretend


def main() -> None:
    """Try each."""
    pretend.register()
    with pretend.Pretend():
        there = torch.ones(1, 1, 3, 3, device=pretend.NAME)
        index = torch.zeros(1, dtype=torch.long)
        tries: dict[str, Callable[[], object]] = {
            "sum": lambda: there + torch.ones(1, 1, 3, 3),
            "convolution": lambda: F.conv2d(there, torch.ones(1, 1, 3, 3)),
            "index of the cpu's tensor": lambda: torch.ones(3)[index.to(pretend.NAME)],
            "numpy": there.numpy,
            "number": lambda: there + torch.tensor(2.0),
            "index by the cpu's tensor": lambda: there[index],
        }
        for name, action in tries.items():
            try:
                action()
                print(f"{name}: allowed")
            except RuntimeError:
                print(f"{name}: refused")
        pretend.crossings.clear()
        moved = torch.ones(2).to(pretend.NAME)
        float(moved.sum())
        moved.tolist()
        moved.copy_(torch.zeros(2))
        moved.cpu()
        moved.to(torch.float64)
        print(f"crossings: {len(pretend.crossings)}")


if __name__ == "__main__":
    main()
