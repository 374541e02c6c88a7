// Drain: reads complete tiles of all groups and writes rows of the next frame. It applies max-pool, bias
// and requantiser with the record of the slot. A tile takes BEATS beats of TILE_ROWS / BEATS rows, one per
// INTERVAL cycles. More beats need fewer requantiser lanes.
//
//   select | payload | whole | pool columns | pool rows | + bias | way | operand | * mult | + round | clamp
//
// A pool of columns or rows takes POOL_STEPS cycles (max_pool).
//
// Every PART columns of a beat's rows have their own select registers, so that no
// select net spans the whole payload.
//
// Of the first PAIRED_GROUPS groups, an odd column's accumulator lacks 1 where that of the even column
// before it is negative (mac_group); it is added here, once for all groups.
// FIXED = 1: the records are constants, TABLE, and nothing is loaded.
//
// Pooling accumulators gives the same integers as pooling activations (bias is one per channel, mult
// is positive, so requantising is monotonic) and leaves fewer values to requantise.
module drain #(
    parameter int GROUPS = 4,
    parameter int GROUP_BITS = 2,
    parameter int TILE_ROWS = 2,
    parameter int ACC_BITS = 20,
    parameter int SLOT_CAPACITY = 8,
    parameter int OUT_CHANNELS = 8,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 8,
    parameter int Y_BITS = 8,
    parameter bit Y_SIGNED = 0,
    parameter int POOL_KERNEL = 2,
    parameter int POOL_STRIDE = 2,
    parameter int SHIFT_MIN = 1,
    parameter int SHIFT_MAX = 36,
    parameter int BEATS = 1,
    parameter int INTERVAL = 1,
    parameter int PAIRED_GROUPS = 0,
    parameter int PART = 8,
    parameter int CFG_ADDR_BITS = 16,
    parameter int LANES = TILE_ROWS * OUT_WIDTH,
    parameter int BEAT_ROWS = TILE_ROWS / BEATS,
    parameter int TILES = (OUT_HEIGHT + TILE_ROWS - 1) / TILE_ROWS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1,
    parameter int POOLED_HEIGHT = (OUT_HEIGHT - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int POOLED_WIDTH = (OUT_WIDTH - POOL_KERNEL) / POOL_STRIDE + 1,
    parameter int ROWS = (BEAT_ROWS + POOL_STRIDE - 1) / POOL_STRIDE,
    parameter int OFFSET = (POOL_KERNEL - 1) / POOL_STRIDE,
    parameter int ROW_BITS = $clog2(POOLED_HEIGHT + OFFSET + ROWS + 1),
    parameter int CHANNEL_BITS = OUT_CHANNELS > 1 ? $clog2(OUT_CHANNELS) : 1,
    parameter int RECORD_BITS = 6 + 16 + ACC_BITS + CHANNEL_BITS,
    parameter bit FIXED = 0,
    parameter logic [GROUPS*SLOT_CAPACITY*RECORD_BITS-1:0] TABLE = '0
) (
    input  logic                                clk,
    input  logic                                rst,
    input  logic [GROUPS-1:0]                   tile_valid,
    input  logic [GROUPS*PAYLOAD_BITS-1:0]      tile_payload,
    output logic [GROUPS-1:0]                   tile_pop,
    output logic                                wr_valid,
    output logic                                wr_half,
    output logic                                wr_last,
    output logic [CHANNEL_BITS-1:0]             wr_channel,
    output logic [ROW_BITS-1:0]                 wr_row,
    output logic [ROWS-1:0]                     wr_mask,
    output logic [ROWS*POOLED_WIDTH*Y_BITS-1:0] wr_data,
    input  logic                                cfg_write,
    input  logic                                cfg_read,
    input  logic [2:0]                          cfg_kind,
    input  logic [GROUP_BITS-1:0]               cfg_group,
    input  logic [CFG_ADDR_BITS-1:0]            cfg_addr,
    input  logic [31:0]                         cfg_wdata,
    output logic [31:0]                         cfg_rdata
);
  localparam int MULT_BITS = 16;
  localparam int SHIFT_BITS = 6;
  localparam int RECORDS = GROUPS * SLOT_CAPACITY;
  localparam int RECORD_ADDR_BITS = RECORDS > 1 ? $clog2(RECORDS) : 1;
  localparam int ACC_BUS = LANES * ACC_BITS;
  localparam int BEAT_BUS = ACC_BUS / BEATS;
  localparam int BEAT_TILES = TILES * BEATS;
  localparam int BEAT_BITS = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int BEAT_TILE_BITS = BEAT_TILES > 1 ? $clog2(BEAT_TILES) : 1;
  localparam int IMAGE_BEATS = OUT_CHANNELS * BEAT_TILES;
  localparam int COUNT_BITS = $clog2(IMAGE_BEATS + 1);
  localparam int POOLED = ROWS * POOLED_WIDTH;
  localparam int TAG_BITS = 2 + BEAT_TILE_BITS + GROUP_BITS;
  // Cycles from payload to the pooled rows, and from there to the activations.
  localparam int POOL_STEPS = POOL_KERNEL > 1 ? 2 * $clog2(POOL_KERNEL) : 1;
  localparam bit POOL_PHASE_FIXED = BEAT_TILES == 1 || BEAT_ROWS % POOL_STRIDE == 0;
  localparam int POOL_DELAY = 2 * POOL_STEPS + (POOL_PHASE_FIXED ? 0 : 1);
  localparam int SCALE_DELAY = 6;
  localparam int DELAY = POOL_DELAY + SCALE_DELAY;

  if (BEATS < 1 || TILE_ROWS % BEATS != 0) begin : gen_bad_beats
    $error("drain: BEATS must divide TILE_ROWS");
  end

  // Select: round robin over the groups that wait; a tile in progress has priority. select_reg is high while
  // beat beat_reg of group_reg is read; the last beat removes the tile from its group.
  logic [GROUPS-1:0] waiting, above_reg, high, pick, taken_reg;
  logic select_reg, open_reg, ready, more, resume, beat_last;
  logic [GROUP_BITS-1:0] group_next, group_reg;
  logic [BEAT_BITS-1:0] beat_next, beat_reg;
  assign beat_last = beat_reg == BEAT_BITS'(BEATS - 1);
  assign more = select_reg ? ~beat_last : open_reg;
  assign resume = more & ready;
  assign tile_pop = taken_reg & {GROUPS{select_reg & beat_last}};
  assign waiting = tile_valid & ~tile_pop & {GROUPS{ready & ~more}};
  assign high = waiting & above_reg;
  assign pick = |high ? high & (~high + 1'b1) : waiting & (~waiting + 1'b1);
  always_comb begin
    beat_next = beat_reg;
    if (resume) beat_next = beat_reg + 1'b1;
    if (|pick) beat_next = '0;
    group_next = '0;
    for (int g = 0; g < GROUPS; g++) if (pick[g]) group_next |= GROUP_BITS'(g);
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      select_reg <= 1'b0;
      open_reg   <= 1'b0;
      taken_reg  <= '0;
      above_reg  <= '0;
      beat_reg   <= '0;
    end else begin
      select_reg <= resume | (|pick);
      open_reg   <= more & ~resume;
      beat_reg   <= beat_next;
      if (|pick) begin
        taken_reg <= pick;
        above_reg <= ~(pick | (pick - 1'b1));
      end
    end
    if (|pick) group_reg <= group_next;
  end

  if (INTERVAL > 1) begin : gen_pace
    localparam int PACE_BITS = $clog2(INTERVAL);
    logic [PACE_BITS-1:0] pace_reg;
    assign ready = pace_reg == '0;
    always_ff @(posedge clk) begin
      if (rst) pace_reg <= '0;
      else if (resume || |pick) pace_reg <= PACE_BITS'(INTERVAL - 1);
      else if (!ready) pace_reg <= pace_reg - 1'b1;
    end
  end else begin : gen_full_rate
    assign ready = 1'b1;
  end

  // Payload, and the address of the slot's record.
  localparam int PLACE_TAG_BITS = PAYLOAD_BITS - ACC_BUS;
  localparam int ROW_BUS = OUT_WIDTH * ACC_BITS;
  logic [GROUPS*PLACE_TAG_BITS-1:0] place_tags;
  logic [PLACE_TAG_BITS-1:0] place_tag, place_tag_reg;
  logic [BEAT_BUS-1:0] beat_acc, acc_reg;
  logic [BEAT_TILE_BITS-1:0] first_beat, beat_tile;
  logic [RECORD_ADDR_BITS-1:0] group_base, cfg_base, tile_record, late_record, record_addr_reg;
  logic taken_valid_reg;
  logic [GROUP_BITS-1:0] taken_group_reg;
  logic [BEAT_BITS-1:0] taken_beat_reg;
  for (genvar g = 0; g < GROUPS; g++) begin : gen_place_tag
    assign place_tags[g*PLACE_TAG_BITS+:PLACE_TAG_BITS] =
        tile_payload[g*PAYLOAD_BITS+ACC_BUS+:PLACE_TAG_BITS];
  end
  mux_tree #(
      .WIDTH(PLACE_TAG_BITS),
      .COUNT(GROUPS),
      .SELECT_BITS(GROUP_BITS)
  ) pick_place_tag (
      .select(group_reg),
      .choices(place_tags),
      .result(place_tag)
  );
  always_ff @(posedge clk) begin
    taken_valid_reg <= select_reg & ~rst;
    taken_group_reg <= group_reg;
    taken_beat_reg <= beat_reg;
    place_tag_reg <= place_tag;
  end
  // Row k of a beat: of every group the rows k, k + BEAT_ROWS ... of its tile; part by part.
  localparam int ROW_PARTS = (OUT_WIDTH + PART - 1) / PART;
  for (genvar i = 0; i < BEAT_ROWS * ROW_PARTS; i++) begin : gen_pick
    localparam int FIRST = i % ROW_PARTS * PART;
    localparam int COLUMNS = FIRST + PART <= OUT_WIDTH ? PART : OUT_WIDTH - FIRST;
    localparam int BITS = COLUMNS * ACC_BITS;
    localparam int LSB = i / ROW_PARTS * ROW_BUS + FIRST * ACC_BITS;
    (* keep = "true" *) logic [GROUP_BITS-1:0] part_group_reg;
    (* keep = "true" *) logic [BEAT_BITS-1:0] part_beat_reg;
    logic [GROUPS*BEATS*BITS-1:0] tiles;
    logic [BEATS*BITS-1:0] tile;
    logic [BITS-1:0] part_next, part_reg;
    (* keep *)
    always_ff @(posedge clk) begin
      part_beat_reg <= rst ? '0 : beat_next;
      if (|pick) part_group_reg <= group_next;
    end
    for (genvar g = 0; g < GROUPS; g++) begin : gen_tile
      for (genvar b = 0; b < BEATS; b++) begin : gen_beat
        assign tiles[(g*BEATS+b)*BITS+:BITS] = tile_payload[g*PAYLOAD_BITS+b*BEAT_BUS+LSB+:BITS];
      end
    end
    mux_tree #(
        .WIDTH(BEATS * BITS),
        .COUNT(GROUPS),
        .SELECT_BITS(GROUP_BITS)
    ) pick_tile (
        .select(part_group_reg),
        .choices(tiles),
        .result(tile)
    );
    mux_tree #(
        .WIDTH(BITS),
        .COUNT(BEATS),
        .SELECT_BITS(BEAT_BITS)
    ) pick_beat (
        .select(part_beat_reg),
        .choices(tile),
        .result(part_next)
    );
    always_ff @(posedge clk) part_reg <= part_next;
    assign beat_acc[LSB+:BITS] = part_reg;
  end
  times_const #(
      .VALUE_BITS(GROUP_BITS),
      .FACTOR(SLOT_CAPACITY),
      .PRODUCT_BITS(RECORD_ADDR_BITS)
  ) records (
      .value(taken_group_reg),
      .product(group_base)
  );
  times_const #(
      .VALUE_BITS(GROUP_BITS),
      .FACTOR(SLOT_CAPACITY),
      .PRODUCT_BITS(RECORD_ADDR_BITS)
  ) cfg_records (
      .value(cfg_group),
      .product(cfg_base)
  );
  // The record is read two cycles before the pooled rows come.
  assign tile_record = group_base + RECORD_ADDR_BITS'(place_tag_reg[TILE_BITS+:SLOT_BITS]);
  if (POOL_DELAY > 2) begin : gen_late_record
    line_delay #(
        .WIDTH(RECORD_ADDR_BITS),
        .DEPTH(POOL_DELAY - 2)
    ) beside_pool (
        .clk(clk),
        .enable(1'b1),
        .d(tile_record),
        .q(late_record)
    );
  end else begin : gen_record
    assign late_record = tile_record;
  end
  times_const #(
      .VALUE_BITS(TILE_BITS),
      .FACTOR(BEATS),
      .PRODUCT_BITS(BEAT_TILE_BITS)
  ) tile_beats (
      .value(place_tag_reg[TILE_BITS-1:0]),
      .product(first_beat)
  );
  assign beat_tile = first_beat + BEAT_TILE_BITS'(taken_beat_reg);

  // Correction of the accumulators whose DSP block serves two lanes.
  logic [BEAT_BUS-1:0] whole_acc;
  if (PAIRED_GROUPS > 0) begin : gen_paired
    logic paired;
    assign paired = 32'(taken_group_reg) < 32'(PAIRED_GROUPS);
    for (genvar v = 0; v < BEAT_ROWS * OUT_WIDTH; v++) begin : gen_lane
      if (v % OUT_WIDTH % 2 == 1) begin : gen_odd
        assign whole_acc[v*ACC_BITS+:ACC_BITS] =
            beat_acc[v*ACC_BITS+:ACC_BITS] + ACC_BITS'(paired & beat_acc[v*ACC_BITS-1]);
      end else begin : gen_even
        assign whole_acc[v*ACC_BITS+:ACC_BITS] = beat_acc[v*ACC_BITS+:ACC_BITS];
      end
    end
  end else begin : gen_single
    assign whole_acc = beat_acc;
  end
  always_ff @(posedge clk) begin
    acc_reg <= whole_acc;
    record_addr_reg <= cfg_write | cfg_read ? cfg_base + RECORD_ADDR_BITS'(cfg_addr) : late_record;
  end

  // Pool.
  logic [TAG_BITS-1:0] tag_reg[DELAY+1];
  logic [ROW_BITS-1:0] pooled_row;
  logic [ROWS-1:0] pooled_mask;
  logic [POOLED*ACC_BITS-1:0] pooled;
  max_pool #(
      .KERNEL(POOL_KERNEL),
      .STRIDE(POOL_STRIDE),
      .HEIGHT(OUT_HEIGHT),
      .WIDTH(OUT_WIDTH),
      .TILE_ROWS(BEAT_ROWS),
      .TILES(BEAT_TILES),
      .STEPS(POOL_STEPS),
      .PHASE_FIXED(POOL_PHASE_FIXED),
      .X_BITS(ACC_BITS),
      .X_SIGNED(1),
      .GROUPS(GROUPS),
      .GROUP_BITS(GROUP_BITS)
  ) pool (
      .clk(clk),
      .valid(tag_reg[0][TAG_BITS-1]),
      .group(tag_reg[0][GROUP_BITS-1:0]),
      .tile(tag_reg[0][GROUP_BITS+:BEAT_TILE_BITS]),
      .x(acc_reg),
      .out_row(pooled_row),
      .out_mask(pooled_mask),
      .y(pooled)
  );

  // Records {shift, mult, bias, channel}: written with their third word, one cycle after it came.
  logic record_write_reg;
  logic [31:0] channel_word_reg, bias_word_reg, scale_word_reg;
  logic [RECORD_BITS-1:0] record, record_reg;
  always_ff @(posedge clk) begin
    if (cfg_write && cfg_kind == 3'd3) channel_word_reg <= cfg_wdata;
    if (cfg_write && cfg_kind == 3'd4) bias_word_reg <= cfg_wdata;
    scale_word_reg   <= cfg_wdata;
    record_write_reg <= cfg_write & (cfg_kind == 3'd5);
  end
  if (FIXED) begin : gen_constants
    always_ff @(posedge clk) record <= TABLE[32'(record_addr_reg)*RECORD_BITS+:RECORD_BITS];
    logic unused;
    assign unused = record_write_reg;
  end else begin : gen_memory
    ram_sdp #(
        .WIDTH(RECORD_BITS),
        .DEPTH(RECORDS),
        .ADDR_BITS(RECORD_ADDR_BITS)
    ) record_memory (
        .clk(clk),
        .write_enable(record_write_reg),
        .write_addr(record_addr_reg),
        .write_data({scale_word_reg[MULT_BITS+:SHIFT_BITS], scale_word_reg[MULT_BITS-1:0],
                     bias_word_reg[ACC_BITS-1:0], channel_word_reg[CHANNEL_BITS-1:0]}),
        .read_enable(1'b1),
        .read_addr(record_addr_reg),
        .read_data(record)
    );
  end
  logic [CHANNEL_BITS-1:0] record_channel;
  logic [ACC_BITS-1:0] record_bias;
  logic [MULT_BITS-1:0] record_mult;
  logic [SHIFT_BITS-1:0] record_shift;
  always_ff @(posedge clk) record_reg <= record;
  assign {record_shift, record_mult, record_bias, record_channel} = record_reg;
  always_comb begin
    cfg_rdata = '0;
    if (cfg_read) begin
      if (cfg_kind == 3'd3) cfg_rdata = 32'(record_channel);
      if (cfg_kind == 3'd4) cfg_rdata = 32'($signed(record_bias));
      if (cfg_kind == 3'd5) cfg_rdata = 32'({record_shift, record_mult});
    end
  end

  // Bias and requantise. A register on the way to the multipliers, which lie in few columns of the chip.
  logic [POOLED*ACC_BITS-1:0] biased_reg, operand_reg;
  always_ff @(posedge clk) begin
    for (int v = 0; v < POOLED; v++) begin
      biased_reg[v*ACC_BITS+:ACC_BITS] <= pooled[v*ACC_BITS+:ACC_BITS] + record_bias;
    end
    operand_reg <= biased_reg;
  end
  requantize #(
      .LANES(POOLED),
      .ACC_BITS(ACC_BITS),
      .MULT_BITS(MULT_BITS),
      .SHIFT_BITS(SHIFT_BITS),
      .SHIFT_MIN(SHIFT_MIN),
      .SHIFT_MAX(SHIFT_MAX),
      .Y_BITS(Y_BITS),
      .Y_SIGNED(Y_SIGNED)
  ) scale (
      .clk(clk),
      .acc(operand_reg),
      .mult(record_mult),
      .shift(record_shift),
      .y(wr_data)
  );

  // Delays of the accompanying signals: {valid, parity, beat, group} from the payload on; row, mask and
  // channel from the pool and the record on.
  localparam int PLACE_BITS = CHANNEL_BITS + ROW_BITS + ROWS;
  logic [PLACE_BITS-1:0] place_reg[SCALE_DELAY];
  always_ff @(posedge clk) begin
    tag_reg[0] <= {taken_valid_reg, place_tag_reg[PLACE_TAG_BITS-1], beat_tile, taken_group_reg};
    place_reg[0] <= {record_channel, pooled_row, pooled_mask};
    for (int i = 1; i <= DELAY; i++) tag_reg[i] <= tag_reg[i-1];
    for (int i = 1; i < SCALE_DELAY; i++) place_reg[i] <= place_reg[i-1];
    if (rst) for (int i = 0; i <= DELAY; i++) tag_reg[i][TAG_BITS-1] <= 1'b0;
  end
  assign {wr_channel, wr_row, wr_mask} = place_reg[SCALE_DELAY-1];

  // The image's last beat, per parity, because tiles of two images may be in the pipeline at once.
  logic [COUNT_BITS-1:0] count_reg[2];
  logic [TAG_BITS-1:0] out_tag;
  assign out_tag = tag_reg[DELAY];
  assign wr_valid = out_tag[TAG_BITS-1];
  assign wr_half = out_tag[TAG_BITS-2];
  assign wr_last = count_reg[wr_half] == COUNT_BITS'(IMAGE_BEATS - 1);
  always_ff @(posedge clk) begin
    for (int h = 0; h < 2; h++) begin
      if (rst) count_reg[h] <= '0;
      else if (wr_valid && wr_half == h[0]) count_reg[h] <= wr_last ? '0 : count_reg[h] + 1'b1;
    end
  end

  logic unused;
  assign unused = ^{cfg_wdata, channel_word_reg, bias_word_reg, scale_word_reg, cfg_addr, out_tag};
endmodule
