// product = value * FACTOR without a DSP block: a table for narrow values, shifts and adds otherwise.
module times_const #(
    parameter int VALUE_BITS = 4,
    parameter int FACTOR = 12,
    parameter int PRODUCT_BITS = 8
) (
    input  logic [  VALUE_BITS-1:0] value,
    output logic [PRODUCT_BITS-1:0] product
);
  localparam int TABLE_BITS = 5;
  localparam int SIZE = VALUE_BITS <= TABLE_BITS ? 2 ** VALUE_BITS : 1;

  function automatic logic [SIZE*PRODUCT_BITS-1:0] products();
    products = '0;
    for (int i = 0; i < SIZE; i++) products[i*PRODUCT_BITS+:PRODUCT_BITS] = PRODUCT_BITS'(i * FACTOR);
  endfunction

  if (VALUE_BITS <= TABLE_BITS) begin : gen_table
    localparam logic [SIZE*PRODUCT_BITS-1:0] PRODUCTS = products();
    assign product = PRODUCTS[32'(value)*PRODUCT_BITS+:PRODUCT_BITS];
  end else begin : gen_add
    always_comb begin
      product = '0;
      for (int i = 0; i < 31; i++) begin
        if (FACTOR[i]) product = product + (PRODUCT_BITS'(value) << i);
      end
    end
  end
endmodule
