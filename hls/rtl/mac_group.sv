// The lanes of one group: tile = sum over entries of weight * x, per lane, and when it is complete.
//
// With x_valid, first restarts the accumulators and last completes the tile. done rises with the
// complete tile and stays until enable lets the pipeline move on; done_next is its next value.
module mac_group #(
    parameter int LANES = 24,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter bit USE_DSP = 0,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic                      enable,
    input  logic                      x_valid,
    input  logic                      first,
    input  logic                      last,
    input  logic [OPERAND_BITS-1:0]   operand,
    input  logic [LANES*X_BITS-1:0]   x,
    output logic                      done,
    output logic                      done_next,
    output logic [LANES*ACC_BITS-1:0] acc
);
  logic valid_reg, first_reg, last_reg, done_reg;

  for (genvar v = 0; v < LANES; v++) begin : gen_lane
    mac_lane #(
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS),
        .USE_DSP(USE_DSP)
    ) lane (
        .clk(clk),
        .enable(enable),
        .accumulate(enable & valid_reg),
        .first(first_reg),
        .operand(operand),
        .x(x[v*X_BITS+:X_BITS]),
        .acc(acc[v*ACC_BITS+:ACC_BITS])
    );
  end

  assign done_next = enable ? valid_reg & last_reg : done_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      valid_reg <= 1'b0;
      done_reg  <= 1'b0;
    end else begin
      if (enable) valid_reg <= x_valid;
      done_reg <= done_next;
    end
    if (enable) begin
      first_reg <= first;
      last_reg  <= last;
    end
  end
  assign done = done_reg;
endmodule
