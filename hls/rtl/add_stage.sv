// Residual sum of two frames (docs/kernels.md, "Elementwise stages"), LANES columns per cycle:
// y = clamp((a*mult + b*second_mult + (1 << (shift - 1))) >> shift, lo, hi).
//
//   read rows | pick columns | products | sum | round, shift, clamp -> row
//
// An image starts when both sources hold one and the next frame is free. It then runs without stalls.
module add_stage #(
    parameter int CHANNELS = 4,
    parameter int HEIGHT = 6,
    parameter int WIDTH = 6,
    parameter int A_BITS = 5,
    parameter bit A_SIGNED = 1,
    parameter int B_BITS = 4,
    parameter bit B_SIGNED = 0,
    parameter int SUM_BITS = 23,
    parameter int Y_BITS = 4,
    parameter bit Y_SIGNED = 0,
    parameter int LANES = 2,
    parameter int SHIFT_MAX = 24,
    parameter int A_FRAMES = 2,
    parameter int B_FRAMES = 4,
    parameter int A_ROWS = 1,
    parameter int A_ROW_OFFSET = 0,
    parameter int B_ROWS = 1,
    parameter int B_ROW_OFFSET = 0,
    parameter bit ULTRA = 0,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int A_ROW_BITS = $clog2(HEIGHT + A_ROW_OFFSET + A_ROWS + 1),
    parameter int B_ROW_BITS = $clog2(HEIGHT + B_ROW_OFFSET + B_ROWS + 1),
    parameter int ROW_BITS = $clog2(HEIGHT + 2)
) (
    input  logic                           clk,
    input  logic                           rst,
    output logic                           a_free,
    output logic                           a_next_half,
    input  logic                           a_claim,
    input  logic                           a_valid,
    input  logic                           a_half,
    input  logic                           a_last,
    input  logic [CHANNEL_BITS-1:0]        a_channel,
    input  logic [A_ROW_BITS-1:0]          a_row,
    input  logic [A_ROWS-1:0]              a_mask,
    input  logic [A_ROWS*WIDTH*A_BITS-1:0] a_data,
    output logic                           b_free,
    output logic                           b_next_half,
    input  logic                           b_claim,
    input  logic                           b_valid,
    input  logic                           b_half,
    input  logic                           b_last,
    input  logic [CHANNEL_BITS-1:0]        b_channel,
    input  logic [B_ROW_BITS-1:0]          b_row,
    input  logic [B_ROWS-1:0]              b_mask,
    input  logic [B_ROWS*WIDTH*B_BITS-1:0] b_data,
    input  logic                           out_free,
    output logic                           out_claim,
    output logic                           out_valid,
    output logic                           out_half,
    output logic                           out_last,
    output logic [CHANNEL_BITS-1:0]        out_channel,
    output logic [ROW_BITS-1:0]            out_row,
    output logic                           out_mask,
    output logic [WIDTH*Y_BITS-1:0]        out_data,
    input  logic                           cfg_write,
    input  logic                           cfg_read,
    input  logic [2:0]                     cfg_kind,
    input  logic [31:0]                    cfg_wdata,
    output logic [31:0]                    cfg_rdata
);
  localparam int CHUNKS = WIDTH / LANES;
  localparam int CHUNK_BITS = CHUNKS > 1 ? $clog2(CHUNKS) : 1;
  localparam int A_ADDR_BITS = $clog2(A_FRAMES * CHANNELS * HEIGHT);
  localparam int B_ADDR_BITS = $clog2(B_FRAMES * CHANNELS * HEIGHT);
  localparam int PLACE_BITS = 2 + CHANNEL_BITS + ROW_BITS;
  // Cycles from the address to the requantised columns.
  localparam int DELAY = 8;

  if (WIDTH % LANES != 0) begin : gen_bad_lanes
    $error("add_stage: LANES must divide WIDTH");
  end

  logic [15:0] a_mult, b_mult;
  logic [5:0] shift;
  scale_record scale (
      .clk(clk),
      .cfg_write(cfg_write),
      .cfg_read(cfg_read),
      .cfg_kind(cfg_kind),
      .cfg_wdata(cfg_wdata),
      .cfg_rdata(cfg_rdata),
      .mult(a_mult),
      .second_mult(b_mult),
      .shift(shift)
  );

  // Position in the output, advanced once per step.
  logic a_ready, b_ready, start, running_reg, parity_reg, half_reg, release_frames;
  logic row_done, map_done, image_done;
  logic [CHUNK_BITS-1:0] chunk;
  logic [ROW_BITS-1:0] row;
  logic [CHANNEL_BITS-1:0] channel;
  logic [A_ADDR_BITS-1:0] a_base, a_addr_reg;
  logic [B_ADDR_BITS-1:0] b_base, b_addr_reg;
  assign start = a_ready & b_ready & out_free & ~running_reg;
  assign out_claim = start;
  assign release_frames = running_reg & image_done;
  row_place #(
      .CHANNELS(CHANNELS),
      .HEIGHT(HEIGHT),
      .CHUNKS(CHUNKS)
  ) place (
      .clk(clk),
      .clear(start),
      .advance(running_reg),
      .chunk(chunk),
      .row(row),
      .channel(channel),
      .row_done(row_done),
      .map_done(map_done),
      .image_done(image_done)
  );
  always_ff @(posedge clk) begin
    if (rst) begin
      running_reg <= 1'b0;
      parity_reg  <= 1'b0;
    end else begin
      running_reg <= start | (running_reg & ~image_done);
      parity_reg  <= parity_reg ^ start;
    end
    if (start) begin
      half_reg   <= parity_reg;
      a_addr_reg <= a_base;
      b_addr_reg <= b_base;
    end else if (row_done) begin
      a_addr_reg <= a_addr_reg + 1'b1;
      b_addr_reg <= b_addr_reg + 1'b1;
    end
  end

  logic [WIDTH*A_BITS-1:0] a_word;
  logic [WIDTH*B_BITS-1:0] b_word;
  frame_ring #(
      .CHANNELS(CHANNELS),
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .X_BITS(A_BITS),
      .FRAMES(A_FRAMES),
      .ROWS(A_ROWS),
      .ROW_OFFSET(A_ROW_OFFSET),
      .ULTRA(ULTRA)
  ) a_frames (
      .clk(clk),
      .rst(rst),
      .wr_free(a_free),
      .wr_next_half(a_next_half),
      .wr_claim(a_claim),
      .wr_valid(a_valid),
      .wr_half(a_half),
      .wr_last(a_last),
      .wr_channel(a_channel),
      .wr_row(a_row),
      .wr_mask(a_mask),
      .wr_data(a_data),
      .rd_ready(a_ready),
      .rd_base(a_base),
      .rd_release(release_frames),
      .rd_enable(running_reg),
      .rd_addr(a_addr_reg),
      .rd_data(a_word)
  );
  frame_ring #(
      .CHANNELS(CHANNELS),
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .X_BITS(B_BITS),
      .FRAMES(B_FRAMES),
      .ROWS(B_ROWS),
      .ROW_OFFSET(B_ROW_OFFSET),
      .ULTRA(ULTRA)
  ) b_frames (
      .clk(clk),
      .rst(rst),
      .wr_free(b_free),
      .wr_next_half(b_next_half),
      .wr_claim(b_claim),
      .wr_valid(b_valid),
      .wr_half(b_half),
      .wr_last(b_last),
      .wr_channel(b_channel),
      .wr_row(b_row),
      .wr_mask(b_mask),
      .wr_data(b_data),
      .rd_ready(b_ready),
      .rd_base(b_base),
      .rd_release(release_frames),
      .rd_enable(running_reg),
      .rd_addr(b_addr_reg),
      .rd_data(b_word)
  );

  // Columns of the chunk, their products and sums.
  logic [CHUNK_BITS-1:0] chunk_reg;
  logic [LANES*A_BITS-1:0] a_columns, a_reg;
  logic [LANES*B_BITS-1:0] b_columns, b_reg;
  logic [LANES*SUM_BITS-1:0] sums;
  mux_tree #(
      .WIDTH(LANES * A_BITS),
      .COUNT(CHUNKS),
      .SELECT_BITS(CHUNK_BITS)
  ) pick_a (
      .select(chunk_reg),
      .choices(a_word),
      .result(a_columns)
  );
  mux_tree #(
      .WIDTH(LANES * B_BITS),
      .COUNT(CHUNKS),
      .SELECT_BITS(CHUNK_BITS)
  ) pick_b (
      .select(chunk_reg),
      .choices(b_word),
      .result(b_columns)
  );
  always_ff @(posedge clk) begin
    chunk_reg <= chunk;
    a_reg <= a_columns;
    b_reg <= b_columns;
  end
  for (genvar l = 0; l < LANES; l++) begin : gen_lane
    logic signed [A_BITS:0] a;
    logic signed [B_BITS:0] b;
    logic signed [A_BITS+16:0] a_product_reg;
    logic signed [B_BITS+16:0] b_product_reg;
    logic signed [SUM_BITS-1:0] sum_reg;
    assign a = {A_SIGNED & a_reg[l*A_BITS+A_BITS-1], a_reg[l*A_BITS+:A_BITS]};
    assign b = {B_SIGNED & b_reg[l*B_BITS+B_BITS-1], b_reg[l*B_BITS+:B_BITS]};
    always_ff @(posedge clk) begin
      a_product_reg <= a * $signed({1'b0, a_mult});
      b_product_reg <= b * $signed({1'b0, b_mult});
      sum_reg <= SUM_BITS'(a_product_reg) + SUM_BITS'(b_product_reg);
    end
    assign sums[l*SUM_BITS+:SUM_BITS] = sum_reg;
  end

  logic [LANES*Y_BITS-1:0] y;
  requantize #(
      .LANES(LANES),
      .ACC_BITS(SUM_BITS),
      .MULT_BITS(1),
      .SHIFT_MAX(SHIFT_MAX),
      .Y_BITS(Y_BITS),
      .Y_SIGNED(Y_SIGNED)
  ) clamp (
      .clk(clk),
      .acc(sums),
      .mult(1'b1),
      .shift(shift),
      .y(y)
  );

  row_collect #(
      .LANES(LANES),
      .CHUNKS(CHUNKS),
      .Y_BITS(Y_BITS),
      .PLACE_BITS(PLACE_BITS),
      .DELAY(DELAY)
  ) collect (
      .clk(clk),
      .rst(rst),
      .valid(running_reg),
      .row_done(row_done),
      .place({half_reg, image_done, channel, row}),
      .y(y),
      .wr_valid(out_valid),
      .wr_place({out_half, out_last, out_channel, out_row}),
      .wr_data(out_data)
  );
  assign out_mask = 1'b1;

  logic unused;
  assign unused = map_done;
endmodule
