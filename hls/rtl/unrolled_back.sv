// Back of an unrolled stage (docs/kernels.md, "Unrolled"): accumulators of a block of ROWS x PIXELS output
// pixels of all channels arrive LATENCY cycles after valid, GROUPS blocks a block row.
//
//   pool inside the block | requantise | pool over blocks | blocks or row words of the next frame
//
// Requantising is monotonic, so pooling before it and after it gives the same integers. MULTS and OFFSETS (16
// and 64 bits per channel) are constants like the weights. BLOCKS: the next stage is unrolled too and takes
// POOLED_PIXELS columns of all channels at a time; else row words.
module unrolled_back #(
    parameter int OUT_CHANNELS = 3,
    parameter int ROWS = 1,
    parameter int PIXELS = 2,
    parameter int POOL_KERNEL = 2,
    parameter int POOL_STRIDE = 2,
    parameter int GROUPS = 3,
    parameter int BLOCK_ROWS = 6,
    parameter int LATENCY = 2,
    parameter int ACC_BITS = 12,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0,
    parameter int SHIFT = 1,
    parameter logic [16*OUT_CHANNELS-1:0] MULTS = '0,
    parameter logic [64*OUT_CHANNELS-1:0] OFFSETS = '0,
    parameter bit BLOCKS = 0,
    parameter int POOLED_HEIGHT = 3,
    parameter int POOLED_WIDTH = 3,
    parameter int POOLED_PIXELS = 1,
    parameter int POOLED_GROUPS = 3,
    parameter int OUT_CHANNEL_BITS = OUT_CHANNELS > 1 && !BLOCKS ? $clog2(OUT_CHANNELS) : 1,
    parameter int OUT_ROW_BITS = $clog2((BLOCKS ? POOLED_HEIGHT * POOLED_GROUPS : POOLED_HEIGHT) + 2),
    parameter int OUT_WIDTH = BLOCKS ? OUT_CHANNELS * POOLED_PIXELS : POOLED_WIDTH
) (
    input  logic                                         clk,
    input  logic                                         rst,
    input  logic                                         valid,
    input  logic [ROWS*PIXELS*OUT_CHANNELS*ACC_BITS-1:0] acc,
    output logic                                         out_valid,
    output logic                                         out_half,
    output logic                                         out_last,
    output logic [OUT_CHANNEL_BITS-1:0]                  out_channel,
    output logic [OUT_ROW_BITS-1:0]                      out_row,
    output logic                                         out_mask,
    output logic [OUT_WIDTH*Y_BITS-1:0]                  out_data
);
  localparam bit DOWN = ROWS == 1 && POOL_KERNEL > 1;
  localparam bit ACROSS = PIXELS == 1 && POOL_KERNEL > 1;
  localparam int INSIDE = PIXELS == 1 ? 1 : POOL_STRIDE;
  localparam int SCALE_STAGES = 3;
  localparam int DELAY = LATENCY + (ROWS > 1 ? 1 : 0) + (INSIDE > 1 ? 1 : 0) + SCALE_STAGES;
  localparam int LANES = OUT_CHANNELS * POOLED_PIXELS;

  // valid is delayed with the accumulators until they are requantised.
  logic [DELAY-1:0] valid_reg;
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= '0;
    else valid_reg <= {valid_reg[DELAY-2:0], valid};
  end

  logic [LANES*Y_BITS-1:0] scaled;
  for (genvar o = 0; o < OUT_CHANNELS; o++) begin : gen_channel
    logic [ROWS*PIXELS*ACC_BITS-1:0] block;
    logic [POOLED_PIXELS*ACC_BITS-1:0] best;
    for (genvar p = 0; p < ROWS * PIXELS; p++) begin : gen_pixel
      assign block[p*ACC_BITS+:ACC_BITS] = acc[(p*OUT_CHANNELS+o)*ACC_BITS+:ACC_BITS];
    end
    block_pool #(
        .ROWS(ROWS),
        .WINDOW(INSIDE),
        .COLUMNS(POOLED_PIXELS),
        .X_BITS(ACC_BITS)
    ) block_best (
        .clk(clk),
        .x(block),
        .y(best)
    );
    unrolled_scale #(
        .LANES(POOLED_PIXELS),
        .ACC_BITS(ACC_BITS),
        .MULT(32'(MULTS[16*o+:16])),
        .OFFSET(OFFSETS[64*o+:64]),
        .SHIFT(SHIFT),
        .Y_BITS(Y_BITS),
        .Y_SIGNED(Y_SIGNED)
    ) scale (
        .clk(clk),
        .acc(best),
        .y(scaled[o*POOLED_PIXELS*Y_BITS+:POOLED_PIXELS*Y_BITS])
    );
  end

  logic pooled_valid, pooled_row_end, pooled_last;
  logic [LANES*Y_BITS-1:0] pooled;
  stream_pool #(
      .LANES(LANES),
      .X_BITS(Y_BITS),
      .X_SIGNED(Y_SIGNED),
      .COLUMN_KERNEL(ACROSS ? POOL_KERNEL : 1),
      .COLUMN_STRIDE(ACROSS ? POOL_STRIDE : 1),
      .ROW_KERNEL(DOWN ? POOL_KERNEL : 1),
      .ROW_STRIDE(DOWN ? POOL_STRIDE : 1),
      .GROUPS(GROUPS),
      .HEIGHT(BLOCK_ROWS)
  ) pool (
      .clk(clk),
      .rst(rst),
      .valid(valid_reg[DELAY-1]),
      .x(scaled),
      .out_valid(pooled_valid),
      .out_row_end(pooled_row_end),
      .out_last(pooled_last),
      .y(pooled)
  );

  assign out_mask = 1'b1;
  if (BLOCKS) begin : gen_blocks
    logic half_reg;
    logic [OUT_ROW_BITS-1:0] place_reg;
    always_ff @(posedge clk) begin
      if (rst) begin
        half_reg  <= 1'b0;
        place_reg <= '0;
      end else if (pooled_valid) begin
        half_reg  <= half_reg ^ pooled_last;
        place_reg <= pooled_last ? '0 : place_reg + 1'b1;
      end
    end
    assign out_valid = pooled_valid;
    assign out_half = half_reg;
    assign out_last = pooled_last;
    assign out_channel = '0;
    assign out_row = place_reg;
    assign out_data = pooled;
    logic unused;
    assign unused = pooled_row_end;
  end else begin : gen_rows
    block_rows #(
        .CHANNELS(OUT_CHANNELS),
        .HEIGHT(POOLED_HEIGHT),
        .WIDTH(POOLED_WIDTH),
        .COLUMNS(POOLED_PIXELS),
        .GROUPS(POOLED_GROUPS),
        .X_BITS(Y_BITS)
    ) rows (
        .clk(clk),
        .rst(rst),
        .valid(pooled_valid),
        .row_end(pooled_row_end),
        .last(pooled_last),
        .x(pooled),
        .out_valid(out_valid),
        .out_half(out_half),
        .out_last(out_last),
        .out_channel(out_channel),
        .out_row(out_row),
        .out_data(out_data)
    );
  end
endmodule
