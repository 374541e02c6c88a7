// One row of a group's lanes. Every PART columns have copies of their own of all that their lanes share,
// so that no net runs over the row: operand_next comes one cycle before x, x_valid, first, last and kw
// with it.
//
//   operand_next -> operand | x, x_valid, first, last, kw -> product (STAGES) | accumulator | done
//
// With x_valid, first restarts the accumulators and last completes the tile. done, a bit per lane, is high
// for the one cycle in which acc holds the complete tile; the pipeline never stops. Nothing but the
// accumulators of ACC_MUX has a reset: without x_valid no tile is ever done.
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
    parameter int PART = 8,
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
    output logic [OUT_WIDTH-1:0]          done,
    output logic [OUT_WIDTH*ACC_BITS-1:0] acc
);
  if (ACC_MUX && USE_DSP) begin : gen_bad_style
    $error("mac_row: ACC_MUX multiplies in fabric, not in DSP blocks");
  end
  if (PAIRED && (X_SIGNED || ACC_BITS < X_BITS || ACC_BITS + X_BITS > 24)) begin : gen_bad_pair
    $error("mac_row: PAIRED needs unsigned x and X_BITS <= ACC_BITS <= 24 - X_BITS");
  end

  if (PART < 2 || PART % 2 != 0) begin : gen_bad_part
    $error("mac_row: PART must be even, as two columns may share a DSP block");
  end

  localparam int WIDEST = X_WIDTH > OUT_WIDTH ? X_WIDTH : OUT_WIDTH;
  localparam int PARTS = (WIDEST + PART - 1) / PART;
  // The sign of digit 0; DSP blocks have none and do not read it.
  localparam int CARRY_BIT = OPERAND_BITS > 2 ? 2 : 0;
  // Stages of a product (product_lane). In fabric, what the accumulators need waits as long, once a row;
  // digit d > 1 of an operand comes d - 1 cycles later.
  localparam int DIGITS = (CODE_BITS + 1) / 2;
  localparam int STAGES = USE_DSP || DIGITS < 3 ? 1 : DIGITS - 1;
  logic late_valid, late_first, late_last;
  logic [KW_BITS-1:0] late_kw;
  if (STAGES > 1) begin : gen_late
    logic [(STAGES-1)*(KW_BITS+3)-1:0] waiting_reg, waiting_next;
    if (STAGES > 2) begin : gen_shift
      assign waiting_next = {waiting_reg[(STAGES-2)*(KW_BITS+3)-1:0], kw, x_valid, first, last};
    end else begin : gen_one
      assign waiting_next = {kw, x_valid, first, last};
    end
    // Kept, because synthesis would merge them with those of the other rows.
    (* keep *)
    always_ff @(posedge clk) waiting_reg <= waiting_next;
    assign {late_kw, late_valid, late_first, late_last} = waiting_reg[(STAGES-2)*(KW_BITS+3)+:KW_BITS+3];
  end else begin : gen_at_once
    assign {late_kw, late_valid, late_first, late_last} = {kw, x_valid, first, last};
  end

  logic [PARTS-1:0] part_valid, part_first, part_carry, part_done, part_clear;
  logic [PARTS*KW_BITS-1:0] part_kw;
  logic [PARTS*OPERAND_BITS-1:0] part_operand;
  for (genvar p = 0; p < PARTS; p++) begin : gen_part
    // Kept, because synthesis would merge them with those of the other parts.
    (* keep = "true" *) logic valid_reg, first_reg, last_reg, done_reg, clear_reg;
    (* keep = "true" *) logic [KW_BITS-1:0] kw_reg;
    (* keep = "true" *) logic [OPERAND_BITS-1:0] operand_reg;
    (* keep *)
    always_ff @(posedge clk) begin
      valid_reg <= late_valid;
      last_reg <= late_last;
      operand_reg <= operand_next;
      done_reg <= valid_reg & last_reg;
    end
    if (ACC_MUX) begin : gen_select
      (* keep *)
      always_ff @(posedge clk) begin
        kw_reg <= late_kw;
        clear_reg <= rst | (valid_reg & last_reg);
      end
      assign first_reg = 1'b0;
    end else begin : gen_restart
      (* keep *)
      always_ff @(posedge clk) first_reg <= late_first;
      assign kw_reg = '0;
      assign clear_reg = 1'b0;
      logic unused;
      assign unused = ^{rst, late_kw};
    end
    logic [STAGES-1:0] carry_reg;
    always_ff @(posedge clk) carry_reg <= STAGES'({carry_reg, operand_reg[CARRY_BIT]});
    if (STAGES > 1) begin : gen_digits
      assign part_operand[p*OPERAND_BITS+:6] = operand_reg[5:0];
      for (genvar d = 2; d < DIGITS; d++) begin : gen_digit
        logic [3*(d-1)-1:0] digit_reg;
        always_ff @(posedge clk) digit_reg <= (3 * (d - 1))'({digit_reg, operand_reg[3*d+:3]});
        assign part_operand[p*OPERAND_BITS+3*d+:3] = digit_reg[3*(d-2)+:3];
      end
    end else begin : gen_operand
      assign part_operand[p*OPERAND_BITS+:OPERAND_BITS] = operand_reg;
    end
    assign part_valid[p] = valid_reg;
    assign part_first[p] = first_reg;
    assign part_carry[p] = carry_reg[STAGES-1];
    assign part_done[p] = done_reg;
    assign part_clear[p] = clear_reg;
    assign part_kw[p*KW_BITS+:KW_BITS] = kw_reg;
  end
  for (genvar o = 0; o < OUT_WIDTH; o++) begin : gen_done
    assign done[o] = part_done[o/PART];
  end
  logic unused;
  assign unused = ^{late_first, part_first, part_kw, part_clear, part_operand, part_done, part_carry};

  if (ACC_MUX) begin : gen_acc_mux
    localparam int PRODUCT_BITS = X_BITS + CODE_BITS;
    logic [IN_WIDTH*PRODUCT_BITS-1:0] products;
    for (genvar i = 0; i < IN_WIDTH; i++) begin : gen_column
      product_lane #(
          .X_BITS(X_BITS),
          .X_SIGNED(X_SIGNED),
          .CODE_BITS(CODE_BITS)
      ) multiply (
          .clk(clk),
          .operand(part_operand[i/PART*OPERAND_BITS+:OPERAND_BITS]),
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
          assign choices[k*PRODUCT_BITS+:PRODUCT_BITS] = {PRODUCT_BITS{part_carry[o/PART]}};
        end
      end
      sum_lane #(
          .PRODUCT_BITS(PRODUCT_BITS),
          .COUNT(KERNEL_W),
          .SELECT_BITS(KW_BITS),
          .ACC_BITS(ACC_BITS)
      ) add (
          .clk(clk),
          .clear(part_clear[o/PART]),
          .accumulate(part_valid[o/PART]),
          .carry(part_carry[o/PART]),
          .select(part_kw[o/PART*KW_BITS+:KW_BITS]),
          .choices(choices),
          .acc(acc[o*ACC_BITS+:ACC_BITS])
      );
    end
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
          .accumulate(part_valid[o/PART]),
          .first(part_first[o/PART]),
          .carry(part_carry[o/PART]),
          .operand(part_operand[o/PART*OPERAND_BITS+:OPERAND_BITS]),
          .x(packed_x),
          .acc(acc[o*ACC_BITS+:WIDTH*ACC_BITS])
      );
    end
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
          .accumulate(part_valid[o/PART]),
          .first(part_first[o/PART]),
          .carry(part_carry[o/PART]),
          .operand(part_operand[o/PART*OPERAND_BITS+:OPERAND_BITS]),
          .x(x[o*X_BITS+:X_BITS]),
          .acc(acc[o*ACC_BITS+:ACC_BITS])
      );
    end
  end
endmodule
