// Input frames of a stage without weights: FRAMES frames in a ring, one bank, one reader.
//
// The write side is that of frame_buffer (row k of a write is row wr_row - ROW_OFFSET + k, one row per
// cycle, so the next write must wait for ROWS cycles). A writer's half is no fixed address range, however: a
// table maps halves in flight to the frames that they claimed. So the readers of one writer can hold
// different numbers of frames. Row h of channel c of the oldest frame lies at rd_base + c*HEIGHT + h.
module frame_ring #(
    parameter int CHANNELS = 4,
    parameter int HEIGHT = 12,
    parameter int WIDTH = 12,
    parameter int X_BITS = 8,
    parameter int FRAMES = 3,
    parameter int ROWS = 1,
    parameter int ROW_OFFSET = 0,
    parameter bit ULTRA = 0,
    parameter int DEPTH = CHANNELS * HEIGHT,
    parameter int ADDR_BITS = $clog2(FRAMES * DEPTH),
    parameter int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1,
    parameter int ROW_BITS = $clog2(HEIGHT + ROW_OFFSET + ROWS + 1)
) (
    input  logic                         clk,
    input  logic                         rst,
    output logic                         wr_free,
    output logic                         wr_next_half,
    input  logic                         wr_claim,
    input  logic                         wr_valid,
    input  logic                         wr_half,
    input  logic                         wr_last,
    input  logic [CHANNEL_BITS-1:0]      wr_channel,
    input  logic [ROW_BITS-1:0]          wr_row,
    input  logic [ROWS-1:0]              wr_mask,
    input  logic [ROWS*WIDTH*X_BITS-1:0] wr_data,
    output logic                         rd_ready,
    output logic [ADDR_BITS-1:0]         rd_base,
    input  logic                         rd_release,
    input  logic                         rd_enable,
    input  logic [ADDR_BITS-1:0]         rd_addr,
    output logic [WIDTH*X_BITS-1:0]      rd_data
);
  localparam int WORD = WIDTH * X_BITS;
  localparam int SLOT_BITS = FRAMES > 1 ? $clog2(FRAMES) : 1;

  if (FRAMES < 2) begin : gen_bad_frames
    $error("frame_ring: FRAMES must be at least 2");
  end

  // Frames: claimed from claim to release, full from the image's last write to release.
  logic [FRAMES-1:0] claimed_reg, full_reg;
  logic [1:0] flight_reg;
  logic parity_reg, fill_reg, fill_half_reg;
  logic [SLOT_BITS-1:0] write_slot_reg, read_slot_reg, slot_of_reg[2];
  logic [ADDR_BITS-1:0] write_base_reg, read_base_reg, base_of_reg[2];
  assign wr_free = ~claimed_reg[write_slot_reg] & ~flight_reg[parity_reg];
  assign wr_next_half = parity_reg;
  assign rd_ready = full_reg[read_slot_reg];
  assign rd_base = read_base_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      claimed_reg <= '0;
      full_reg <= '0;
      flight_reg <= '0;
      parity_reg <= 1'b0;
      write_slot_reg <= '0;
      write_base_reg <= '0;
      read_slot_reg <= '0;
      read_base_reg <= '0;
    end else begin
      if (fill_reg) begin
        full_reg[slot_of_reg[fill_half_reg]] <= 1'b1;
        flight_reg[fill_half_reg] <= 1'b0;
      end
      if (wr_claim) begin
        claimed_reg[write_slot_reg] <= 1'b1;
        flight_reg[parity_reg] <= 1'b1;
        parity_reg <= ~parity_reg;
        if (write_slot_reg == SLOT_BITS'(FRAMES - 1)) begin
          write_slot_reg <= '0;
          write_base_reg <= '0;
        end else begin
          write_slot_reg <= write_slot_reg + 1'b1;
          write_base_reg <= write_base_reg + ADDR_BITS'(DEPTH);
        end
      end
      if (rd_release) begin
        claimed_reg[read_slot_reg] <= 1'b0;
        full_reg[read_slot_reg] <= 1'b0;
        if (read_slot_reg == SLOT_BITS'(FRAMES - 1)) begin
          read_slot_reg <= '0;
          read_base_reg <= '0;
        end else begin
          read_slot_reg <= read_slot_reg + 1'b1;
          read_base_reg <= read_base_reg + ADDR_BITS'(DEPTH);
        end
      end
    end
    if (wr_claim) begin
      slot_of_reg[parity_reg] <= write_slot_reg;
      base_of_reg[parity_reg] <= write_base_reg;
    end
  end

  // Write stage 0: the rows of one write, shifted down by one per cycle.
  logic w0_valid_reg, w0_half_reg, w0_last_reg, w0_final;
  logic [CHANNEL_BITS-1:0] w0_channel_reg;
  logic [ROW_BITS-1:0] w0_row_reg;
  logic [ROWS-1:0] w0_mask_reg;
  logic [ROWS*WORD-1:0] w0_data_reg;
  if (ROWS > 1) begin : gen_steps
    localparam int STEP_BITS = $clog2(ROWS);
    logic [STEP_BITS-1:0] step_reg;
    assign w0_final = step_reg == STEP_BITS'(ROWS - 1);
    always_ff @(posedge clk) begin
      if (wr_valid) begin
        step_reg <= '0;
        w0_row_reg <= wr_row;
        w0_mask_reg <= wr_mask;
        w0_data_reg <= wr_data;
      end else begin
        step_reg <= step_reg + 1'b1;
        w0_row_reg <= w0_row_reg + 1'b1;
        w0_mask_reg <= w0_mask_reg >> 1;
        w0_data_reg <= w0_data_reg >> WORD;
      end
    end
  end else begin : gen_one_step
    assign w0_final = 1'b1;
    always_ff @(posedge clk) begin
      w0_row_reg <= wr_row;
      w0_mask_reg <= wr_mask;
      w0_data_reg <= wr_data;
    end
  end
  always_ff @(posedge clk) begin
    if (rst) w0_valid_reg <= 1'b0;
    else w0_valid_reg <= wr_valid | (w0_valid_reg & ~w0_final);
    if (wr_valid) begin
      w0_half_reg <= wr_half;
      w0_last_reg <= wr_last;
      w0_channel_reg <= wr_channel;
    end
  end

  // Write stage 1: the row's address. Addresses of rows above the map are arbitrary; their writes are masked.
  logic [ADDR_BITS-1:0] channel_base, w1_addr_reg;
  logic w1_enable_reg;
  logic [WORD-1:0] w1_data_reg;
  times_const #(
      .VALUE_BITS(CHANNEL_BITS),
      .FACTOR(HEIGHT),
      .PRODUCT_BITS(ADDR_BITS)
  ) channel_rows (
      .value(w0_channel_reg),
      .product(channel_base)
  );
  always_ff @(posedge clk) begin
    if (rst) begin
      w1_enable_reg <= 1'b0;
      fill_reg <= 1'b0;
    end else begin
      w1_enable_reg <= w0_valid_reg & w0_mask_reg[0];
      fill_reg <= w0_valid_reg & w0_final & w0_last_reg;
    end
    fill_half_reg <= w0_half_reg;
    w1_addr_reg <= base_of_reg[w0_half_reg] + channel_base + ADDR_BITS'(w0_row_reg) - ADDR_BITS'(ROW_OFFSET);
    w1_data_reg <= w0_data_reg[WORD-1:0];
  end
  ram_sdp #(
      .WIDTH(WORD),
      .DEPTH(FRAMES * DEPTH),
      .ADDR_BITS(ADDR_BITS),
      .ULTRA(ULTRA)
  ) storage (
      .clk(clk),
      .write_enable(w1_enable_reg),
      .write_addr(w1_addr_reg),
      .write_data(w1_data_reg),
      .read_enable(rd_enable),
      .read_addr(rd_addr),
      .read_data(rd_data)
  );

  // wr_row may exceed the address range.
  logic unused;
  assign unused = ^w0_row_reg;
endmodule
