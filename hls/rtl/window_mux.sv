// From the row words of all banks to one activation per lane; combinational.
//
// Lane (r, ow), at bits [(r*OUT_WIDTH + ow)*X_BITS +: X_BITS], gets column ow*STRIDE + column - PADDING
// of bank (r*STRIDE + row_phase - ROW_PADDING) mod BANKS. Padding columns are zeros by wiring. Rows are
// selected before columns, and only the row_phase values that a kernel of KERNEL_H rows can give are
// wired. Every PART columns of a row have selects of their own: select row_phase for input columns,
// select column for lanes.
module window_mux #(
    parameter int X_BITS = 8,
    parameter int IN_WIDTH = 28,
    parameter int KERNEL_H = 5,
    parameter int KERNEL_W = 5,
    parameter int STRIDE = 1,
    parameter int PADDING = 0,
    parameter int ROW_PADDING = PADDING,
    parameter int OUT_WIDTH = 24,
    parameter int TILE_ROWS = 2,
    parameter int PHASE_BITS = 1,
    parameter int COLUMN_BITS = 3,
    parameter int PART = 8,
    parameter int ROW_PARTS = (IN_WIDTH + PART - 1) / PART,
    parameter int LANE_PARTS = (OUT_WIDTH + PART - 1) / PART
) (
    input  logic [TILE_ROWS*ROW_PARTS*PHASE_BITS-1:0]     row_phase,
    input  logic [TILE_ROWS*LANE_PARTS*COLUMN_BITS-1:0]   column,
    input  logic [TILE_ROWS*STRIDE*IN_WIDTH*X_BITS-1:0]   banks,
    output logic [TILE_ROWS*OUT_WIDTH*X_BITS-1:0]         lanes
);
  localparam int BANKS = TILE_ROWS * STRIDE;
  localparam int PHASES = KERNEL_H < BANKS ? KERNEL_H : BANKS;
  localparam int ROW_BITS = IN_WIDTH * X_BITS;
  localparam int ROW_SHIFT = (ROW_PADDING + BANKS - 1) / BANKS * BANKS - ROW_PADDING;
  localparam int LANE_BITS = OUT_WIDTH * X_BITS;

  for (genvar r = 0; r < TILE_ROWS; r++) begin : gen_row
    logic [PHASES*ROW_BITS-1:0] rows;
    logic [ROW_BITS-1:0] row;
    logic [KERNEL_W*LANE_BITS-1:0] shifted;

    for (genvar p = 0; p < PHASES; p++) begin : gen_phase
      assign rows[p*ROW_BITS+:ROW_BITS] = banks[((r*STRIDE+p+ROW_SHIFT)%BANKS)*ROW_BITS+:ROW_BITS];
    end
    for (genvar c = 0; c < ROW_PARTS; c++) begin : gen_row_part
      localparam int FIRST = c * PART * X_BITS;
      localparam int BITS = (c + 1) * PART <= IN_WIDTH ? PART * X_BITS : ROW_BITS - FIRST;
      logic [PHASES*BITS-1:0] choices;
      for (genvar p = 0; p < PHASES; p++) begin : gen_phase
        assign choices[p*BITS+:BITS] = rows[p*ROW_BITS+FIRST+:BITS];
      end
      mux_tree #(
          .WIDTH(BITS),
          .COUNT(PHASES),
          .SELECT_BITS(PHASE_BITS)
      ) row_mux (
          .select(row_phase[(r*ROW_PARTS+c)*PHASE_BITS+:PHASE_BITS]),
          .choices(choices),
          .result(row[FIRST+:BITS])
      );
    end

    for (genvar k = 0; k < KERNEL_W; k++) begin : gen_column
      for (genvar o = 0; o < OUT_WIDTH; o++) begin : gen_lane
        localparam int COLUMN = o * STRIDE + k - PADDING;
        if (COLUMN >= 0 && COLUMN < IN_WIDTH) begin : gen_inside
          assign shifted[k*LANE_BITS+o*X_BITS+:X_BITS] = row[COLUMN*X_BITS+:X_BITS];
        end else begin : gen_outside
          assign shifted[k*LANE_BITS+o*X_BITS+:X_BITS] = '0;
        end
      end
    end
    for (genvar c = 0; c < LANE_PARTS; c++) begin : gen_lane_part
      localparam int FIRST = c * PART * X_BITS;
      localparam int BITS = (c + 1) * PART <= OUT_WIDTH ? PART * X_BITS : LANE_BITS - FIRST;
      logic [KERNEL_W*BITS-1:0] choices;
      for (genvar k = 0; k < KERNEL_W; k++) begin : gen_column
        assign choices[k*BITS+:BITS] = shifted[k*LANE_BITS+FIRST+:BITS];
      end
      mux_tree #(
          .WIDTH(BITS),
          .COUNT(KERNEL_W),
          .SELECT_BITS(COLUMN_BITS)
      ) column_mux (
          .select(column[(r*LANE_PARTS+c)*COLUMN_BITS+:COLUMN_BITS]),
          .choices(choices),
          .result(lanes[r*LANE_BITS+FIRST+:BITS])
      );
    end

    // Columns that no window covers (a stride that does not divide the map).
    logic unused;
    assign unused = ^row;
  end
endmodule
