// Double-buffered frame (docs/kernels.md): BANKS banks of row words, COPIES copies for as many readers.
//
// Write side: claim a half, then write tiles of up to ROWS consecutive rows of one channel, the first
// being row wr_row - ROW_OFFSET; wr_mask tells which rows exist. A write takes STEPS = ceil(ROWS/BANKS)
// cycles and the next one must wait for it. wr_last with the image's last write fills the half.
// BLOCK keeps the banks in block RAM, however small they are; ULTRA builds them of UltraRAM.
// Read side: one address per copy and bank, data one cycle later; release frees the half.
module frame_buffer #(
    parameter int CHANNELS = 4,
    parameter int HEIGHT = 12,
    parameter int WIDTH = 12,
    parameter int X_BITS = 8,
    parameter int PADDING = 0,
    parameter int BANKS = 2,
    parameter int COPIES = 2,
    parameter int ROWS = 1,
    parameter int ROW_OFFSET = 0,
    parameter bit PHASE_FIXED = 0,
    parameter bit BLOCK = 0,
    parameter bit ULTRA = 0,
    parameter int BANK_HEIGHT = (HEIGHT + 2 * PADDING + BANKS - 1) / BANKS,
    parameter int ADDR_BITS = $clog2(2 * CHANNELS * BANK_HEIGHT),
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + ROW_OFFSET + ROWS + 1)
) (
    input  logic                                 clk,
    input  logic                                 rst,
    output logic                                 wr_free,
    output logic                                 wr_next_half,
    input  logic                                 wr_claim,
    input  logic                                 wr_valid,
    input  logic                                 wr_half,
    input  logic                                 wr_last,
    input  logic [CHANNEL_BITS-1:0]              wr_channel,
    input  logic [ROW_BITS-1:0]                  wr_row,
    input  logic [ROWS-1:0]                      wr_mask,
    input  logic [ROWS*WIDTH*X_BITS-1:0]         wr_data,
    output logic                                 rd_ready,
    output logic                                 rd_half,
    input  logic                                 rd_release,
    input  logic [COPIES-1:0]                    rd_enable,
    input  logic [COPIES*BANKS*ADDR_BITS-1:0]    rd_addr,
    output logic [COPIES*BANKS*WIDTH*X_BITS-1:0] rd_data
);
  localparam int HALF_DEPTH = CHANNELS * BANK_HEIGHT;
  localparam int WORD = WIDTH * X_BITS;
  localparam int LANES = ROWS < BANKS ? ROWS : BANKS;
  localparam int STEPS = (ROWS + BANKS - 1) / BANKS;
  localparam int STEP_BITS = STEPS > 1 ? $clog2(STEPS) : 1;
  // Rows above the map (masked) must not make the padded row negative: shift by whole bank rows.
  localparam int LIFT = PADDING >= ROW_OFFSET ? 0 : (ROW_OFFSET - PADDING + BANKS - 1) / BANKS;
  localparam int PADDED_SHIFT = PADDING - ROW_OFFSET + LIFT * BANKS;
  localparam int PADDED_LIMIT = HEIGHT + ROW_OFFSET + ROWS + PADDED_SHIFT + 1;
  localparam int PADDED_BITS = $clog2(PADDED_LIMIT + 1);
  localparam int PHASE_BITS = BANKS > 1 ? $clog2(BANKS) : 1;

  // Halves.
  logic [1:0] claimed_reg, full_reg;
  logic write_half_reg, read_half_reg, fill, fill_half;
  assign wr_free = ~claimed_reg[write_half_reg];
  assign wr_next_half = write_half_reg;
  assign rd_ready = full_reg[read_half_reg];
  assign rd_half = read_half_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      claimed_reg <= '0;
      full_reg <= '0;
      write_half_reg <= 1'b0;
      read_half_reg <= 1'b0;
    end else begin
      if (wr_claim) begin
        claimed_reg[write_half_reg] <= 1'b1;
        write_half_reg <= ~write_half_reg;
      end
      if (fill) full_reg[fill_half] <= 1'b1;
      if (rd_release) begin
        claimed_reg[read_half_reg] <= 1'b0;
        full_reg[read_half_reg] <= 1'b0;
        read_half_reg <= ~read_half_reg;
      end
    end
  end

  // Write stage 0: the tile, its first row's bank and bank row, and where its channel begins; STEPS > 1
  // shifts it down by LANES rows, then as many as banks, per cycle.
  logic w0_valid_reg, w0_half_reg, w0_last_reg, w0_final;
  logic [PADDED_BITS-1:0] bank_row, remainder;
  logic [ADDR_BITS-1:0] channel_base, w0_base_reg, w0_bank_row_reg;
  logic [PHASE_BITS-1:0] w0_phase_reg;
  logic [ROWS-1:0] w0_mask_reg;
  logic [ROWS*WORD-1:0] w0_data_reg;
  divide_const #(
      .LIMIT(PADDED_LIMIT),
      .DIVISOR(BANKS),
      .VALUE_BITS(PADDED_BITS)
  ) split_row (
      .value(PADDED_BITS'(wr_row) + PADDED_BITS'(PADDED_SHIFT)),
      .quotient(bank_row),
      .remainder(remainder)
  );
  times_const #(
      .VALUE_BITS(CHANNEL_BITS),
      .FACTOR(BANK_HEIGHT),
      .PRODUCT_BITS(ADDR_BITS)
  ) channel_rows (
      .value(wr_channel),
      .product(channel_base)
  );
  if (STEPS > 1) begin : gen_steps
    logic [STEP_BITS-1:0] step_reg;
    assign w0_final = step_reg == STEP_BITS'(STEPS - 1);
    always_ff @(posedge clk) begin
      if (wr_valid) step_reg <= '0;
      else step_reg <= step_reg + 1'b1;
      if (wr_valid) begin
        w0_bank_row_reg <= ADDR_BITS'(bank_row);
        w0_mask_reg <= wr_mask;
        w0_data_reg <= wr_data;
      end else begin
        w0_bank_row_reg <= w0_bank_row_reg + 1'b1;
        w0_mask_reg <= w0_mask_reg >> LANES;
        w0_data_reg <= w0_data_reg >> (LANES * WORD);
      end
    end
  end else begin : gen_one_step
    assign w0_final = 1'b1;
    always_ff @(posedge clk) begin
      w0_bank_row_reg <= ADDR_BITS'(bank_row);
      w0_mask_reg <= wr_mask;
      w0_data_reg <= wr_data;
    end
  end
  always_ff @(posedge clk) begin
    if (rst) w0_valid_reg <= 1'b0;
    else w0_valid_reg <= wr_valid | (w0_valid_reg & ~w0_final);
    if (wr_valid) begin
      w0_phase_reg <= PHASE_BITS'(remainder);
      w0_half_reg <= wr_half;
      w0_last_reg <= wr_last;
      w0_base_reg <= channel_base + (wr_half ? ADDR_BITS'(HALF_DEPTH - LIFT) : ADDR_BITS'(-LIFT));
    end
  end

  // Write stage 1: rows go to banks by rotation; row k of a step to bank (phase + k) mod BANKS.
  logic [PHASE_BITS-1:0] phase;
  logic [ADDR_BITS-1:0] base;
  logic w1_fill_reg, w1_half_reg;
  // Tiles of whole bank rows always start at the same bank.
  assign phase = PHASE_FIXED ? PHASE_BITS'(PADDED_SHIFT % BANKS) : w0_phase_reg;
  assign base = w0_base_reg + w0_bank_row_reg;

  for (genvar b = 0; b < BANKS; b++) begin : gen_bank
    localparam int CHOICE = LANES == 1 ? 1 : WORD + 1;
    logic [BANKS*CHOICE-1:0] choices;
    logic [CHOICE-1:0] chosen;
    logic [WORD-1:0] chosen_row;
    logic enable_reg, wraps;
    logic [ADDR_BITS-1:0] addr_reg;
    logic [WORD-1:0] data_reg;
    for (genvar p = 0; p < BANKS; p++) begin : gen_phase
      localparam int LANE = (b + BANKS - p) % BANKS;
      if (LANE >= LANES) begin : gen_none
        assign choices[p*CHOICE+:CHOICE] = '0;
      end else if (LANES == 1) begin : gen_mask
        assign choices[p*CHOICE+:CHOICE] = w0_mask_reg[LANE];
      end else begin : gen_row
        assign choices[p*CHOICE+:CHOICE] = {w0_mask_reg[LANE], w0_data_reg[LANE*WORD+:WORD]};
      end
    end
    mux_tree #(
        .WIDTH(CHOICE),
        .COUNT(BANKS),
        .SELECT_BITS(PHASE_BITS)
    ) rotate (
        .select(phase),
        .choices(choices),
        .result(chosen)
    );
    // One row goes to every bank; only its mask needs a choice.
    if (LANES == 1) begin : gen_broadcast
      assign chosen_row = w0_data_reg[WORD-1:0];
    end else begin : gen_rotated
      assign chosen_row = chosen[WORD-1:0];
    end
    if (b < BANKS - 1) begin : gen_wraps
      assign wraps = PHASE_BITS'(b) < phase;
    end else begin : gen_never_wraps
      assign wraps = 1'b0;
    end
    always_ff @(posedge clk) begin
      if (rst) enable_reg <= 1'b0;
      else enable_reg <= w0_valid_reg & chosen[CHOICE-1];
      addr_reg <= base + ADDR_BITS'(wraps);
      data_reg <= chosen_row;
    end
    for (genvar c = 0; c < COPIES; c++) begin : gen_copy
      ram_sdp #(
          .WIDTH(WORD),
          .DEPTH(2 * HALF_DEPTH),
          .ADDR_BITS(ADDR_BITS),
          .BLOCK(BLOCK),
          .ULTRA(ULTRA)
      ) bank_memory (
          .clk(clk),
          .write_enable(enable_reg),
          .write_addr(addr_reg),
          .write_data(data_reg),
          .read_enable(rd_enable[c]),
          .read_addr(rd_addr[(c*BANKS+b)*ADDR_BITS+:ADDR_BITS]),
          .read_data(rd_data[(c*BANKS+b)*WORD+:WORD])
      );
    end
  end

  always_ff @(posedge clk) begin
    if (rst) w1_fill_reg <= 1'b0;
    else w1_fill_reg <= w0_valid_reg & w0_final & w0_last_reg;
    w1_half_reg <= w0_half_reg;
  end
  assign fill = w1_fill_reg;
  assign fill_half = w1_half_reg;

  logic unused;
  assign unused = ^{remainder, bank_row};
endmodule
