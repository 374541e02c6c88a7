// Takes the groups' results SLICE lanes a cycle, requantises them and writes UNIT bytes at a time to the channel buffer.
//
// A group that can issue the last entry of a tile in the next cycle asks for the drain's time; it issues with the grant.
// Grants are as far apart as the drain needs for the tile granted, and every result comes equally long after its grant:
// so no two results meet.
//
// With sum, the requantised tile passes once more, with what the sum adds, as clamp((y * mult0 + skip * mult1 +
// (1 << (sum_shift - 1))) >> sum_shift, sum_low, sum_high). A tile is granted where neither its first
// pass nor its second one meets another tile's.
//
// y = clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift, low, high), computed as the product shifted by
// shift - 1, then (x + 1) >> 1: the same integer. A wide result leaves as four planes of bytes, lowest first. A
// tile that is written becomes a job of seq_store; where a channel is repacked or wide (per_tile = 0), only its
// last tile does.
module seq_drain #(
    parameter int GROUPS = 4,
    parameter int LANES = 64,
    parameter int SLICE = 16,
    parameter int UNIT = 16,
    parameter int TILES = 64,
    parameter int ACC_BITS = 28,
    parameter int GROUP_BITS = 2
) (
    input  logic                            clk,
    input  logic                            rst,
    input  logic                            wide,
    input  logic                            per_tile,
    input  logic                            job_room,
    input  logic [                     31:0] low,
    input  logic [                     31:0] high,
    input  logic [                      7:0] tiles,
    input  logic [                      3:0] last_slices,
    input  logic                            sum,
    input  logic                            skip_signed,
    input  logic [                     15:0] mult0,
    input  logic [                     15:0] mult1,
    input  logic [                      5:0] sum_shift,
    input  logic [                     31:0] sum_low,
    input  logic [                     31:0] sum_high,
    output logic                            busy,
    // Groups: who asks for the last entry of a tile, the first or the last one of its channel; who must not issue in
    // the next cycle; who is granted it; whose result is there.
    input  logic [             GROUPS-1:0] ask,
    input  logic [             GROUPS-1:0] stopped,
    input  logic [             GROUPS-1:0] ask_begins,
    input  logic [             GROUPS-1:0] ask_ends,
    output logic [             GROUPS-1:0] grant,
    input  logic [             GROUPS-1:0] done,
    output logic [$clog2(LANES/SLICE)-1:0] slice,
    input  logic [GROUPS*SLICE*ACC_BITS-1:0] slice_data,
    output logic [$clog2(LANES/SLICE)-1:0] skip_slice,
    input  logic [    GROUPS*8*SLICE-1:0] skip_data,
    input  logic [           GROUPS*8-1:0] tile,
    input  logic [             GROUPS-1:0] final_tile,
    input  logic [          GROUPS*24-1:0] dest,
    input  logic [          GROUPS*32-1:0] bias,
    input  logic [          GROUPS*16-1:0] mult,
    input  logic [           GROUPS*6-1:0] shift,
    // Channel buffer, and the channels that are complete.
    output logic                            write,
    output logic [GROUP_BITS+$clog2(TILES)+$clog2(LANES/UNIT):0] write_addr,
    output logic [               8*UNIT-1:0] write_data,
    output logic                            job,
    output logic                            job_final,
    output logic [      $clog2(TILES)-1:0]   job_tile,
    output logic [             GROUP_BITS:0] job_bank,
    output logic [                     23:0] job_dest,
    input  logic                            release_valid,
    input  logic [             GROUP_BITS:0] release_bank
);
  localparam int SLICES = LANES / SLICE;
  localparam int SLICE_BITS = $clog2(SLICES);
  localparam int TILE_BITS = $clog2(TILES);
  localparam int ADDR_BITS = GROUP_BITS + 1 + TILE_BITS + SLICE_BITS;
  localparam int HIGH_BITS = ACC_BITS - 17;
  localparam int PRODUCT_BITS = ACC_BITS + 17;
  localparam int STAGES = 11;
  // Slices of one unit that is written.
  localparam int PARTS = UNIT / SLICE;
  localparam int PART_BITS = $clog2(PARTS);
  // Cycles from a slice's first pass to its second one: TURNS times the SLICES cycles of a tile.
  localparam int TURNS = SLICES == 2 ? 5 : SLICES == 4 ? 3 : 2;
  localparam int SECOND = TURNS * SLICES;
  localparam int BACK = SECOND + 2 - 10;
  localparam int ALL = STAGES + SECOND;
  // A group's next tile of a sum is issued at least so many cycles later: what it adds is read in the second pass.
  localparam int COOL_BITS = 6;
  localparam logic [COOL_BITS-1:0] COOL = SECOND + SLICES + 4 > 20 ? COOL_BITS'(SECOND + SLICES + 4) : COOL_BITS'(20);
  // Registers of the shift amount and of low and high, one copy for QUARTER lanes.
  localparam int QUARTER = 4;
  localparam int COPIES = SLICE / QUARTER;

  if (SLICE != 4 && SLICE != 8 && SLICE != 16) begin : gen_bad_slice
    $error("seq_drain: SLICE must be 4, 8 or 16");
  end
  if (UNIT != 16 || SLICES > 8) begin : gen_bad_unit
    $error("seq_drain: UNIT must be 16, and a tile at most 8 slices");
  end

  // Grants, in turn. A channel's first tile needs a free bank. The grant leaves through a register: ask still belongs to
  // the tile that it grants. The group issues with it, and a cycle later the tile's facts are there.
  logic [GROUPS-1:0] candidates, after_reg, odd_reg, later, chosen, issued_reg;
  logic [2**(GROUP_BITS+1)-1:0] bank_busy_reg;
  logic free, granted, ends;
  logic [SLICE_BITS+1:0] pause_reg;
  logic [SLICE_BITS-1:0] phase_reg;
  logic [TURNS:1] given_reg;
  logic [COOL_BITS-1:0] cool_reg [GROUPS];
  logic [GROUPS-1:0] cold_reg;
  logic [SLICE_BITS-1:0] end_slice_reg;
  assign free = (pause_reg == 0) & job_room & (~sum | ((phase_reg == 0) & ~given_reg[TURNS]));
  always_comb begin
    for (int g = 0; g < GROUPS; g++)
      candidates[g] = ask[g] & ~grant[g] & ~stopped[g] & free & cold_reg[g]
          & (~ask_begins[g] | ~bank_busy_reg[2*g+32'(odd_reg[g])]);
    later = |(candidates & after_reg) ? candidates & after_reg : candidates;
    chosen = later;
    for (int g = 1; g < GROUPS; g++) if (|(later & ((GROUPS'(1) << g) - GROUPS'(1)))) chosen[g] = 1'b0;
    granted = |chosen;
    ends = |(chosen & ask_ends);
  end
  always_ff @(posedge clk) begin
    grant <= chosen & {GROUPS{~rst}};
    issued_reg <= grant & {GROUPS{~rst}};
    phase_reg <= phase_reg + 1'b1;
    for (int g = 0; g < GROUPS; g++)
      if (rst) begin
        cool_reg[g] <= '0;
        cold_reg[g] <= 1'b1;
      end else if (chosen[g] && sum) begin
        cool_reg[g] <= COOL;
        cold_reg[g] <= 1'b0;
      end else if (!cold_reg[g]) begin
        cool_reg[g] <= cool_reg[g] - 1'b1;
        cold_reg[g] <= cool_reg[g] == COOL_BITS'(1);
      end
    if (rst) begin
      phase_reg <= '0;
      given_reg <= '0;
      pause_reg <= '0;
      odd_reg <= '0;
      bank_busy_reg <= '0;
    end else begin
      if (granted) pause_reg <= {wide ? 2'd3 : 2'd0, ends ? end_slice_reg : SLICE_BITS'(SLICES - 1)};
      else if (pause_reg != 0) pause_reg <= pause_reg - 1'b1;
      if (phase_reg == 0) given_reg <= {given_reg[TURNS-1:1], granted};
      if (release_valid) bank_busy_reg[release_bank] <= 1'b0;
      for (int g = 0; g < GROUPS; g++)
        if (chosen[g]) begin
          bank_busy_reg[2*g+32'(odd_reg[g])] <= 1'b1;
          odd_reg[g] <= odd_reg[g] ^ ask_ends[g];
        end
    end
    // Groups behind the one that was granted last.
    if (granted) for (int g = 0; g < GROUPS; g++) after_reg[g] <= |(chosen & ((GROUPS'(1) << g) - GROUPS'(1)));
    end_slice_reg <= SLICE_BITS'(last_slices * 4'(PARTS) - 4'd1);
  end

  // Facts of the tiles that were granted, until their results come.
  localparam int FACTS = 1 + 8 + 1 + 24 + 32 + 16 + 6;
  localparam int FLIGHT_BITS = 5;
  logic [FACTS-1:0] facts [0:2**FLIGHT_BITS-1];
  logic [FACTS-1:0] fact_in, fact_reg;
  logic [FLIGHT_BITS-1:0] fact_in_reg, fact_out_reg, flying_reg;
  logic [GROUPS-1:0] grant_odd_reg, bank_odd_reg;
  logic arrived, arrived_reg, pushed_reg;
  assign arrived = |done;
  always_comb begin
    fact_in = '0;
    for (int g = 0; g < GROUPS; g++)
      if (issued_reg[g])
        fact_in = fact_in | {bank_odd_reg[g], tile[8*g+:8], final_tile[g], dest[24*g+:24], bias[32*g+:32],
            mult[16*g+:16], shift[6*g+:6]};
  end
  always_ff @(posedge clk) begin
    grant_odd_reg <= odd_reg;
    bank_odd_reg <= grant_odd_reg;
    pushed_reg <= |issued_reg;
    arrived_reg <= arrived & ~rst;
    fact_reg <= fact_in;
    if (pushed_reg) facts[fact_in_reg] <= fact_reg;
    if (rst) begin
      fact_in_reg <= '0;
      fact_out_reg <= '0;
      flying_reg <= '0;
    end else begin
      if (pushed_reg) fact_in_reg <= fact_in_reg + 1'b1;
      if (arrived) fact_out_reg <= fact_out_reg + 1'b1;
      flying_reg <= flying_reg + FLIGHT_BITS'(|grant) - FLIGHT_BITS'(arrived_reg);
    end
  end

  // The result that is read.
  logic active_reg, last_slice, end_slice, odd0_reg, final_reg;
  logic [GROUP_BITS-1:0] group_reg, arriving;
  logic [SLICE_BITS-1:0] slice_reg;
  logic [1:0] plane_reg;
  logic [7:0] tile_reg;
  logic [23:0] dest0_reg;
  logic [31:0] bias0_reg;
  logic [15:0] mult0_reg;
  logic [5:0] shift0_reg;
  always_comb begin
    arriving = '0;
    for (int g = 0; g < GROUPS; g++) if (done[g]) arriving = arriving | GROUP_BITS'(g);
  end
  assign end_slice = slice_reg == (final_reg ? end_slice_reg : SLICE_BITS'(SLICES - 1));
  assign last_slice = end_slice & (~wide | (plane_reg == 2'd3));
  assign slice = slice_reg;
  always_ff @(posedge clk) begin
    if (rst) active_reg <= 1'b0;
    else active_reg <= arrived | (active_reg & ~last_slice);
    if (arrived) begin
      group_reg <= arriving;
      slice_reg <= '0;
      plane_reg <= '0;
      {odd0_reg, tile_reg, final_reg, dest0_reg, bias0_reg, mult0_reg, shift0_reg} <= facts[fact_out_reg];
    end else begin
      slice_reg <= end_slice ? '0 : slice_reg + 1'b1;
      if (end_slice) plane_reg <= plane_reg + 2'd1;
    end
  end

  // Stage 0: where the slice goes.
  logic [TILE_BITS-1:0] place;
  always_comb begin
    place = tile_reg[TILE_BITS-1:0];
    if (wide && plane_reg[0]) place = place + tiles[TILE_BITS-1:0];
    if (wide && plane_reg[1]) place = place + {tiles[TILE_BITS-2:0], 1'b0};
  end
  logic [ALL:1] valid_reg, job_reg, end_reg;
  logic [ADDR_BITS-1:0] addr_reg [1:ALL];
  logic [23:0] dest_reg [1:ALL];
  logic [1:0] byte_reg [1:STAGES-1];
  logic [ALL:SECOND] second;
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= '0;
    else valid_reg <= {valid_reg[ALL-1:1], active_reg};
    job_reg <= {job_reg[ALL-1:1], active_reg & last_slice & (final_reg | per_tile)};
    end_reg <= {end_reg[ALL-1:1], final_reg};
    addr_reg[1] <= {group_reg, odd0_reg, place, slice_reg};
    dest_reg[1] <= dest0_reg;
    byte_reg[1] <= wide ? plane_reg : 2'd0;
    for (int s = 2; s <= ALL; s++) begin
      addr_reg[s] <= addr_reg[s-1];
      dest_reg[s] <= dest_reg[s-1];
    end
    for (int s = 2; s < STAGES; s++) byte_reg[s] <= byte_reg[s-1];
  end
  assign second = sum ? valid_reg[ALL:SECOND] : '0;
  assign skip_slice = addr_reg[SECOND][SLICE_BITS-1:0];

  // Stage 1: the group's slice and constants are there. Stage 2: chosen. Stage 3: bias added. Stage 4: products
  // of the two parts. Stage 5: product. Stages 6 to 8: shifted by shift - 1, four ways each.
  logic [GROUP_BITS-1:0] group1_reg;
  logic [SLICE*ACC_BITS-1:0] acc2_reg;
  logic [31:0] bias1_reg, bias2_reg;
  logic [15:0] mult1_reg, mult2_reg, low_mult3_reg, high_mult3_reg;
  logic [8*SLICE-1:0] skip2_reg;
  logic [GROUP_BITS-1:0] skip_group;
  logic [5:0] shift1_reg, less2_reg, less3_reg, less4_reg, sum_less_reg;
  (* keep *) logic [5:0] less5_reg [COPIES];
  (* keep *) logic [3:0] less6_reg [COPIES];
  (* keep *) logic [1:0] less7_reg [COPIES];
  // Bounds of the product shifted by shift - 1: (x + 1) >> 1 is below low where x < 2 low - 1, above high where
  // x > 2 high.
  (* keep *) logic signed [33:0] low8_reg [COPIES], high8_reg [COPIES];
  (* keep *) logic [31:0] low9_reg [COPIES], high9_reg [COPIES];
  logic [31:0] low7, high7, low8, high8;
  assign low7 = second[SECOND+7] ? sum_low : low;
  assign high7 = second[SECOND+7] ? sum_high : high;
  assign low8 = second[SECOND+8] ? sum_low : low;
  assign high8 = second[SECOND+8] ? sum_high : high;
  assign skip_group = addr_reg[SECOND+1][ADDR_BITS-1-:GROUP_BITS];
  always_ff @(posedge clk) begin
    group1_reg <= group_reg;
    acc2_reg <= slice_data[SLICE*ACC_BITS*group1_reg+:SLICE*ACC_BITS];
    skip2_reg <= skip_data[8*SLICE*skip_group+:8*SLICE];
    bias1_reg <= bias0_reg;
    bias2_reg <= bias1_reg;
    mult1_reg <= mult0_reg;
    mult2_reg <= mult1_reg;
    low_mult3_reg <= second[SECOND+2] ? mult1 : mult2_reg;
    high_mult3_reg <= second[SECOND+2] ? mult0 : mult2_reg;
    shift1_reg <= shift0_reg;
    sum_less_reg <= sum_shift - 6'd1;
    less2_reg <= shift1_reg - 6'd1;
    less3_reg <= less2_reg;
    less4_reg <= second[SECOND+3] ? sum_less_reg : less3_reg;
    for (int c = 0; c < COPIES; c++) begin
      less5_reg[c] <= less4_reg;
      less6_reg[c] <= less5_reg[c][3:0];
      less7_reg[c] <= less6_reg[c][1:0];
      low8_reg[c] <= $signed({low7[31], low7, 1'b0}) - 34'sd1;
      high8_reg[c] <= $signed({high7[31], high7, 1'b0});
      low9_reg[c] <= low8;
      high9_reg[c] <= high8;
    end
  end

  logic [8*SLICE-1:0] made_reg;
  for (genvar i = 0; i < SLICE; i++) begin : gen_lane
    localparam int C = i / QUARTER;
    logic signed [ACC_BITS-1:0] sum3_reg;
    logic signed [17:0] low3;
    logic signed [HIGH_BITS-1:0] high3;
    logic minus3_reg, skip_minus;
    logic signed [33:0] low4_reg;
    logic signed [HIGH_BITS+16:0] high4_reg;
    logic signed [PRODUCT_BITS-1:0] product5_reg, by16_reg, by4_reg, shifted8_reg, raised4;
    logic below9_reg, above9_reg;
    logic signed [32:0] rounded9_reg;
    logic [31:0] clamped10_reg;
    logic [8:0] back_reg [BACK];
    assign skip_minus = skip_signed & skip2_reg[8*i+7];
    assign low3 = {minus3_reg, sum3_reg[16:0]};
    assign high3 = sum3_reg[ACC_BITS-1:17];
    assign raised4 = second[SECOND+4] ? PRODUCT_BITS'(high4_reg) : PRODUCT_BITS'($signed({high4_reg, 17'd0}));
    always_ff @(posedge clk) begin
      if (second[SECOND+2]) begin
        sum3_reg <= {HIGH_BITS'($signed(back_reg[BACK-1])), {9{skip_minus}}, skip2_reg[8*i+:8]};
        minus3_reg <= skip_minus;
      end else begin
        sum3_reg <= $signed(acc2_reg[ACC_BITS*i+:ACC_BITS]) + $signed(bias2_reg[ACC_BITS-1:0]);
        minus3_reg <= 1'b0;
      end
      low4_reg <= low3 * $signed({1'b0, low_mult3_reg});
      high4_reg <= high3 * $signed({1'b0, high_mult3_reg});
      product5_reg <= PRODUCT_BITS'(low4_reg) + raised4;
      by16_reg <= product5_reg >>> {less5_reg[C][5:4], 4'd0};
      by4_reg <= by16_reg >>> {less6_reg[C][3:2], 2'd0};
      shifted8_reg <= by4_reg >>> less7_reg[C];
      below9_reg <= shifted8_reg < PRODUCT_BITS'(low8_reg[C]);
      above9_reg <= shifted8_reg > PRODUCT_BITS'(high8_reg[C]);
      rounded9_reg <= $signed(shifted8_reg[33:1]) + $signed({32'd0, shifted8_reg[0]});
      clamped10_reg <= below9_reg ? low9_reg[C] : above9_reg ? high9_reg[C] : rounded9_reg[31:0];
      back_reg[0] <= clamped10_reg[8:0];
      for (int s = 1; s < BACK; s++) back_reg[s] <= back_reg[s-1];
      made_reg[8*i+:8] <= clamped10_reg[8*byte_reg[STAGES-1]+:8];
    end
    logic unused_lane;
    assign unused_lane = rounded9_reg[32];
  end
  // Slices of a tile leave one after the other, so the parts of a unit are the latest ones.
  logic [ADDR_BITS-1:0] addr;
  logic made;
  assign addr = sum ? addr_reg[ALL] : addr_reg[STAGES];
  assign made = sum ? valid_reg[ALL] : valid_reg[STAGES];
  assign write_addr = addr[ADDR_BITS-1:PART_BITS];
  if (PARTS > 1) begin : gen_parts
    logic [8*(UNIT-SLICE)-1:0] before_reg;
    always_ff @(posedge clk) before_reg <= write_data[8*UNIT-1:8*SLICE];
    assign write_data = {made_reg, before_reg};
    assign write = made & (&addr[PART_BITS-1:0]);
  end else begin : gen_whole
    assign write_data = made_reg;
    assign write = made;
  end
  assign job = sum ? job_reg[ALL] & valid_reg[ALL] : job_reg[STAGES] & valid_reg[STAGES];
  assign job_final = sum ? end_reg[ALL] : end_reg[STAGES];
  assign job_tile = addr[SLICE_BITS+:TILE_BITS];
  assign job_bank = addr[ADDR_BITS-1-:GROUP_BITS+1];
  assign job_dest = sum ? dest_reg[ALL] : dest_reg[STAGES];
  assign busy = active_reg | (|grant) | (flying_reg != 0) | (|valid_reg);

  logic unused;
  assign unused = ^{tile_reg, tiles, bias2_reg[31:ACC_BITS-1], second};
endmodule
