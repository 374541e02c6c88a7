// Counts the output position of a stage without weights: chunk of columns fastest, then row, then channel.
module row_place #(
    parameter int CHANNELS = 4,
    parameter int HEIGHT = 12,
    parameter int CHUNKS = 3,
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + 2),
    parameter int CHUNK_BITS = CHUNKS > 1 ? $clog2(CHUNKS) : 1
) (
    input  logic                    clk,
    input  logic                    clear,
    input  logic                    advance,
    output logic [CHUNK_BITS-1:0]   chunk,
    output logic [ROW_BITS-1:0]     row,
    output logic [CHANNEL_BITS-1:0] channel,
    output logic                    row_done,
    output logic                    map_done,
    output logic                    image_done
);
  logic [CHUNK_BITS-1:0] chunk_reg;
  logic [ROW_BITS-1:0] row_reg;
  logic [CHANNEL_BITS-1:0] channel_reg;
  assign row_done = chunk_reg == CHUNK_BITS'(CHUNKS - 1);
  assign map_done = row_done & (row_reg == ROW_BITS'(HEIGHT - 1));
  assign image_done = map_done & (channel_reg == CHANNEL_BITS'(CHANNELS - 1));
  always_ff @(posedge clk) begin
    if (clear) begin
      chunk_reg <= '0;
      row_reg <= '0;
      channel_reg <= '0;
    end else if (advance) begin
      chunk_reg <= row_done ? '0 : chunk_reg + 1'b1;
      if (row_done) row_reg <= map_done ? '0 : row_reg + 1'b1;
      if (map_done) channel_reg <= channel_reg + 1'b1;
    end
  end
  assign chunk = chunk_reg;
  assign row = row_reg;
  assign channel = channel_reg;
endmodule
