// product = value * FACTOR by shifts and adds: small operands that should not take a DSP block.
module times_const #(
    parameter int VALUE_BITS = 4,
    parameter int FACTOR = 12,
    parameter int PRODUCT_BITS = 8
) (
    input  logic [  VALUE_BITS-1:0] value,
    output logic [PRODUCT_BITS-1:0] product
);
  always_comb begin
    product = '0;
    for (int i = 0; i < 31; i++) begin
      if (FACTOR[i]) product = product + (PRODUCT_BITS'(value) << i);
    end
  end
endmodule
