// First-in, first-out queue of wide words on a memory with a registered output: one word a cycle.
//
//   push -> memory -> read register -> output register -> pop
//
// Who pushes keeps count: there is no sign of a full queue. It holds 2**DEPTH_BITS words.
module beat_fifo #(
    parameter int WIDTH = 72,
    parameter int DEPTH_BITS = 6
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             push,
    input  logic [WIDTH-1:0] push_data,
    output logic             valid,
    input  logic             pop,
    output logic [WIDTH-1:0] data
);
  (* ram_style = "block" *) logic [WIDTH-1:0] memory [0:2**DEPTH_BITS-1];
  logic [DEPTH_BITS:0] head_reg, tail_reg;
  logic read_valid_reg, out_valid_reg;
  logic [WIDTH-1:0] read_reg, out_reg;
  logic waiting, out_take, read_take;
  assign waiting = head_reg != tail_reg;
  assign out_take = ~out_valid_reg | pop;
  assign read_take = ~read_valid_reg | out_take;
  assign valid = out_valid_reg;
  assign data = out_reg;

  always_ff @(posedge clk) begin
    if (rst) begin
      head_reg <= '0;
      tail_reg <= '0;
      read_valid_reg <= 1'b0;
      out_valid_reg <= 1'b0;
    end else begin
      if (push) tail_reg <= tail_reg + 1'b1;
      if (waiting && read_take) head_reg <= head_reg + 1'b1;
      if (read_take) read_valid_reg <= waiting;
      if (out_take) out_valid_reg <= read_valid_reg;
    end
    if (push) memory[tail_reg[DEPTH_BITS-1:0]] <= push_data;
    if (read_take) read_reg <= memory[head_reg[DEPTH_BITS-1:0]];
    if (out_take) out_reg <= read_reg;
  end
endmodule
