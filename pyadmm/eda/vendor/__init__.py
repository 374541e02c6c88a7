"""The vendor tools: Vitis HLS and Vivado."""
