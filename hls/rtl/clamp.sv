// Clamps the signed x to the range of a number of Y_BITS bits.
module clamp #(
    parameter int X_BITS = 20,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0
) (
    input  logic signed [X_BITS-1:0] x,
    output logic        [Y_BITS-1:0] y
);
  if (Y_SIGNED) begin : gen_signed
    if (X_BITS > Y_BITS) begin : gen_clamp
      logic fits;
      assign fits = (&x[X_BITS-1:Y_BITS-1]) | ~(|x[X_BITS-1:Y_BITS-1]);
      assign y = fits ? x[Y_BITS-1:0] : {x[X_BITS-1], {(Y_BITS - 1) {~x[X_BITS-1]}}};
    end else begin : gen_extend
      assign y = Y_BITS'(x);
    end
  end else begin : gen_unsigned
    if (X_BITS > Y_BITS + 1) begin : gen_clamp
      assign y = x[X_BITS-1] ? '0 : x[Y_BITS-1:0] | {Y_BITS{|x[X_BITS-2:Y_BITS]}};
    end else begin : gen_relu
      assign y = x[X_BITS-1] ? '0 : Y_BITS'(x);
    end
  end
endmodule
