// One accumulator that picks its product: acc = acc + choices[select], choice i at bits
// [i*PRODUCT_BITS +: PRODUCT_BITS], plus carry, the one that product_lane left out.
//
// For two or three choices the multiplexer shares the LUTs of the adder, which is why it is written
// here and the accumulator has nothing but a clear.
module sum_lane #(
    parameter int PRODUCT_BITS = 12,
    parameter int COUNT = 3,
    parameter int SELECT_BITS = 2,
    parameter int ACC_BITS = 20
) (
    input  logic                          clk,
    input  logic                          clear,
    input  logic                          accumulate,
    input  logic                          carry,
    input  logic [       SELECT_BITS-1:0] select,
    input  logic [COUNT*PRODUCT_BITS-1:0] choices,
    output logic [          ACC_BITS-1:0] acc
);
  logic [PRODUCT_BITS-1:0] chosen;
  logic [ACC_BITS-1:0] addend, acc_reg;
  logic [ACC_BITS:0] sum;

  always_comb begin
    chosen = choices[(COUNT-1)*PRODUCT_BITS+:PRODUCT_BITS];
    for (int i = COUNT - 2; i >= 0; i--) begin
      if (select == SELECT_BITS'(i)) chosen = choices[i*PRODUCT_BITS+:PRODUCT_BITS];
    end
  end
  // A difference, whose order synthesis keeps: the carry chain's LUTs then take in the multiplexer.
  assign addend = ACC_BITS'($signed(chosen));
  assign sum = {acc_reg, carry} - {~addend, 1'b1};
  always_ff @(posedge clk) begin
    if (clear) acc_reg <= '0;
    else if (accumulate) acc_reg <= sum[ACC_BITS:1];
  end
  assign acc = acc_reg;

  logic unused;
  assign unused = sum[0];
endmodule
