// From sign and magnitude to what mac_lane takes; once per group, shared by its lanes.
//
// USE_DSP = 1: the two's-complement weight. USE_DSP = 0: its radix-4 digits, digit d at bits
// [3d +: 3] = {invert, two, one} with weight = sum over d of digit[d] * 4**d. The magnitude is
// recoded into digits {-1, 0, 1, 2} and the sign inverts every digit, so that a lane needs one adder
// per digit beyond the first.
module weight_operand #(
    parameter int CODE_BITS = 4,
    parameter bit USE_DSP = 0,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                    negative,
    input  logic [CODE_BITS-1:0]    magnitude,
    output logic [OPERAND_BITS-1:0] operand
);
  localparam int DIGITS = (CODE_BITS + 1) / 2;

  if (USE_DSP) begin : gen_signed
    assign operand = negative ? -{1'b0, magnitude} : {1'b0, magnitude};
  end else begin : gen_digits
    logic [2*DIGITS-1:0] bits;
    logic [DIGITS:0] carry;
    logic unused;
    assign bits = (2 * DIGITS)'(magnitude);
    assign carry[0] = 1'b0;
    for (genvar d = 0; d < DIGITS; d++) begin : gen_digit
      logic [2:0] value;
      assign value = 3'(bits[2*d+:2]) + 3'(carry[d]);
      assign carry[d+1] = value >= 3'd3;
      assign operand[3*d] = value == 3'd1 || value == 3'd3;
      assign operand[3*d+1] = value == 3'd2;
      assign operand[3*d+2] = negative ^ (value == 3'd3);
    end
    // A magnitude is at most 2**(CODE_BITS-1): the top digit never carries.
    assign unused = carry[DIGITS];
  end
endmodule
