// One weighted layer: input frame, engine, drain (docs/kernels.md, "Stage").
//
// SPARSE = 1: GROUPS sparse engines, each with its own frame copy. BALANCED = 1: WALKERS balanced engines, each
// with its share of the groups and its own frame copy, which read FOLD channels of one pixel as a row of FOLD
// columns. Neither: one dense engine.
// The first DSP_GROUPS groups multiply in DSP blocks (two lanes per block where they fit), the others in LUTs.
// ACC_MUX (sparse, stride 1) places the column multiplexer of the latter behind their multipliers.
// BLOCK_FRAME keeps the input frame in block RAM, ULTRA_FRAME builds it of UltraRAM.
// An image starts when one half of the input frame is full; its first tile waits until one half of the
// next frame is free. The next image starts as soon as all groups have issued their last job of the present
// image, while its tiles still drain.
module stage #(
    parameter bit SPARSE = 1,
    parameter bit BALANCED = 0,
    parameter int WINDOW = 1,
    parameter int WALKERS = 1,
    parameter int FOLD = 1,
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
    parameter int FIFO_DEPTH = 1,
    parameter int DSP_GROUPS = 0,
    parameter bit ACC_MUX = 0,
    parameter bit BLOCK_FRAME = 0,
    parameter bit ULTRA_FRAME = 0,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0,
    parameter int POOL_KERNEL = 2,
    parameter int POOL_STRIDE = 2,
    parameter int SHIFT_MIN = 1,
    parameter int SHIFT_MAX = 36,
    // How rows arrive: rows per write, rows before the first, whether every write starts at the same bank.
    parameter int IN_ROWS = 1,
    parameter int IN_ROW_OFFSET = 0,
    parameter bit IN_PHASE_FIXED = 0,
    // Beats in which the drain reads a tile, and cycles that the next frame takes per write.
    parameter int DRAIN_BEATS = 1,
    parameter int OUT_INTERVAL = 1,
    parameter int GROUP_BITS = GROUPS > 1 ? $clog2(GROUPS) : 1,
    parameter int CFG_GROUP_BITS = GROUP_BITS,
    parameter int CFG_ADDR_BITS = 16,
    parameter int IN_CHANNEL_BITS = IN_CHANNELS > 1 ? $clog2(IN_CHANNELS) : 1,
    parameter int IN_ROW_BITS = $clog2(IN_HEIGHT + IN_ROW_OFFSET + IN_ROWS + 1),
    parameter int OUT_CHANNEL_BITS = OUT_CHANNELS > 1 ? $clog2(OUT_CHANNELS) : 1,
    parameter int POOLED_HEIGHT = (OUT_HEIGHT - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int POOLED_WIDTH = (OUT_WIDTH - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int OUT_ROWS = (TILE_ROWS / DRAIN_BEATS + POOL_STRIDE - 1) / POOL_STRIDE,
    parameter int OUT_ROW_OFFSET = (POOL_KERNEL - 1) / POOL_STRIDE,
    parameter int OUT_ROW_BITS = $clog2(POOLED_HEIGHT + OUT_ROW_OFFSET + OUT_ROWS + 1)
) (
    input  logic                                    clk,
    input  logic                                    rst,
    output logic                                    in_free,
    output logic                                    in_next_half,
    input  logic                                    in_claim,
    input  logic                                    in_valid,
    input  logic                                    in_half,
    input  logic                                    in_last,
    input  logic [IN_CHANNEL_BITS-1:0]              in_channel,
    input  logic [IN_ROW_BITS-1:0]                  in_row,
    input  logic [IN_ROWS-1:0]                      in_mask,
    input  logic [IN_ROWS*IN_WIDTH*X_BITS-1:0]      in_data,
    input  logic                                    out_free,
    output logic                                    out_claim,
    output logic                                    out_valid,
    output logic                                    out_half,
    output logic                                    out_last,
    output logic [OUT_CHANNEL_BITS-1:0]             out_channel,
    output logic [OUT_ROW_BITS-1:0]                 out_row,
    output logic [OUT_ROWS-1:0]                     out_mask,
    output logic [OUT_ROWS*POOLED_WIDTH*Y_BITS-1:0] out_data,
    input  logic                                    cfg_write,
    input  logic                                    cfg_read,
    input  logic [2:0]                              cfg_kind,
    input  logic [CFG_GROUP_BITS-1:0]               cfg_group,
    input  logic [CFG_ADDR_BITS-1:0]                cfg_addr,
    input  logic [31:0]                             cfg_wdata,
    output logic [31:0]                             cfg_rdata,
    output logic                                    busy
);
  localparam int BANKS = TILE_ROWS * STRIDE;
  // Rows and channels of the frame; FOLD channels lie side by side.
  localparam int CHANNELS = (IN_CHANNELS + FOLD - 1) / FOLD;
  localparam int ROW_WIDTH = FOLD > 1 ? FOLD : IN_WIDTH;
  localparam int FRAME_ROWS = FOLD > 1 ? 1 : IN_ROWS;
  localparam int FRAME_ROW_OFFSET = FOLD > 1 ? 0 : IN_ROW_OFFSET;
  localparam int FRAME_HEIGHT = FOLD > 1 ? FOLD : IN_HEIGHT;
  localparam int FRAME_WIDTH = FOLD > 1 ? 1 : IN_WIDTH;
  localparam int FRAME_BANKS = FOLD > 1 ? FOLD : BANKS;
  localparam int CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1;
  localparam int FRAME_ROW_BITS = $clog2(FRAME_HEIGHT + FRAME_ROW_OFFSET + FRAME_ROWS + 1);
  localparam int BANK_HEIGHT = (IN_HEIGHT + BANKS - 1) / BANKS;
  localparam int FRAME_ADDR_BITS = $clog2(2 * CHANNELS * BANK_HEIGHT);
  localparam int COPIES = SPARSE ? GROUPS : WALKERS;
  localparam int LANES = TILE_ROWS * OUT_WIDTH;
  localparam int TILES = (OUT_HEIGHT + TILE_ROWS - 1) / TILE_ROWS;
  localparam int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1;
  localparam int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1;
  localparam int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1;
  localparam int BANK_BITS = BANKS * ROW_WIDTH * X_BITS;
  // The drain reads a tile at the latest after one turn of each other group, and never stalls.
  localparam int SPACING = GROUPS * DRAIN_BEATS * OUT_INTERVAL + 1;
  // Two lanes share a DSP block where its operand has room for both.
  localparam bit PAIRED = !X_SIGNED && ACC_BITS >= X_BITS && ACC_BITS + X_BITS <= 24;

  if (OUT_HEIGHT != (IN_HEIGHT + 2 * PADDING - KERNEL_H) / STRIDE + 1
      || OUT_WIDTH != (IN_WIDTH + 2 * PADDING - KERNEL_W) / STRIDE + 1) begin : gen_bad_shape
    $error("stage: OUT_HEIGHT or OUT_WIDTH does not follow from input, kernel, stride and padding");
  end
  if (GROUPS > OUT_CHANNELS || TILE_ROWS > OUT_HEIGHT) begin : gen_bad_config
    $error("stage: GROUPS must be at most OUT_CHANNELS, TILE_ROWS at most OUT_HEIGHT");
  end
  if (DSP_GROUPS < 0 || DSP_GROUPS > GROUPS) begin : gen_bad_dsp
    $error("stage: DSP_GROUPS must be 0 to GROUPS");
  end

  if (WALKERS < 1 || (WALKERS > 1 && !BALANCED) || GROUPS % WALKERS != 0) begin : gen_bad_walkers
    $error("stage: WALKERS must divide GROUPS, and be 1 where BALANCED is 0");
  end
  if ((SPARSE && BALANCED) || (FOLD > 1 && (!BALANCED || IN_HEIGHT > 1 || IN_WIDTH > 1))) begin : gen_bad_fold
    $error("stage: SPARSE and BALANCED exclude each other, FOLD needs BALANCED and maps of one pixel");
  end

  // Start and end of images.
  logic rst_reg, frame_ready, frame_half, start, release_frame, running_reg, claim_reg, engines_busy;
  assign start = frame_ready & ~running_reg & ~claim_reg;
  assign release_frame = running_reg & ~engines_busy;
  assign out_claim = claim_reg & out_free;
  // A copy for this stage alone.
  (* keep *)
  always_ff @(posedge clk) rst_reg <= rst;
  always_ff @(posedge clk) begin
    if (rst_reg) begin
      running_reg <= 1'b0;
      claim_reg   <= 1'b0;
    end else begin
      running_reg <= start | (running_reg & engines_busy);
      claim_reg   <= start | (claim_reg & ~out_free);
    end
  end
  assign busy = running_reg;

  // The weight bus: a copy for this stage alone.
  logic bus_write_reg, bus_read_reg;
  logic [2:0] bus_kind_reg;
  logic [CFG_GROUP_BITS-1:0] bus_group_reg;
  logic [CFG_ADDR_BITS-1:0] bus_addr_reg;
  logic [31:0] bus_wdata_reg;
  (* keep *)
  always_ff @(posedge clk) begin
    bus_write_reg <= cfg_write;
    bus_read_reg <= cfg_read;
    bus_kind_reg <= cfg_kind;
    bus_group_reg <= cfg_group;
    bus_addr_reg <= cfg_addr;
    bus_wdata_reg <= cfg_wdata;
  end

  // Written rows: when folded, channel c is row c mod FOLD of channel c div FOLD.
  logic [CHANNEL_BITS-1:0] wr_channel;
  logic [FRAME_ROW_BITS-1:0] wr_row;
  logic [FRAME_ROWS-1:0] wr_mask;
  logic [FRAME_ROWS*FRAME_WIDTH*X_BITS-1:0] wr_data;
  if (FOLD > 1) begin : gen_fold
    logic [IN_CHANNEL_BITS-1:0] quotient, remainder;
    logic [X_BITS-1:0] pixel;
    divide_const #(
        .LIMIT(IN_CHANNELS),
        .DIVISOR(FOLD),
        .VALUE_BITS(IN_CHANNEL_BITS)
    ) split_channel (
        .value(in_channel),
        .quotient(quotient),
        .remainder(remainder)
    );
    // At most one row of a write exists.
    always_comb begin
      pixel = '0;
      for (int r = 0; r < IN_ROWS; r++) if (in_mask[r]) pixel |= in_data[r*X_BITS+:X_BITS];
    end
    assign wr_channel = CHANNEL_BITS'(quotient);
    assign wr_row = FRAME_ROW_BITS'(remainder);
    assign wr_mask = |in_mask;
    assign wr_data = pixel;
    logic unused;
    assign unused = ^{in_row, quotient, remainder};
  end else begin : gen_rows
    assign wr_channel = in_channel;
    assign wr_row = in_row;
    assign wr_mask = in_mask;
    assign wr_data = in_data;
  end

  logic [COPIES*BANKS*FRAME_ADDR_BITS-1:0] frame_addr;
  logic [COPIES*BANK_BITS-1:0] frame_data;
  // The banks of a folded row are read together.
  logic [COPIES*FRAME_BANKS*FRAME_ADDR_BITS-1:0] frame_read_addr;
  if (FOLD > 1) begin : gen_one_address
    for (genvar c = 0; c < COPIES; c++) begin : gen_copy
      assign frame_read_addr[c*FOLD*FRAME_ADDR_BITS+:FOLD*FRAME_ADDR_BITS]
          = {FOLD{frame_addr[c*FRAME_ADDR_BITS+:FRAME_ADDR_BITS]}};
    end
  end else begin : gen_addresses
    assign frame_read_addr = frame_addr;
  end
  frame_buffer #(
      .CHANNELS(CHANNELS),
      .HEIGHT(FRAME_HEIGHT),
      .WIDTH(FRAME_WIDTH),
      .X_BITS(X_BITS),
      .BANKS(FRAME_BANKS),
      .COPIES(COPIES),
      .ROWS(FRAME_ROWS),
      .ROW_OFFSET(FRAME_ROW_OFFSET),
      .PHASE_FIXED(IN_PHASE_FIXED && FOLD == 1),
      .BLOCK(BLOCK_FRAME),
      .ULTRA(ULTRA_FRAME)
  ) frame (
      .clk(clk),
      .rst(rst_reg),
      .wr_free(in_free),
      .wr_next_half(in_next_half),
      .wr_claim(in_claim),
      .wr_valid(in_valid),
      .wr_half(in_half),
      .wr_last(in_last),
      .wr_channel(wr_channel),
      .wr_row(wr_row),
      .wr_mask(wr_mask),
      .wr_data(wr_data),
      .rd_ready(frame_ready),
      .rd_half(frame_half),
      .rd_release(release_frame),
      .rd_enable({COPIES{1'b1}}),
      .rd_addr(frame_read_addr),
      .rd_data(frame_data)
  );

  logic [GROUPS-1:0] tile_valid, tile_pop;
  logic [GROUPS*PAYLOAD_BITS-1:0] tile_payload;
  logic [31:0] engine_rdata, drain_rdata;
  if (SPARSE) begin : gen_sparse
    logic [GROUPS-1:0] group_busy;
    logic [GROUPS*32-1:0] group_rdata;
    for (genvar g = 0; g < GROUPS; g++) begin : gen_group
      logic group_write_reg, group_read_reg;
      always_ff @(posedge clk) begin
        group_write_reg <= cfg_write & (cfg_group == CFG_GROUP_BITS'(g));
        group_read_reg <= cfg_read & (cfg_group == CFG_GROUP_BITS'(g));
      end
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
          .FIFO_DEPTH(FIFO_DEPTH),
          .SPACING(SPACING),
          .USE_DSP(g < DSP_GROUPS),
          .PAIRED(PAIRED),
          .ACC_MUX(ACC_MUX && g >= DSP_GROUPS),
          .CFG_ADDR_BITS(CFG_ADDR_BITS)
      ) engine (
          .clk(clk),
          .rst(rst_reg),
          .start(start),
          .out_ready(~claim_reg),
          .frame_half(frame_half),
          .busy(group_busy[g]),
          .frame_addr(frame_addr[g*BANKS*FRAME_ADDR_BITS+:BANKS*FRAME_ADDR_BITS]),
          .frame_data(frame_data[g*BANK_BITS+:BANK_BITS]),
          .tile_valid(tile_valid[g]),
          .tile_payload(tile_payload[g*PAYLOAD_BITS+:PAYLOAD_BITS]),
          .tile_pop(tile_pop[g]),
          .cfg_write(group_write_reg),
          .cfg_read(group_read_reg),
          .cfg_kind(bus_kind_reg),
          .cfg_addr(bus_addr_reg),
          .cfg_wdata(bus_wdata_reg),
          .cfg_rdata(group_rdata[g*32+:32])
      );
    end
    assign engines_busy = |group_busy;
    always_comb begin
      engine_rdata = '0;
      for (int g = 0; g < GROUPS; g++) engine_rdata |= group_rdata[g*32+:32];
    end
  end else if (BALANCED) begin : gen_balanced
    localparam int SHARE = GROUPS / WALKERS;
    logic [WALKERS-1:0] walker_busy;
    logic [WALKERS*32-1:0] walker_rdata;
    for (genvar w = 0; w < WALKERS; w++) begin : gen_walker
      localparam int FIRST = w * SHARE;
      localparam int DSP_SHARE = DSP_GROUPS > FIRST ? DSP_GROUPS - FIRST : 0;
      // The walker's part of the weight bus.
      logic walker_write_reg, walker_read_reg, mine;
      logic [CFG_GROUP_BITS-1:0] walker_group_reg;
      assign mine = int'(cfg_group) >= FIRST && int'(cfg_group) < FIRST + SHARE;
      always_ff @(posedge clk) begin
        walker_write_reg <= cfg_write & mine;
        walker_read_reg <= cfg_read & mine;
        walker_group_reg <= cfg_group - CFG_GROUP_BITS'(FIRST);
      end
      balanced_engine #(
          .X_BITS(X_BITS),
          .X_SIGNED(X_SIGNED),
          .CODE_BITS(CODE_BITS),
          .ACC_BITS(ACC_BITS),
          .IN_CHANNELS(CHANNELS),
          .IN_HEIGHT(IN_HEIGHT),
          .IN_WIDTH(ROW_WIDTH),
          .KERNEL_H(KERNEL_H),
          .KERNEL_W(FOLD > 1 ? FOLD : KERNEL_W),
          .STRIDE(STRIDE),
          .PADDING(PADDING),
          .OUT_HEIGHT(OUT_HEIGHT),
          .OUT_WIDTH(OUT_WIDTH),
          .TILE_ROWS(TILE_ROWS),
          .GROUPS(SHARE),
          .WINDOW(WINDOW),
          .INDEX_BITS(INDEX_BITS),
          .ENTRY_CAPACITY(ENTRY_CAPACITY),
          .SLOT_CAPACITY(SLOT_CAPACITY),
          .FIFO_DEPTH(FIFO_DEPTH),
          .SPACING(SPACING),
          .DSP_GROUPS(DSP_SHARE > SHARE ? SHARE : DSP_SHARE),
          .PAIRED(PAIRED),
          .ACC_MUX(ACC_MUX),
          .GROUP_BITS(CFG_GROUP_BITS),
          .CFG_ADDR_BITS(CFG_ADDR_BITS)
      ) engine (
          .clk(clk),
          .rst(rst_reg),
          .start(start),
          .out_ready(~claim_reg),
          .frame_half(frame_half),
          .busy(walker_busy[w]),
          .frame_addr(frame_addr[w*BANKS*FRAME_ADDR_BITS+:BANKS*FRAME_ADDR_BITS]),
          .frame_data(frame_data[w*BANK_BITS+:BANK_BITS]),
          .tile_valid(tile_valid[FIRST+:SHARE]),
          .tile_payload(tile_payload[FIRST*PAYLOAD_BITS+:SHARE*PAYLOAD_BITS]),
          .tile_pop(tile_pop[FIRST+:SHARE]),
          .cfg_write(walker_write_reg),
          .cfg_read(walker_read_reg),
          .cfg_kind(bus_kind_reg),
          .cfg_group(walker_group_reg),
          .cfg_addr(bus_addr_reg),
          .cfg_wdata(bus_wdata_reg),
          .cfg_rdata(walker_rdata[w*32+:32])
      );
    end
    assign engines_busy = |walker_busy;
    always_comb begin
      engine_rdata = '0;
      for (int w = 0; w < WALKERS; w++) engine_rdata |= walker_rdata[w*32+:32];
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
        .FIFO_DEPTH(FIFO_DEPTH),
        .SPACING(SPACING),
        .DSP_GROUPS(DSP_GROUPS),
        .PAIRED(PAIRED),
        .GROUP_BITS(CFG_GROUP_BITS),
        .CFG_ADDR_BITS(CFG_ADDR_BITS)
    ) engine (
        .clk(clk),
        .rst(rst_reg),
        .start(start),
        .out_ready(~claim_reg),
        .frame_half(frame_half),
        .busy(engines_busy),
        .frame_addr(frame_addr),
        .frame_data(frame_data),
        .tile_valid(tile_valid),
        .tile_payload(tile_payload),
        .tile_pop(tile_pop),
        .cfg_write(bus_write_reg),
        .cfg_read(bus_read_reg),
        .cfg_kind(bus_kind_reg),
        .cfg_group(bus_group_reg),
        .cfg_addr(bus_addr_reg),
        .cfg_wdata(bus_wdata_reg),
        .cfg_rdata(engine_rdata)
    );
  end

  drain #(
      .GROUPS(GROUPS),
      .GROUP_BITS(GROUP_BITS),
      .TILE_ROWS(TILE_ROWS),
      .ACC_BITS(ACC_BITS),
      .SLOT_CAPACITY(SLOT_CAPACITY),
      .OUT_CHANNELS(OUT_CHANNELS),
      .OUT_HEIGHT(OUT_HEIGHT),
      .OUT_WIDTH(OUT_WIDTH),
      .Y_BITS(Y_BITS),
      .Y_SIGNED(Y_SIGNED),
      .POOL_KERNEL(POOL_KERNEL),
      .POOL_STRIDE(POOL_STRIDE),
      .SHIFT_MIN(SHIFT_MIN),
      .SHIFT_MAX(SHIFT_MAX),
      .BEATS(DRAIN_BEATS),
      .INTERVAL(OUT_INTERVAL),
      .PAIRED_GROUPS(PAIRED ? DSP_GROUPS : 0),
      .CFG_ADDR_BITS(CFG_ADDR_BITS)
  ) tail (
      .clk(clk),
      .rst(rst_reg),
      .tile_valid(tile_valid),
      .tile_payload(tile_payload),
      .tile_pop(tile_pop),
      .wr_valid(out_valid),
      .wr_half(out_half),
      .wr_last(out_last),
      .wr_channel(out_channel),
      .wr_row(out_row),
      .wr_mask(out_mask),
      .wr_data(out_data),
      .cfg_write(bus_write_reg),
      .cfg_read(bus_read_reg),
      .cfg_kind(bus_kind_reg),
      .cfg_group(bus_group_reg[GROUP_BITS-1:0]),
      .cfg_addr(bus_addr_reg),
      .cfg_wdata(bus_wdata_reg),
      .cfg_rdata(drain_rdata)
  );
  always_ff @(posedge clk) cfg_rdata <= engine_rdata | drain_rdata;
endmodule
