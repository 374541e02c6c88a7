// Balanced engine (kernel family 5): G groups in lock step, all on the same window of activations. One
// entry per group and cycle names a place of the window and a weight; the words of group 0 also carry
// the program: which window, and where a channel ends. Formats and schedule: docs/kernels.md.
// ACC_MUX = 1 moves the choice of the place behind the multipliers of the groups that have no DSP
// blocks (mac_group), at the price of one cycle between tiles.
//
//   fetch (pc) -> program -> [window_fetch: base, address, frame + entries, x] -> G x [balanced_group]
module balanced_engine #(
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
    parameter int GROUPS = 4,
    parameter int WINDOW = 3,
    parameter int INDEX_BITS = 2,
    parameter int ENTRY_CAPACITY = 64,
    parameter int SLOT_CAPACITY = 8,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter int DSP_GROUPS = 0,
    parameter bit PAIRED = 0,
    parameter bit ACC_MUX = 0,
    parameter int GROUP_BITS = 2,
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
    input  logic                             start,
    // No tile is completed while it is low.
    input  logic                             out_ready,
    input  logic                             frame_half,
    output logic                             busy,
    output logic [BANKS*FRAME_ADDR_BITS-1:0] frame_addr,
    input  logic [BANKS*IN_WIDTH*X_BITS-1:0] frame_data,
    output logic [GROUPS-1:0]                tile_valid,
    output logic [GROUPS*PAYLOAD_BITS-1:0]   tile_payload,
    input  logic [GROUPS-1:0]                tile_pop,
    input  logic                             cfg_write,
    input  logic                             cfg_read,
    input  logic [2:0]                       cfg_kind,
    input  logic [GROUP_BITS-1:0]            cfg_group,
    input  logic [CFG_ADDR_BITS-1:0]         cfg_addr,
    input  logic [31:0]                      cfg_wdata,
    output logic [31:0]                      cfg_rdata
);
  localparam int SUBS = (KERNEL_W + WINDOW - 1) / WINDOW;
  localparam int SUB_FIELD = $clog2(SUBS);
  localparam int SUB_BITS = SUBS > 1 ? SUB_FIELD : 1;
  localparam int KH_FIELD = $clog2(KERNEL_H);
  localparam int KH_BITS = KERNEL_H > 1 ? KH_FIELD : 1;
  localparam int KW_BITS = KERNEL_W > 1 ? $clog2(KERNEL_W) : 1;
  localparam int ADVANCE_BITS = INDEX_BITS > 0 ? INDEX_BITS : 1;
  localparam int ENTRY_BITS = CODE_BITS + $clog2(WINDOW + 1);
  localparam int KH_LSB = ENTRY_BITS + SUB_FIELD;
  localparam int DC_LSB = KH_LSB + KH_FIELD;
  localparam int LAST_BIT = DC_LSB + INDEX_BITS;
  localparam int WORD_BITS = LAST_BIT + 1;
  localparam int ADDR_BITS = ENTRY_CAPACITY > 1 ? $clog2(ENTRY_CAPACITY) : 1;
  localparam int SLOTS_BITS = $clog2(SLOT_CAPACITY + 1);
  localparam int HALF_DEPTH = IN_CHANNELS * BANK_HEIGHT;
  // Columns of a row that the windows of all lanes cover.
  localparam int X_WIDTH = OUT_WIDTH + WINDOW - 1;
  // window_fetch counts rows from LIFT bank rows above the map.
  localparam int LIFT = (PADDING + BANKS - 1) / BANKS;
  // The other groups' words lie one address above group 0's: where pc points when its word is there.
  localparam int GROUP_DEPTH = ENTRY_CAPACITY == 2 ** ADDR_BITS ? ENTRY_CAPACITY : ENTRY_CAPACITY + 1;
  localparam int COUNT_BITS = $clog2(ENTRY_CAPACITY + 1);
  localparam int SIDE_BITS = ENTRY_BITS + ADDR_BITS + 3;

  if (INDEX_BITS == 0 && IN_CHANNELS > 1) begin : gen_bad_index
    $error("balanced_engine: INDEX_BITS = 0 needs IN_CHANNELS = 1");
  end
  if (WINDOW > KERNEL_W || (WINDOW > 1 && STRIDE > 1)) begin : gen_bad_window
    $error("balanced_engine: WINDOW must be at most KERNEL_W, and 1 where STRIDE is above 1");
  end
  if (WORD_BITS > 32) begin : gen_bad_word
    $error("balanced_engine: an entry with its program must fit a 32-bit word");
  end

  logic advance, hold, issue, step, last, image_last, replay;
  logic [GROUPS-1:0] room;

  // Group 0's memory; the number of steps, which all groups share, and of slots.
  logic cfg_first;
  logic [COUNT_BITS-1:0] entries_reg;
  logic [SLOTS_BITS-1:0] all_slots;
  logic [ADDR_BITS-1:0] word_addr, pc_reg, pc_next, slot_start_reg, slot_next_reg;
  logic [WORD_BITS-1:0] word;
  assign cfg_first = cfg_group == '0;
  ram_sdp #(
      .WIDTH(WORD_BITS),
      .DEPTH(ENTRY_CAPACITY),
      .ADDR_BITS(ADDR_BITS)
  ) program_memory (
      .clk(clk),
      .write_enable(cfg_write & cfg_first & (cfg_kind == 3'd2)),
      .write_addr(cfg_addr[ADDR_BITS-1:0]),
      .write_data(cfg_wdata[WORD_BITS-1:0]),
      .read_enable(advance),
      .read_addr(word_addr),
      .read_data(word)
  );
  always_ff @(posedge clk) begin
    if (rst) entries_reg <= '0;
    else if (cfg_write && cfg_kind == 3'd0) entries_reg <= cfg_wdata[COUNT_BITS-1:0];
  end

  // Fetch: the address follows the word that just arrived, so that replays cost no cycle. Its last flag
  // comes late, from the memory: all that it chooses from, or is combined with, is a register.
  logic active_reg, valid_reg, first_reg, half_reg, busy_reg, pause_reg;
  logic tile_last_reg, slot_last_reg;
  logic [TILE_BITS-1:0] tile_reg;
  logic [SLOT_BITS-1:0] slot_reg;
  // A channel's last word waits until every group has a place for its tile; then the pipeline never stops.
  assign last = word[LAST_BIT];
  assign hold = valid_reg & last & ~(&room);
  assign issue = valid_reg & ~hold;
  assign step = valid_reg & last & (&room);
  assign advance = ~hold & ~pause_reg;
  // The cycle between tiles: the word behind the last one waits.
  if (ACC_MUX) begin : gen_pause
    always_ff @(posedge clk) begin
      if (rst) pause_reg <= 1'b0;
      else if (!hold) pause_reg <= valid_reg & last & ~image_last;
    end
  end else begin : gen_no_pause
    assign pause_reg = 1'b0;
  end
  assign image_last = last & tile_last_reg & slot_last_reg;
  // Back to the slot's start, or on.
  assign replay = valid_reg & ~tile_last_reg;
  late_select #(
      .WIDTH(ADDR_BITS)
  ) address (
      .late(last),
      .enable(replay),
      .chosen(slot_start_reg),
      .other(pc_reg),
      .result(word_addr)
  );
  late_select #(
      .WIDTH(ADDR_BITS)
  ) next (
      .late(last),
      .enable(replay),
      .chosen(slot_next_reg),
      .other(pc_reg + 1'b1),
      .result(pc_next)
  );

  always_ff @(posedge clk) begin
    if (rst) begin
      active_reg <= 1'b0;
      valid_reg  <= 1'b0;
    end else if (start && all_slots != '0) begin
      active_reg <= 1'b1;
    end else if (!hold) begin
      valid_reg <= active_reg & ~(valid_reg & (image_last | (ACC_MUX & last)));
      if (valid_reg && image_last) active_reg <= 1'b0;
    end
    if (start) begin
      half_reg <= frame_half;
      pc_reg <= '0;
      slot_start_reg <= '0;
      slot_next_reg <= ADDR_BITS'(1);
      tile_reg <= '0;
      tile_last_reg <= TILES == 1;
      slot_reg <= '0;
      slot_last_reg <= all_slots == SLOTS_BITS'(1);
      first_reg <= 1'b1;
    end else if (cfg_read) begin
      pc_reg <= cfg_addr[ADDR_BITS-1:0] + ADDR_BITS'(!cfg_first);
    end else if (!hold) begin
      if (active_reg && advance) pc_reg <= pc_next;
      if (valid_reg) first_reg <= last;
      if (step) begin
        tile_reg <= tile_last_reg ? '0 : tile_reg + 1'b1;
        tile_last_reg <= TILES == 1 || (!tile_last_reg && tile_reg == TILE_BITS'(TILES - 2));
        if (tile_last_reg) begin
          slot_start_reg <= pc_reg;
          slot_next_reg <= pc_reg + 1'b1;
          slot_reg <= slot_reg + 1'b1;
          slot_last_reg <= SLOTS_BITS'(slot_reg) + SLOTS_BITS'(2) == all_slots;
        end
      end
    end
  end

  // The word behind its memory, and the address of the other groups' entries.
  logic issue_reg, issue_first_reg, issue_last_reg, issue_last_slot_reg;
  logic [LAST_BIT-1:0] word_reg;
  logic [TILE_BITS-1:0] word_tile_reg;
  logic [ADDR_BITS-1:0] group_addr_reg;
  always_ff @(posedge clk) begin
    issue_reg <= issue & ~rst;
    issue_first_reg <= first_reg;
    issue_last_reg <= last;
    issue_last_slot_reg <= slot_last_reg;
    word_reg <= word[LAST_BIT-1:0];
    word_tile_reg <= tile_reg;
    group_addr_reg <= pc_reg;
  end

  // Fields of the program.
  logic [SUB_BITS-1:0] sub;
  logic [KH_BITS-1:0] kh;
  logic [KW_BITS-1:0] kw;
  logic [ADVANCE_BITS-1:0] dc;
  if (SUB_FIELD > 0) begin : gen_sub
    assign sub = word_reg[ENTRY_BITS+:SUB_BITS];
  end else begin : gen_no_sub
    assign sub = '0;
  end
  if (KH_FIELD > 0) begin : gen_kh
    assign kh = word_reg[KH_LSB+:KH_BITS];
  end else begin : gen_no_kh
    assign kh = '0;
  end
  if (INDEX_BITS > 0) begin : gen_dc
    assign dc = word_reg[DC_LSB+:ADVANCE_BITS];
  end else begin : gen_no_dc
    assign dc = '0;
  end
  times_const #(
      .VALUE_BITS(SUB_BITS),
      .FACTOR(WINDOW),
      .PRODUCT_BITS(KW_BITS)
  ) first_column (
      .value(sub),
      .product(kw)
  );

  // Window, shared by all groups. The side channel carries group 0's entry and the others' address.
  logic x_valid;
  logic [SIDE_BITS-1:0] read_side, x_side;
  logic [TILE_ROWS*X_WIDTH*X_BITS-1:0] x;
  window_fetch #(
      .X_BITS(X_BITS),
      .IN_CHANNELS(IN_CHANNELS),
      .IN_HEIGHT(IN_HEIGHT),
      .IN_WIDTH(IN_WIDTH),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE(STRIDE),
      .PADDING(PADDING),
      .OUT_WIDTH(X_WIDTH),
      .TILE_ROWS(TILE_ROWS),
      .TILES(TILES),
      .ADVANCE_BITS(ADVANCE_BITS),
      .SIDE_BITS(SIDE_BITS)
  ) fetch (
      .clk(clk),
      .rst(rst),
      .valid(issue_reg),
      .mac(1'b1),
      .base_load(issue_first_reg),
      .base_init(half_reg ? FRAME_ADDR_BITS'(HALF_DEPTH - LIFT) : FRAME_ADDR_BITS'(-LIFT)),
      .dc(dc),
      .kh(kh),
      .kw(kw),
      .tile(word_tile_reg),
      .side({issue_first_reg, issue_last_reg, issue_last_slot_reg, group_addr_reg, word_reg[ENTRY_BITS-1:0]}),
      .read_side(read_side),
      .frame_addr(frame_addr),
      .frame_data(frame_data),
      .x_valid(x_valid),
      .x_side(x_side),
      .x(x)
  );

  always_ff @(posedge clk) begin
    if (rst) busy_reg <= 1'b0;
    else if (start) busy_reg <= all_slots != '0;
    else if (issue && image_last) busy_reg <= 1'b0;
  end
  assign busy = busy_reg;

  // Groups.
  logic [GROUPS*32-1:0] group_rdata;
  logic [GROUPS*SLOTS_BITS-1:0] slots;
  assign all_slots = slots[SLOTS_BITS-1:0];
  for (genvar g = 0; g < GROUPS; g++) begin : gen_group
    logic cfg_mine;
    logic [ENTRY_BITS-1:0] entry;
    logic [31:0] memory_word;
    assign cfg_mine = cfg_group == GROUP_BITS'(g);
    if (g == 0) begin : gen_of_program
      always_ff @(posedge clk) entry <= read_side[ENTRY_BITS-1:0];
      assign memory_word = 32'(word);
    end else begin : gen_of_memory
      ram_sdp #(
          .WIDTH(ENTRY_BITS),
          .DEPTH(GROUP_DEPTH),
          .ADDR_BITS(ADDR_BITS)
      ) entry_memory (
          .clk(clk),
          .write_enable(cfg_write & cfg_mine & (cfg_kind == 3'd2)),
          .write_addr(cfg_addr[ADDR_BITS-1:0] + 1'b1),
          .write_data(cfg_wdata[ENTRY_BITS-1:0]),
          .read_enable(1'b1),
          .read_addr(read_side[ENTRY_BITS+:ADDR_BITS]),
          .read_data(entry)
      );
      assign memory_word = 32'(entry);
    end
    always_comb begin
      group_rdata[g*32+:32] = '0;
      if (cfg_read && cfg_mine) begin
        if (cfg_kind == 3'd0) group_rdata[g*32+:32] = 32'(entries_reg);
        if (cfg_kind == 3'd1) group_rdata[g*32+:32] = 32'(slots[g*SLOTS_BITS+:SLOTS_BITS]);
        if (cfg_kind == 3'd2) group_rdata[g*32+:32] = memory_word;
      end
    end
    balanced_group #(
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS),
        .ROWS(TILE_ROWS),
        .OUT_WIDTH(OUT_WIDTH),
        .WINDOW(WINDOW),
        .TILES(TILES),
        .SLOT_CAPACITY(SLOT_CAPACITY),
        .FIFO_DEPTH(FIFO_DEPTH),
        .SPACING(SPACING),
        .USE_DSP(g < DSP_GROUPS),
        .PAIRED(PAIRED),
        .ACC_MUX(ACC_MUX && g >= DSP_GROUPS)
    ) group (
        .clk(clk),
        .rst(rst),
        .out_ready(out_ready),
        .claim(step),
        .claim_last_slot(slot_last_reg),
        .room(room[g]),
        .entry(entry),
        .x_valid(x_valid),
        .first(x_side[SIDE_BITS-1]),
        .last(x_side[SIDE_BITS-2]),
        .last_slot(x_side[SIDE_BITS-3]),
        .x(x),
        .tile_valid(tile_valid[g]),
        .tile_payload(tile_payload[g*PAYLOAD_BITS+:PAYLOAD_BITS]),
        .tile_pop(tile_pop[g]),
        .slots(slots[g*SLOTS_BITS+:SLOTS_BITS]),
        .all_slots(all_slots),
        .slots_write(cfg_write & cfg_mine & (cfg_kind == 3'd1)),
        .slots_wdata(cfg_wdata[SLOTS_BITS-1:0])
    );
  end

  always_comb begin
    cfg_rdata = '0;
    for (int g = 0; g < GROUPS; g++) cfg_rdata |= group_rdata[g*32+:32];
  end

  logic unused;
  assign unused = ^{cfg_addr, cfg_wdata, x_side, read_side};
endmodule
