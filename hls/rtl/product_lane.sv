// product = sum over digits of digit * 4**d * x, less the one that a negative digit 0 lacks; registered.
//
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
  localparam int PRODUCT_BITS = X_BITS + CODE_BITS;

  logic signed [X_BITS:0] x_signed;
  logic [PRODUCT_BITS-1:0] partial[DIGITS];
  logic [PRODUCT_BITS-1:0] product_reg;
  assign x_signed = {X_SIGNED & x[X_BITS-1], x};

  for (genvar d = 0; d < DIGITS; d++) begin : gen_digit
    localparam int REST = PRODUCT_BITS - 2 * d;
    logic [REST-1:0] term;
    assign term = (({REST{operand[3*d]}} & REST'(x_signed))
                 | ({REST{operand[3*d+1]}} & REST'($signed({x_signed, 1'b0})))) ^ {REST{operand[3*d+2]}};
    if (d == 0) begin : gen_first
      assign partial[d] = term;
    end else begin : gen_add
      logic [REST:0] total;
      logic unused;
      // A difference, whose order synthesis keeps: the carry chain's LUTs then take in the term.
      assign total = {partial[d-1][PRODUCT_BITS-1:2*d], operand[3*d+2]} - {~term, 1'b1};
      assign unused = total[0];
      assign partial[d] = {total[REST:1], partial[d-1][2*d-1:0]};
    end
  end

  always_ff @(posedge clk) product_reg <= partial[DIGITS-1];
  assign product = product_reg;

  logic unused;
  assign unused = operand[2];
endmodule
