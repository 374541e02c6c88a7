// Complete tiles of one group that wait for the drain.
//
// DEPTH = 1 is one holding register: the group computes its next tile meanwhile. A deeper one is a
// LUTRAM ring. The caller claims a place long before it pushes, and only while room is high, so that a
// push always finds one: there is room while a place is free, and, where SPACING is above 0, when the
// last claim was SPACING cycles ago. SPACING says that a tile is taken before one could be pushed that
// many cycles after it; a claim then need not wait for the tile to be taken.
// push_part equals push, a copy for each part of the data, so that no enable runs over the whole tile.
module tile_fifo #(
    parameter int TAG_BITS = 8,
    parameter int PART_BITS = 480,
    parameter int PARTS = 1,
    parameter int DEPTH = 1,
    parameter int SPACING = 0,
    parameter int WIDTH = TAG_BITS + PARTS * PART_BITS
) (
    input  logic             clk,
    input  logic             rst,
    // No place is given while ready is low.
    input  logic             ready,
    input  logic             claim,
    output logic             room,
    input  logic             push,
    input  logic [PARTS-1:0] push_part,
    input  logic [WIDTH-1:0] push_data,
    input  logic             pop,
    output logic             valid,
    output logic [WIDTH-1:0] data
);
  if (DEPTH < 1 || (DEPTH & (DEPTH - 1)) != 0) begin : gen_bad_depth
    $error("tile_fifo: DEPTH must be a power of two");
  end
  if (SPACING == 1) begin : gen_bad_spacing
    $error("tile_fifo: SPACING must be 0 or at least 2");
  end

  // Tiles that are claimed and not taken yet. Claims SPACING apart may exceed the depth by those that are
  // on their way, fewer than LATENCY. What claim, which comes late, decides is made for both its values.
  localparam int LATENCY = 16;
  localparam int OWED_BITS = $clog2(DEPTH + LATENCY + 1);
  logic [OWED_BITS-1:0] owed_reg, more, less;
  logic room_reg, room_claimed, room_left, spaced;
  assign more = owed_reg + 1'b1;
  assign less = owed_reg - 1'b1;
  assign room_claimed = ready & (more - OWED_BITS'(pop) < OWED_BITS'(DEPTH));
  assign room_left = ready & ((owed_reg < OWED_BITS'(DEPTH)) | (pop & (less < OWED_BITS'(DEPTH))) | spaced);
  assign room = room_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      owed_reg <= '0;
      room_reg <= 1'b1;
    end else begin
      if (claim && !pop) owed_reg <= more;
      if (pop && !claim) owed_reg <= less;
      room_reg <= claim ? room_claimed : room_left;
    end
  end
  if (SPACING > 1) begin : gen_spacing
    // Cycles until a claim is SPACING after the last one.
    localparam int WAIT_BITS = $clog2(SPACING);
    logic [WAIT_BITS-1:0] wait_reg;
    assign spaced = wait_reg <= WAIT_BITS'(1);
    always_ff @(posedge clk) begin
      if (rst) wait_reg <= '0;
      else if (claim) wait_reg <= WAIT_BITS'(SPACING - 1);
      else if (wait_reg != '0) wait_reg <= wait_reg - 1'b1;
    end
  end else begin : gen_no_spacing
    assign spaced = 1'b0;
  end

  if (DEPTH == 1) begin : gen_hold
    logic valid_reg;
    logic [WIDTH-1:0] data_reg;
    always_ff @(posedge clk) begin
      if (rst) valid_reg <= 1'b0;
      else valid_reg <= push | (valid_reg & ~pop);
      if (push) data_reg[PARTS*PART_BITS+:TAG_BITS] <= push_data[PARTS*PART_BITS+:TAG_BITS];
      for (int p = 0; p < PARTS; p++) begin
        if (push_part[p]) data_reg[p*PART_BITS+:PART_BITS] <= push_data[p*PART_BITS+:PART_BITS];
      end
    end
    assign valid = valid_reg;
    assign data  = data_reg;
  end else begin : gen_ring
    localparam int INDEX_BITS = $clog2(DEPTH);
    logic [WIDTH-1:0] memory [0:DEPTH-1];
    logic [INDEX_BITS-1:0] head_reg, tail_reg;
    logic [INDEX_BITS:0] count_reg, count_next;
    assign count_next = count_reg + (INDEX_BITS + 1)'(push) - (INDEX_BITS + 1)'(pop);
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
    logic unused;
    assign unused = ^push_part;
  end
endmodule
