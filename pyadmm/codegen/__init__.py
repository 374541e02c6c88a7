"""Plans as text: HLS C++, SystemVerilog and the parameters of the vendor tools. Pure functions."""
