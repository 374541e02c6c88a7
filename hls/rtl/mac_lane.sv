// One multiply-accumulate lane: acc = (first ? 0 : acc) + weight * x, two pipeline stages.
//
// USE_DSP = 0: operand carries the digits of weight_digits; shift-and-add in fabric.
// USE_DSP = 1: operand is the two's-complement weight; written so that one DSP block takes it all.
// An idle lane (enable low) keeps both registers; x = 0 adds nothing.
module mac_lane #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter bit USE_DSP = 0,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                    clk,
    input  logic                    enable,
    input  logic                    accumulate,
    input  logic                    first,
    input  logic [OPERAND_BITS-1:0] operand,
    input  logic [X_BITS-1:0]       x,
    output logic [ACC_BITS-1:0]     acc
);
  localparam int DIGITS = (CODE_BITS + 1) / 2;
  localparam int PRODUCT_BITS = X_BITS + CODE_BITS;

  logic signed [X_BITS:0] x_signed;
  assign x_signed = {X_SIGNED & x[X_BITS-1], x};

  if (USE_DSP) begin : gen_dsp
    logic signed [PRODUCT_BITS-1:0] product_reg;
    logic signed [ACC_BITS-1:0] acc_reg;
    always_ff @(posedge clk) begin
      if (enable) product_reg <= PRODUCT_BITS'(x_signed * $signed(operand));
      if (accumulate) acc_reg <= ACC_BITS'(product_reg) + (first ? ACC_BITS'(0) : acc_reg);
    end
    assign acc = acc_reg;
  end else begin : gen_fabric
    // Negative digits are bitwise inversions plus one: digit 0's one enters the accumulator's carry,
    // every further digit's the carry of its own adder.
    logic [PRODUCT_BITS-1:0] partial[DIGITS];
    logic [PRODUCT_BITS-1:0] product_reg;
    logic [ACC_BITS-1:0] acc_reg;
    logic carry_reg;
    logic [ACC_BITS:0] sum;

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
        assign total = {term, 1'b1} + {partial[d-1][PRODUCT_BITS-1:2*d], operand[3*d+2]};
        assign unused = total[0];
        assign partial[d] = {total[REST:1], partial[d-1][2*d-1:0]};
      end
    end

    assign sum = {ACC_BITS'($signed(product_reg)), 1'b1} + {first ? ACC_BITS'(0) : acc_reg, carry_reg};
    always_ff @(posedge clk) begin
      if (enable) begin
        product_reg <= partial[DIGITS-1];
        carry_reg <= operand[2];
      end
      if (accumulate) acc_reg <= sum[ACC_BITS:1];
    end
    assign acc = acc_reg;
    logic unused;
    assign unused = sum[0];
  end
endmodule
