// Front of an unrolled stage (docs/kernels.md, "Unrolled"): input frame, row serialiser, line delays and
// the window of PIXELS neighbouring output pixels.
//
//   frame (one bank) | LIVE row words | serialiser, STEP columns per beat | line delays | window
//
// Rows 0 ... ROWS - 1 of the padded map pass one after another, BEATS beats each, the channels of
// LIVE_CHANNELS (16 bits each) side by side. Beat LAG + g of an output row shows columns g*STEP ... of
// the KERNEL_H rows above and with it: all that output pixels g*PIXELS ... + PIXELS - 1 need. No stall:
// rows that give outputs start at least PACE cycles apart, so that the back has always room.
module unrolled_front #(
    parameter int X_BITS = 4,
    parameter int IN_CHANNELS = 2,
    parameter int IN_HEIGHT = 8,
    parameter int IN_WIDTH = 8,
    parameter int KERNEL_H = 3,
    parameter int KERNEL_W = 3,
    parameter int STRIDE = 1,
    parameter int PADDING = 0,
    parameter int OUT_HEIGHT = 6,
    parameter int OUT_WIDTH = 6,
    parameter int PIXELS = 2,
    parameter int LIVE = 2,
    parameter logic [16*LIVE-1:0] LIVE_CHANNELS = {16'd1, 16'd0},
    parameter int PACE = 8,
    parameter bit BLOCK_FRAME = 0,
    parameter bit ULTRA_FRAME = 0,
    parameter int IN_ROWS = 1,
    parameter int IN_ROW_OFFSET = 0,
    parameter bit IN_PHASE_FIXED = 1,
    parameter int IN_CHANNEL_BITS = IN_CHANNELS > 1 ? $clog2(IN_CHANNELS) : 1,
    parameter int IN_ROW_BITS = $clog2(IN_HEIGHT + IN_ROW_OFFSET + IN_ROWS + 1),
    parameter int STEP = PIXELS * STRIDE,
    parameter int LAG = ((PIXELS - 1) * STRIDE + KERNEL_W + STEP - 1) / STEP - 1,
    parameter int COLUMNS = (LAG + 1) * STEP
) (
    input  logic                                    clk,
    input  logic                                    rst,
    output logic                                    in_free,
    output logic                                    in_next_half,
    input  logic                                    in_claim,
    input  logic                                    in_valid,
    input  logic                                    in_half,
    input  logic                                    in_last,
    input  logic [IN_CHANNEL_BITS-1:0]              in_channel,
    input  logic [IN_ROW_BITS-1:0]                  in_row,
    input  logic [IN_ROWS-1:0]                      in_mask,
    input  logic [IN_ROWS*IN_WIDTH*X_BITS-1:0]      in_data,
    input  logic                                    out_free,
    output logic                                    out_claim,
    output logic                                    window_valid,
    output logic                                    window_last,
    output logic [LIVE*KERNEL_H*COLUMNS*X_BITS-1:0] window,
    output logic                                    busy
);
  localparam int ROWS = (OUT_HEIGHT - 1) * STRIDE + KERNEL_H;
  localparam int BEATS = (OUT_WIDTH + PIXELS - 1) / PIXELS + LAG;
  localparam int GAP = BEATS > PACE ? BEATS : PACE;
  localparam int ROW_BITS = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam int LIVE_BITS = LIVE > 1 ? $clog2(LIVE) : 1;
  localparam int BEAT_BITS = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int GAP_BITS = GAP > 1 ? $clog2(GAP) : 1;
  localparam int FRAME_ADDR_BITS = $clog2(2 * IN_CHANNELS * IN_HEIGHT);
  localparam int WORD = IN_WIDTH * X_BITS;
  localparam int WIDE = BEATS * STEP * X_BITS;
  localparam int STEP_BITS = STEP * X_BITS;
  localparam int LINE_BITS = LIVE * STEP_BITS;

  if (OUT_HEIGHT != (IN_HEIGHT + 2 * PADDING - KERNEL_H) / STRIDE + 1
      || OUT_WIDTH != (IN_WIDTH + 2 * PADDING - KERNEL_W) / STRIDE + 1) begin : gen_bad_shape
    $error("unrolled_front: OUT_HEIGHT or OUT_WIDTH does not follow from the other sizes");
  end
  if (PIXELS < 1 || PIXELS > OUT_WIDTH) begin : gen_bad_pixels
    $error("unrolled_front: PIXELS must be 1 to OUT_WIDTH");
  end

  // Rows that complete an output row, and rows of zeros.
  function automatic logic [ROWS-1:0] emit_table();
    for (int r = 0; r < ROWS; r++) emit_table[r] = r >= KERNEL_H - 1 && (r - KERNEL_H + 1) % STRIDE == 0;
  endfunction
  function automatic logic [ROWS-1:0] zero_table();
    for (int r = 0; r < ROWS; r++) zero_table[r] = r < PADDING || r >= IN_HEIGHT + PADDING;
  endfunction
  // Address of the first row of every live channel, above the map by PADDING.
  function automatic logic [LIVE*FRAME_ADDR_BITS-1:0] base_table();
    for (int k = 0; k < LIVE; k++) begin
      base_table[k*FRAME_ADDR_BITS+:FRAME_ADDR_BITS]
          = FRAME_ADDR_BITS'(32'(LIVE_CHANNELS[16*k+:16]) * IN_HEIGHT - PADDING);
    end
  endfunction
  localparam logic [ROWS-1:0] EMITS = emit_table();
  localparam logic [ROWS-1:0] ZEROS = zero_table();
  localparam logic [LIVE*FRAME_ADDR_BITS-1:0] BASES = base_table();

  // Sequence: fetch the row words of one row, hand them to the serialiser, fetch the next.
  logic frame_ready, frame_half, start, load, row_last, running_reg, fetch_reg, capture_reg, full_reg;
  logic half_reg;
  logic [ROW_BITS-1:0] row_reg;
  logic [LIVE_BITS-1:0] live_reg, capture_live_reg;
  logic [GAP_BITS-1:0] gap_reg;
  logic fetch_last, capture_last_reg;
  assign start = frame_ready & out_free & ~running_reg;
  assign out_claim = start;
  assign load = full_reg & (gap_reg == '0);
  assign row_last = row_reg == ROW_BITS'(ROWS - 1);
  assign fetch_last = live_reg == LIVE_BITS'(LIVE - 1);
  assign busy = running_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      running_reg <= 1'b0;
      fetch_reg <= 1'b0;
      capture_reg <= 1'b0;
      full_reg <= 1'b0;
      gap_reg <= '0;
    end else begin
      running_reg <= start | (running_reg & ~(load & row_last));
      fetch_reg <= start | (load & ~row_last) | (fetch_reg & ~fetch_last);
      capture_reg <= fetch_reg;
      full_reg <= (capture_reg & capture_last_reg) | (full_reg & ~load);
      if (load) gap_reg <= EMITS[row_reg] ? GAP_BITS'(GAP - 1) : GAP_BITS'(BEATS - 1);
      else if (gap_reg != '0) gap_reg <= gap_reg - 1'b1;
    end
    if (start) half_reg <= frame_half;
    if (start) row_reg <= '0;
    else if (load) row_reg <= row_reg + 1'b1;
    if (fetch_reg) live_reg <= live_reg + 1'b1;
    else live_reg <= '0;
    capture_live_reg <= live_reg;
    capture_last_reg <= fetch_last;
  end

  logic [FRAME_ADDR_BITS-1:0] frame_addr;
  logic [WORD-1:0] frame_data;
  assign frame_addr = BASES[32'(live_reg)*FRAME_ADDR_BITS+:FRAME_ADDR_BITS] + FRAME_ADDR_BITS'(row_reg)
                    + (half_reg ? FRAME_ADDR_BITS'(IN_CHANNELS * IN_HEIGHT) : '0);
  frame_buffer #(
      .CHANNELS(IN_CHANNELS),
      .HEIGHT(IN_HEIGHT),
      .WIDTH(IN_WIDTH),
      .X_BITS(X_BITS),
      .BANKS(1),
      .COPIES(1),
      .ROWS(IN_ROWS),
      .ROW_OFFSET(IN_ROW_OFFSET),
      .PHASE_FIXED(IN_PHASE_FIXED),
      .BLOCK(BLOCK_FRAME),
      .ULTRA(ULTRA_FRAME)
  ) frame (
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
      .rd_ready(frame_ready),
      .rd_half(frame_half),
      .rd_release(load & row_last),
      .rd_enable(fetch_reg),
      .rd_addr(frame_addr),
      .rd_data(frame_data)
  );

  // Serialiser: the row words of the next row wait in shadow_reg while those of this one shift out.
  logic [LINE_BITS-1:0] current;
  for (genvar k = 0; k < LIVE; k++) begin : gen_live
    logic [WORD-1:0] shadow_reg;
    logic [WIDE-1:0] padded, shift_reg;
    always_comb begin
      padded = '0;
      for (int w = 0; w < IN_WIDTH; w++) begin
        if (w + PADDING < BEATS * STEP) begin
          padded[(w+PADDING)*X_BITS+:X_BITS] = shadow_reg[w*X_BITS+:X_BITS];
        end
      end
    end
    always_ff @(posedge clk) begin
      if (capture_reg && capture_live_reg == LIVE_BITS'(k)) shadow_reg <= frame_data;
      if (load) shift_reg <= ZEROS[row_reg] ? '0 : padded;
      else if (active_reg) shift_reg <= shift_reg >> STEP_BITS;
    end
    assign current[k*STEP_BITS+:STEP_BITS] = shift_reg[STEP_BITS-1:0];
    // Columns beyond the last window.
    logic unused;
    assign unused = ^shadow_reg;
  end

  // Beats.
  logic active_reg, emits_reg, beat_last;
  logic [BEAT_BITS-1:0] beat_reg;
  assign beat_last = beat_reg == BEAT_BITS'(BEATS - 1);
  always_ff @(posedge clk) begin
    if (rst) active_reg <= 1'b0;
    else active_reg <= load | (active_reg & ~beat_last);
    if (load) emits_reg <= EMITS[row_reg];
    if (load) beat_reg <= '0;
    else beat_reg <= beat_reg + 1'b1;
  end
  if (LAG > 0) begin : gen_lag
    assign window_valid = active_reg & emits_reg & (beat_reg >= BEAT_BITS'(LAG));
  end else begin : gen_no_lag
    assign window_valid = active_reg & emits_reg;
  end
  assign window_last = beat_last;

  // Line delays and the columns of the last LAG beats.
  logic [KERNEL_H*LINE_BITS-1:0] lines;
  assign lines[(KERNEL_H-1)*LINE_BITS+:LINE_BITS] = current;
  for (genvar h = 0; h < KERNEL_H; h++) begin : gen_row
    if (h < KERNEL_H - 1) begin : gen_delay
      unrolled_line #(
          .WIDTH(LINE_BITS),
          .DEPTH(BEATS)
      ) line (
          .clk(clk),
          .enable(active_reg),
          .d(lines[(h+1)*LINE_BITS+:LINE_BITS]),
          .q(lines[h*LINE_BITS+:LINE_BITS])
      );
    end
    logic [(LAG+1)*LINE_BITS-1:0] beats;
    assign beats[LAG*LINE_BITS+:LINE_BITS] = lines[h*LINE_BITS+:LINE_BITS];
    if (LAG > 0) begin : gen_history
      logic [LAG*LINE_BITS-1:0] history_reg;
      always_ff @(posedge clk) begin
        if (active_reg) history_reg <= beats[LINE_BITS+:LAG*LINE_BITS];
      end
      assign beats[LAG*LINE_BITS-1:0] = history_reg;
    end
    for (genvar k = 0; k < LIVE; k++) begin : gen_channel
      for (genvar b = 0; b <= LAG; b++) begin : gen_beat
        assign window[((k*KERNEL_H+h)*COLUMNS+b*STEP)*X_BITS+:STEP_BITS]
            = beats[b*LINE_BITS+k*STEP_BITS+:STEP_BITS];
      end
    end
  end
endmodule
