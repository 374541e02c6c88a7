// Max-pool of tiles: KERNEL x KERNEL windows at distance STRIDE over TILE_ROWS x WIDTH activations.
//
// Tiles of one group come in order; the last KERNEL-1 rows of each group are kept where a window can
// span two tiles. Output row k is pooled row out_row - OFFSET + k (mask tells whether it exists).
// Columns, then rows, STEPS cycles each (max_lines), and one more where a tile's first window depends on the
// tile (PHASE_FIXED = 0). KERNEL = STRIDE = 1 passes the rows on, through two registers.
module max_pool #(
    parameter int KERNEL = 2,
    parameter int STRIDE = 2,
    parameter int HEIGHT = 8,
    parameter int WIDTH = 8,
    parameter int TILE_ROWS = 2,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int GROUPS = 4,
    parameter int GROUP_BITS = 2,
    parameter int TILES = (HEIGHT + TILE_ROWS - 1) / TILE_ROWS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int POOLED_HEIGHT = (HEIGHT - KERNEL) / STRIDE + 1,
    parameter int POOLED_WIDTH = (WIDTH - KERNEL) / STRIDE + 1,
    parameter int ROWS = (TILE_ROWS + STRIDE - 1) / STRIDE,
    parameter int OFFSET = (KERNEL - 1) / STRIDE,
    parameter int STEPS = KERNEL > 1 ? 2 * $clog2(KERNEL) : 1,
    parameter bit PHASE_FIXED = TILES == 1 || TILE_ROWS % STRIDE == 0,
    parameter int ROW_BITS = $clog2(POOLED_HEIGHT + OFFSET + ROWS + 1)
) (
    input  logic                                clk,
    input  logic                                valid,
    input  logic [GROUP_BITS-1:0]               group,
    input  logic [TILE_BITS-1:0]                tile,
    input  logic [TILE_ROWS*WIDTH*X_BITS-1:0]   x,
    output logic [ROW_BITS-1:0]                 out_row,
    output logic [ROWS-1:0]                     out_mask,
    output logic [ROWS*POOLED_WIDTH*X_BITS-1:0] y
);
  localparam int HISTORY = KERNEL - 1;
  localparam int LINE = POOLED_WIDTH * X_BITS;
  localparam bit SPANS = TILES > 1 && KERNEL > 1 && !(PHASE_FIXED && KERNEL <= STRIDE);
  localparam int PHASE_BITS = STRIDE > 1 ? $clog2(STRIDE) : 1;

  if (KERNEL > HEIGHT || KERNEL > WIDTH) begin : gen_bad_kernel
    $error("max_pool: KERNEL must be at most HEIGHT and WIDTH");
  end

  // First pooled row (plus OFFSET) whose last input row is in tile t, and that input row's place.
  function automatic int first_row(input int t);
    first_row = (t * TILE_ROWS - (KERNEL - 1) + OFFSET * STRIDE + STRIDE - 1) / STRIDE;
  endfunction
  function automatic int first_phase(input int t);
    first_phase = (first_row(t) - OFFSET) * STRIDE + KERNEL - 1 - t * TILE_ROWS;
  endfunction
  function automatic logic [TILES*ROW_BITS-1:0] row_table();
    row_table = '0;
    for (int t = 0; t < TILES; t++) row_table[t*ROW_BITS+:ROW_BITS] = ROW_BITS'(first_row(t));
  endfunction
  function automatic logic [TILES*PHASE_BITS-1:0] phase_table();
    phase_table = '0;
    for (int t = 0; t < TILES; t++) phase_table[t*PHASE_BITS+:PHASE_BITS] = PHASE_BITS'(first_phase(t));
  endfunction
  function automatic logic [TILES*ROWS-1:0] mask_table();
    mask_table = '0;
    for (int t = 0; t < TILES; t++) begin
      for (int k = 0; k < ROWS; k++) begin
        mask_table[t*ROWS+k] = first_row(t) + k >= OFFSET
            && first_row(t) + k < OFFSET + POOLED_HEIGHT
            && first_phase(t) + k * STRIDE < TILE_ROWS;
      end
    end
  endfunction
  localparam logic [TILES*ROW_BITS-1:0] ROW_TABLE = row_table();
  localparam logic [TILES*PHASE_BITS-1:0] PHASE_TABLE = phase_table();
  localparam logic [TILES*ROWS-1:0] MASK_TABLE = mask_table();

  // Columns, and what tells of them.
  logic [TILE_ROWS*LINE-1:0] h;
  logic h_valid;
  logic [GROUP_BITS-1:0] h_group;
  logic [TILE_BITS-1:0] h_tile;
  for (genvar r = 0; r < TILE_ROWS; r++) begin : gen_line
    logic [KERNEL*LINE-1:0] columns;
    for (genvar k = 0; k < KERNEL; k++) begin : gen_column
      for (genvar o = 0; o < POOLED_WIDTH; o++) begin : gen_place
        assign columns[k*LINE+o*X_BITS+:X_BITS] = x[(r*WIDTH+o*STRIDE+k)*X_BITS+:X_BITS];
      end
    end
    max_lines #(
        .COUNT(KERNEL),
        .LANES(POOLED_WIDTH),
        .BITS(X_BITS),
        .SIGNED(X_SIGNED)
    ) pick (
        .clk(clk),
        .x(columns),
        .y(h[r*LINE+:LINE])
    );
  end
  line_delay #(
      .WIDTH(1 + GROUP_BITS + TILE_BITS),
      .DEPTH(STEPS)
  ) beside_columns (
      .clk(clk),
      .enable(1'b1),
      .d({valid, group, tile}),
      .q({h_valid, h_group, h_tile})
  );

  // Rows: the group's last HISTORY lines, then the tile's.
  logic [(HISTORY+TILE_ROWS)*LINE-1:0] lines;
  assign lines[HISTORY*LINE+:TILE_ROWS*LINE] = h;
  if (SPANS) begin : gen_history
    logic [HISTORY*LINE-1:0] history [0:GROUPS-1];
    assign lines[HISTORY*LINE-1:0] = history[h_group];
    always_ff @(posedge clk) begin
      if (h_valid) history[h_group] <= lines[TILE_ROWS*LINE+:HISTORY*LINE];
    end
  end else begin : gen_no_history
    if (HISTORY > 0) begin : gen_zero
      assign lines[HISTORY*LINE-1:0] = '0;
    end
    logic unused;
    assign unused = ^{h_group, h_valid, lines};
  end

  // Output row k: the window at place k * STRIDE + phase of the tile.
  logic [TILE_BITS-1:0] late_tile, y_tile;
  for (genvar k = 0; k < ROWS; k++) begin : gen_row
    logic [STRIDE*LINE-1:0] choices;
    for (genvar p = 0; p < STRIDE; p++) begin : gen_phase
      localparam int PLACE = k * STRIDE + p;
      if (PLACE < TILE_ROWS && (!PHASE_FIXED || p == first_phase(0))) begin : gen_window
        max_lines #(
            .COUNT(KERNEL),
            .LANES(POOLED_WIDTH),
            .BITS(X_BITS),
            .SIGNED(X_SIGNED)
        ) pick (
            .clk(clk),
            .x(lines[PLACE*LINE+:KERNEL*LINE]),
            .y(choices[p*LINE+:LINE])
        );
      end else begin : gen_none
        assign choices[p*LINE+:LINE] = '0;
      end
    end
    if (PHASE_FIXED) begin : gen_fixed
      assign y[k*LINE+:LINE] = choices[first_phase(0)*LINE+:LINE];
      logic unused;
      assign unused = ^choices;
    end else begin : gen_select
      logic [LINE-1:0] chosen, chosen_reg;
      mux_tree #(
          .WIDTH(LINE),
          .COUNT(STRIDE),
          .SELECT_BITS(PHASE_BITS)
      ) pick (
          .select(PHASE_TABLE[32'(late_tile)*PHASE_BITS+:PHASE_BITS]),
          .choices(choices),
          .result(chosen)
      );
      always_ff @(posedge clk) chosen_reg <= chosen;
      assign y[k*LINE+:LINE] = chosen_reg;
    end
  end
  line_delay #(
      .WIDTH(TILE_BITS),
      .DEPTH(STEPS)
  ) beside_rows (
      .clk(clk),
      .enable(1'b1),
      .d(h_tile),
      .q(late_tile)
  );
  if (PHASE_FIXED) begin : gen_tile
    assign y_tile = late_tile;
  end else begin : gen_later_tile
    logic [TILE_BITS-1:0] later_tile_reg;
    always_ff @(posedge clk) later_tile_reg <= late_tile;
    assign y_tile = later_tile_reg;
  end
  assign out_row = ROW_TABLE[32'(y_tile)*ROW_BITS+:ROW_BITS];
  assign out_mask = MASK_TABLE[32'(y_tile)*ROWS+:ROWS];
endmodule
