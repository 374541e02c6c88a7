// One row of a group's lanes, with copies of its own of all that the lanes share, so that no net runs
// over the whole group: operand_next comes one cycle before x, x_valid, first, last and kw with it.
//
//   operand_next -> operand | x, x_valid, first, last, kw -> product | accumulator | done
//
// With x_valid, first restarts the accumulators and last completes the tile. done is high for the one
// cycle in which acc holds the complete tile; the pipeline never stops.
//
// ACC_MUX = 0: x holds one activation per lane. With USE_DSP and PAIRED, one DSP block serves the columns
// 2i and 2i + 1: it multiplies x0 + x1 * 2**ACC_BITS, so that its sum holds both accumulators, the higher
// one less 1 where the lower one is negative. acc gives them so; the drain adds the 1 back.
// ACC_MUX = 1: x holds the whole row; every column is multiplied, and the accumulator of column ow picks
// the product of column ow + kw - PADDING (stride 1). For KERNEL_W <= 3 that multiplexer shares the
// LUTs of the accumulator's adder, if nothing else does: so accumulators are cleared by their reset
// input, in the cycle in which the tile is handed on, and the caller leaves one cycle between tiles.
module mac_row #(
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
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                          clk,
    input  logic                          rst,
    input  logic                          x_valid,
    input  logic                          first,
    input  logic                          last,
    input  logic [KW_BITS-1:0]            kw,
    input  logic [OPERAND_BITS-1:0]       operand_next,
    input  logic [X_WIDTH*X_BITS-1:0]     x,
    output logic                          done,
    output logic [OUT_WIDTH*ACC_BITS-1:0] acc
);
  if (ACC_MUX && USE_DSP) begin : gen_bad_style
    $error("mac_row: ACC_MUX multiplies in fabric, not in DSP blocks");
  end
  if (PAIRED && (X_SIGNED || ACC_BITS < X_BITS || ACC_BITS + X_BITS > 24)) begin : gen_bad_pair
    $error("mac_row: PAIRED needs unsigned x and X_BITS <= ACC_BITS <= 24 - X_BITS");
  end

  // The sign of digit 0; DSP blocks have none and do not read it.
  localparam int CARRY_BIT = OPERAND_BITS > 2 ? 2 : 0;
  // Kept, because synthesis would merge them with those of the other rows.
  (* keep = "true" *) logic valid_reg, first_reg, last_reg, carry_reg, done_reg;
  (* keep = "true" *) logic [KW_BITS-1:0] kw_reg;
  (* keep = "true" *) logic [OPERAND_BITS-1:0] operand_reg;
  (* keep *)
  always_ff @(posedge clk) begin
    if (rst) begin
      valid_reg <= 1'b0;
      done_reg  <= 1'b0;
    end else begin
      valid_reg <= x_valid;
      done_reg  <= valid_reg & last_reg;
    end
    first_reg <= first;
    last_reg <= last;
    kw_reg <= kw;
    carry_reg <= operand_reg[CARRY_BIT];
    operand_reg <= operand_next;
  end
  assign done = done_reg;

  if (ACC_MUX) begin : gen_acc_mux
    localparam int PRODUCT_BITS = X_BITS + CODE_BITS;
    logic [IN_WIDTH*PRODUCT_BITS-1:0] products;
    logic clear;
    assign clear = rst | done_reg;
    for (genvar i = 0; i < IN_WIDTH; i++) begin : gen_column
      product_lane #(
          .X_BITS(X_BITS),
          .X_SIGNED(X_SIGNED),
          .CODE_BITS(CODE_BITS)
      ) multiply (
          .clk(clk),
          .operand(operand_reg),
          .x(x[i*X_BITS+:X_BITS]),
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
          .accumulate(valid_reg),
          .carry(carry_reg),
          .select(kw_reg),
          .choices(choices),
          .acc(acc[o*ACC_BITS+:ACC_BITS])
      );
    end
    logic unused;
    assign unused = first_reg;
  end else if (USE_DSP && PAIRED) begin : gen_paired
    for (genvar o = 0; o < OUT_WIDTH; o += 2) begin : gen_pair
      localparam int WIDTH = o + 1 < OUT_WIDTH ? 2 : 1;
      logic [(WIDTH-1)*ACC_BITS+X_BITS-1:0] packed_x;
      if (WIDTH == 2) begin : gen_both
        assign packed_x = {x[(o+1)*X_BITS+:X_BITS], ACC_BITS'(x[o*X_BITS+:X_BITS])};
      end else begin : gen_last
        assign packed_x = x[o*X_BITS+:X_BITS];
      end
      mac_lane #(
          .X_BITS((WIDTH - 1) * ACC_BITS + X_BITS),
          .X_SIGNED(0),
          .CODE_BITS(CODE_BITS),
          .ACC_BITS(WIDTH * ACC_BITS),
          .USE_DSP(1)
      ) lanes (
          .clk(clk),
          .accumulate(valid_reg),
          .first(first_reg),
          .carry(carry_reg),
          .operand(operand_reg),
          .x(packed_x),
          .acc(acc[o*ACC_BITS+:WIDTH*ACC_BITS])
      );
    end
    logic unused;
    assign unused = ^kw_reg;
  end else begin : gen_lanes
    for (genvar o = 0; o < OUT_WIDTH; o++) begin : gen_lane
      mac_lane #(
          .X_BITS(X_BITS),
          .X_SIGNED(X_SIGNED),
          .CODE_BITS(CODE_BITS),
          .ACC_BITS(ACC_BITS),
          .USE_DSP(USE_DSP)
      ) lane (
          .clk(clk),
          .accumulate(valid_reg),
          .first(first_reg),
          .carry(carry_reg),
          .operand(operand_reg),
          .x(x[o*X_BITS+:X_BITS]),
          .acc(acc[o*ACC_BITS+:ACC_BITS])
      );
    end
    logic unused;
    assign unused = ^kw_reg;
  end
endmodule
