// A byte-wide bank with two ports that read or write. Reads take two cycles.
module seq_bank #(
    parameter int DEPTH = 2048,
    parameter int ADDR_BITS = 11
) (
    input  logic                 clk,
    input  logic                 write_a,
    input  logic [ADDR_BITS-1:0] addr_a,
    output logic [          7:0] out_a,
    input  logic                 write_b,
    input  logic [ADDR_BITS-1:0] addr_b,
    output logic [          7:0] out_b,
    input  logic [          7:0] data
);
  (* ram_style = "block" *) logic [7:0] memory [0:DEPTH-1];
  logic [7:0] a_reg, b_reg, a_out_reg, b_out_reg;
  always_ff @(posedge clk) begin
    if (write_a) memory[addr_a] <= data;
    else a_reg <= memory[addr_a];
    a_out_reg <= a_reg;
  end
  always_ff @(posedge clk) begin
    if (write_b) memory[addr_b] <= data;
    else b_reg <= memory[addr_b];
    b_out_reg <= b_reg;
  end
  assign out_a = a_out_reg;
  assign out_b = b_out_reg;
endmodule
