// Input stream to row words: bytes in (channel, row, column) order, four to a 32-bit word, lowest
// first, every image padded to a whole word. x = saturate((byte - offset[channel]) >> SHIFT).
//
// Takes BYTES_PER_STEP = gcd(WIDTH, 4) bytes a cycle, so that a step never spans two rows; one word a
// cycle where WIDTH is a multiple of 4. Unpacks count images after start, then takes no more words.
module input_unpack #(
    parameter int CHANNELS = 1,
    parameter int HEIGHT = 28,
    parameter int WIDTH = 28,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int SHIFT = 0,
    parameter logic [8*CHANNELS-1:0] OFFSETS = '0,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + 2)
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    start,
    input  logic [31:0]             count,
    input  logic                    word_valid,
    output logic                    word_ready,
    input  logic [31:0]             word,
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
  localparam int BYTES_PER_STEP = WIDTH % 4 == 0 ? 4 : (WIDTH % 2 == 0 ? 2 : 1);
  localparam int WORD_STEPS = 4 / BYTES_PER_STEP;
  localparam int ROW_STEPS = WIDTH / BYTES_PER_STEP;
  localparam int PART_BITS = WORD_STEPS > 1 ? $clog2(WORD_STEPS) : 1;
  localparam int STEP_BITS = ROW_STEPS > 1 ? $clog2(ROW_STEPS) : 1;
  localparam int STEP_WIDTH = BYTES_PER_STEP * X_BITS;
  localparam int WIDE = 11;
  localparam logic signed [WIDE-1:0] LOWEST = X_SIGNED ? -WIDE'(2 ** (X_BITS - 1)) : '0;
  localparam logic signed [WIDE-1:0] HIGHEST = WIDE'(2 ** (X_BITS - 32'(X_SIGNED)) - 1);

  if (X_BITS > 9) begin : gen_bad_bits
    $error("input_unpack: X_BITS must be at most 9");
  end

  logic [31:0] remaining_reg;
  logic filling_reg, half_reg, step, row_last, map_last, image_last, word_done;
  logic [PART_BITS-1:0] part_reg;
  logic [STEP_BITS-1:0] step_reg;
  logic [ROW_BITS-1:0] row_reg;
  logic [CHANNEL_BITS-1:0] channel_reg;
  assign wr_claim = ~filling_reg & (remaining_reg != '0) & wr_free;
  assign step = filling_reg & word_valid;
  assign row_last = step_reg == STEP_BITS'(ROW_STEPS - 1);
  assign map_last = row_last & (row_reg == ROW_BITS'(HEIGHT - 1));
  assign image_last = map_last & (channel_reg == CHANNEL_BITS'(CHANNELS - 1));
  assign word_done = (part_reg == PART_BITS'(WORD_STEPS - 1)) | image_last;
  assign word_ready = filling_reg & word_done;

  always_ff @(posedge clk) begin
    if (rst) begin
      remaining_reg <= '0;
      filling_reg <= 1'b0;
      part_reg <= '0;
      step_reg <= '0;
      row_reg <= '0;
      channel_reg <= '0;
    end else begin
      if (start) remaining_reg <= count;
      else if (step && image_last) remaining_reg <= remaining_reg - 1'b1;
      if (wr_claim) filling_reg <= 1'b1;
      else if (step && image_last) filling_reg <= 1'b0;
      if (step) begin
        part_reg <= word_done ? '0 : part_reg + 1'b1;
        step_reg <= row_last ? '0 : step_reg + 1'b1;
        if (row_last) row_reg <= map_last ? '0 : row_reg + 1'b1;
        if (map_last) channel_reg <= image_last ? '0 : channel_reg + 1'b1;
      end
    end
    if (wr_claim) half_reg <= wr_next_half;
  end

  // Convert a step's bytes.
  logic [7:0] offset;
  logic [STEP_WIDTH-1:0] converted;
  assign offset = OFFSETS[32'(channel_reg)*8+:8];
  for (genvar i = 0; i < BYTES_PER_STEP; i++) begin : gen_byte
    logic [7:0] raw;
    logic signed [WIDE-1:0] shifted, clamped;
    logic unused;
    if (WORD_STEPS == 1) begin : gen_whole
      assign raw = word[8*i+:8];
    end else begin : gen_part
      assign raw = word[(32'(part_reg)*BYTES_PER_STEP+i)*8+:8];
    end
    assign shifted = ($signed(WIDE'(raw)) - $signed(WIDE'(offset))) >>> SHIFT;
    assign clamped = shifted < LOWEST ? LOWEST : (shifted > HIGHEST ? HIGHEST : shifted);
    assign converted[i*X_BITS+:X_BITS] = clamped[X_BITS-1:0];
    assign unused = ^clamped;
  end

  // Collect a row; it leaves in the cycle after its last step.
  logic [WIDTH*X_BITS-1:0] data_reg, data_next;
  logic valid_reg, last_reg, out_half_reg;
  logic [ROW_BITS-1:0] out_row_reg;
  logic [CHANNEL_BITS-1:0] out_channel_reg;
  if (ROW_STEPS > 1) begin : gen_shift
    assign data_next = {converted, data_reg[WIDTH*X_BITS-1:STEP_WIDTH]};
    logic unused;
    assign unused = ^data_reg[STEP_WIDTH-1:0];
  end else begin : gen_direct
    assign data_next = converted;
  end
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= 1'b0;
    else valid_reg <= step & row_last;
    if (step) begin
      data_reg <= data_next;
      last_reg <= image_last;
      out_half_reg <= half_reg;
      out_row_reg <= row_reg;
      out_channel_reg <= channel_reg;
    end
  end
  assign wr_valid = valid_reg;
  assign wr_last = last_reg;
  assign wr_half = out_half_reg;
  assign wr_row = out_row_reg;
  assign wr_channel = out_channel_reg;
  assign wr_data = data_reg;

  if (WORD_STEPS == 1) begin : gen_part_unused
    logic unused;
    assign unused = ^part_reg;
  end
endmodule
