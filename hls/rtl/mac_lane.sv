// One multiply-accumulate lane: acc = (first ? 0 : acc) + weight * x; a stage accumulates, behind those of the
// product, with which accumulate, first and carry come.
//
// USE_DSP = 0: operand carries the digits of weight_operand, at the times that product_lane asks for;
// shift-and-add in fabric, with carry the delayed operand[2]. USE_DSP = 1: operand is the two's-complement weight; written so that one DSP
// block takes it all.
module mac_lane #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter bit USE_DSP = 0,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                    clk,
    input  logic                    accumulate,
    input  logic                    first,
    input  logic                    carry,
    input  logic [OPERAND_BITS-1:0] operand,
    input  logic [X_BITS-1:0]       x,
    output logic [ACC_BITS-1:0]     acc
);
  localparam int PRODUCT_BITS = X_BITS + CODE_BITS;

  if (USE_DSP) begin : gen_dsp
    logic signed [X_BITS:0] x_signed;
    logic signed [PRODUCT_BITS-1:0] product_reg;
    logic signed [ACC_BITS-1:0] acc_reg;
    assign x_signed = {X_SIGNED & x[X_BITS-1], x};
    always_ff @(posedge clk) begin
      product_reg <= PRODUCT_BITS'(x_signed * $signed(operand));
      if (accumulate) acc_reg <= ACC_BITS'(product_reg) + (first ? ACC_BITS'(0) : acc_reg);
    end
    assign acc = acc_reg;
    logic unused;
    assign unused = carry;
  end else begin : gen_fabric
    logic [PRODUCT_BITS-1:0] product;
    logic [ACC_BITS-1:0] acc_reg;
    logic [ACC_BITS:0] sum;
    product_lane #(
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS)
    ) multiply (
        .clk(clk),
        .operand(operand),
        .x(x),
        .product(product)
    );
    assign sum = {ACC_BITS'($signed(product)), 1'b1} + {first ? ACC_BITS'(0) : acc_reg, carry};
    always_ff @(posedge clk) if (accumulate) acc_reg <= sum[ACC_BITS:1];
    assign acc = acc_reg;
    logic unused;
    assign unused = sum[0];
  end
endmodule
