// Tags complete tiles of a group with {image parity, slot, tile} and keeps them for the drain. A tile is
// claimed with its last entry, while there is room; done comes with the complete tile, a copy per lane.
module group_output #(
    parameter int LANES = 24,
    parameter int ACC_BITS = 20,
    parameter int TILES = 4,
    parameter int SLOT_CAPACITY = 8,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter int ACC_BUS_BITS = LANES * ACC_BITS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int SLOTS_BITS = $clog2(SLOT_CAPACITY + 1),
    parameter int PAYLOAD_BITS = ACC_BUS_BITS + SLOT_BITS + TILE_BITS + 1
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    ready,
    input  logic                    claim,
    output logic                    room,
    input  logic [LANES-1:0]        done,
    input  logic [ACC_BUS_BITS-1:0] acc,
    input  logic [SLOTS_BITS-1:0]   slots,
    output logic                    tile_valid,
    output logic [PAYLOAD_BITS-1:0] tile_payload,
    input  logic                    tile_pop
);
  logic parity_reg, tile_last, slot_last;
  logic [TILE_BITS-1:0] tile_reg;
  logic [SLOT_BITS-1:0] slot_reg;
  assign tile_last = tile_reg == TILE_BITS'(TILES - 1);
  assign slot_last = SLOTS_BITS'(slot_reg) + 1'b1 == slots;

  always_ff @(posedge clk) begin
    if (rst) begin
      parity_reg <= 1'b0;
      tile_reg <= '0;
      slot_reg <= '0;
    end else if (done[0]) begin
      tile_reg <= tile_last ? '0 : tile_reg + 1'b1;
      if (tile_last) slot_reg <= slot_last ? '0 : slot_reg + 1'b1;
      if (tile_last && slot_last) parity_reg <= ~parity_reg;
    end
  end

  tile_fifo #(
      .TAG_BITS(PAYLOAD_BITS - ACC_BUS_BITS),
      .PART_BITS(ACC_BITS),
      .PARTS(LANES),
      .DEPTH(FIFO_DEPTH),
      .SPACING(SPACING)
  ) fifo (
      .clk(clk),
      .rst(rst),
      .ready(ready),
      .claim(claim),
      .room(room),
      .push(done[0]),
      .push_part(done),
      .push_data({parity_reg, slot_reg, tile_reg, acc}),
      .pop(tile_pop),
      .valid(tile_valid),
      .data(tile_payload)
  );
endmodule
