// value = quotient * DIVISOR + remainder for value < LIMIT, as wires or a small constant table.
module divide_const #(
    parameter int LIMIT = 16,
    parameter int DIVISOR = 3,
    parameter int VALUE_BITS = $clog2(LIMIT + 1)
) (
    input  logic [VALUE_BITS-1:0] value,
    output logic [VALUE_BITS-1:0] quotient,
    output logic [VALUE_BITS-1:0] remainder
);
  localparam int SHIFT = $clog2(DIVISOR);
  localparam int SIZE = 2 ** VALUE_BITS;

  function automatic logic [SIZE*VALUE_BITS-1:0] quotients();
    quotients = '0;
    for (int i = 0; i < SIZE; i++) quotients[i*VALUE_BITS+:VALUE_BITS] = VALUE_BITS'(i / DIVISOR);
  endfunction
  function automatic logic [SIZE*VALUE_BITS-1:0] remainders();
    remainders = '0;
    for (int i = 0; i < SIZE; i++) remainders[i*VALUE_BITS+:VALUE_BITS] = VALUE_BITS'(i % DIVISOR);
  endfunction

  if (DIVISOR >= LIMIT) begin : gen_small
    assign quotient  = '0;
    assign remainder = value;
  end else if (2 ** SHIFT == DIVISOR) begin : gen_shift
    assign quotient  = value >> SHIFT;
    assign remainder = value & VALUE_BITS'(DIVISOR - 1);
  end else begin : gen_table
    localparam logic [SIZE*VALUE_BITS-1:0] QUOTIENTS = quotients();
    localparam logic [SIZE*VALUE_BITS-1:0] REMAINDERS = remainders();
    assign quotient  = QUOTIENTS[32'(value)*VALUE_BITS+:VALUE_BITS];
    assign remainder = REMAINDERS[32'(value)*VALUE_BITS+:VALUE_BITS];
  end
endmodule
