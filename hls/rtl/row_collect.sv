// Collects CHUNKS parts of LANES columns to a row, and writes it with what came with its last part.
module row_collect #(
    parameter int LANES = 4,
    parameter int CHUNKS = 3,
    parameter int Y_BITS = 8,
    parameter int PLACE_BITS = 8,
    parameter int WIDTH = LANES * CHUNKS
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    valid,
    input  logic                    row_done,
    input  logic [PLACE_BITS-1:0]   place,
    input  logic [LANES*Y_BITS-1:0] y,
    output logic                    wr_valid,
    output logic [PLACE_BITS-1:0]   wr_place,
    output logic [WIDTH*Y_BITS-1:0] wr_data
);
  logic valid_reg;
  logic [PLACE_BITS-1:0] place_reg;
  logic [WIDTH*Y_BITS-1:0] row_reg, row_next;
  if (CHUNKS > 1) begin : gen_shift
    assign row_next = {y, row_reg[WIDTH*Y_BITS-1:LANES*Y_BITS]};
    logic unused;
    assign unused = ^row_reg[LANES*Y_BITS-1:0];
  end else begin : gen_whole
    assign row_next = y;
  end
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= 1'b0;
    else valid_reg <= valid & row_done;
    if (valid) row_reg <= row_next;
    place_reg <= place;
  end
  assign wr_valid = valid_reg;
  assign wr_place = place_reg;
  assign wr_data = row_reg;
endmodule
