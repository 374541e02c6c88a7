// From the row words of all banks to one activation per lane; combinational.
//
// Lane (r, ow), at bits [(r*OUT_WIDTH + ow)*X_BITS +: X_BITS], gets column ow*STRIDE + column - PADDING
// of bank (r*STRIDE + row_phase - ROW_PADDING) mod BANKS. Padding columns are zeros by wiring. Rows are
// selected before columns, every row by selects of its own, and only the row_phase values that a kernel of KERNEL_H rows can give are wired.
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
    parameter int COLUMN_BITS = 3
) (
    input  logic [TILE_ROWS*PHASE_BITS-1:0]               row_phase,
    input  logic [TILE_ROWS*COLUMN_BITS-1:0]              column,
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
    mux_tree #(
        .WIDTH(ROW_BITS),
        .COUNT(PHASES),
        .SELECT_BITS(PHASE_BITS)
    ) row_mux (
        .select(row_phase[r*PHASE_BITS+:PHASE_BITS]),
        .choices(rows),
        .result(row)
    );

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
    mux_tree #(
        .WIDTH(LANE_BITS),
        .COUNT(KERNEL_W),
        .SELECT_BITS(COLUMN_BITS)
    ) column_mux (
        .select(column[r*COLUMN_BITS+:COLUMN_BITS]),
        .choices(shifted),
        .result(lanes[r*LANE_BITS+:LANE_BITS])
    );

    // Columns that no window covers (a stride that does not divide the map).
    logic unused;
    assign unused = ^row;
  end
endmodule
