// Max-pool of a stream of pixels: HEIGHT rows in order, each of GROUPS groups of LANES values.
//
// COLUMN_KERNEL > 1 needs groups of one pixel and compares a pixel with the ones before it. ROW_KERNEL > 1
// compares with earlier rows, which are kept in shift registers of one row of results. A result comes out two
// cycles after the last value of its window; last marks the image's last result.
module stream_pool #(
    parameter int LANES = 18,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int COLUMN_KERNEL = 2,
    parameter int COLUMN_STRIDE = 2,
    parameter int ROW_KERNEL = 2,
    parameter int ROW_STRIDE = 2,
    parameter int GROUPS = 8,
    parameter int HEIGHT = 8
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    valid,
    input  logic [LANES*X_BITS-1:0] x,
    output logic                    out_valid,
    output logic                    out_row_end,
    output logic                    out_last,
    output logic [LANES*X_BITS-1:0] y
);
  localparam int WIDTH = LANES * X_BITS;
  localparam int RESULTS = (GROUPS - COLUMN_KERNEL) / COLUMN_STRIDE + 1;
  localparam int GROUP_BITS = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int ROW_BITS = HEIGHT > 1 ? $clog2(HEIGHT) : 1;

  if ((GROUPS - COLUMN_KERNEL) % COLUMN_STRIDE != 0 || (HEIGHT - ROW_KERNEL) % ROW_STRIDE != 0) begin : gen_bad_size
    $error("stream_pool: the last group and the last row must end a window");
  end

  function automatic logic [X_BITS-1:0] larger(input logic [X_BITS-1:0] a, input logic [X_BITS-1:0] b);
    if (X_SIGNED) larger = $signed(a) > $signed(b) ? a : b;
    else larger = a > b ? a : b;
  endfunction
  // Flags of groups and rows that complete a window.
  function automatic logic [GROUPS-1:0] column_table();
    for (int g = 0; g < GROUPS; g++) begin
      column_table[g] = g >= COLUMN_KERNEL - 1 && (g - COLUMN_KERNEL + 1) % COLUMN_STRIDE == 0;
    end
  endfunction
  function automatic logic [HEIGHT-1:0] row_table();
    for (int r = 0; r < HEIGHT; r++) begin
      row_table[r] = r >= ROW_KERNEL - 1 && (r - ROW_KERNEL + 1) % ROW_STRIDE == 0;
    end
  endfunction
  localparam logic [GROUPS-1:0] COLUMN_ENDS = column_table();
  localparam logic [HEIGHT-1:0] ROW_ENDS = row_table();

  logic [GROUP_BITS-1:0] group_reg;
  logic [ROW_BITS-1:0] row_reg;
  logic row_end, map_end;
  assign row_end = group_reg == GROUP_BITS'(GROUPS - 1);
  assign map_end = row_end & (row_reg == ROW_BITS'(HEIGHT - 1));
  always_ff @(posedge clk) begin
    if (rst) begin
      group_reg <= '0;
      row_reg   <= '0;
    end else if (valid) begin
      group_reg <= row_end ? '0 : group_reg + 1'b1;
      if (row_end) row_reg <= map_end ? '0 : row_reg + 1'b1;
    end
  end

  // Columns.
  logic [WIDTH-1:0] across_next, across_reg;
  logic across_valid_reg, down_reg, row_end_reg, last_reg;
  if (COLUMN_KERNEL > 1) begin : gen_columns
    localparam int KEPT = (COLUMN_KERNEL - 1) * WIDTH;
    logic [KEPT-1:0] before_reg;
    always_ff @(posedge clk) begin
      if (valid) before_reg <= KEPT'({x, before_reg} >> WIDTH);
    end
    for (genvar i = 0; i < LANES; i++) begin : gen_lane
      always_comb begin
        across_next[i*X_BITS+:X_BITS] = x[i*X_BITS+:X_BITS];
        for (int k = 0; k < COLUMN_KERNEL - 1; k++) begin
          across_next[i*X_BITS+:X_BITS]
              = larger(across_next[i*X_BITS+:X_BITS], before_reg[k*WIDTH+i*X_BITS+:X_BITS]);
        end
      end
    end
  end else begin : gen_no_columns
    assign across_next = x;
  end
  always_ff @(posedge clk) begin
    if (rst) across_valid_reg <= 1'b0;
    else across_valid_reg <= valid & COLUMN_ENDS[group_reg];
    down_reg <= ROW_ENDS[row_reg];
    row_end_reg <= row_end;
    last_reg <= map_end;
    across_reg <= across_next;
  end

  // Rows.
  logic [WIDTH-1:0] down_next, y_reg;
  logic valid_reg, out_row_end_reg, out_last_reg;
  logic [ROW_KERNEL*WIDTH-1:0] lines;
  assign lines[WIDTH-1:0] = across_reg;
  for (genvar k = 1; k < ROW_KERNEL; k++) begin : gen_line
    line_delay #(
        .WIDTH(WIDTH),
        .DEPTH(RESULTS)
    ) line (
        .clk(clk),
        .enable(across_valid_reg),
        .d(lines[(k-1)*WIDTH+:WIDTH]),
        .q(lines[k*WIDTH+:WIDTH])
    );
  end
  for (genvar i = 0; i < LANES; i++) begin : gen_down
    always_comb begin
      down_next[i*X_BITS+:X_BITS] = lines[i*X_BITS+:X_BITS];
      for (int k = 1; k < ROW_KERNEL; k++) begin
        down_next[i*X_BITS+:X_BITS] = larger(down_next[i*X_BITS+:X_BITS], lines[k*WIDTH+i*X_BITS+:X_BITS]);
      end
    end
  end
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= 1'b0;
    else valid_reg <= across_valid_reg & down_reg;
    y_reg <= down_next;
    out_row_end_reg <= row_end_reg;
    out_last_reg <= last_reg;
  end
  assign out_valid = valid_reg;
  assign out_row_end = out_row_end_reg;
  assign out_last = out_last_reg;
  assign y = y_reg;
endmodule
