// y = clamp((acc * MULT + OFFSET) >> SHIFT) of LANES accumulators of one channel: a requantiser whose
// numbers are constants. OFFSET = bias * MULT + (1 << (SHIFT - 1)) includes the bias. Three stages.
module unrolled_scale #(
    parameter int LANES = 2,
    parameter int ACC_BITS = 12,
    parameter int MULT = 3,
    parameter logic signed [63:0] OFFSET = 64'sd4,
    parameter int SHIFT = 3,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0
) (
    input  logic                      clk,
    input  logic [LANES*ACC_BITS-1:0] acc,
    output logic [LANES*Y_BITS-1:0]   y
);
  localparam int MULT_BITS = $clog2(MULT + 1) + 1;
  localparam int PRODUCT_BITS = ACC_BITS + MULT_BITS;
  // The accumulator's bits hold the bias too, so the product's hold both; one more for the rounding.
  localparam int WIDE = (PRODUCT_BITS > SHIFT + 1 ? PRODUCT_BITS : SHIFT + 1) + 1;
  localparam int REST = WIDE - SHIFT;
  for (genvar v = 0; v < LANES; v++) begin : gen_lane
    logic signed [PRODUCT_BITS-1:0] product_reg;
    logic signed [WIDE-1:0] sum_reg;
    logic signed [REST-1:0] shifted;
    logic [Y_BITS-1:0] y_next, y_reg;
    logic unused;
    assign shifted = $signed(sum_reg[WIDE-1:SHIFT]);
    assign unused = ^sum_reg[SHIFT-1:0];
    clamp #(
        .X_BITS(REST),
        .Y_BITS(Y_BITS),
        .Y_SIGNED(Y_SIGNED)
    ) limit (
        .x(shifted),
        .y(y_next)
    );
    always_ff @(posedge clk) begin
      product_reg <= $signed(acc[v*ACC_BITS+:ACC_BITS]) * MULT_BITS'(MULT);
      sum_reg <= WIDE'(product_reg) + WIDE'(OFFSET);
      y_reg <= y_next;
    end
    assign y[v*Y_BITS+:Y_BITS] = y_reg;
  end
endmodule
