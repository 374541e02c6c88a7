// A layer's kernel as a break-even compares it, to be routed by itself: input frame and engines, no drain.
// SPARSE = 1: GROUPS sparse engines, each with its own frame copy. SPARSE = 0: one dense engine.
module route_kernel #(
    parameter bit SPARSE = 1,
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
    parameter int INDEX_BITS = 2,
    parameter int ENTRY_CAPACITY = 200,
    parameter int SLOT_CAPACITY = 2,
    parameter bit ACC_MUX = 0,
    parameter int CFG_GROUP_BITS = GROUPS > 1 ? $clog2(GROUPS) : 1,
    parameter int CFG_ADDR_BITS = 16,
    parameter int IN_CHANNEL_BITS = IN_CHANNELS > 1 ? $clog2(IN_CHANNELS) : 1,
    parameter int IN_ROW_BITS = $clog2(IN_HEIGHT + 2),
    parameter int BANKS = TILE_ROWS * STRIDE,
    parameter int BANK_HEIGHT = (IN_HEIGHT + BANKS - 1) / BANKS,
    parameter int FRAME_ADDR_BITS = $clog2(2 * IN_CHANNELS * BANK_HEIGHT),
    parameter int COPIES = SPARSE ? GROUPS : 1,
    parameter int LANES = TILE_ROWS * OUT_WIDTH,
    parameter int TILES = (OUT_HEIGHT + TILE_ROWS - 1) / TILE_ROWS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1,
    parameter int BANK_BITS = BANKS * IN_WIDTH * X_BITS
) (
    input  logic                           clk,
    input  logic                           rst,
    output logic                           in_free,
    output logic                           in_next_half,
    input  logic                           in_claim,
    input  logic                           in_valid,
    input  logic                           in_half,
    input  logic                           in_last,
    input  logic [IN_CHANNEL_BITS-1:0]     in_channel,
    input  logic [IN_ROW_BITS-1:0]         in_row,
    input  logic [IN_WIDTH*X_BITS-1:0]     in_data,
    input  logic                           out_free,
    output logic [GROUPS-1:0]              tile_valid,
    output logic [GROUPS*PAYLOAD_BITS-1:0] tile_payload,
    input  logic [GROUPS-1:0]              tile_pop,
    input  logic                           cfg_write,
    input  logic                           cfg_read,
    input  logic [2:0]                     cfg_kind,
    input  logic [CFG_GROUP_BITS-1:0]      cfg_group,
    input  logic [CFG_ADDR_BITS-1:0]       cfg_addr,
    input  logic [31:0]                    cfg_wdata,
    output logic [31:0]                    cfg_rdata,
    output logic                           busy
);
  logic frame_ready, frame_half, start, engines_busy, running_reg, release_frame;
  logic [COPIES*BANKS*FRAME_ADDR_BITS-1:0] frame_addr;
  logic [COPIES*BANK_BITS-1:0] frame_data;
  assign start = frame_ready & out_free & ~running_reg;
  assign release_frame = running_reg & ~engines_busy;
  assign busy = running_reg;
  always_ff @(posedge clk) begin
    if (rst) running_reg <= 1'b0;
    else running_reg <= start | (running_reg & engines_busy);
  end

  frame_buffer #(
      .CHANNELS(IN_CHANNELS),
      .HEIGHT(IN_HEIGHT),
      .WIDTH(IN_WIDTH),
      .X_BITS(X_BITS),
      .BANKS(BANKS),
      .COPIES(COPIES),
      .BANK_HEIGHT(BANK_HEIGHT)
  ) frame (
      .clk(clk),
      .rst(rst),
      .wr_free(in_free),
      .wr_next_half(in_next_half),
      .wr_claim(in_claim),
      .wr_valid(in_valid),
      .wr_half(in_half),
      .wr_last(in_last),
      .wr_channel(in_channel),
      .wr_row(in_row),
      .wr_mask(1'b1),
      .wr_data(in_data),
      .rd_ready(frame_ready),
      .rd_half(frame_half),
      .rd_release(release_frame),
      .rd_enable({COPIES{1'b1}}),
      .rd_addr(frame_addr),
      .rd_data(frame_data)
  );

  if (SPARSE) begin : gen_sparse
    logic [GROUPS-1:0] group_busy;
    logic [GROUPS*32-1:0] group_rdata;
    for (genvar g = 0; g < GROUPS; g++) begin : gen_group
      logic cfg_mine;
      assign cfg_mine = cfg_group == CFG_GROUP_BITS'(g);
      sparse_engine #(
          .X_BITS(X_BITS),
          .X_SIGNED(X_SIGNED),
          .CODE_BITS(CODE_BITS),
          .ACC_BITS(ACC_BITS),
          .IN_CHANNELS(IN_CHANNELS),
          .IN_HEIGHT(IN_HEIGHT),
          .IN_WIDTH(IN_WIDTH),
          .KERNEL_H(KERNEL_H),
          .KERNEL_W(KERNEL_W),
          .STRIDE(STRIDE),
          .PADDING(PADDING),
          .OUT_HEIGHT(OUT_HEIGHT),
          .OUT_WIDTH(OUT_WIDTH),
          .TILE_ROWS(TILE_ROWS),
          .INDEX_BITS(INDEX_BITS),
          .ENTRY_CAPACITY(ENTRY_CAPACITY),
          .SLOT_CAPACITY(SLOT_CAPACITY),
          .ACC_MUX(ACC_MUX),
          .CFG_ADDR_BITS(CFG_ADDR_BITS)
      ) engine (
          .clk(clk),
          .rst(rst),
          .start(start),
          .out_ready(1'b1),
          .frame_half(frame_half),
          .busy(group_busy[g]),
          .frame_addr(frame_addr[g*BANKS*FRAME_ADDR_BITS+:BANKS*FRAME_ADDR_BITS]),
          .frame_data(frame_data[g*BANK_BITS+:BANK_BITS]),
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
    assign engines_busy = |group_busy;
    always_comb begin
      cfg_rdata = '0;
      for (int g = 0; g < GROUPS; g++) cfg_rdata |= group_rdata[g*32+:32];
    end
  end else begin : gen_dense
    dense_engine #(
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS),
        .IN_CHANNELS(IN_CHANNELS),
        .IN_HEIGHT(IN_HEIGHT),
        .IN_WIDTH(IN_WIDTH),
        .KERNEL_H(KERNEL_H),
        .KERNEL_W(KERNEL_W),
        .STRIDE(STRIDE),
        .PADDING(PADDING),
        .OUT_CHANNELS(OUT_CHANNELS),
        .OUT_HEIGHT(OUT_HEIGHT),
        .OUT_WIDTH(OUT_WIDTH),
        .CONV_GROUPS(CONV_GROUPS),
        .TILE_ROWS(TILE_ROWS),
        .GROUPS(GROUPS),
        .WEIGHT_CAPACITY(ENTRY_CAPACITY),
        .SLOT_CAPACITY(SLOT_CAPACITY),
        .GROUP_BITS(CFG_GROUP_BITS),
        .CFG_ADDR_BITS(CFG_ADDR_BITS)
    ) engine (
        .clk(clk),
        .rst(rst),
        .start(start),
        .out_ready(1'b1),
        .frame_half(frame_half),
        .busy(engines_busy),
        .frame_addr(frame_addr),
        .frame_data(frame_data),
        .tile_valid(tile_valid),
        .tile_payload(tile_payload),
        .tile_pop(tile_pop),
        .cfg_write(cfg_write),
        .cfg_read(cfg_read),
        .cfg_kind(cfg_kind),
        .cfg_group(cfg_group),
        .cfg_addr(cfg_addr),
        .cfg_wdata(cfg_wdata),
        .cfg_rdata(cfg_rdata)
    );
  end
endmodule
