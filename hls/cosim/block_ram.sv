// RAMB18E1 and RAMB36E1 (AMD UG473) as far as this project's memories use them: one clock, no output
// register, no resets; widths of 1 to 36, or SDP mode with twice the width, read at port A and written at B.
// A read gives what was there before a write in the same cycle (READ_FIRST).
module block_ram #(
    parameter int ADDR_BITS = 14,
    parameter bit SDP = 0,
    parameter int READ_WIDTH_A = 18,
    parameter int READ_WIDTH_B = 18,
    parameter int WRITE_WIDTH_A = 18,
    parameter int WRITE_WIDTH_B = 18,
    // Data bits of a port; a parity bit more for every 8.
    parameter int PORT_BITS = ADDR_BITS == 14 ? 16 : 32
) (
    input  logic                     clk,
    input  logic                     enable_a,
    input  logic                     enable_b,
    input  logic [PORT_BITS/8-1:0]   write_a,
    input  logic [PORT_BITS/4-1:0]   write_b,
    input  logic [ADDR_BITS-1:0]     addr_a,
    input  logic [ADDR_BITS-1:0]     addr_b,
    input  logic [PORT_BITS-1:0]     data_a,
    input  logic [PORT_BITS-1:0]     data_b,
    input  logic [PORT_BITS/8-1:0]   parity_a,
    input  logic [PORT_BITS/8-1:0]   parity_b,
    output logic [PORT_BITS-1:0]     out_a,
    output logic [PORT_BITS-1:0]     out_b,
    output logic [PORT_BITS/8-1:0]   out_parity_a,
    output logic [PORT_BITS/8-1:0]   out_parity_b
);
  localparam int BITS = 2 ** ADDR_BITS;
  logic [BITS-1:0] data;
  logic [BITS/8-1:0] parity;

  // Data bits of a port of this width; below 9 there is no parity.
  function automatic int data_bits(input int width);
    data_bits = width < 9 ? width : width / 9 * 8;
  endfunction
  // First bit that an address selects at that width.
  function automatic int first(input logic [ADDR_BITS-1:0] addr, input int width);
    first = 32'(addr) / data_bits(width) * data_bits(width);
  endfunction

  localparam int WIDE = 2 * PORT_BITS;
  logic [WIDE-1:0] read_a_reg, read_b_reg, in_a, in_b;
  logic [WIDE/8-1:0] read_parity_a_reg, read_parity_b_reg, in_parity_a, in_parity_b;
  assign in_a = WIDE'(data_a);
  assign in_parity_a = (WIDE / 8)'(parity_a);
  // In SDP mode port A's inputs are the lower half of the word that port B's address writes.
  assign in_b = SDP ? {data_b, data_a} : WIDE'(data_b);
  assign in_parity_b = SDP ? {parity_b, parity_a} : (WIDE / 8)'(parity_b);

  always_ff @(posedge clk) begin
    if (enable_a && READ_WIDTH_A > 0) begin
      for (int i = 0; i < data_bits(READ_WIDTH_A); i++) read_a_reg[i] <= data[first(addr_a, READ_WIDTH_A)+i];
      for (int i = 0; i < READ_WIDTH_A / 9; i++) read_parity_a_reg[i] <= parity[first(addr_a, READ_WIDTH_A)/8+i];
    end
    if (enable_b && READ_WIDTH_B > 0) begin
      for (int i = 0; i < data_bits(READ_WIDTH_B); i++) read_b_reg[i] <= data[first(addr_b, READ_WIDTH_B)+i];
      for (int i = 0; i < READ_WIDTH_B / 9; i++) read_parity_b_reg[i] <= parity[first(addr_b, READ_WIDTH_B)/8+i];
    end
    if (enable_a && WRITE_WIDTH_A > 0) begin
      for (int i = 0; i < data_bits(WRITE_WIDTH_A); i++) begin
        if (write_a[i/8]) data[first(addr_a, WRITE_WIDTH_A)+i] <= in_a[i];
      end
      for (int i = 0; i < WRITE_WIDTH_A / 9; i++) begin
        if (write_a[i]) parity[first(addr_a, WRITE_WIDTH_A)/8+i] <= in_parity_a[i];
      end
    end
    if (enable_b && WRITE_WIDTH_B > 0) begin
      for (int i = 0; i < data_bits(WRITE_WIDTH_B); i++) begin
        if (write_b[i/8]) data[first(addr_b, WRITE_WIDTH_B)+i] <= in_b[i];
      end
      for (int i = 0; i < WRITE_WIDTH_B / 9; i++) begin
        if (write_b[i]) parity[first(addr_b, WRITE_WIDTH_B)/8+i] <= in_parity_b[i];
      end
    end
  end
  assign out_a = read_a_reg[PORT_BITS-1:0];
  assign out_parity_a = read_parity_a_reg[PORT_BITS/8-1:0];
  assign out_b = SDP ? read_a_reg[WIDE-1:PORT_BITS] : read_b_reg[PORT_BITS-1:0];
  assign out_parity_b = SDP ? read_parity_a_reg[WIDE/8-1:PORT_BITS/8] : read_parity_b_reg[PORT_BITS/8-1:0];
endmodule
