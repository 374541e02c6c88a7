// Sparse engine, one group (kernel families 1 and 2): one entry per cycle, V lanes, no bubbles
// between tiles or channels. Entry format, schedule and cfg kinds: docs/kernels.md, docs/rtl.md.
// ACC_MUX = 1 moves the column multiplexer behind the multipliers (mac_group): smaller for kernels of
// 2 or 3 columns at stride 1, at the price of one cycle between tiles.
// All groups of a stage are one module for simulators (no_inline_module), which keeps builds short.
//
//   fetch (pc) -> entry -> register -> [window_fetch: base, address, frame, register, x]
//              -> [mac_group: control, product, acc] -> tile
module sparse_engine #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter int IN_CHANNELS = 4,
    parameter int IN_HEIGHT = 12,
    parameter int IN_WIDTH = 12,
    parameter int KERNEL_H = 5,
    parameter int KERNEL_W = 5,
    parameter int STRIDE = 1,
    parameter int PADDING = 0,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 8,
    parameter int TILE_ROWS = 2,
    parameter int INDEX_BITS = 2,
    parameter int ENTRY_CAPACITY = 64,
    parameter int SLOT_CAPACITY = 8,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter bit USE_DSP = 0,
    parameter bit PAIRED = 0,
    parameter bit ACC_MUX = 0,
    parameter int CFG_ADDR_BITS = 16,
    parameter int BANKS = TILE_ROWS * STRIDE,
    parameter int BANK_HEIGHT = (IN_HEIGHT + BANKS - 1) / BANKS,
    parameter int FRAME_ADDR_BITS = $clog2(2 * IN_CHANNELS * BANK_HEIGHT),
    parameter int LANES = TILE_ROWS * OUT_WIDTH,
    parameter int TILES = (OUT_HEIGHT + TILE_ROWS - 1) / TILE_ROWS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1
) (
    input  logic                             clk,
    input  logic                             rst,
    // One image: start with the half of the input frame; busy until the last entry is on its way. Its
    // read follows in three cycles, sooner than any writer that is given the half then reaches it.
    // No tile is completed while out_ready is low.
    input  logic                             start,
    input  logic                             out_ready,
    input  logic                             frame_half,
    output logic                             busy,
    output logic [BANKS*FRAME_ADDR_BITS-1:0] frame_addr,
    input  logic [BANKS*IN_WIDTH*X_BITS-1:0] frame_data,
    // Complete tiles: {image parity, slot, tile, accumulators}.
    output logic                             tile_valid,
    output logic [PAYLOAD_BITS-1:0]          tile_payload,
    input  logic                             tile_pop,
    // Weight memory and header; write and read are for this group only.
    input  logic                             cfg_write,
    input  logic                             cfg_read,
    input  logic [2:0]                       cfg_kind,
    input  logic [CFG_ADDR_BITS-1:0]         cfg_addr,
    input  logic [31:0]                      cfg_wdata,
    output logic [31:0]                      cfg_rdata
);
  /* verilator no_inline_module */
  localparam int KH_FIELD = $clog2(KERNEL_H);
  localparam int KW_FIELD = $clog2(KERNEL_W);
  localparam int KH_BITS = KERNEL_H > 1 ? KH_FIELD : 1;
  localparam int KW_BITS = KERNEL_W > 1 ? KW_FIELD : 1;
  localparam int ADVANCE_BITS = INDEX_BITS > 0 ? INDEX_BITS : 1;
  localparam int KW_LSB = CODE_BITS;
  localparam int KH_LSB = KW_LSB + KW_FIELD;
  localparam int DC_LSB = KH_LSB + KH_FIELD;
  localparam int MAC_BIT = DC_LSB + INDEX_BITS;
  localparam int LAST_BIT = MAC_BIT + 1;
  localparam int ENTRY_BITS = LAST_BIT + 1;
  localparam int ENTRY_ADDR_BITS = ENTRY_CAPACITY > 1 ? $clog2(ENTRY_CAPACITY) : 1;
  localparam int ENTRIES_BITS = $clog2(ENTRY_CAPACITY + 1);
  localparam int SLOTS_BITS = $clog2(SLOT_CAPACITY + 1);
  localparam int HALF_DEPTH = IN_CHANNELS * BANK_HEIGHT;
  // window_fetch counts rows from LIFT bank rows above the map.
  localparam int LIFT = (PADDING + BANKS - 1) / BANKS;
  localparam int SIDE_BITS = KW_BITS + CODE_BITS + 2;
  localparam int WINDOW_KW_BITS = ACC_MUX ? 1 : KW_BITS;
  localparam int X_WIDTH = ACC_MUX ? IN_WIDTH : OUT_WIDTH;
  localparam int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2);

  if (INDEX_BITS == 0 && IN_CHANNELS > 1) begin : gen_bad_index
    $error("sparse_engine: INDEX_BITS = 0 needs IN_CHANNELS = 1");
  end
  if (ACC_MUX && STRIDE != 1) begin : gen_bad_mux
    $error("sparse_engine: ACC_MUX needs STRIDE = 1");
  end
  if (ENTRY_BITS > 32) begin : gen_bad_entry
    $error("sparse_engine: an entry must fit a 32-bit word");
  end
  if (TILE_ROWS > OUT_HEIGHT) begin : gen_bad_rows
    $error("sparse_engine: TILE_ROWS must be at most OUT_HEIGHT");
  end

  logic rst_reg, advance, hold, issue;
  // A copy for this engine alone.
  (* keep *)
  always_ff @(posedge clk) rst_reg <= rst;

  logic last, step, image_last, replay;

  // Weight memory and header registers.
  logic entry_write;
  logic [ENTRIES_BITS-1:0] entries_reg;
  logic [SLOTS_BITS-1:0] slots_reg;
  logic [ENTRY_ADDR_BITS-1:0] entry_addr, pc_reg, pc_next, channel_start_reg, channel_next_reg;
  logic [ENTRY_BITS-1:0] entry;
  assign entry_write = cfg_write & (cfg_kind == 3'd2);

  ram_sdp #(
      .WIDTH(ENTRY_BITS),
      .DEPTH(ENTRY_CAPACITY),
      .ADDR_BITS(ENTRY_ADDR_BITS)
  ) entry_memory (
      .clk(clk),
      .write_enable(entry_write),
      .write_addr(cfg_addr[ENTRY_ADDR_BITS-1:0]),
      .write_data(cfg_wdata[ENTRY_BITS-1:0]),
      .read_enable(advance),
      .read_addr(entry_addr),
      .read_data(entry)
  );

  always_ff @(posedge clk) begin
    if (rst_reg) begin
      entries_reg <= '0;
      slots_reg   <= '0;
    end else if (cfg_write) begin
      if (cfg_kind == 3'd0) entries_reg <= cfg_wdata[ENTRIES_BITS-1:0];
      if (cfg_kind == 3'd1) slots_reg <= cfg_wdata[SLOTS_BITS-1:0];
    end
  end

  always_comb begin
    cfg_rdata = '0;
    if (cfg_read) begin
      if (cfg_kind == 3'd0) cfg_rdata = 32'(entries_reg);
      if (cfg_kind == 3'd1) cfg_rdata = 32'(slots_reg);
      if (cfg_kind == 3'd2) cfg_rdata = 32'(entry);
    end
  end

  // Fetch: the address follows the entry that just arrived, so that replays cost no cycle. Its last flag
  // comes late, from the memory: all that it chooses from, or is combined with, is a register.
  logic active_reg, entry_valid_reg, first_reg, half_reg, busy_reg, pause_reg, room_reg;
  logic tile_last_reg, slot_last_reg;
  logic [TILE_BITS-1:0] tile_reg;
  logic [SLOT_BITS-1:0] slot_reg;
  // A channel's last entry waits for a place that its tile can go to; then the pipeline never stops.
  assign last = entry[LAST_BIT];
  assign hold = entry_valid_reg & last & ~room_reg;
  assign issue = entry_valid_reg & ~hold;
  assign step = entry_valid_reg & last & room_reg;
  assign advance = ~hold & ~pause_reg;
  // The cycle between tiles: the entry behind the last one waits.
  if (ACC_MUX) begin : gen_pause
    always_ff @(posedge clk) begin
      if (rst_reg) pause_reg <= 1'b0;
      else if (!hold) pause_reg <= entry_valid_reg & last & ~image_last;
    end
  end else begin : gen_no_pause
    assign pause_reg = 1'b0;
  end
  assign image_last = last & tile_last_reg & slot_last_reg;
  // Back to the channel's start, or on.
  assign replay = entry_valid_reg & ~tile_last_reg;
  late_select #(
      .WIDTH(ENTRY_ADDR_BITS)
  ) address (
      .late(last),
      .enable(replay),
      .chosen(channel_start_reg),
      .other(pc_reg),
      .result(entry_addr)
  );
  late_select #(
      .WIDTH(ENTRY_ADDR_BITS)
  ) next (
      .late(last),
      .enable(replay),
      .chosen(channel_next_reg),
      .other(pc_reg + 1'b1),
      .result(pc_next)
  );

  always_ff @(posedge clk) begin
    if (rst_reg) begin
      active_reg <= 1'b0;
      entry_valid_reg <= 1'b0;
    end else if (start && slots_reg != '0) begin
      active_reg <= 1'b1;
    end else if (!hold) begin
      entry_valid_reg <= active_reg & ~(entry_valid_reg & (image_last | (ACC_MUX & last)));
      if (entry_valid_reg && image_last) active_reg <= 1'b0;
    end
    if (start) begin
      half_reg <= frame_half;
      pc_reg <= '0;
      channel_start_reg <= '0;
      channel_next_reg <= ENTRY_ADDR_BITS'(1);
      tile_reg <= '0;
      tile_last_reg <= TILES == 1;
      slot_reg <= '0;
      slot_last_reg <= slots_reg == SLOTS_BITS'(1);
      first_reg <= 1'b1;
    end else if (cfg_read) begin
      pc_reg <= cfg_addr[ENTRY_ADDR_BITS-1:0];
    end else if (!hold) begin
      if (active_reg && advance) pc_reg <= pc_next;
      if (entry_valid_reg) first_reg <= last;
      if (step) begin
        tile_reg <= tile_last_reg ? '0 : tile_reg + 1'b1;
        tile_last_reg <= TILES == 1 || (!tile_last_reg && tile_reg == TILE_BITS'(TILES - 2));
        if (tile_last_reg) begin
          channel_start_reg <= pc_reg;
          channel_next_reg <= pc_reg + 1'b1;
          slot_reg <= slot_reg + 1'b1;
          slot_last_reg <= SLOTS_BITS'(slot_reg) + SLOTS_BITS'(2) == slots_reg;
        end
      end
    end
  end

  // The entry behind its memory.
  logic issue_reg, issue_first_reg, issue_last_reg;
  logic [ENTRY_BITS-1:0] entry_reg;
  logic [TILE_BITS-1:0] entry_tile_reg;
  always_ff @(posedge clk) begin
    issue_reg <= issue & ~rst_reg;
    issue_first_reg <= first_reg;
    issue_last_reg <= last;
    entry_reg <= entry;
    entry_tile_reg <= tile_reg;
  end

  // Fields of the entry.
  logic [KH_BITS-1:0] kh;
  logic [KW_BITS-1:0] kw;
  logic [ADVANCE_BITS-1:0] dc;
  if (KH_FIELD > 0) begin : gen_kh
    assign kh = entry_reg[KH_LSB+:KH_BITS];
  end else begin : gen_no_kh
    assign kh = '0;
  end
  if (KW_FIELD > 0) begin : gen_kw
    assign kw = entry_reg[KW_LSB+:KW_BITS];
  end else begin : gen_no_kw
    assign kw = '0;
  end
  if (INDEX_BITS > 0) begin : gen_dc
    assign dc = entry_reg[DC_LSB+:ADVANCE_BITS];
  end else begin : gen_no_dc
    assign dc = '0;
  end

  // Window.
  logic [WINDOW_KW_BITS-1:0] window_kw;
  assign window_kw = ACC_MUX ? '0 : kw[WINDOW_KW_BITS-1:0];
  logic x_valid;
  logic [SIDE_BITS-1:0] read_side, x_side;
  logic [TILE_ROWS*X_WIDTH*X_BITS-1:0] x;
  window_fetch #(
      .X_BITS(X_BITS),
      .IN_CHANNELS(IN_CHANNELS),
      .IN_HEIGHT(IN_HEIGHT),
      .IN_WIDTH(IN_WIDTH),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(ACC_MUX ? 1 : KERNEL_W),
      .STRIDE(STRIDE),
      .PADDING(PADDING),
      .COLUMN_PADDING(ACC_MUX ? 0 : PADDING),
      .OUT_WIDTH(X_WIDTH),
      .TILE_ROWS(TILE_ROWS),
      .TILES(TILES),
      .ADVANCE_BITS(ADVANCE_BITS),
      .SIDE_BITS(SIDE_BITS)
  ) fetch (
      .clk(clk),
      .rst(rst_reg),
      .valid(issue_reg),
      .mac(entry_reg[MAC_BIT]),
      .base_load(issue_first_reg),
      .base_init(half_reg ? FRAME_ADDR_BITS'(HALF_DEPTH - LIFT) : FRAME_ADDR_BITS'(-LIFT)),
      .dc(dc),
      .kh(kh),
      .kw(window_kw),
      .tile(entry_tile_reg),
      .side({issue_first_reg, issue_last_reg, kw, entry_reg[CODE_BITS-1:0]}),
      .read_side(read_side),
      .frame_addr(frame_addr),
      .frame_data(frame_data),
      .x_valid(x_valid),
      .x_side(x_side),
      .x(x)
  );

  always_ff @(posedge clk) begin
    if (rst_reg) busy_reg <= 1'b0;
    else if (start) busy_reg <= slots_reg != '0;
    else if (issue && image_last) busy_reg <= 1'b0;
  end
  assign busy = busy_reg;

  // Weight: decoded once for all lanes, beside the frame's data.
  logic negative;
  logic [CODE_BITS-1:0] magnitude;
  logic [OPERAND_BITS-1:0] operand, operand_reg;
  assign negative = read_side[CODE_BITS-1];
  if (CODE_BITS > 1) begin : gen_magnitude
    assign magnitude = CODE_BITS'(read_side[CODE_BITS-2:0]) + 1'b1;
  end else begin : gen_sign_only
    assign magnitude = 1'b1;
  end
  weight_operand #(
      .CODE_BITS(CODE_BITS),
      .USE_DSP(USE_DSP)
  ) decode (
      .negative(negative),
      .magnitude(magnitude),
      .operand(operand)
  );
  always_ff @(posedge clk) operand_reg <= operand;

  // Multiply-accumulate, and the tiles that wait for the drain.
  logic [LANES-1:0] done;
  logic [LANES*ACC_BITS-1:0] acc;
  mac_group #(
      .ROWS(TILE_ROWS),
      .OUT_WIDTH(OUT_WIDTH),
      .IN_WIDTH(IN_WIDTH),
      .KERNEL_W(KERNEL_W),
      .PADDING(PADDING),
      .ACC_MUX(ACC_MUX),
      .X_BITS(X_BITS),
      .X_SIGNED(X_SIGNED),
      .CODE_BITS(CODE_BITS),
      .ACC_BITS(ACC_BITS),
      .USE_DSP(USE_DSP),
      .PAIRED(PAIRED)
  ) macs (
      .clk(clk),
      .rst(rst_reg),
      .x_valid(x_valid),
      .first(x_side[SIDE_BITS-1]),
      .last(x_side[SIDE_BITS-2]),
      .kw(x_side[CODE_BITS+:KW_BITS]),
      .operand_next(operand_reg),
      .x(x),
      .done(done),
      .acc(acc)
  );
  group_output #(
      .LANES(LANES),
      .ACC_BITS(ACC_BITS),
      .TILES(TILES),
      .SLOT_CAPACITY(SLOT_CAPACITY),
      .FIFO_DEPTH(FIFO_DEPTH),
      .SPACING(SPACING)
  ) out (
      .clk(clk),
      .rst(rst_reg),
      .ready(out_ready),
      .claim(step),
      .room(room_reg),
      .done(done),
      .acc(acc),
      .slots(slots_reg),
      .tile_valid(tile_valid),
      .tile_payload(tile_payload),
      .tile_pop(tile_pop)
  );
  logic unused;
  assign unused = ^{cfg_addr, cfg_wdata, x_side, read_side};
endmodule
