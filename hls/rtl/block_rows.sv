// Converts the blocks of an unrolled stage to row words. A block holds COLUMNS pixels of all CHANNELS, and
// GROUPS blocks make a row of WIDTH pixels. While one row is collected, the words of the row before leave,
// one per cycle, channel by channel. row_end must therefore be at least CHANNELS cycles apart.
module block_rows #(
    parameter int CHANNELS = 18,
    parameter int HEIGHT = 4,
    parameter int WIDTH = 4,
    parameter int COLUMNS = 1,
    parameter int GROUPS = 4,
    parameter int X_BITS = 8,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + 2)
) (
    input  logic                               clk,
    input  logic                               rst,
    input  logic                               valid,
    input  logic                               row_end,
    input  logic                               last,
    input  logic [CHANNELS*COLUMNS*X_BITS-1:0] x,
    output logic                               out_valid,
    output logic                               out_half,
    output logic                               out_last,
    output logic [CHANNEL_BITS-1:0]            out_channel,
    output logic [ROW_BITS-1:0]                out_row,
    output logic [WIDTH*X_BITS-1:0]            out_data
);
  localparam int BLOCK = COLUMNS * X_BITS;
  localparam int COLLECTED = GROUPS * BLOCK;
  localparam int WORD = WIDTH * X_BITS;

  logic move_reg, final_reg, sending_reg, half_reg, channel_last;
  logic [CHANNEL_BITS-1:0] channel_reg;
  logic [ROW_BITS-1:0] row_reg;
  logic sending_final_reg;
  assign channel_last = channel_reg == CHANNEL_BITS'(CHANNELS - 1);
  always_ff @(posedge clk) begin
    if (rst) begin
      move_reg <= 1'b0;
      sending_reg <= 1'b0;
      half_reg <= 1'b0;
      row_reg <= '0;
    end else begin
      move_reg <= valid & row_end;
      sending_reg <= move_reg | (sending_reg & ~channel_last);
      if (sending_reg && channel_last) begin
        row_reg  <= sending_final_reg ? '0 : row_reg + 1'b1;
        half_reg <= half_reg ^ sending_final_reg;
      end
    end
    final_reg <= last;
    if (move_reg) sending_final_reg <= final_reg;
    if (move_reg || channel_last) channel_reg <= '0;
    else channel_reg <= channel_reg + 1'b1;
  end

  logic [CHANNELS*WORD-1:0] held;
  for (genvar c = 0; c < CHANNELS; c++) begin : gen_channel
    logic [COLLECTED-1:0] collect_reg;
    logic [WORD-1:0] hold_reg;
    if (GROUPS > 1) begin : gen_shift
      always_ff @(posedge clk) begin
        if (valid) collect_reg <= {x[c*BLOCK+:BLOCK], collect_reg[COLLECTED-1:BLOCK]};
      end
    end else begin : gen_whole
      always_ff @(posedge clk) begin
        if (valid) collect_reg <= x[c*BLOCK+:BLOCK];
      end
    end
    always_ff @(posedge clk) begin
      if (move_reg) hold_reg <= collect_reg[WORD-1:0];
    end
    assign held[c*WORD+:WORD] = hold_reg;
    // The last block may hold pixels beyond the row's end.
    logic unused;
    assign unused = ^collect_reg;
  end

  logic valid_reg, last_reg, out_half_reg;
  logic [CHANNEL_BITS-1:0] out_channel_reg;
  logic [ROW_BITS-1:0] out_row_reg;
  logic [WORD-1:0] picked, data_reg;
  mux_tree #(
      .WIDTH(WORD),
      .COUNT(CHANNELS),
      .SELECT_BITS(CHANNEL_BITS)
  ) pick (
      .select(channel_reg),
      .choices(held),
      .result(picked)
  );
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= 1'b0;
    else valid_reg <= sending_reg;
    last_reg <= channel_last & sending_final_reg;
    out_half_reg <= half_reg;
    out_channel_reg <= channel_reg;
    out_row_reg <= row_reg;
    data_reg <= picked;
  end
  assign out_valid = valid_reg;
  assign out_last = last_reg;
  assign out_half = out_half_reg;
  assign out_channel = out_channel_reg;
  assign out_row = out_row_reg;
  assign out_data = data_reg;
endmodule
