// Takes the groups' results eight lanes a cycle, requantises them and writes bytes to the channel buffer.
//
// y = clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift, low, high). A wide result leaves as four
// planes of bytes, lowest first. A tile that is written becomes a job of seq_store; where a channel is repacked or
// wide (per_tile = 0), only its last tile does.
module seq_drain #(
    parameter int GROUPS = 4,
    parameter int LANES = 64,
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
    output logic                            busy,
    // Groups.
    input  logic [             GROUPS-1:0] done,
    output logic [             GROUPS-1:0] taken,
    output logic [$clog2(LANES/8)-1:0]     slice,
    input  logic [GROUPS*8*ACC_BITS-1:0]   slice_data,
    input  logic [           GROUPS*8-1:0] tile,
    input  logic [             GROUPS-1:0] final_tile,
    input  logic [          GROUPS*24-1:0] dest,
    input  logic [          GROUPS*32-1:0] bias,
    input  logic [          GROUPS*16-1:0] mult,
    input  logic [           GROUPS*6-1:0] shift,
    // Channel buffer, and the channels that are complete.
    output logic                            write,
    output logic [GROUP_BITS+$clog2(TILES)+$clog2(LANES/8):0] write_addr,
    output logic [                     63:0] write_data,
    output logic                            job,
    output logic                            job_final,
    output logic [      $clog2(TILES)-1:0]   job_tile,
    output logic [             GROUP_BITS:0] job_bank,
    output logic [                     23:0] job_dest,
    input  logic                            release_valid,
    input  logic [             GROUP_BITS:0] release_bank
);
  localparam int SLICE_BITS = $clog2(LANES / 8);
  localparam int TILE_BITS = $clog2(TILES);
  localparam int ADDR_BITS = GROUP_BITS + 1 + TILE_BITS + SLICE_BITS;
  localparam int SLICES = LANES / 8;
  localparam int HIGH_BITS = ACC_BITS - 17;
  localparam int PRODUCT_BITS = ACC_BITS + 17;
  localparam int STAGES = 9;

  // Which group is read.
  logic [GROUPS-1:0] full_reg, candidates, odd_reg;
  logic [2*GROUPS-1:0] bank_busy_reg;
  logic active_reg, found, last_slice, end_slice, fresh_reg, next;
  logic [GROUP_BITS-1:0] group_reg, pick;
  logic [SLICE_BITS-1:0] slice_reg;
  logic [1:0] plane_reg;
  always_comb begin
    found = 1'b0;
    pick = '0;
    for (int g = 0; g < GROUPS; g++)
      candidates[g] = full_reg[g] & job_room & ((tile[8*g+:8] != 0) | ~bank_busy_reg[2*g+32'(odd_reg[g])]);
    // The first candidate behind the present group, else the first of all.
    for (int g = GROUPS - 1; g >= 0; g--)
      if (candidates[g]) begin
        found = 1'b1;
        pick = GROUP_BITS'(g);
      end
    for (int g = GROUPS - 1; g >= 0; g--)
      if (candidates[g] && GROUP_BITS'(g) > group_reg) pick = GROUP_BITS'(g);
  end
  // What belongs to the result is copied when it is chosen: then the group may finish its next tile, whose
  // result comes later than the last slice of this one. Only a wide result takes longer and holds the group.
  logic [7:0] tile_reg;
  logic [SLICE_BITS-1:0] end_slice_reg;
  logic final_reg;
  logic [23:0] dest0_reg;
  logic [31:0] bias0_reg;
  logic [15:0] mult0_reg;
  logic [5:0] shift0_reg;
  assign end_slice = slice_reg == (final_reg ? end_slice_reg : SLICE_BITS'(SLICES - 1));
  assign last_slice = end_slice & (~wide | (plane_reg == 2'd3));
  assign next = ~active_reg | last_slice;
  assign slice = slice_reg;

  always_ff @(posedge clk) begin
    if (rst) begin
      active_reg <= 1'b0;
      full_reg <= '0;
      odd_reg <= '0;
      bank_busy_reg <= '0;
      fresh_reg <= 1'b0;
    end else begin
      full_reg <= full_reg | done;
      fresh_reg <= next & found;
      if (release_valid) bank_busy_reg[release_bank] <= 1'b0;
      if (next) begin
        active_reg <= found;
        if (found) begin
          full_reg[pick] <= done[pick];
          bank_busy_reg[{pick, odd_reg[pick]}] <= 1'b1;
        end
      end
      if (active_reg && last_slice && final_reg) odd_reg[group_reg] <= ~odd_reg[group_reg];
    end
    end_slice_reg <= SLICE_BITS'(last_slices - 4'd1);
    if (next) begin
      group_reg <= pick;
      slice_reg <= '0;
      plane_reg <= '0;
      tile_reg <= tile[8*pick+:8];
      final_reg <= final_tile[pick];
      dest0_reg <= dest[24*pick+:24];
      bias0_reg <= bias[32*pick+:32];
      mult0_reg <= mult[16*pick+:16];
      shift0_reg <= shift[6*pick+:6];
    end else begin
      slice_reg <= end_slice ? '0 : slice_reg + 1'b1;
      if (end_slice) plane_reg <= plane_reg + 2'd1;
    end
  end
  always_comb begin
    taken = '0;
    taken[group_reg] = active_reg & (wide ? last_slice : fresh_reg);
  end

  // Stage 0: where the slice goes.
  logic [TILE_BITS-1:0] place;
  always_comb begin
    place = tile_reg[TILE_BITS-1:0];
    if (wide && plane_reg[0]) place = place + tiles[TILE_BITS-1:0];
    if (wide && plane_reg[1]) place = place + {tiles[TILE_BITS-2:0], 1'b0};
  end
  logic [STAGES:1] valid_reg, job_reg, end_reg;
  logic [ADDR_BITS-1:0] addr_reg [1:STAGES];
  logic [23:0] dest_reg [1:STAGES];
  logic [1:0] byte_reg [1:STAGES-1];
  always_ff @(posedge clk) begin
    if (rst) valid_reg <= '0;
    else valid_reg <= {valid_reg[STAGES-1:1], active_reg};
    job_reg <= {job_reg[STAGES-1:1], active_reg & last_slice & (final_reg | per_tile)};
    end_reg <= {end_reg[STAGES-1:1], final_reg};
    addr_reg[1] <= {group_reg, odd_reg[group_reg], place, slice_reg};
    dest_reg[1] <= dest0_reg;
    byte_reg[1] <= plane_reg;
    for (int s = 2; s <= STAGES; s++) begin
      addr_reg[s] <= addr_reg[s-1];
      dest_reg[s] <= dest_reg[s-1];
    end
    for (int s = 2; s < STAGES; s++) byte_reg[s] <= byte_reg[s-1];
  end

  // Stage 1: the group's slice and constants are there. Stage 2: chosen. Stage 3: bias added.
  logic [GROUP_BITS-1:0] group1_reg;
  logic [8*ACC_BITS-1:0] acc2_reg;
  logic [31:0] bias1_reg, bias2_reg;
  logic [15:0] mult1_reg, mult2_reg, mult3_reg;
  logic [5:0] shift1_reg, shift2_reg, shift3_reg, shift4_reg, shift5_reg, shift6_reg;
  logic [PRODUCT_BITS:0] round5_reg;
  always_ff @(posedge clk) begin
    group1_reg <= group_reg;
    acc2_reg <= slice_data[8*ACC_BITS*group1_reg+:8*ACC_BITS];
    bias1_reg <= bias0_reg;
    bias2_reg <= bias1_reg;
    mult1_reg <= mult0_reg;
    mult2_reg <= mult1_reg;
    shift1_reg <= shift0_reg;
    shift2_reg <= shift1_reg;
    mult3_reg <= mult2_reg;
    shift3_reg <= shift2_reg;
    shift4_reg <= shift3_reg;
    shift5_reg <= shift4_reg;
    shift6_reg <= shift5_reg;
    round5_reg <= (PRODUCT_BITS + 1)'(1) << (shift4_reg - 6'd1);
  end

  for (genvar i = 0; i < 8; i++) begin : gen_lane
    logic signed [ACC_BITS-1:0] sum3_reg;
    logic signed [33:0] low4_reg;
    logic signed [HIGH_BITS+16:0] high4_reg;
    logic signed [PRODUCT_BITS-1:0] product5_reg;
    logic signed [PRODUCT_BITS:0] rounded6_reg, shifted7_reg;
    logic [31:0] clamped8_reg;
    always_ff @(posedge clk) begin
      sum3_reg <= $signed(acc2_reg[ACC_BITS*i+:ACC_BITS]) + $signed(bias2_reg[ACC_BITS-1:0]);
      low4_reg <= $signed({1'b0, sum3_reg[16:0]}) * $signed({1'b0, mult3_reg});
      high4_reg <= $signed(sum3_reg[ACC_BITS-1:17]) * $signed({1'b0, mult3_reg});
      product5_reg <= PRODUCT_BITS'(low4_reg) + $signed({high4_reg, 17'd0});
      rounded6_reg <= (PRODUCT_BITS + 1)'(product5_reg) + $signed(round5_reg);
      shifted7_reg <= rounded6_reg >>> shift6_reg;
      clamped8_reg <= shifted7_reg < (PRODUCT_BITS + 1)'($signed(low)) ? low
          : shifted7_reg > (PRODUCT_BITS + 1)'($signed(high)) ? high : shifted7_reg[31:0];
      write_data[8*i+:8] <= clamped8_reg[8*byte_reg[STAGES-1]+:8];
    end
  end
  assign write = valid_reg[STAGES];
  assign write_addr = addr_reg[STAGES];
  assign job = job_reg[STAGES] & valid_reg[STAGES];
  assign job_final = end_reg[STAGES];
  assign job_tile = addr_reg[STAGES][SLICE_BITS+:TILE_BITS];
  assign job_bank = addr_reg[STAGES][ADDR_BITS-1-:GROUP_BITS+1];
  assign job_dest = dest_reg[STAGES];
  assign busy = active_reg | (|full_reg) | (|valid_reg);

  logic unused;
  assign unused = ^{tile_reg, tiles, bias2_reg[31:ACC_BITS-1]};
endmodule
