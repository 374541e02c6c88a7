// Output frame and stream: the last stage's values in (channel, row, column) order, one 32-bit word
// each, sign- or zero-extended; TLAST on the last word of the run. done when count images are out. A register
// of its own stands between the words and their receiver, which may be placed far away.
module output_pack #(
    parameter int CHANNELS = 10,
    parameter int HEIGHT = 1,
    parameter int WIDTH = 1,
    parameter int Y_BITS = 16,
    parameter bit Y_SIGNED = 1,
    parameter int IN_ROWS = 1,
    parameter int IN_ROW_OFFSET = 0,
    parameter bit IN_PHASE_FIXED = 1,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + IN_ROW_OFFSET + IN_ROWS + 1)
) (
    input  logic                            clk,
    input  logic                            rst,
    input  logic                            start,
    input  logic [31:0]                     count,
    output logic                            done,
    output logic                            wr_free,
    output logic                            wr_next_half,
    input  logic                            wr_claim,
    input  logic                            wr_valid,
    input  logic                            wr_half,
    input  logic                            wr_last,
    input  logic [CHANNEL_BITS-1:0]         wr_channel,
    input  logic [ROW_BITS-1:0]             wr_row,
    input  logic [IN_ROWS-1:0]              wr_mask,
    input  logic [IN_ROWS*WIDTH*Y_BITS-1:0] wr_data,
    output logic                            word_valid,
    input  logic                            word_ready,
    output logic                            word_last,
    output logic [31:0]                     word
);
  localparam int DEPTH = CHANNELS * HEIGHT;
  localparam int ADDR_BITS = $clog2(2 * DEPTH);
  localparam int COLUMN_BITS = WIDTH > 1 ? $clog2(WIDTH) : 1;

  logic [31:0] remaining_reg;
  // Images left, the last one under way, a row's last word, an image's last row: kept beside the counts,
  // which are too wide to be compared in time.
  logic more_reg, final_reg, column_last_reg, row_last_reg, some_reg, one_reg;
  logic sending_reg, reading, sent, row_done, image_done, image_done_reg, frame_ready, frame_half;
  logic sent_ready;
  logic [ADDR_BITS-1:0] row_reg;
  logic [COLUMN_BITS-1:0] column_reg;
  logic [WIDTH*Y_BITS-1:0] row_data;
  logic [Y_BITS-1:0] value;
  // The next row is read while the last word of the present row leaves.
  assign reading = frame_ready & more_reg & (~sending_reg | (row_done & ~image_done));
  assign sent = sending_reg & sent_ready;
  assign row_done = sent & column_last_reg;
  assign image_done = row_done & row_last_reg;
  assign done = ~more_reg & ~word_valid;

  always_ff @(posedge clk) begin
    if (rst) begin
      remaining_reg <= '0;
      more_reg <= 1'b0;
      final_reg <= 1'b0;
      image_done_reg <= 1'b0;
      sending_reg <= 1'b0;
      row_reg <= '0;
      column_reg <= '0;
      row_last_reg <= DEPTH == 1;
      column_last_reg <= WIDTH == 1;
    end else begin
      if (start) begin
        remaining_reg <= count;
        more_reg <= some_reg;
        final_reg <= one_reg;
      end else begin
        // The count follows a cycle later.
        if (image_done_reg) remaining_reg <= remaining_reg - 1'b1;
        if (image_done) begin
          more_reg <= ~final_reg;
          final_reg <= remaining_reg == (image_done_reg ? 32'd3 : 32'd2);
        end
      end
      image_done_reg <= image_done;
      sending_reg <= reading | (sending_reg & ~row_done);
      if (sent) begin
        column_reg <= row_done ? '0 : column_reg + 1'b1;
        column_last_reg <= WIDTH == 1 || (!row_done && column_reg == COLUMN_BITS'(WIDTH - 2));
      end
      if (row_done) begin
        row_reg <= image_done ? '0 : row_reg + 1'b1;
        row_last_reg <= DEPTH == 1 || (!image_done && row_reg == ADDR_BITS'(DEPTH - 2));
      end
    end
    // The count stands still long before a start.
    some_reg <= count != '0;
    one_reg <= count == 32'd1;
  end

  frame_buffer #(
      .CHANNELS(CHANNELS),
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .X_BITS(Y_BITS),
      .PADDING(0),
      .BANKS(1),
      .COPIES(1),
      .ROWS(IN_ROWS),
      .ROW_OFFSET(IN_ROW_OFFSET),
      .PHASE_FIXED(IN_PHASE_FIXED)
  ) frame (
      .clk(clk),
      .rst(rst),
      .wr_free(wr_free),
      .wr_next_half(wr_next_half),
      .wr_claim(wr_claim),
      .wr_valid(wr_valid),
      .wr_half(wr_half),
      .wr_last(wr_last),
      .wr_channel(wr_channel),
      .wr_row(wr_row),
      .wr_mask(wr_mask),
      .wr_data(wr_data),
      .rd_ready(frame_ready),
      .rd_half(frame_half),
      .rd_release(image_done),
      .rd_enable(reading),
      .rd_addr(row_reg + ADDR_BITS'(row_done) + (frame_half ? ADDR_BITS'(DEPTH) : '0)),
      .rd_data(row_data)
  );

  mux_tree #(
      .WIDTH(Y_BITS),
      .COUNT(WIDTH),
      .SELECT_BITS(COLUMN_BITS)
  ) pick (
      .select(column_reg),
      .choices(row_data),
      .result(value)
  );
  logic [31:0] extended;
  if (Y_SIGNED) begin : gen_signed
    assign extended = 32'($signed(value));
  end else begin : gen_unsigned
    assign extended = 32'(value);
  end
  stream_register #(
      .WIDTH(33)
  ) out (
      .clk(clk),
      .rst(rst),
      .in_valid(sending_reg),
      .in_ready(sent_ready),
      .in_data({column_last_reg & row_last_reg & final_reg, extended}),
      .out_valid(word_valid),
      .out_ready(word_ready),
      .out_data({word_last, word})
  );
endmodule
