// product = sum over digits of digit * 4**d * x, less the one that a negative digit 0 lacks.
//
// One adder a stage: digits 0 and 1 are added in the first, every further one in a stage of its own, so the
// product comes STAGES cycles after x, and digit d > 1 of operand must come d - 1 cycles after x.
// operand carries the digits of weight_operand. A negative digit is a bitwise inversion plus one:
// digit 0's one is left to the accumulator's carry, every further digit's enters its own adder.
module product_lane #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int OPERAND_BITS = 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                        clk,
    input  logic [OPERAND_BITS-1:0]     operand,
    input  logic [X_BITS-1:0]           x,
    output logic [X_BITS+CODE_BITS-1:0] product
);
  localparam int DIGITS = (CODE_BITS + 1) / 2;
  localparam int STAGES = DIGITS > 2 ? DIGITS - 1 : 1;
  localparam int PRODUCT_BITS = X_BITS + CODE_BITS;

  // What enters a stage: x, and the sum of the digits before it; and the sum up to every digit.
  logic [STAGES*X_BITS-1:0] xs;
  logic [STAGES*PRODUCT_BITS-1:0] sums;
  logic [DIGITS*PRODUCT_BITS-1:0] totals;
  assign xs[X_BITS-1:0] = x;

  for (genvar d = 0; d < DIGITS; d++) begin : gen_digit
    localparam int STAGE = d > 0 ? d - 1 : 0;
    localparam int REST = PRODUCT_BITS - 2 * d;
    logic signed [X_BITS:0] x_signed;
    logic [REST-1:0] term;
    assign x_signed = {X_SIGNED & xs[(STAGE+1)*X_BITS-1], xs[STAGE*X_BITS+:X_BITS]};
    assign term = (({REST{operand[3*d]}} & REST'(x_signed))
                 | ({REST{operand[3*d+1]}} & REST'($signed({x_signed, 1'b0})))) ^ {REST{operand[3*d+2]}};
    if (d == 0) begin : gen_first
      assign sums[PRODUCT_BITS-1:0] = term;
      assign totals[PRODUCT_BITS-1:0] = term;
    end else begin : gen_add
      logic [PRODUCT_BITS-1:0] sum;
      logic [REST:0] total;
      logic unused;
      assign sum = sums[STAGE*PRODUCT_BITS+:PRODUCT_BITS];
      // A difference, whose order synthesis keeps: the carry chain's LUTs then take in the term.
      assign total = {sum[PRODUCT_BITS-1:2*d], operand[3*d+2]} - {~term, 1'b1};
      assign unused = total[0];
      assign totals[d*PRODUCT_BITS+:PRODUCT_BITS] = {total[REST:1], sum[2*d-1:0]};
    end
  end

  for (genvar s = 1; s < STAGES; s++) begin : gen_stage
    logic [X_BITS-1:0] x_reg;
    logic [PRODUCT_BITS-1:0] sum_reg;
    always_ff @(posedge clk) begin
      x_reg <= xs[(s-1)*X_BITS+:X_BITS];
      sum_reg <= totals[s*PRODUCT_BITS+:PRODUCT_BITS];
    end
    assign xs[s*X_BITS+:X_BITS] = x_reg;
    assign sums[s*PRODUCT_BITS+:PRODUCT_BITS] = sum_reg;
  end
  logic [PRODUCT_BITS-1:0] product_reg;
  always_ff @(posedge clk) product_reg <= totals[(DIGITS-1)*PRODUCT_BITS+:PRODUCT_BITS];
  assign product = product_reg;

  logic unused;
  assign unused = ^{operand[2], totals};
endmodule
