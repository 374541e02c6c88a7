// Collects CHUNKS chunks of LANES columns into a row, and writes it to the position given with its last chunk.
// valid, row_done and place precede their results y by DELAY cycles.
module row_collect #(
    parameter int LANES = 4,
    parameter int CHUNKS = 3,
    parameter int Y_BITS = 8,
    parameter int PLACE_BITS = 8,
    parameter int DELAY = 1,
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
  // {valid, row done, place}
  logic [PLACE_BITS+1:0] tag_reg[DELAY];
  logic [PLACE_BITS+1:0] tag;
  logic valid_reg;
  logic [PLACE_BITS-1:0] place_reg;
  assign tag = tag_reg[DELAY-1];
  logic [WIDTH*Y_BITS-1:0] row_reg, row_next;
  if (CHUNKS > 1) begin : gen_shift
    assign row_next = {y, row_reg[WIDTH*Y_BITS-1:LANES*Y_BITS]};
    logic unused;
    assign unused = ^row_reg[LANES*Y_BITS-1:0];
  end else begin : gen_whole
    assign row_next = y;
  end
  always_ff @(posedge clk) begin
    tag_reg[0] <= {valid, row_done, place};
    for (int i = 1; i < DELAY; i++) tag_reg[i] <= tag_reg[i-1];
    if (tag[PLACE_BITS+1]) row_reg <= row_next;
    valid_reg <= tag[PLACE_BITS+1] & tag[PLACE_BITS];
    place_reg <= tag[PLACE_BITS-1:0];
    if (rst) begin
      for (int i = 0; i < DELAY; i++) tag_reg[i][PLACE_BITS+1] <= 1'b0;
      valid_reg <= 1'b0;
    end
  end
  assign wr_valid = valid_reg;
  assign wr_place = place_reg;
  assign wr_data = row_reg;
endmodule
