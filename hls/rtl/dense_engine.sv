// Dense engine (kernel family 4): G groups in lock step, one weight per group and cycle, one frame
// port for all. Weight memories hold two's-complement weights at slot*K + k.
//
//   counters -> [window_fetch: base, address, frame + weight, x] -> G x [mac_group] -> tiles
module dense_engine #(
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
    parameter int OUT_CHANNELS = 8,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 8,
    parameter int CONV_GROUPS = 1,
    parameter int TILE_ROWS = 2,
    parameter int GROUPS = 4,
    parameter int WEIGHT_CAPACITY = 200,
    parameter int SLOT_CAPACITY = 2,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter int DSP_GROUPS = 0,
    parameter bit PAIRED = 0,
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
  localparam int KERNEL_C = IN_CHANNELS / CONV_GROUPS;
  localparam int SLOTS = (OUT_CHANNELS + GROUPS - 1) / GROUPS;
  // Slots of one convolution group; with one group, all of them.
  localparam int GROUP_SLOTS = CONV_GROUPS > 1 ? OUT_CHANNELS / CONV_GROUPS / GROUPS : SLOTS;
  localparam int KC_BITS = KERNEL_C > 1 ? $clog2(KERNEL_C) : 1;
  localparam int KH_BITS = KERNEL_H > 1 ? $clog2(KERNEL_H) : 1;
  localparam int KW_BITS = KERNEL_W > 1 ? $clog2(KERNEL_W) : 1;
  localparam int ADDR_BITS = WEIGHT_CAPACITY > 1 ? $clog2(WEIGHT_CAPACITY) : 1;
  localparam int HALF_DEPTH = IN_CHANNELS * BANK_HEIGHT;
  // window_fetch counts rows from LIFT bank rows above the map.
  localparam int LIFT = (PADDING + BANKS - 1) / BANKS;
  localparam int SIDE_BITS = SLOT_BITS + 2;

  if (CONV_GROUPS > 1 && (OUT_CHANNELS / CONV_GROUPS) % GROUPS != 0) begin : gen_bad_groups
    $error("dense_engine: GROUPS must divide the output channels of a convolution group");
  end
  if (SLOT_CAPACITY < SLOTS || WEIGHT_CAPACITY < SLOTS * KERNEL_C * KERNEL_H * KERNEL_W) begin : gen_bad_cap
    $error("dense_engine: SLOT_CAPACITY or WEIGHT_CAPACITY is too small for OUT_CHANNELS");
  end

  logic hold, issue;
  logic [GROUPS-1:0] room;

  // Counters: kw, kh, c fastest first; then the tile, then the slot.
  logic active_reg, half_reg, busy_reg;
  logic [KW_BITS-1:0] kw_reg;
  logic [KH_BITS-1:0] kh_reg;
  logic [KC_BITS-1:0] c_reg;
  logic [TILE_BITS-1:0] tile_reg;
  logic [SLOT_BITS-1:0] slot_reg, group_slot_reg;
  logic [ADDR_BITS-1:0] addr_reg, weight_addr_reg, slot_start_reg;
  logic [FRAME_ADDR_BITS-1:0] group_base_reg;
  logic kw_last, kh_last, c_last, window_last, tile_last, slot_last, image_last, first, advance_reg;
  assign kw_last = kw_reg == KW_BITS'(KERNEL_W - 1);
  assign kh_last = kh_reg == KH_BITS'(KERNEL_H - 1);
  assign c_last = c_reg == KC_BITS'(KERNEL_C - 1);
  assign window_last = kw_last & kh_last & c_last;
  assign tile_last = tile_reg == TILE_BITS'(TILES - 1);
  assign slot_last = slot_reg == SLOT_BITS'(SLOTS - 1);
  assign image_last = window_last & tile_last & slot_last;
  // A window's last step waits until every group has a place for its tile; then nothing stops.
  assign hold = window_last & ~(&room);
  assign issue = active_reg & ~hold;
  assign first = (kw_reg == '0) & (kh_reg == '0) & (c_reg == '0);

  always_ff @(posedge clk) begin
    if (rst) active_reg <= 1'b0;
    else if (start) active_reg <= 1'b1;
    else if (issue && image_last) active_reg <= 1'b0;
    if (start) begin
      half_reg <= frame_half;
      kw_reg <= '0;
      kh_reg <= '0;
      c_reg <= '0;
      tile_reg <= '0;
      slot_reg <= '0;
      group_slot_reg <= '0;
      addr_reg <= '0;
      slot_start_reg <= '0;
      advance_reg <= 1'b0;
      group_base_reg <= frame_half ? FRAME_ADDR_BITS'(HALF_DEPTH - LIFT) : FRAME_ADDR_BITS'(-LIFT);
    end else if (cfg_read) begin
      addr_reg <= cfg_addr[ADDR_BITS-1:0];
    end else if (issue) begin
      kw_reg <= kw_last ? '0 : kw_reg + 1'b1;
      if (kw_last) kh_reg <= kh_last ? '0 : kh_reg + 1'b1;
      if (kw_last && kh_last) c_reg <= c_last ? '0 : c_reg + 1'b1;
      advance_reg <= kw_last & kh_last;
      addr_reg <= (window_last && !tile_last) ? slot_start_reg : addr_reg + 1'b1;
      if (window_last) begin
        tile_reg <= tile_last ? '0 : tile_reg + 1'b1;
        if (tile_last) begin
          slot_start_reg <= addr_reg + 1'b1;
          slot_reg <= slot_reg + 1'b1;
          group_slot_reg <= group_slot_reg + 1'b1;
          if (group_slot_reg == SLOT_BITS'(GROUP_SLOTS - 1)) begin
            group_slot_reg <= '0;
            group_base_reg <= group_base_reg + FRAME_ADDR_BITS'(KERNEL_C * BANK_HEIGHT);
          end
        end
      end
    end
  end

  // The weight's address runs beside the window: a register here and one in each group before its
  // memory, one behind it, then the operand's in the group and in each row.
  always_ff @(posedge clk) weight_addr_reg <= addr_reg;

  // Window, shared by all groups.
  logic x_valid;
  logic [SIDE_BITS-1:0] read_side, x_side;
  logic [LANES*X_BITS-1:0] x;
  window_fetch #(
      .X_BITS(X_BITS),
      .IN_CHANNELS(IN_CHANNELS),
      .IN_HEIGHT(IN_HEIGHT),
      .IN_WIDTH(IN_WIDTH),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE(STRIDE),
      .PADDING(PADDING),
      .OUT_WIDTH(OUT_WIDTH),
      .TILE_ROWS(TILE_ROWS),
      .TILES(TILES),
      .ADVANCE_BITS(1),
      .SIDE_BITS(SIDE_BITS)
  ) fetch (
      .clk(clk),
      .rst(rst),
      .valid(issue),
      .mac(1'b1),
      .base_load(first),
      .base_init(group_base_reg),
      .dc(advance_reg & ~first),
      .kh(kh_reg),
      .kw(kw_reg),
      .tile(tile_reg),
      .side({first, window_last, slot_reg}),
      .read_side(read_side),
      .frame_addr(frame_addr),
      .frame_data(frame_data),
      .x_valid(x_valid),
      .x_side(x_side),
      .x(x)
  );

  always_ff @(posedge clk) begin
    if (rst) busy_reg <= 1'b0;
    else if (start) busy_reg <= 1'b1;
    else if (issue && image_last) busy_reg <= 1'b0;
  end
  assign busy = busy_reg;

  // Groups.
  logic [GROUPS*32-1:0] group_rdata;
  for (genvar g = 0; g < GROUPS; g++) begin : gen_group
    logic cfg_mine;
    assign cfg_mine = cfg_group == GROUP_BITS'(g);
    dense_group #(
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS),
        .ROWS(TILE_ROWS),
        .OUT_WIDTH(OUT_WIDTH),
        .TILES(TILES),
        .WEIGHT_CAPACITY(WEIGHT_CAPACITY),
        .SLOT_CAPACITY(SLOT_CAPACITY),
        .FIFO_DEPTH(FIFO_DEPTH),
        .SPACING(SPACING),
        .USE_DSP(g < DSP_GROUPS),
        .PAIRED(PAIRED),
        .CFG_ADDR_BITS(CFG_ADDR_BITS)
    ) group (
        .clk(clk),
        .rst(rst),
        .out_ready(out_ready),
        .claim(issue & window_last),
        .claim_slot(slot_reg),
        .room(room[g]),
        .weight_addr(weight_addr_reg),
        .x_valid(x_valid),
        .first(x_side[SIDE_BITS-1]),
        .last(x_side[SIDE_BITS-2]),
        .slot(x_side[SLOT_BITS-1:0]),
        .x(x),
        .tile_valid(tile_valid[g]),
        .tile_payload(tile_payload[g*PAYLOAD_BITS+:PAYLOAD_BITS]),
        .tile_pop(tile_pop[g]),
        .cfg_write(cfg_write & cfg_mine),
        .cfg_read(cfg_read & cfg_mine),
        .cfg_kind(cfg_kind),
        .cfg_addr(cfg_addr),
        .cfg_wdata(cfg_wdata),
        .cfg_rdata(group_rdata[g*32+:32])
    );
  end

  always_comb begin
    cfg_rdata = '0;
    for (int g = 0; g < GROUPS; g++) cfg_rdata |= group_rdata[g*32+:32];
  end

  logic unused;
  assign unused = ^{cfg_addr, x_side, read_side, half_reg};
endmodule
