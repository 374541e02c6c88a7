// The lanes of one group: tile = sum over entries of weight * x, per lane, and when it is complete.
//
// With x_valid, first restarts the accumulators and last completes the tile. done rises with the
// complete tile and stays until enable lets the pipeline move on; done_next is its next value.
//
// ACC_MUX = 0: x holds one activation per lane. With USE_DSP and PAIRED, one DSP block serves the columns
// 2i and 2i + 1 of a row: it multiplies x0 + x1 * 2**ACC_BITS, so that its sum holds both accumulators,
// the higher one less 1 where the lower one is negative. acc gives them so; the drain adds the 1 back.
// ACC_MUX = 1: x holds whole rows; every column is multiplied, and the accumulator of column ow picks
// the product of column ow + kw - PADDING (stride 1). For KERNEL_W <= 3 that multiplexer shares the
// LUTs of the accumulator's adder, if nothing else does: so accumulators are cleared by their reset
// input, in the cycle in which the tile is handed on, and the caller leaves one cycle between tiles.
module mac_group #(
    parameter int ROWS = 1,
    parameter int OUT_WIDTH = 24,
    parameter int IN_WIDTH = 24,
    parameter int KERNEL_W = 1,
    parameter int PADDING = 0,
    parameter bit ACC_MUX = 0,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter bit USE_DSP = 0,
    parameter bit PAIRED = 0,
    parameter int KW_BITS = KERNEL_W > 1 ? $clog2(KERNEL_W) : 1,
    parameter int X_WIDTH = ACC_MUX ? IN_WIDTH : OUT_WIDTH,
    parameter int LANES = ROWS * OUT_WIDTH,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                           clk,
    input  logic                           rst,
    input  logic                           enable,
    input  logic                           x_valid,
    input  logic                           first,
    input  logic                           last,
    input  logic [KW_BITS-1:0]             kw,
    input  logic [OPERAND_BITS-1:0]        operand,
    input  logic [ROWS*X_WIDTH*X_BITS-1:0] x,
    output logic                           done,
    output logic                           done_next,
    output logic [LANES*ACC_BITS-1:0]      acc
);
  logic valid_reg, first_reg, last_reg, done_reg, carry_reg;

  if (ACC_MUX && USE_DSP) begin : gen_bad_style
    $error("mac_group: ACC_MUX multiplies in fabric, not in DSP blocks");
  end

  if (PAIRED && (X_SIGNED || ACC_BITS < X_BITS || ACC_BITS + X_BITS > 24)) begin : gen_bad_pair
    $error("mac_group: PAIRED needs unsigned x and X_BITS <= ACC_BITS <= 24 - X_BITS");
  end

  if (ACC_MUX) begin : gen_acc_mux
    localparam int PRODUCT_BITS = X_BITS + CODE_BITS;
    logic [KW_BITS-1:0] kw_reg;
    logic clear;
    assign clear = rst | (enable & done_reg);
    always_ff @(posedge clk) if (enable) kw_reg <= kw;
    for (genvar r = 0; r < ROWS; r++) begin : gen_row
      logic [IN_WIDTH*PRODUCT_BITS-1:0] products;
      for (genvar i = 0; i < IN_WIDTH; i++) begin : gen_column
        product_lane #(
            .X_BITS(X_BITS),
            .X_SIGNED(X_SIGNED),
            .CODE_BITS(CODE_BITS)
        ) multiply (
            .clk(clk),
            .enable(enable),
            .operand(operand),
            .x(x[(r*IN_WIDTH+i)*X_BITS+:X_BITS]),
            .product(products[i*PRODUCT_BITS+:PRODUCT_BITS])
        );
      end
      for (genvar o = 0; o < OUT_WIDTH; o++) begin : gen_lane
        // Beyond the map the product is that of x = 0: all ones where digit 0 is inverted.
        logic [KERNEL_W*PRODUCT_BITS-1:0] choices;
        for (genvar k = 0; k < KERNEL_W; k++) begin : gen_choice
          localparam int COLUMN = o + k - PADDING;
          if (COLUMN >= 0 && COLUMN < IN_WIDTH) begin : gen_inside
            assign choices[k*PRODUCT_BITS+:PRODUCT_BITS] = products[COLUMN*PRODUCT_BITS+:PRODUCT_BITS];
          end else begin : gen_outside
            assign choices[k*PRODUCT_BITS+:PRODUCT_BITS] = {PRODUCT_BITS{carry_reg}};
          end
        end
        sum_lane #(
            .PRODUCT_BITS(PRODUCT_BITS),
            .COUNT(KERNEL_W),
            .SELECT_BITS(KW_BITS),
            .ACC_BITS(ACC_BITS)
        ) add (
            .clk(clk),
            .clear(clear),
            .accumulate(enable & valid_reg),
            .carry(carry_reg),
            .select(kw_reg),
            .choices(choices),
            .acc(acc[(r*OUT_WIDTH+o)*ACC_BITS+:ACC_BITS])
        );
      end
    end
    logic unused;
    assign unused = first_reg;
  end else if (USE_DSP && PAIRED) begin : gen_paired
    for (genvar r = 0; r < ROWS; r++) begin : gen_row
      for (genvar o = 0; o < OUT_WIDTH; o += 2) begin : gen_pair
        localparam int LANE = r * OUT_WIDTH + o;
        localparam int WIDTH = o + 1 < OUT_WIDTH ? 2 : 1;
        logic [(WIDTH-1)*ACC_BITS+X_BITS-1:0] packed_x;
        if (WIDTH == 2) begin : gen_both
          assign packed_x = {x[(LANE+1)*X_BITS+:X_BITS], ACC_BITS'(x[LANE*X_BITS+:X_BITS])};
        end else begin : gen_last
          assign packed_x = x[LANE*X_BITS+:X_BITS];
        end
        mac_lane #(
            .X_BITS((WIDTH - 1) * ACC_BITS + X_BITS),
            .X_SIGNED(0),
            .CODE_BITS(CODE_BITS),
            .ACC_BITS(WIDTH * ACC_BITS),
            .USE_DSP(1)
        ) lanes (
            .clk(clk),
            .enable(enable),
            .accumulate(enable & valid_reg),
            .first(first_reg),
            .carry(carry_reg),
            .operand(operand),
            .x(packed_x),
            .acc(acc[LANE*ACC_BITS+:WIDTH*ACC_BITS])
        );
      end
    end
    logic unused;
    assign unused = ^kw;
  end else begin : gen_lanes
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
          .carry(carry_reg),
          .operand(operand),
          .x(x[v*X_BITS+:X_BITS]),
          .acc(acc[v*ACC_BITS+:ACC_BITS])
      );
    end
    logic unused;
    assign unused = ^kw;
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
      carry_reg <= operand[2];
    end
  end
  assign done = done_reg;
endmodule
