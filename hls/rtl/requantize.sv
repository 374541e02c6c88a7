// y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi) on LANES lanes; three stages. mult and shift
// come one cycle before acc, so that values which all lanes share are registered first.
//
// shift must lie in SHIFT_MIN … SHIFT_MAX. Where the DSP operand has room for it (PRE_SHIFT), mult is
// shifted left once for all lanes and every lane shifts right by the constant SHIFT_MAX, which is the
// same integer; otherwise every lane has a barrel shifter.
module requantize #(
    parameter int LANES = 24,
    parameter int ACC_BITS = 20,
    parameter int MULT_BITS = 16,
    parameter int SHIFT_BITS = 6,
    parameter int SHIFT_MIN = 1,
    parameter int SHIFT_MAX = 36,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0
) (
    input  logic                      clk,
    input  logic [LANES*ACC_BITS-1:0] acc,
    input  logic [MULT_BITS-1:0]      mult,
    input  logic [SHIFT_BITS-1:0]     shift,
    output logic [LANES*Y_BITS-1:0]   y
);
  localparam int RANGE = SHIFT_MAX - SHIFT_MIN;
  localparam int ROOM = ACC_BITS <= 18 ? 8 : 1;
  localparam bit PRE_SHIFT = RANGE <= ROOM;
  localparam int FACTOR_BITS = MULT_BITS + (PRE_SHIFT ? RANGE : 0) + 1;
  localparam int PRODUCT_BITS = ACC_BITS + FACTOR_BITS;
  localparam int RANGE_BITS = $clog2(RANGE + 1) > 0 ? $clog2(RANGE + 1) : 1;
  // Holds the product and the rounding term.
  localparam int WIDE = (PRODUCT_BITS > SHIFT_MAX + 1 ? PRODUCT_BITS : SHIFT_MAX + 1) + 1;

  if (SHIFT_MIN < 1 || SHIFT_MAX < SHIFT_MIN || SHIFT_MAX > 48) begin : gen_bad_shift
    $error("requantize: need 1 <= SHIFT_MIN <= SHIFT_MAX <= 48");
  end

  // A shift beyond SHIFT_MAX acts as SHIFT_MAX; where SHIFT_MAX is ACC_BITS + MULT_BITS or more,
  // both give 0.
  logic [SHIFT_BITS-1:0] bounded;
  assign bounded = shift > SHIFT_BITS'(SHIFT_MAX) ? SHIFT_BITS'(SHIFT_MAX) : shift;

  logic signed [FACTOR_BITS-1:0] factor, factor_reg;
  logic [WIDE-1:0] round_next, round_early_reg, round_reg;
  logic [RANGE_BITS-1:0] extra, extra_early_reg, extra_m_reg, extra_p_reg;

  if (RANGE == 0) begin : gen_fixed
    assign extra = '0;
    assign factor = $signed({1'b0, mult});
    assign round_next = WIDE'(1) << (SHIFT_MAX - 1);
    logic unused;
    assign unused = ^bounded;
  end else if (PRE_SHIFT) begin : gen_pre_shift
    logic [SHIFT_BITS-1:0] left;
    assign left = SHIFT_BITS'(SHIFT_MAX) - bounded;
    assign extra = '0;
    assign factor = $signed(FACTOR_BITS'({1'b0, mult}) << left[RANGE_BITS-1:0]);
    assign round_next = WIDE'(1) << (SHIFT_MAX - 1);
    logic unused;
    assign unused = ^left;
  end else begin : gen_barrel
    assign extra = RANGE_BITS'(bounded - SHIFT_BITS'(SHIFT_MIN));
    assign factor = $signed({1'b0, mult});
    assign round_next = WIDE'(1) << (bounded - 1'b1);
  end

  always_ff @(posedge clk) begin
    factor_reg <= factor;
    extra_early_reg <= extra;
    extra_m_reg <= extra_early_reg;
    extra_p_reg <= extra_m_reg;
    round_early_reg <= round_next;
    round_reg <= round_early_reg;
  end

  for (genvar v = 0; v < LANES; v++) begin : gen_lane
    localparam int FIXED = PRE_SHIFT ? SHIFT_MAX : SHIFT_MIN;
    localparam int REST = WIDE - FIXED;
    logic signed [PRODUCT_BITS-1:0] product_reg;
    logic signed [WIDE-1:0] rounded_reg;
    logic signed [REST-1:0] shifted;
    logic [Y_BITS-1:0] y_next, y_reg;
    logic unused;

    assign shifted = $signed(rounded_reg[WIDE-1:FIXED]) >>> extra_p_reg;
    assign unused = ^rounded_reg[FIXED-1:0];
    clamp #(
        .X_BITS(REST),
        .Y_BITS(Y_BITS),
        .Y_SIGNED(Y_SIGNED)
    ) limit (
        .x(shifted),
        .y(y_next)
    );

    always_ff @(posedge clk) begin
      product_reg <= $signed(acc[v*ACC_BITS+:ACC_BITS]) * factor_reg;
      rounded_reg <= WIDE'(product_reg) + $signed(round_reg);
      y_reg <= y_next;
    end
    assign y[v*Y_BITS+:Y_BITS] = y_reg;
  end
endmodule
