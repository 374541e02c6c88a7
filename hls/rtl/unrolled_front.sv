// Front of an unrolled stage (docs/kernels.md, "Unrolled"): input frame and the window of a block of
// ROWS x PIXELS output pixels.
//
//   frames, one copy per window row | STEP columns of every row and active channel per beat | window
//
// Block rows are processed in order, ROW_CYCLES cycles each, of which BEATS bring columns. Beat LAG + g
// completes the window of block g: all that its output pixels need, the first pixel's kernel beginning
// at column OFFSET. Rows are at least as long as the next frame needs; that frame is claimed with the last
// beat of block row CLAIM_BLOCK - 1, before which nothing is written to it, and which waits for it.
//
// BLOCKS tells how the frame is written. 0: row words of one channel (one bank per active channel of
// LIVE_CHANNELS, 16 bits each). 1: WORD columns of all SOURCE_CHANNELS, as the back of another unrolled
// stage gives them, WORDS of them a row.
module unrolled_front #(
    parameter int X_BITS = 4,
    parameter int IN_HEIGHT = 8,
    parameter int IN_WIDTH = 8,
    parameter int KERNEL_ROWS = 3,
    parameter int ROW_STEP = 1,
    parameter int STEP = 1,
    parameter int PADDING = 0,
    parameter int ZERO_BEATS = 0,
    parameter int LAG = 2,
    parameter int GROUPS = 6,
    parameter int BLOCK_ROWS = 6,
    parameter int ROW_CYCLES = 8,
    parameter int CLAIM_BLOCK = 0,
    parameter int LIVE = 2,
    parameter logic [16*LIVE-1:0] LIVE_CHANNELS = {16'd1, 16'd0},
    parameter bit BLOCKS = 0,
    parameter int SOURCE_CHANNELS = 2,
    parameter int WORD = 8,
    parameter int WORDS = 1,
    parameter bit BLOCK_FRAME = 0,
    parameter bit ULTRA_FRAME = 0,
    parameter int IN_ROWS = 1,
    parameter int IN_ROW_OFFSET = 0,
    parameter bit IN_PHASE_FIXED = 1,
    parameter int FRAME_HEIGHT = BLOCKS ? IN_HEIGHT * WORDS : IN_HEIGHT,
    parameter int FRAME_WIDTH = BLOCKS ? SOURCE_CHANNELS * WORD : WORD,
    parameter int IN_CHANNEL_BITS = SOURCE_CHANNELS > 1 && !BLOCKS ? $clog2(SOURCE_CHANNELS) : 1,
    parameter int IN_ROW_BITS = $clog2(FRAME_HEIGHT + IN_ROW_OFFSET + IN_ROWS + 1),
    parameter int COLUMNS = (LAG + 1) * STEP
) (
    input  logic                                       clk,
    input  logic                                       rst,
    output logic                                       in_free,
    output logic                                       in_next_half,
    input  logic                                       in_claim,
    input  logic                                       in_valid,
    input  logic                                       in_half,
    input  logic                                       in_last,
    input  logic [IN_CHANNEL_BITS-1:0]                 in_channel,
    input  logic [IN_ROW_BITS-1:0]                     in_row,
    input  logic [IN_ROWS-1:0]                         in_mask,
    input  logic [IN_ROWS*FRAME_WIDTH*X_BITS-1:0]      in_data,
    input  logic                                       out_free,
    output logic                                       out_claim,
    output logic                                       window_valid,
    output logic [LIVE*KERNEL_ROWS*COLUMNS*X_BITS-1:0] window,
    output logic                                       busy
);
  localparam int BEATS = LAG + GROUPS;
  localparam int FRAMES = BLOCKS ? 1 : LIVE;
  localparam int FRAME_BITS = FRAME_WIDTH * X_BITS;
  localparam int ADDR_BITS = $clog2(2 * FRAME_HEIGHT);
  localparam int CYCLE_BITS = ROW_CYCLES > 1 ? $clog2(ROW_CYCLES) : 1;
  localparam int BLOCK_BITS = BLOCK_ROWS > 1 ? $clog2(BLOCK_ROWS) : 1;
  // Steps of a word; a row word is filled up to whole steps.
  localparam int CHOICES = (WORD + STEP - 1) / STEP;
  localparam int CHOICE_BITS = CHOICES > 1 ? $clog2(CHOICES) : 1;
  localparam int STEP_BITS = STEP * X_BITS;

  if (ROW_CYCLES < BEATS) begin : gen_bad_pace
    $error("unrolled_front: ROW_CYCLES must be at least LAG + GROUPS");
  end
  if (WORDS > 1 && WORD % STEP != 0) begin : gen_bad_word
    $error("unrolled_front: STEP must divide the WORD columns of a word");
  end

  // Rows of block row b outside the map, one bit per window row.
  function automatic logic [BLOCK_ROWS*KERNEL_ROWS-1:0] outside_table();
    for (int b = 0; b < BLOCK_ROWS; b++) begin
      for (int r = 0; r < KERNEL_ROWS; r++) begin
        outside_table[b*KERNEL_ROWS+r]
            = b * ROW_STEP + r < PADDING || b * ROW_STEP + r >= IN_HEIGHT + PADDING;
      end
    end
  endfunction
  // Columns of beat c outside the map, one bit per column of a step.
  function automatic logic [ROW_CYCLES*STEP-1:0] margin_table();
    for (int c = 0; c < ROW_CYCLES; c++) begin
      for (int w = 0; w < STEP; w++) begin
        margin_table[c*STEP+w]
            = c < ZERO_BEATS || (c - ZERO_BEATS) * STEP + w >= IN_WIDTH;
      end
    end
  endfunction
  // Block row from which on the frame's half may be overwritten: its writer begins above, brings at most a
  // word a cycle, and never comes to a row before the window has left it. BLOCK_ROWS where there is none.
  function automatic logic in_time(input int first);
    in_time = 1'b1;
    for (int b = first; b < BLOCK_ROWS; b++) begin
      if ((b * ROW_STEP - PADDING) * WORDS < (b - first + 1) * ROW_CYCLES) in_time = 1'b0;
    end
  endfunction
  function automatic int release_block();
    release_block = BLOCK_ROWS;
    for (int first = BLOCK_ROWS - 1; first > 0; first--) begin
      if (release_block == first + 1 && in_time(first)) release_block = first;
    end
  endfunction
  localparam int RELEASE_BLOCK = release_block();
  localparam logic [BLOCK_ROWS*KERNEL_ROWS-1:0] OUTSIDE = outside_table();
  localparam logic [ROW_CYCLES*STEP-1:0] MARGIN = margin_table();

  // Block rows and beats.
  logic frame_ready, frame_half, start, running_reg, row_end, image_end, active, leave;
  logic [CYCLE_BITS-1:0] cycle_reg;
  logic [BLOCK_BITS-1:0] block_reg;
  logic [ADDR_BITS-1:0] base_reg, word_reg;
  logic [CHOICE_BITS-1:0] choice_reg;
  logic cycle_last, waiting;
  assign cycle_last = cycle_reg == CYCLE_BITS'(ROW_CYCLES - 1);
  if (CLAIM_BLOCK > 0) begin : gen_late_claim
    logic claiming;
    assign claiming = running_reg & (cycle_reg == CYCLE_BITS'(BEATS - 1))
                    & (block_reg == BLOCK_BITS'(CLAIM_BLOCK - 1));
    assign start = frame_ready & ~running_reg;
    assign waiting = claiming & ~out_free;
    assign out_claim = claiming & out_free;
  end else begin : gen_early_claim
    assign start = frame_ready & out_free & ~running_reg;
    assign waiting = 1'b0;
    assign out_claim = start;
  end
  assign row_end = cycle_last & ~waiting;
  assign image_end = running_reg & row_end & (block_reg == BLOCK_BITS'(BLOCK_ROWS - 1));
  assign busy = running_reg;
  if (RELEASE_BLOCK < BLOCK_ROWS) begin : gen_early
    assign leave = running_reg & row_end & (block_reg == BLOCK_BITS'(RELEASE_BLOCK - 1));
  end else begin : gen_late
    assign leave = image_end;
  end
  if (ROW_CYCLES > BEATS) begin : gen_pause
    assign active = running_reg & ~waiting & (cycle_reg < CYCLE_BITS'(BEATS));
  end else begin : gen_no_pause
    assign active = running_reg & ~waiting;
  end
  logic counting, word_end;
  if (ZERO_BEATS > 0) begin : gen_margin
    assign counting = cycle_reg >= CYCLE_BITS'(ZERO_BEATS);
  end else begin : gen_no_margin
    assign counting = 1'b1;
  end
  assign word_end = choice_reg == CHOICE_BITS'(CHOICES - 1);
  always_ff @(posedge clk) begin
    if (rst) running_reg <= 1'b0;
    else running_reg <= start | (running_reg & ~image_end);
    if (start) begin
      cycle_reg <= '0;
      block_reg <= '0;
      base_reg <= (frame_half ? ADDR_BITS'(FRAME_HEIGHT) : '0) - ADDR_BITS'(PADDING * WORDS);
      word_reg <= '0;
      choice_reg <= '0;
    end else if (!waiting) begin
      cycle_reg <= row_end ? '0 : cycle_reg + 1'b1;
      if (row_end) begin
        block_reg <= block_reg + 1'b1;
        base_reg <= base_reg + ADDR_BITS'(ROW_STEP * WORDS);
        word_reg <= '0;
        choice_reg <= '0;
      end else if (counting) begin
        choice_reg <= word_end ? '0 : choice_reg + 1'b1;
        if (word_end) word_reg <= word_reg + 1'b1;
      end
    end
  end

  // One word of every row.
  logic [KERNEL_ROWS*ADDR_BITS-1:0] addresses;
  logic [FRAMES*KERNEL_ROWS*FRAME_BITS-1:0] words;
  for (genvar r = 0; r < KERNEL_ROWS; r++) begin : gen_address
    assign addresses[r*ADDR_BITS+:ADDR_BITS] = base_reg + word_reg + ADDR_BITS'(r * WORDS);
  end
  logic [FRAMES-1:0] frame_free, frame_next_half, frame_full, frame_read_half;
  assign in_free = frame_free[0];
  assign in_next_half = frame_next_half[0];
  assign frame_ready = frame_full[0];
  assign frame_half = frame_read_half[0];
  for (genvar f = 0; f < FRAMES; f++) begin : gen_frame
    logic mine;
    if (!BLOCKS && SOURCE_CHANNELS > 1) begin : gen_channel
      assign mine = in_channel == IN_CHANNEL_BITS'(LIVE_CHANNELS[16*f+:16]);
    end else begin : gen_only
      assign mine = 1'b1;
    end
    frame_buffer #(
        .CHANNELS(1),
        .HEIGHT(FRAME_HEIGHT),
        .WIDTH(FRAME_WIDTH),
        .X_BITS(X_BITS),
        .BANKS(1),
        .COPIES(KERNEL_ROWS),
        .ROWS(IN_ROWS),
        .ROW_OFFSET(IN_ROW_OFFSET),
        .PHASE_FIXED(IN_PHASE_FIXED),
        .BLOCK(BLOCK_FRAME),
        .ULTRA(ULTRA_FRAME)
    ) frame (
        .clk(clk),
        .rst(rst),
        .wr_free(frame_free[f]),
        .wr_next_half(frame_next_half[f]),
        .wr_claim(in_claim),
        .wr_valid(in_valid),
        .wr_half(in_half),
        .wr_last(in_last),
        .wr_channel(1'b0),
        .wr_row(in_row),
        .wr_mask(in_mask & {IN_ROWS{mine}}),
        .wr_data(in_data),
        .rd_ready(frame_full[f]),
        .rd_half(frame_read_half[f]),
        .rd_release(leave),
        .rd_enable({KERNEL_ROWS{running_reg}}),
        .rd_addr(addresses),
        .rd_data(words[f*KERNEL_ROWS*FRAME_BITS+:KERNEL_ROWS*FRAME_BITS])
    );
  end

  // STEP columns of the word; zeros outside the map.
  logic active_reg, complete, complete_reg, valid_reg;
  if (LAG > 0) begin : gen_lag
    assign complete = cycle_reg >= CYCLE_BITS'(LAG);
  end else begin : gen_no_lag
    assign complete = 1'b1;
  end
  logic [CHOICE_BITS-1:0] pick_reg;
  logic [KERNEL_ROWS-1:0] outside_reg;
  logic [STEP-1:0] margin_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      active_reg <= 1'b0;
      valid_reg  <= 1'b0;
    end else begin
      active_reg <= active;
      valid_reg  <= active_reg & complete_reg;
    end
    complete_reg <= complete;
    pick_reg <= choice_reg;
    outside_reg <= OUTSIDE[32'(block_reg)*KERNEL_ROWS+:KERNEL_ROWS];
    margin_reg <= MARGIN[32'(cycle_reg)*STEP+:STEP];
  end
  assign window_valid = valid_reg;
  for (genvar k = 0; k < LIVE; k++) begin : gen_live
    localparam int FRAME = BLOCKS ? 0 : k;
    localparam int FIRST = BLOCKS ? 32'(LIVE_CHANNELS[16*k+:16]) * WORD * X_BITS : 0;
    for (genvar r = 0; r < KERNEL_ROWS; r++) begin : gen_row
      logic [CHOICES*STEP_BITS-1:0] choices;
      logic [STEP_BITS-1:0] picked, taken;
      logic [COLUMNS*X_BITS-1:0] columns_next, columns_reg;
      assign choices = (CHOICES * STEP_BITS)'(words[(FRAME*KERNEL_ROWS+r)*FRAME_BITS+FIRST+:WORD*X_BITS]);
      mux_tree #(
          .WIDTH(STEP_BITS),
          .COUNT(CHOICES),
          .SELECT_BITS(CHOICE_BITS)
      ) pick (
          .select(pick_reg),
          .choices(choices),
          .result(picked)
      );
      for (genvar w = 0; w < STEP; w++) begin : gen_column
        if (PADDING > 0) begin : gen_zero
          assign taken[w*X_BITS+:X_BITS]
              = outside_reg[r] || margin_reg[w] ? '0 : picked[w*X_BITS+:X_BITS];
        end else begin : gen_plain
          assign taken[w*X_BITS+:X_BITS] = picked[w*X_BITS+:X_BITS];
        end
      end
      if (LAG > 0) begin : gen_shift
        assign columns_next = {taken, columns_reg[COLUMNS*X_BITS-1:STEP_BITS]};
      end else begin : gen_whole
        assign columns_next = taken;
      end
      always_ff @(posedge clk) begin
        if (active_reg) columns_reg <= columns_next;
      end
      assign window[(k*KERNEL_ROWS+r)*COLUMNS*X_BITS+:COLUMNS*X_BITS] = columns_reg;
      logic unused;
      assign unused = ^{columns_reg, picked};
    end
  end

  // Unused: handshakes of frames that run in lock step, channels without weights, tables without padding.
  logic unused;
  assign unused = ^{frame_free, frame_next_half, frame_full, frame_read_half, in_channel, words,
                    outside_reg, margin_reg};
endmodule
