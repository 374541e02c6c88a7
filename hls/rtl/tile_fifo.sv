// Complete tiles of one group that wait for the drain.
//
// DEPTH = 1 is one holding register: the group computes its next tile meanwhile. A deeper one is a
// LUTRAM ring. full_next is the next value of "a push is not possible", pessimistic by one pop.
module tile_fifo #(
    parameter int WIDTH = 480,
    parameter int DEPTH = 1
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             push,
    input  logic [WIDTH-1:0] push_data,
    input  logic             pop,
    output logic             valid,
    output logic             full_next,
    output logic [WIDTH-1:0] data
);
  if (DEPTH < 1 || (DEPTH & (DEPTH - 1)) != 0) begin : gen_bad_depth
    $error("tile_fifo: DEPTH must be a power of two");
  end

  if (DEPTH == 1) begin : gen_hold
    logic valid_reg;
    logic [WIDTH-1:0] data_reg;
    assign full_next = push | (valid_reg & ~pop);
    always_ff @(posedge clk) begin
      if (rst) valid_reg <= 1'b0;
      else valid_reg <= full_next;
      if (push) data_reg <= push_data;
    end
    assign valid = valid_reg;
    assign data  = data_reg;
  end else begin : gen_ring
    localparam int INDEX_BITS = $clog2(DEPTH);
    logic [WIDTH-1:0] memory [0:DEPTH-1];
    logic [INDEX_BITS-1:0] head_reg, tail_reg;
    logic [INDEX_BITS:0] count_reg, count_next;
    assign count_next = count_reg + (INDEX_BITS + 1)'(push) - (INDEX_BITS + 1)'(pop);
    assign full_next  = count_next == (INDEX_BITS + 1)'(DEPTH);
    always_ff @(posedge clk) begin
      if (rst) begin
        head_reg  <= '0;
        tail_reg  <= '0;
        count_reg <= '0;
      end else begin
        if (push) tail_reg <= tail_reg + 1'b1;
        if (pop) head_reg <= head_reg + 1'b1;
        count_reg <= count_next;
      end
      if (push) memory[tail_reg] <= push_data;
    end
    assign valid = count_reg != '0;
    assign data  = memory[head_reg];
  end
endmodule
