// Maximum of each window of ROWS x WINDOW values, for COLUMNS windows side by side. It compares rows first,
// then columns, with a register behind each comparison step.
module block_pool #(
    parameter int ROWS = 2,
    parameter int WINDOW = 2,
    parameter int COLUMNS = 2,
    parameter int X_BITS = 12,
    parameter bit X_SIGNED = 1
) (
    input  logic                                  clk,
    input  logic [ROWS*COLUMNS*WINDOW*X_BITS-1:0] x,
    output logic [COLUMNS*X_BITS-1:0]             y
);
  localparam int WIDTH = COLUMNS * WINDOW;
  function automatic logic [X_BITS-1:0] larger(input logic [X_BITS-1:0] a, input logic [X_BITS-1:0] b);
    if (X_SIGNED) larger = $signed(a) > $signed(b) ? a : b;
    else larger = a > b ? a : b;
  endfunction

  logic [WIDTH*X_BITS-1:0] down;
  for (genvar w = 0; w < WIDTH; w++) begin : gen_column
    logic [X_BITS-1:0] best;
    always_comb begin
      best = x[w*X_BITS+:X_BITS];
      for (int r = 1; r < ROWS; r++) best = larger(best, x[(r*WIDTH+w)*X_BITS+:X_BITS]);
    end
    if (ROWS > 1) begin : gen_register
      logic [X_BITS-1:0] best_reg;
      always_ff @(posedge clk) best_reg <= best;
      assign down[w*X_BITS+:X_BITS] = best_reg;
    end else begin : gen_wire
      assign down[w*X_BITS+:X_BITS] = best;
    end
  end
  for (genvar c = 0; c < COLUMNS; c++) begin : gen_window
    logic [X_BITS-1:0] best;
    always_comb begin
      best = down[c*WINDOW*X_BITS+:X_BITS];
      for (int w = 1; w < WINDOW; w++) best = larger(best, down[(c*WINDOW+w)*X_BITS+:X_BITS]);
    end
    if (WINDOW > 1) begin : gen_register
      logic [X_BITS-1:0] best_reg;
      always_ff @(posedge clk) best_reg <= best;
      assign y[c*X_BITS+:X_BITS] = best_reg;
    end else begin : gen_wire
      assign y[c*X_BITS+:X_BITS] = best;
    end
  end
  if (ROWS == 1 && WINDOW == 1) begin : gen_pass
    logic unused;
    assign unused = clk;
  end
endmodule
