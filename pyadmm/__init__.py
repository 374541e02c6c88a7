"""pyadmm: from a trained PyTorch network to a small, fast FPGA accelerator."""

__version__ = "0.1.0"
