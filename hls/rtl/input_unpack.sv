// Input stream to row words: pixels in (channel, row, column) order, lowest first, every image padded to
// a whole stream word.
//
// A pixel is a byte, and x = saturate((byte - offset[channel]) >> SHIFT), or where PACKED the integer x
// itself in the low bits of PIXEL_BITS. A cycle takes STEP pixels, the largest power of two that a word
// and a row hold; where STEP does not divide WIDTH, a step may end one row and begin the next. One word
// a cycle where STEP pixels are a word, also from one image to the next, if the frame is free. Unpacks
// count images after start, then takes no more words.
module input_unpack #(
    parameter int CHANNELS = 1,
    parameter int HEIGHT = 28,
    parameter int WIDTH = 28,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int SHIFT = 0,
    parameter logic [8*CHANNELS-1:0] OFFSETS = '0,
    parameter bit PACKED = 0,
    parameter int PIXEL_BITS = 8,
    parameter int WORD_BITS = 32,
    parameter int STEP = 4,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + 2)
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    start,
    input  logic [31:0]             count,
    input  logic                    word_valid,
    output logic                    word_ready,
    input  logic [WORD_BITS-1:0]    word,
    input  logic                    wr_free,
    input  logic                    wr_next_half,
    output logic                    wr_claim,
    output logic                    wr_valid,
    output logic                    wr_half,
    output logic                    wr_last,
    output logic [CHANNEL_BITS-1:0] wr_channel,
    output logic [ROW_BITS-1:0]     wr_row,
    output logic [WIDTH*X_BITS-1:0] wr_data
);
  localparam int WORD_STEPS = WORD_BITS / PIXEL_BITS / STEP;
  localparam int PART_BITS = WORD_STEPS > 1 ? $clog2(WORD_STEPS) : 1;
  localparam int PART_WIDTH = STEP * PIXEL_BITS;
  localparam int STEP_WIDTH = STEP * X_BITS;
  // Rows begin at multiples of UNIT pixels of a step.
  function automatic int common_divisor(input int a, input int b);
    common_divisor = b;
    while (a % common_divisor != 0 || b % common_divisor != 0) common_divisor--;
  endfunction
  localparam int UNIT = common_divisor(STEP, WIDTH);
  localparam int PHASES = STEP / UNIT;
  localparam int PHASE_BITS = PHASES > 1 ? $clog2(PHASES) : 1;
  localparam int HELD = WIDTH + STEP - UNIT;
  localparam int COLUMN_BITS = $clog2(WIDTH + STEP);
  localparam int WIDE = 11;
  localparam logic signed [WIDE-1:0] LOWEST = X_SIGNED ? -WIDE'(2 ** (X_BITS - 1)) : '0;
  localparam logic signed [WIDE-1:0] HIGHEST = WIDE'(2 ** (X_BITS - 32'(X_SIGNED)) - 1);

  if (X_BITS > 9) begin : gen_bad_bits
    $error("input_unpack: X_BITS must be at most 9");
  end
  if (STEP > WIDTH || WORD_BITS % PART_WIDTH != 0) begin : gen_bad_step
    $error("input_unpack: STEP must be at most WIDTH and parts of STEP pixels must make a word");
  end

  // Images that still need a half of the frame; the next half is claimed in advance.
  logic [31:0] remaining_reg;
  logic some_reg, more_reg, filling_reg, half_reg, ahead_reg, ahead_half_reg, next_image, claimed_reg;
  // Whether the step is the last of its word, row, map and image is known in registers before it comes.
  logic part_last_reg, row_last_reg, final_row_reg, final_channel_reg;
  logic step, row_ends, map_last, image_last, word_done;
  logic [PART_BITS-1:0] part_reg, part_after;
  logic [COLUMN_BITS-1:0] column_reg, column_next, column_after;
  logic [ROW_BITS-1:0] row_reg, row_after;
  logic [CHANNEL_BITS-1:0] channel_reg, channel_after;
  assign wr_claim = more_reg & wr_free & ~ahead_reg;
  assign step = filling_reg & word_valid;
  assign column_next = column_reg + COLUMN_BITS'(STEP);
  assign map_last = row_last_reg & final_row_reg;
  assign image_last = map_last & final_channel_reg;
  assign word_done = part_last_reg | image_last;
  assign word_ready = filling_reg & word_done;
  assign next_image = ahead_reg & (~filling_reg | (step & image_last));

  if (STEP < WIDTH) begin : gen_row_ends
    assign row_ends = column_after >= COLUMN_BITS'(WIDTH - STEP);
  end else begin : gen_row_a_step
    assign row_ends = 1'b1;
  end
  always_comb begin
    part_after = word_done ? '0 : part_reg + 1'b1;
    column_after = row_last_reg ? column_next - COLUMN_BITS'(WIDTH) : column_next;
    if (image_last) column_after = '0;
    row_after = row_reg;
    if (row_last_reg) row_after = map_last ? '0 : row_reg + 1'b1;
    channel_after = channel_reg;
    if (map_last) channel_after = image_last ? '0 : channel_reg + 1'b1;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      remaining_reg <= '0;
      more_reg <= 1'b0;
      ahead_reg <= 1'b0;
      filling_reg <= 1'b0;
      claimed_reg <= 1'b0;
      part_reg <= '0;
      column_reg <= '0;
      row_reg <= '0;
      channel_reg <= '0;
      part_last_reg <= WORD_STEPS == 1;
      row_last_reg <= STEP == WIDTH;
      final_row_reg <= HEIGHT == 1;
      final_channel_reg <= CHANNELS == 1;
    end else begin
      if (start) begin
        remaining_reg <= count;
        more_reg <= some_reg;
      end else begin
        // Claims are two cycles apart, so the count may follow a cycle later.
        if (claimed_reg) remaining_reg <= remaining_reg - 1'b1;
        if (wr_claim) more_reg <= remaining_reg != 32'd1;
      end
      claimed_reg <= wr_claim;
      ahead_reg <= wr_claim | (ahead_reg & ~next_image);
      filling_reg <= next_image | (filling_reg & ~(step & image_last));
      if (step) begin
        part_reg <= part_after;
        column_reg <= column_after;
        row_reg <= row_after;
        channel_reg <= channel_after;
        part_last_reg <= part_after == PART_BITS'(WORD_STEPS - 1);
        row_last_reg <= row_ends;
        final_row_reg <= row_after == ROW_BITS'(HEIGHT - 1);
        final_channel_reg <= channel_after == CHANNEL_BITS'(CHANNELS - 1);
      end
    end
    // The count stands still long before a start.
    some_reg <= count != '0;
    if (wr_claim) ahead_half_reg <= wr_next_half;
    if (next_image) half_reg <= ahead_half_reg;
  end

  // Convert a step's pixels.
  logic [PART_WIDTH-1:0] part;
  logic [STEP_WIDTH-1:0] converted;
  if (WORD_STEPS == 1) begin : gen_whole
    assign part = word;
    logic unused;
    assign unused = ^part_reg;
  end else begin : gen_part
    mux_tree #(
        .WIDTH(PART_WIDTH),
        .COUNT(WORD_STEPS),
        .SELECT_BITS(PART_BITS)
    ) pick (
        .select(part_reg),
        .choices(word),
        .result(part)
    );
  end
  if (PACKED) begin : gen_packed
    for (genvar i = 0; i < STEP; i++) begin : gen_pixel
      assign converted[i*X_BITS+:X_BITS] = part[i*PIXEL_BITS+:X_BITS];
    end
    logic unused;
    assign unused = ^part;
  end else begin : gen_bytes
    // Pixels behind the end of a channel belong to the next channel.
    logic [7:0] offset, offset_after;
    assign offset = OFFSETS[32'(channel_reg)*8+:8];
    if (CHANNELS > 1 && PHASES > 1) begin : gen_after
      localparam logic [8*CHANNELS-1:0] AFTER = {OFFSETS[7:0], OFFSETS[8*CHANNELS-1:8]};
      assign offset_after = map_last ? AFTER[32'(channel_reg)*8+:8] : offset;
    end else begin : gen_same
      assign offset_after = offset;
    end
    for (genvar i = 0; i < STEP; i++) begin : gen_pixel
      logic signed [WIDE-1:0] shifted, clamped;
      logic beyond, unused;
      assign beyond = column_reg + COLUMN_BITS'(i) >= COLUMN_BITS'(WIDTH);
      assign shifted = ($signed(WIDE'(part[i*8+:8])) - $signed(WIDE'(beyond ? offset_after : offset)))
                       >>> SHIFT;
      assign clamped = shifted < LOWEST ? LOWEST : (shifted > HIGHEST ? HIGHEST : shifted);
      assign converted[i*X_BITS+:X_BITS] = clamped[X_BITS-1:0];
      assign unused = ^clamped;
    end
  end

  // Collect a row. It leaves in the cycle after its last step, from the position where that step ended.
  logic [HELD*X_BITS-1:0] data_reg, data_next;
  logic valid_reg, last_reg, out_half_reg;
  logic [PHASE_BITS-1:0] phase_reg;
  logic [ROW_BITS-1:0] out_row_reg;
  logic [CHANNEL_BITS-1:0] out_channel_reg;
  if (HELD > STEP) begin : gen_shift
    assign data_next = {converted, data_reg[HELD*X_BITS-1:STEP_WIDTH]};
  end else begin : gen_direct
    assign data_next = converted;
  end
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= 1'b0;
    else valid_reg <= step & row_last_reg;
    if (step) begin
      data_reg <= data_next;
      last_reg <= image_last;
      out_half_reg <= half_reg;
      out_row_reg <= row_reg;
      out_channel_reg <= channel_reg;
      // UNIT pixels of the step beyond the row.
      phase_reg <= PHASE_BITS'((column_next - COLUMN_BITS'(WIDTH)) / COLUMN_BITS'(UNIT));
    end
  end
  assign wr_valid = valid_reg;
  assign wr_last = last_reg;
  assign wr_half = out_half_reg;
  assign wr_row = out_row_reg;
  assign wr_channel = out_channel_reg;
  logic [PHASES*WIDTH*X_BITS-1:0] rows;
  for (genvar p = 0; p < PHASES; p++) begin : gen_phase
    assign rows[p*WIDTH*X_BITS+:WIDTH*X_BITS] = data_reg[(PHASES-1-p)*UNIT*X_BITS+:WIDTH*X_BITS];
  end
  mux_tree #(
      .WIDTH(WIDTH * X_BITS),
      .COUNT(PHASES),
      .SELECT_BITS(PHASE_BITS)
  ) align (
      .select(phase_reg),
      .choices(rows),
      .result(wr_data)
  );
  logic unused;
  assign unused = ^data_reg;
endmodule
