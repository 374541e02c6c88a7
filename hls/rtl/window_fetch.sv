// Address, frame read and window multiplexer: five pipeline stages from (c, kh, kw, t) to lanes.
//
// The caller gives, with valid, the advance dc of the channel (base_load restarts it at base_init, a
// frame address), the kernel position and the tile; two cycles later the frame is read, three more later
// x holds one activation per lane, zero where mac is low or the row is padding.
// side travels along and comes out with x. The pipeline never stops: a caller that must wait gives no
// valid. Every PART columns of a row have copies of their own of the selects, and what the frame's
// memories give passes a register before anything is selected: nets are short, and no path is long.
//
// Row h of a channel lies in bank h mod BANKS, bank row h div BANKS. Kernel row kh of a tile begins at
// row tile*BANKS + kh - PADDING; LIFT*BANKS is added to keep it positive, and base_init is LIFT less
// than the channel's address. Rows outside the map are read wherever that leads, and replaced by zeros.
module window_fetch #(
    parameter int X_BITS = 8,
    parameter int IN_CHANNELS = 1,
    parameter int IN_HEIGHT = 28,
    parameter int IN_WIDTH = 28,
    parameter int KERNEL_H = 5,
    parameter int KERNEL_W = 5,
    parameter int STRIDE = 1,
    parameter int PADDING = 0,
    parameter int COLUMN_PADDING = PADDING,
    parameter int OUT_WIDTH = 24,
    parameter int TILE_ROWS = 2,
    parameter int TILES = 12,
    parameter int ADVANCE_BITS = 1,
    parameter int SIDE_BITS = 4,
    parameter int PART = 8,
    parameter int BANKS = TILE_ROWS * STRIDE,
    parameter int BANK_HEIGHT = (IN_HEIGHT + BANKS - 1) / BANKS,
    parameter int ADDR_BITS = $clog2(2 * IN_CHANNELS * BANK_HEIGHT),
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int KH_BITS = KERNEL_H > 1 ? $clog2(KERNEL_H) : 1,
    parameter int KW_BITS = KERNEL_W > 1 ? $clog2(KERNEL_W) : 1
) (
    input  logic                                  clk,
    input  logic                                  rst,
    // One request per cycle.
    input  logic                                  valid,
    input  logic                                  mac,
    input  logic                                  base_load,
    input  logic [ADDR_BITS-1:0]                  base_init,
    input  logic [ADVANCE_BITS-1:0]               dc,
    input  logic [KH_BITS-1:0]                    kh,
    input  logic [KW_BITS-1:0]                    kw,
    input  logic [TILE_BITS-1:0]                  tile,
    input  logic [SIDE_BITS-1:0]                  side,
    // Frame read port: data one cycle after an address; read_side with the data.
    output logic [SIDE_BITS-1:0]                  read_side,
    output logic [BANKS*ADDR_BITS-1:0]            frame_addr,
    input  logic [BANKS*IN_WIDTH*X_BITS-1:0]      frame_data,
    // Five stages after the request.
    output logic                                  x_valid,
    output logic [SIDE_BITS-1:0]                  x_side,
    output logic [TILE_ROWS*OUT_WIDTH*X_BITS-1:0] x
);
  localparam int PHASES = KERNEL_H < BANKS ? KERNEL_H : BANKS;
  localparam int PHASE_BITS = PHASES > 1 ? $clog2(PHASES) : 1;
  localparam int PADDED_ROW_BITS = $clog2(TILES * BANKS + KERNEL_H + PADDING + 1);
  localparam int LANE_BITS = OUT_WIDTH * X_BITS;
  localparam int ROW_PARTS = (IN_WIDTH + PART - 1) / PART;
  localparam int LANE_PARTS = (OUT_WIDTH + PART - 1) / PART;
  localparam int OFFSET_BITS = $clog2(TILES + KERNEL_H + LIFT);
  localparam int LIFT = (PADDING + BANKS - 1) / BANKS;
  localparam int ROW_SHIFT = LIFT * BANKS - PADDING;
  localparam int SHIFTED_BITS = $clog2(KERNEL_H + ROW_SHIFT + 1);
  localparam int BANK_BITS = BANKS > 1 ? $clog2(BANKS) : 1;
  // Banks that the first row of a window can have passed.
  localparam int WRAP_BANKS = PADDING > 0 ? BANKS : PHASES;
  // Rows beyond the map exist where padding or the last tile reaches below it.
  localparam bit BELOW = (TILES * TILE_ROWS - 1) * STRIDE + KERNEL_H > IN_HEIGHT + PADDING;

  // Stage 1: channel base, row offset within the channel, padding rows.
  logic s1_valid_reg, s2_valid_reg, s3_valid_reg, s4_valid_reg, s5_valid_reg;
  logic [ADDR_BITS-1:0] base_reg;
  logic [OFFSET_BITS-1:0] offset_reg, offset_next;
  logic [PHASE_BITS-1:0] s1_phase_reg, s2_phase_reg, s3_phase_reg, phase_next;
  logic [TILE_ROWS*ROW_PARTS*PHASE_BITS-1:0] s4_phase;
  logic [KW_BITS-1:0] s1_kw_reg, s2_kw_reg, s3_kw_reg;
  logic [TILE_ROWS*LANE_PARTS*KW_BITS-1:0] s4_kw;
  logic [TILE_ROWS-1:0] s1_zero_reg, s2_zero_reg, s3_zero_reg, s4_zero_reg, zero_next;
  logic [SIDE_BITS-1:0] s1_side_reg, s2_side_reg, s3_side_reg, s4_side_reg, s5_side_reg;
  logic [BANKS*IN_WIDTH*X_BITS-1:0] s4_data_reg;
  logic [TILE_ROWS*LANE_BITS-1:0] lanes, x_reg;

  logic [KH_BITS-1:0] unused_quotient, phase_of_kh;
  divide_const #(
      .LIMIT(KERNEL_H),
      .DIVISOR(BANKS),
      .VALUE_BITS(KH_BITS)
  ) split_kh (
      .value(kh),
      .quotient(unused_quotient),
      .remainder(phase_of_kh)
  );
  logic [SHIFTED_BITS-1:0] bank_row, first_bank;
  logic [BANK_BITS-1:0] s1_bank_reg;
  divide_const #(
      .LIMIT(KERNEL_H + ROW_SHIFT),
      .DIVISOR(BANKS),
      .VALUE_BITS(SHIFTED_BITS)
  ) split_row (
      .value(SHIFTED_BITS'(kh) + SHIFTED_BITS'(ROW_SHIFT)),
      .quotient(bank_row),
      .remainder(first_bank)
  );
  assign phase_next = PHASE_BITS'(phase_of_kh);
  assign offset_next = OFFSET_BITS'(tile) + OFFSET_BITS'(bank_row);

  if (PADDING > 0 || BELOW) begin : gen_padding_rows
    logic [PADDED_ROW_BITS-1:0] row, tile_row;
    times_const #(
        .VALUE_BITS(TILE_BITS),
        .FACTOR(BANKS),
        .PRODUCT_BITS(PADDED_ROW_BITS)
    ) first_row (
        .value(tile),
        .product(tile_row)
    );
    assign row = tile_row + PADDED_ROW_BITS'(kh);
    for (genvar r = 0; r < TILE_ROWS; r++) begin : gen_row
      logic above, below;
      if (PADDING > r * STRIDE) begin : gen_above
        assign above = row < PADDED_ROW_BITS'(PADDING - r * STRIDE);
      end else begin : gen_never_above
        assign above = 1'b0;
      end
      if (BELOW && IN_HEIGHT + PADDING > r * STRIDE) begin : gen_below
        assign below = row >= PADDED_ROW_BITS'(IN_HEIGHT + PADDING - r * STRIDE);
      end else begin : gen_never_below
        assign below = BELOW;
      end
      assign zero_next[r] = ~mac | above | below;
    end
  end else begin : gen_no_padding_rows
    assign zero_next = {TILE_ROWS{~mac}};
  end

  logic [ADDR_BITS-1:0] advance;
  times_const #(
      .VALUE_BITS(ADVANCE_BITS),
      .FACTOR(BANK_HEIGHT),
      .PRODUCT_BITS(ADDR_BITS)
  ) advance_rows (
      .value(dc),
      .product(advance)
  );
  always_ff @(posedge clk) begin
    if (valid) base_reg <= (base_load ? base_init : base_reg) + advance;
    offset_reg <= offset_next;
    s1_bank_reg <= BANK_BITS'(first_bank);
  end

  // Stage 2: one address per bank; a bank that the window has passed serves the next bank row.
  for (genvar b = 0; b < BANKS; b++) begin : gen_bank
    logic [ADDR_BITS-1:0] addr_reg;
    logic carry;
    if (b < WRAP_BANKS - 1) begin : gen_wraps
      assign carry = BANK_BITS'(b) < s1_bank_reg;
    end else begin : gen_never_wraps
      assign carry = 1'b0;
    end
    always_ff @(posedge clk) begin
      addr_reg <= base_reg + ADDR_BITS'(offset_reg) + ADDR_BITS'(carry);
    end
    assign frame_addr[b*ADDR_BITS+:ADDR_BITS] = addr_reg;
  end
  assign read_side = s3_side_reg;

  // Stage 3 is the frame memory's output register, stage 4 the register behind it, stage 5 the selected
  // activations.
  window_mux #(
      .X_BITS(X_BITS),
      .IN_WIDTH(IN_WIDTH),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE(STRIDE),
      .ROW_PADDING(PADDING),
      .PADDING(COLUMN_PADDING),
      .OUT_WIDTH(OUT_WIDTH),
      .TILE_ROWS(TILE_ROWS),
      .PHASE_BITS(PHASE_BITS),
      .COLUMN_BITS(KW_BITS),
      .PART(PART)
  ) window (
      .row_phase(s4_phase),
      .column(s4_kw),
      .banks(s4_data_reg),
      .lanes(lanes)
  );

  for (genvar r = 0; r < TILE_ROWS; r++) begin : gen_x
    for (genvar c = 0; c < ROW_PARTS; c++) begin : gen_phase
      (* keep = "true" *) logic [PHASE_BITS-1:0] s4_phase_reg;
      (* keep *)
      always_ff @(posedge clk) s4_phase_reg <= s3_phase_reg;
      assign s4_phase[(r*ROW_PARTS+c)*PHASE_BITS+:PHASE_BITS] = s4_phase_reg;
    end
    for (genvar c = 0; c < LANE_PARTS; c++) begin : gen_kw
      (* keep = "true" *) logic [KW_BITS-1:0] s4_kw_reg;
      (* keep *)
      always_ff @(posedge clk) s4_kw_reg <= s3_kw_reg;
      assign s4_kw[(r*LANE_PARTS+c)*KW_BITS+:KW_BITS] = s4_kw_reg;
    end
    always_ff @(posedge clk) begin
      if (s4_zero_reg[r]) x_reg[r*LANE_BITS+:LANE_BITS] <= '0;
      else x_reg[r*LANE_BITS+:LANE_BITS] <= lanes[r*LANE_BITS+:LANE_BITS];
    end
  end
  // Kept: the rows' copies may be alike.
  (* keep *)
  always_ff @(posedge clk) s4_zero_reg <= s3_zero_reg;

  always_ff @(posedge clk) begin
    if (rst) begin
      s1_valid_reg <= 1'b0;
      s2_valid_reg <= 1'b0;
      s3_valid_reg <= 1'b0;
      s4_valid_reg <= 1'b0;
      s5_valid_reg <= 1'b0;
    end else begin
      s1_valid_reg <= valid;
      s2_valid_reg <= s1_valid_reg;
      s3_valid_reg <= s2_valid_reg;
      s4_valid_reg <= s3_valid_reg;
      s5_valid_reg <= s4_valid_reg;
    end
  end

  always_ff @(posedge clk) begin
    s1_phase_reg <= phase_next;
    s2_phase_reg <= s1_phase_reg;
    s3_phase_reg <= s2_phase_reg;
    s1_kw_reg <= kw;
    s2_kw_reg <= s1_kw_reg;
    s3_kw_reg <= s2_kw_reg;
    s1_zero_reg <= zero_next;
    s2_zero_reg <= s1_zero_reg;
    s3_zero_reg <= s2_zero_reg;
    s1_side_reg <= side;
    s2_side_reg <= s1_side_reg;
    s3_side_reg <= s2_side_reg;
    s4_side_reg <= s3_side_reg;
    s5_side_reg <= s4_side_reg;
    s4_data_reg <= frame_data;
  end

  assign x_valid = s5_valid_reg;
  assign x_side = s5_side_reg;
  assign x = x_reg;

  logic unused;
  assign unused = ^{phase_of_kh, unused_quotient, first_bank, bank_row, s1_bank_reg};
endmodule
