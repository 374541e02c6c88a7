// y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi) on LANES lanes; four stages. mult and shift
// come two cycles before acc: what all lanes share is decoded, then shifted, then registered at every
// multiplier, because the multipliers lie far apart.
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
  logic [SHIFT_BITS-1:0] bounded, bounded_reg;
  logic [MULT_BITS-1:0] mult_reg;
  assign bounded = shift > SHIFT_BITS'(SHIFT_MAX) ? SHIFT_BITS'(SHIFT_MAX) : shift;

  logic signed [FACTOR_BITS-1:0] factor, factor_reg;
  // In slices: kept, because synthesis would move it into every DSP block, which has room for two.
  (* keep = "true" *) logic signed [FACTOR_BITS-1:0] factor_early_reg;
  logic [WIDE-1:0] round_next, round_early_reg, round_m_reg, round_reg;
  logic [RANGE_BITS-1:0] extra, extra_early_reg, extra_a_reg, extra_m_reg, extra_p_reg;

  if (RANGE == 0) begin : gen_fixed
    assign extra = '0;
    assign factor = $signed({1'b0, mult_reg});
    assign round_next = WIDE'(1) << (SHIFT_MAX - 1);
    assign bounded_reg = '0;
    logic unused;
    assign unused = ^{bounded, bounded_reg};
  end else if (PRE_SHIFT) begin : gen_pre_shift
    logic [RANGE_BITS-1:0] left_reg;
    logic [SHIFT_BITS-1:0] left;
    assign left = SHIFT_BITS'(SHIFT_MAX) - bounded;
    assign extra = '0;
    assign factor = $signed(FACTOR_BITS'({1'b0, mult_reg}) << left_reg);
    assign round_next = WIDE'(1) << (SHIFT_MAX - 1);
    always_ff @(posedge clk) left_reg <= left[RANGE_BITS-1:0];
    assign bounded_reg = '0;
    logic unused;
    assign unused = ^{left, bounded_reg};
  end else begin : gen_barrel
    always_ff @(posedge clk) bounded_reg <= bounded;
    assign extra = RANGE_BITS'(bounded_reg - SHIFT_BITS'(SHIFT_MIN));
    assign factor = $signed({1'b0, mult_reg});
    assign round_next = WIDE'(1) << (bounded_reg - 1'b1);
  end

  always_ff @(posedge clk) begin
    mult_reg <= mult;
    factor_reg <= factor_early_reg;
    extra_early_reg <= extra;
    extra_a_reg <= extra_early_reg;
    extra_m_reg <= extra_a_reg;
    extra_p_reg <= extra_m_reg;
    round_early_reg <= round_next;
    round_m_reg <= round_early_reg;
    round_reg <= round_m_reg;
  end

  (* keep *)
  always_ff @(posedge clk) factor_early_reg <= factor;

  for (genvar v = 0; v < LANES; v++) begin : gen_lane
    localparam int FIXED = PRE_SHIFT ? SHIFT_MAX : SHIFT_MIN;
    localparam int REST = WIDE - FIXED;
    logic signed [ACC_BITS-1:0] acc_reg;
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
      acc_reg <= acc[v*ACC_BITS+:ACC_BITS];
      product_reg <= acc_reg * factor_reg;
      rounded_reg <= WIDE'(product_reg) + $signed(round_reg);
      y_reg <= y_next;
    end
    assign y[v*Y_BITS+:Y_BITS] = y_reg;
  end
endmodule
