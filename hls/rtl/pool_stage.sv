// Average pool, or a max-pool that no weighted stage includes (docs/kernels.md, "Elementwise stages"):
// KERNEL x KERNEL windows at distance STRIDE, LANES of them at a time, one value of each per cycle.
//
//   read row | columns of the chunk | column kw | sum or maximum | scale (average only) -> row
//
// An image starts when the source holds one and the next frame is free. It then runs without stalls.
module pool_stage #(
    parameter bit AVERAGE = 1,
    parameter int CHANNELS = 4,
    parameter int HEIGHT = 7,
    parameter int WIDTH = 9,
    parameter int X_BITS = 4,
    parameter bit X_SIGNED = 0,
    parameter int KERNEL = 3,
    parameter int STRIDE = 2,
    parameter int SUM_BITS = 9,
    parameter int Y_BITS = 4,
    parameter bit Y_SIGNED = 0,
    parameter int LANES = 2,
    parameter int SHIFT_MAX = 25,
    parameter int FRAMES = 2,
    parameter int IN_ROWS = 1,
    parameter int IN_ROW_OFFSET = 0,
    parameter bit ULTRA = 0,
    parameter int OUT_HEIGHT = (HEIGHT - KERNEL) / STRIDE + 1,
    parameter int OUT_WIDTH = (WIDTH - KERNEL) / STRIDE + 1,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int IN_ROW_BITS = $clog2(HEIGHT + IN_ROW_OFFSET + IN_ROWS + 1),
    parameter int OUT_ROW_BITS = $clog2(OUT_HEIGHT + 2)
) (
    input  logic                            clk,
    input  logic                            rst,
    output logic                            in_free,
    output logic                            in_next_half,
    input  logic                            in_claim,
    input  logic                            in_valid,
    input  logic                            in_half,
    input  logic                            in_last,
    input  logic [CHANNEL_BITS-1:0]         in_channel,
    input  logic [IN_ROW_BITS-1:0]          in_row,
    input  logic [IN_ROWS-1:0]              in_mask,
    input  logic [IN_ROWS*WIDTH*X_BITS-1:0] in_data,
    input  logic                            out_free,
    output logic                            out_claim,
    output logic                            out_valid,
    output logic                            out_half,
    output logic                            out_last,
    output logic [CHANNEL_BITS-1:0]         out_channel,
    output logic [OUT_ROW_BITS-1:0]         out_row,
    output logic                            out_mask,
    output logic [OUT_WIDTH*Y_BITS-1:0]     out_data,
    input  logic                            cfg_write,
    input  logic                            cfg_read,
    input  logic [2:0]                      cfg_kind,
    input  logic [31:0]                     cfg_wdata,
    output logic [31:0]                     cfg_rdata
);
  localparam int CHUNKS = OUT_WIDTH / LANES;
  localparam int CHUNK_BITS = CHUNKS > 1 ? $clog2(CHUNKS) : 1;
  localparam int ADDR_BITS = $clog2(FRAMES * CHANNELS * HEIGHT);
  localparam int K_BITS = KERNEL > 1 ? $clog2(KERNEL) : 1;
  localparam int SPAN = (LANES - 1) * STRIDE + KERNEL;
  localparam int PLACE_BITS = 2 + CHANNEL_BITS + OUT_ROW_BITS;
  // Cycles from the address to the columns of the next frame.
  localparam int DELAY = AVERAGE ? 8 : 4;

  if (OUT_WIDTH % LANES != 0) begin : gen_bad_lanes
    $error("pool_stage: LANES must divide OUT_WIDTH");
  end
  if (KERNEL > HEIGHT || KERNEL > WIDTH) begin : gen_bad_kernel
    $error("pool_stage: KERNEL must be at most HEIGHT and WIDTH");
  end

  // Loop order: the window's column and row fastest, then the output position.
  logic ready, start, running_reg, parity_reg, half_reg, window_done, release_frame;
  logic row_done, map_done, image_done;
  logic [CHUNK_BITS-1:0] chunk;
  logic [OUT_ROW_BITS-1:0] row;
  logic [CHANNEL_BITS-1:0] channel;
  logic [K_BITS-1:0] kh_reg, kw_reg;
  logic kh_last, kw_last;
  logic [ADDR_BITS-1:0] base, addr_reg, window_reg, map_reg, window_next, map_next;
  assign kh_last = kh_reg == K_BITS'(KERNEL - 1);
  assign kw_last = kw_reg == K_BITS'(KERNEL - 1);
  assign window_done = kh_last & kw_last;
  assign start = ready & out_free & ~running_reg;
  assign out_claim = start;
  assign release_frame = running_reg & window_done & image_done;
  assign map_next = map_reg + ADDR_BITS'(HEIGHT);
  always_comb begin
    window_next = window_reg;
    if (row_done) window_next = map_done ? map_next : window_reg + ADDR_BITS'(STRIDE);
  end
  row_place #(
      .CHANNELS(CHANNELS),
      .HEIGHT(OUT_HEIGHT),
      .CHUNKS(CHUNKS)
  ) place (
      .clk(clk),
      .clear(start),
      .advance(running_reg & window_done),
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
      running_reg <= start | (running_reg & ~(window_done & image_done));
      parity_reg  <= parity_reg ^ start;
    end
    if (start) begin
      half_reg <= parity_reg;
      kh_reg <= '0;
      kw_reg <= '0;
      addr_reg <= base;
      window_reg <= base;
      map_reg <= base;
    end else begin
      kw_reg <= kw_last ? '0 : kw_reg + 1'b1;
      if (kw_last) begin
        kh_reg   <= kh_last ? '0 : kh_reg + 1'b1;
        addr_reg <= kh_last ? window_next : addr_reg + 1'b1;
      end
      if (window_done) begin
        window_reg <= window_next;
        if (map_done) map_reg <= map_next;
      end
    end
  end

  logic [WIDTH*X_BITS-1:0] word;
  frame_ring #(
      .CHANNELS(CHANNELS),
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .X_BITS(X_BITS),
      .FRAMES(FRAMES),
      .ROWS(IN_ROWS),
      .ROW_OFFSET(IN_ROW_OFFSET),
      .ULTRA(ULTRA)
  ) frames (
      .clk(clk),
      .rst(rst),
      .wr_free(in_free),
      .wr_next_half(in_next_half),
      .wr_claim(in_claim),
      .wr_valid(in_valid),
      .wr_half(in_half),
      .wr_last(in_last),
      .wr_channel(in_channel),
      .wr_row(in_row),
      .wr_mask(in_mask),
      .wr_data(in_data),
      .rd_ready(ready),
      .rd_base(base),
      .rd_release(release_frame),
      .rd_enable(running_reg),
      .rd_addr(addr_reg),
      .rd_data(word)
  );

  // First the columns that the chunk's windows cover, then column kw of every window.
  logic [CHUNKS*SPAN*X_BITS-1:0] spans;
  logic [SPAN*X_BITS-1:0] span, span_reg;
  logic [KERNEL*LANES*X_BITS-1:0] shifted;
  logic [LANES*X_BITS-1:0] columns, x_reg;
  logic [CHUNK_BITS-1:0] chunk_reg;
  logic [K_BITS-1:0] kw1_reg, kw2_reg;
  logic [2:0] first_reg;
  for (genvar c = 0; c < CHUNKS; c++) begin : gen_span
    assign spans[c*SPAN*X_BITS+:SPAN*X_BITS] = word[c*LANES*STRIDE*X_BITS+:SPAN*X_BITS];
  end
  for (genvar k = 0; k < KERNEL; k++) begin : gen_column
    for (genvar l = 0; l < LANES; l++) begin : gen_lane
      assign shifted[(k*LANES+l)*X_BITS+:X_BITS] = span_reg[(l*STRIDE+k)*X_BITS+:X_BITS];
    end
  end
  mux_tree #(
      .WIDTH(SPAN * X_BITS),
      .COUNT(CHUNKS),
      .SELECT_BITS(CHUNK_BITS)
  ) pick_span (
      .select(chunk_reg),
      .choices(spans),
      .result(span)
  );
  mux_tree #(
      .WIDTH(LANES * X_BITS),
      .COUNT(KERNEL),
      .SELECT_BITS(K_BITS)
  ) pick_column (
      .select(kw2_reg),
      .choices(shifted),
      .result(columns)
  );
  always_ff @(posedge clk) begin
    chunk_reg <= chunk;
    kw1_reg <= kw_reg;
    kw2_reg <= kw1_reg;
    first_reg <= {first_reg[1:0], (kh_reg == '0) & (kw_reg == '0)};
    span_reg <= span;
    x_reg <= columns;
  end

  logic [LANES*Y_BITS-1:0] y;
  if (AVERAGE) begin : gen_average
    logic [15:0] mult, unused_mult;
    logic [5:0] shift;
    logic [LANES*SUM_BITS-1:0] sums_reg;
    scale_record scale (
        .clk(clk),
        .cfg_write(cfg_write),
        .cfg_read(cfg_read),
        .cfg_kind(cfg_kind),
        .cfg_wdata(cfg_wdata),
        .cfg_rdata(cfg_rdata),
        .mult(mult),
        .second_mult(unused_mult),
        .shift(shift)
    );
    for (genvar l = 0; l < LANES; l++) begin : gen_sum
      logic signed [X_BITS:0] x;
      assign x = {X_SIGNED & x_reg[l*X_BITS+X_BITS-1], x_reg[l*X_BITS+:X_BITS]};
      always_ff @(posedge clk) begin
        sums_reg[l*SUM_BITS+:SUM_BITS] <= SUM_BITS'(x)
            + (first_reg[2] ? '0 : sums_reg[l*SUM_BITS+:SUM_BITS]);
      end
    end
    requantize #(
        .LANES(LANES),
        .ACC_BITS(SUM_BITS),
        .SHIFT_MAX(SHIFT_MAX),
        .Y_BITS(Y_BITS),
        .Y_SIGNED(Y_SIGNED)
    ) clamp (
        .clk(clk),
        .acc(sums_reg),
        .mult(mult),
        .shift(shift),
        .y(y)
    );
    logic unused;
    assign unused = ^unused_mult;
  end else begin : gen_maximum
    logic [LANES*X_BITS-1:0] best_reg;
    for (genvar l = 0; l < LANES; l++) begin : gen_best
      logic [X_BITS-1:0] x, best;
      logic larger;
      assign x = x_reg[l*X_BITS+:X_BITS];
      assign best = best_reg[l*X_BITS+:X_BITS];
      if (X_SIGNED) begin : gen_signed
        assign larger = $signed(x) > $signed(best);
      end else begin : gen_unsigned
        assign larger = x > best;
      end
      always_ff @(posedge clk) best_reg[l*X_BITS+:X_BITS] <= first_reg[2] | larger ? x : best;
    end
    assign y = best_reg;
    assign cfg_rdata = '0;
    logic unused;
    assign unused = ^{cfg_write, cfg_read, cfg_kind, cfg_wdata};
  end

  row_collect #(
      .LANES(LANES),
      .CHUNKS(CHUNKS),
      .Y_BITS(Y_BITS),
      .PLACE_BITS(PLACE_BITS),
      .DELAY(DELAY)
  ) collect (
      .clk(clk),
      .rst(rst),
      .valid(running_reg & window_done),
      .row_done(row_done),
      .place({half_reg, image_done, channel, row}),
      .y(y),
      .wr_valid(out_valid),
      .wr_place({out_half, out_last, out_channel, out_row}),
      .wr_data(out_data)
  );
  assign out_mask = 1'b1;

  // Some columns are covered by no window.
  logic unused_columns;
  assign unused_columns = ^word;
endmodule
