// The lanes of one group: rotate the line, mask, multiply, accumulate, hold the result.
//
// rotate, mask, weight, x_signed and the operation come at the stages that seq_group names: data is the
// buffer's line at stage 12, rotate belongs to it, mask and x_signed enter at stage 15, weight at 16, the
// operation at 19. One DSP block multiplies two neighbouring pixels: x1 * 2**16 + x0 times the weight; products
// fit 16 bits (|weight| <= 128, |x| <= 255), the upper one is 1 short where the lower one is negative.
module seq_lanes #(
    parameter int LANES = 64,
    parameter int SLICE = 16,
    parameter int ACC_BITS = 28
) (
    input  logic                      clk,
    input  logic                      maximum,
    input  logic [       8*LANES-1:0] data,
    input  logic [$clog2(LANES)-1:0]  rotate,
    input  logic [         LANES-1:0] mask,
    input  logic [               8:0] weight,
    input  logic                      x_signed,
    input  logic                      op_valid,
    input  logic                      op_first,
    input  logic                      op_escalate,
    input  logic                      op_last,
    // What a sum adds: taken with the weight, read SLICE bytes at a time.
    input  logic                      skip,
    input  logic [$clog2(LANES/SLICE)-1:0] skip_slice,
    output logic [       8*SLICE-1:0] skip_data,
    // The result, SLICE lanes at a time; done comes a cycle before it.
    output logic                      done,
    input  logic [$clog2(LANES/SLICE)-1:0] slice,
    output logic [SLICE*ACC_BITS-1:0] slice_data
);
  localparam int LANE_BITS = $clog2(LANES);
  localparam int TOP_BITS = LANE_BITS - 4;
  localparam int PAIRS = LANES / 2;
  localparam int COPIES = PAIRS / 8;

  // Stages 13 to 15: rotate by 1, 4 and 16 lanes; the mask clears what lies beside the map.
  logic [8*LANES-1:0] near_reg, middle_reg, x_reg;
  logic [LANE_BITS-1:2] rotate13_reg;
  logic signed15_reg;
  logic [16*LANES-1:0] doubled0, doubled1;
  logic [8*LANES-1:0] far;
  assign doubled0 = {data, data};
  assign doubled1 = {near_reg, near_reg};
  if (TOP_BITS > 0) begin : gen_far
    logic [TOP_BITS-1:0] rotate14_reg;
    logic [16*LANES-1:0] doubled2;
    always_ff @(posedge clk) rotate14_reg <= rotate13_reg[LANE_BITS-1:4];
    assign doubled2 = {middle_reg, middle_reg};
    assign far = doubled2[128*rotate14_reg+:8*LANES];
  end else begin : gen_near
    assign far = middle_reg;
  end
  always_ff @(posedge clk) begin
    near_reg <= doubled0[8*rotate[1:0]+:8*LANES];
    rotate13_reg <= rotate[LANE_BITS-1:2];
    middle_reg <= doubled1[32*rotate13_reg[3:2]+:8*LANES];
    for (int v = 0; v < LANES; v++) x_reg[8*v+:8] <= mask[v] ? far[8*v+:8] : 8'd0;
    signed15_reg <= x_signed;
  end

  // Stage 16: operands. Every eight pairs have registers of their own for weight and operation.
  logic signed [8:0] weight_reg [COPIES];
  logic [3:0] op_reg [COPIES];
  always_ff @(posedge clk) begin
    for (int c = 0; c < COPIES; c++) begin
      weight_reg[c] <= weight;
      op_reg[c] <= {maximum, op_escalate, op_first, op_valid};
    end
  end

  logic [8*LANES-1:0] skip_reg;
  always_ff @(posedge clk) begin
    if (skip) skip_reg <= x_reg;
    skip_data <= skip_reg[8*SLICE*skip_slice+:8*SLICE];
  end

  logic [ACC_BITS*LANES-1:0] hold_reg;
  logic last_reg, hold_now_reg;
  for (genvar p = 0; p < PAIRS; p++) begin : gen_pair
    localparam int C = p / 8;
    logic [7:0] x0, x1;
    logic signed [8:0] low, high;
    logic signed [24:0] packed_reg;
    logic signed [33:0] m_reg, p_reg;
    logic signed [ACC_BITS-1:0] acc0_reg, acc1_reg, term0, term1, base0, base1;
    logic greater0, greater1;
    assign x0 = x_reg[16*p+:8];
    assign x1 = x_reg[16*p+8+:8];
    assign low = {signed15_reg & x0[7], x0};
    assign high = {signed15_reg & x1[7], x1};
    assign term0 = ACC_BITS'($signed(p_reg[15:0]));
    assign term1 = ACC_BITS'($signed(p_reg[33:16]));
    assign base0 = op_reg[C][1] ? '0 : op_reg[C][2] ? {acc0_reg[ACC_BITS-8:0], 7'd0} : acc0_reg;
    assign base1 = op_reg[C][1] ? '0 : op_reg[C][2] ? {acc1_reg[ACC_BITS-8:0], 7'd0} : acc1_reg;
    // A maximum multiplies by 1: products and accumulators are activations of nine bits.
    assign greater0 = op_reg[C][1] | ($signed(p_reg[9:0]) > $signed(acc0_reg[9:0]));
    assign greater1 = op_reg[C][1] | ($signed(p_reg[25:16]) + $signed({9'd0, p_reg[15]}) > $signed(acc1_reg[9:0]));
    always_ff @(posedge clk) begin
      packed_reg <= {high + $signed({9{low[8]}}), {7{low[8]}}, low};
      m_reg <= 34'(packed_reg * weight_reg[C]);
      p_reg <= m_reg;
      if (op_reg[C][0]) begin
        if (~op_reg[C][3] | greater0) acc0_reg <= (op_reg[C][3] ? '0 : base0) + term0;
        if (~op_reg[C][3] | greater1)
          acc1_reg <= (op_reg[C][3] ? '0 : base1) + term1 + ACC_BITS'({1'b0, p_reg[15]});
      end
      if (hold_now_reg) hold_reg[2*ACC_BITS*p+:2*ACC_BITS] <= {acc1_reg, acc0_reg};
    end
  end

  // The first slice is read in the cycle behind done, when the result has just been taken.
  assign done = hold_now_reg;
  always_ff @(posedge clk) begin
    last_reg <= op_last;
    hold_now_reg <= last_reg;
    slice_data <= hold_reg[SLICE*ACC_BITS*slice+:SLICE*ACC_BITS];
  end
endmodule
