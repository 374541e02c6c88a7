// Back of an unrolled stage (docs/kernels.md, "Unrolled"): accumulators of PIXELS pixels of all output
// channels arrive together, LATENCY cycles after valid; TILE_ROWS output rows of every channel make a
// tile, which waits for the drain while the next rows arrive.
//
// TABLE holds the drain's records, {shift, mult, bias, channel} per channel: constants like the weights.
module unrolled_back #(
    parameter int OUT_CHANNELS = 3,
    parameter int OUT_HEIGHT = 6,
    parameter int OUT_WIDTH = 6,
    parameter int PIXELS = 2,
    parameter int TILE_ROWS = 2,
    parameter int LATENCY = 2,
    parameter int ACC_BITS = 12,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0,
    parameter int POOL_KERNEL = 2,
    parameter int POOL_STRIDE = 2,
    parameter int SHIFT_MIN = 1,
    parameter int SHIFT_MAX = 1,
    parameter int OUT_INTERVAL = 1,
    parameter int OUT_CHANNEL_BITS = OUT_CHANNELS > 1 ? $clog2(OUT_CHANNELS) : 1,
    parameter int RECORD_BITS = 22 + ACC_BITS + OUT_CHANNEL_BITS,
    parameter logic [OUT_CHANNELS*RECORD_BITS-1:0] TABLE = '0,
    parameter int POOLED_HEIGHT = (OUT_HEIGHT - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int POOLED_WIDTH = (OUT_WIDTH - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int OUT_ROWS = (TILE_ROWS + POOL_STRIDE - 1) / POOL_STRIDE,
    parameter int OUT_ROW_OFFSET = (POOL_KERNEL - 1) / POOL_STRIDE,
    parameter int OUT_ROW_BITS = $clog2(POOLED_HEIGHT + OUT_ROW_OFFSET + OUT_ROWS + 1)
) (
    input  logic                                    clk,
    input  logic                                    rst,
    input  logic                                    valid,
    input  logic                                    last,
    input  logic [PIXELS*OUT_CHANNELS*ACC_BITS-1:0] acc,
    output logic                                    out_valid,
    output logic                                    out_half,
    output logic                                    out_last,
    output logic [OUT_CHANNEL_BITS-1:0]             out_channel,
    output logic [OUT_ROW_BITS-1:0]                 out_row,
    output logic [OUT_ROWS-1:0]                     out_mask,
    output logic [OUT_ROWS*POOLED_WIDTH*Y_BITS-1:0] out_data
);
  localparam int GROUPS = OUT_CHANNELS;
  localparam int GROUP_BITS = OUT_CHANNEL_BITS;
  localparam int ROW_BEATS = (OUT_WIDTH + PIXELS - 1) / PIXELS;
  localparam int STEP_BITS = PIXELS * ACC_BITS;
  localparam int LANES = TILE_ROWS * OUT_WIDTH;
  localparam int TILES = OUT_HEIGHT / TILE_ROWS;
  localparam int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1;
  localparam int PLACE_BITS = TILE_ROWS > 1 ? $clog2(TILE_ROWS) : 1;
  localparam int PAYLOAD_BITS = LANES * ACC_BITS + TILE_BITS + 2;

  if (OUT_HEIGHT % TILE_ROWS != 0) begin : gen_bad_rows
    $error("unrolled_back: TILE_ROWS must divide OUT_HEIGHT");
  end
  if (LATENCY < 1) begin : gen_bad_latency
    $error("unrolled_back: LATENCY must be at least 1");
  end

  // Beats arrive.
  logic [LATENCY-1:0] valid_reg, last_reg;
  logic push, row_done, tile_done, move_reg;
  logic [PLACE_BITS-1:0] place_reg;
  if (LATENCY > 1) begin : gen_tags
    always_ff @(posedge clk) begin
      if (rst) valid_reg <= '0;
      else valid_reg <= {valid_reg[LATENCY-2:0], valid};
      last_reg <= {last_reg[LATENCY-2:0], last};
    end
  end else begin : gen_tag
    always_ff @(posedge clk) begin
      valid_reg <= valid & ~rst;
      last_reg <= last;
    end
  end
  assign push = valid_reg[LATENCY-1];
  assign row_done = push & last_reg[LATENCY-1];
  assign tile_done = row_done & (place_reg == PLACE_BITS'(TILE_ROWS - 1));
  always_ff @(posedge clk) begin
    if (rst) begin
      place_reg <= '0;
      move_reg  <= 1'b0;
    end else begin
      if (row_done) place_reg <= tile_done ? '0 : place_reg + 1'b1;
      move_reg <= tile_done;
    end
  end

  // Tiles wait.
  logic parity_reg;
  logic [TILE_BITS-1:0] tile_reg, held_tile_reg;
  logic held_parity_reg;
  logic [GROUPS-1:0] held_reg, tile_pop;
  logic [GROUPS*PAYLOAD_BITS-1:0] tile_payload;
  always_ff @(posedge clk) begin
    if (rst) begin
      parity_reg <= 1'b0;
      tile_reg <= '0;
      held_reg <= '0;
    end else if (move_reg) begin
      held_reg <= '1;
      tile_reg <= tile_reg == TILE_BITS'(TILES - 1) ? '0 : tile_reg + 1'b1;
      parity_reg <= parity_reg ^ (tile_reg == TILE_BITS'(TILES - 1));
    end else begin
      held_reg <= held_reg & ~tile_pop;
    end
    if (move_reg) begin
      held_parity_reg <= parity_reg;
      held_tile_reg   <= tile_reg;
    end
  end
  for (genvar o = 0; o < GROUPS; o++) begin : gen_channel
    logic [TILE_ROWS*ROW_BEATS*STEP_BITS-1:0] collect_reg, collect_next;
    logic [LANES*ACC_BITS-1:0] tile, hold_reg;
    logic [STEP_BITS-1:0] beat;
    for (genvar v = 0; v < PIXELS; v++) begin : gen_pixel
      assign beat[v*ACC_BITS+:ACC_BITS] = acc[(v*OUT_CHANNELS+o)*ACC_BITS+:ACC_BITS];
    end
    if (TILE_ROWS * ROW_BEATS > 1) begin : gen_shift
      assign collect_next = {beat, collect_reg[TILE_ROWS*ROW_BEATS*STEP_BITS-1:STEP_BITS]};
    end else begin : gen_direct
      assign collect_next = beat;
    end
    for (genvar r = 0; r < TILE_ROWS; r++) begin : gen_row
      assign tile[r*OUT_WIDTH*ACC_BITS+:OUT_WIDTH*ACC_BITS]
          = collect_reg[r*ROW_BEATS*STEP_BITS+:OUT_WIDTH*ACC_BITS];
    end
    always_ff @(posedge clk) begin
      if (push) collect_reg <= collect_next;
      if (move_reg) hold_reg <= tile;
    end
    assign tile_payload[o*PAYLOAD_BITS+:PAYLOAD_BITS] = {held_parity_reg, 1'b0, held_tile_reg, hold_reg};
    logic unused;
    assign unused = ^collect_reg;
  end

  logic [31:0] unused_rdata;
  drain #(
      .GROUPS(GROUPS),
      .GROUP_BITS(GROUP_BITS),
      .TILE_ROWS(TILE_ROWS),
      .ACC_BITS(ACC_BITS),
      .SLOT_CAPACITY(1),
      .OUT_CHANNELS(OUT_CHANNELS),
      .OUT_HEIGHT(OUT_HEIGHT),
      .OUT_WIDTH(OUT_WIDTH),
      .Y_BITS(Y_BITS),
      .Y_SIGNED(Y_SIGNED),
      .POOL_KERNEL(POOL_KERNEL),
      .POOL_STRIDE(POOL_STRIDE),
      .SHIFT_MIN(SHIFT_MIN),
      .SHIFT_MAX(SHIFT_MAX),
      .BEATS(1),
      .INTERVAL(OUT_INTERVAL),
      .CFG_ADDR_BITS(1),
      .FIXED(1),
      .TABLE(TABLE)
  ) tail (
      .clk(clk),
      .rst(rst),
      .tile_valid(held_reg),
      .tile_payload(tile_payload),
      .tile_pop(tile_pop),
      .wr_valid(out_valid),
      .wr_half(out_half),
      .wr_last(out_last),
      .wr_channel(out_channel),
      .wr_row(out_row),
      .wr_mask(out_mask),
      .wr_data(out_data),
      .cfg_write(1'b0),
      .cfg_read(1'b0),
      .cfg_kind(3'd0),
      .cfg_group('0),
      .cfg_addr(1'b0),
      .cfg_wdata('0),
      .cfg_rdata(unused_rdata)
  );
  logic unused;
  assign unused = ^unused_rdata;
endmodule
