// Copies rows of memory into the buffer, a line at a time, or into a table, a word per transfer. Rows of the
// buffer begin step lines apart.
module seq_loader #(
    parameter int LANES = 64,
    parameter int LINE_BITS = 11
) (
    input  logic               clk,
    input  logic               clear,
    input  logic               start,
    input  logic [       31:0] source,
    input  logic [       31:0] rows,
    input  logic [       31:0] beats,
    input  logic [       31:0] stride,
    input  logic [        1:0] target,
    input  logic [       15:0] index,
    input  logic [       15:0] step,
    output logic               busy,
    // Requests and data.
    output logic               request_valid,
    output logic [       31:0] request_addr,
    output logic [        4:0] request_beats,
    input  logic               request_ready,
    input  logic               in_valid,
    input  logic [       63:0] in_data,
    output logic               in_ready,
    // Lines to the buffer.
    output logic               line_valid,
    input  logic               line_ready,
    output logic [LINE_BITS-1:0] line,
    output logic [8*LANES-1:0] line_data,
    // Tables: 1 masks, 2 taps, 3 list.
    output logic [        3:1] table_write,
    output logic [       15:0] table_addr,
    output logic [       63:0] table_data
);
  localparam int SLICE_BITS = $clog2(LANES / 8);

  logic asking;
  logic [31:0] beats_reg;
  seq_requests requests (
      .clk(clk),
      .clear(clear),
      .start(start),
      .source(source),
      .rows(rows),
      .beats(beats),
      .stride(stride),
      .busy(asking),
      .room(1'b1),
      .request_valid(request_valid),
      .request_addr(request_addr),
      .request_beats(request_beats),
      .request_ready(request_ready)
  );

  // What comes back, in order.
  logic [31:0] rows_reg, left_reg;
  logic [1:0] target_reg;
  logic [15:0] index_reg, row_index_reg, step_reg;
  logic [SLICE_BITS-1:0] slice_reg;
  logic [8*LANES-1:0] line_data_reg;
  logic [LINE_BITS-1:0] line_reg;
  logic line_full_reg, take, row_end;
  assign in_ready = ~line_full_reg | line_ready;
  assign take = in_valid & in_ready;
  assign row_end = left_reg == 32'd1;
  always_ff @(posedge clk) begin
    if (clear) begin
      rows_reg <= '0;
      line_full_reg <= 1'b0;
    end else begin
      if (start) rows_reg <= beats != 0 ? rows : '0;
      else if (take && row_end) rows_reg <= rows_reg - 32'd1;
      if (take && target_reg == 2'd0) line_full_reg <= row_end | (&slice_reg);
      else if (line_ready) line_full_reg <= 1'b0;
    end
    if (start) begin
      left_reg <= beats;
      beats_reg <= beats;
      target_reg <= target;
      index_reg <= index;
      row_index_reg <= index;
      step_reg <= step;
      slice_reg <= '0;
    end else if (take) begin
      left_reg <= row_end ? beats_reg : left_reg - 32'd1;
      if (target_reg == 2'd0) begin
        slice_reg <= row_end ? '0 : slice_reg + 1'b1;
        if (row_end) begin
          index_reg <= row_index_reg + step_reg;
          row_index_reg <= row_index_reg + step_reg;
        end else if (&slice_reg) begin
          index_reg <= index_reg + 16'd1;
        end
      end else begin
        index_reg <= index_reg + 16'd1;
      end
    end
    if (take) begin
      line_data_reg[64*slice_reg+:64] <= in_data;
      line_reg <= index_reg[LINE_BITS-1:0];
    end
    for (int t = 1; t < 4; t++) table_write[t] <= take & (target_reg == 2'(t));
    table_addr <= index_reg;
    table_data <= in_data;
  end
  assign line_valid = line_full_reg;
  assign line = line_reg;
  assign line_data = line_data_reg;
  assign busy = asking | (rows_reg != 0) | line_full_reg | (|table_write);
endmodule
