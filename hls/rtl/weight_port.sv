// Loads the weight image from the input stream, or streams it back (docs/kernels.md, "Weight image").
//
// Walks stages, groups and sections, and gives each word's place on the cfg bus: kind 0 entries,
// 1 slots (the header), 2 an entry, 3/4/5 the words of slot record addr. Per stage, bits [32*i +: 32]
// of GROUPS, ENTRIES and SLOTS are its groups and capacities. Reading holds an address for READ_CYCLES
// before the word leaves, which is more than the latency of any memory behind the bus.
module weight_port #(
    parameter int STAGES = 1,
    parameter logic [32*STAGES-1:0] GROUPS = 32'd1,
    parameter logic [32*STAGES-1:0] ENTRIES = 32'd16,
    parameter logic [32*STAGES-1:0] SLOTS = 32'd2,
    parameter int STAGE_BITS = 1,
    parameter int GROUP_BITS = 1,
    parameter int ADDR_BITS = 16,
    parameter int READ_CYCLES = 13
) (
    input  logic                  clk,
    input  logic                  rst,
    input  logic                  start_load,
    input  logic                  start_read,
    output logic                  done,
    input  logic                  in_valid,
    output logic                  in_ready,
    input  logic [31:0]           in_word,
    output logic                  out_valid,
    input  logic                  out_ready,
    output logic                  out_last,
    output logic [31:0]           out_word,
    output logic                  cfg_write,
    output logic                  cfg_read,
    output logic [STAGE_BITS-1:0] cfg_stage,
    output logic [2:0]            cfg_kind,
    output logic [GROUP_BITS-1:0] cfg_group,
    output logic [ADDR_BITS-1:0]  cfg_addr,
    output logic [31:0]           cfg_wdata,
    input  logic [31:0]           cfg_rdata
);
  localparam int WAIT_BITS = $clog2(READ_CYCLES);

  // Of every stage: the last place, and the one before it, as constants.
  function automatic logic [32*STAGES-1:0] less(input logic [32*STAGES-1:0] counts, input int amount);
    for (int i = 0; i < STAGES; i++) less[32*i+:32] = counts[32*i+:32] - 32'(amount);
  endfunction
  localparam logic [32*STAGES-1:0] LAST_GROUP = less(GROUPS, 1);
  localparam logic [32*STAGES-1:0] LAST_ENTRY = less(ENTRIES, 1);
  localparam logic [32*STAGES-1:0] BEFORE_LAST_ENTRY = less(ENTRIES, 2);
  localparam logic [32*STAGES-1:0] LAST_SLOT = less(SLOTS, 1);
  function automatic int all_words();
    all_words = 0;
    for (int i = 0; i < STAGES; i++) begin
      all_words += 32'(GROUPS[32*i+:32] * (2 + ENTRIES[32*i+:32] + 3 * SLOTS[32*i+:32]));
    end
  endfunction
  localparam int WORDS = all_words();
  localparam int LEFT_BITS = $clog2(WORDS + 1);

  // Words to take or to send: kept apart from the walk, which follows a cycle later when loading.
  logic loading_reg, reading_reg, final_reg, taken_reg, moved;
  logic [LEFT_BITS-1:0] left_reg;
  logic [31:0] word_reg;
  assign moved = (loading_reg & in_valid) | (out_valid & out_ready);
  assign in_ready = loading_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      loading_reg <= 1'b0;
      reading_reg <= 1'b0;
      taken_reg <= 1'b0;
    end else begin
      loading_reg <= start_load | (loading_reg & ~(in_valid & final_reg));
      reading_reg <= start_read | (reading_reg & ~(out_valid & out_ready & final_reg));
      taken_reg <= loading_reg & in_valid;
    end
    if (start_load || start_read) begin
      left_reg <= LEFT_BITS'(WORDS);
      final_reg <= 1'b0;
    end else if (moved) begin
      left_reg <= left_reg - 1'b1;
      final_reg <= left_reg == LEFT_BITS'(2);
    end
    word_reg <= in_word;
  end

  // The walk. What is the last of its kind is known in registers: a cycle after the counter that decides it,
  // or, for entries, which may follow each other every cycle, with the step that leads there. A stage's
  // first entry and last slot are at least two cycles behind the step to that stage.
  logic step, entry_last_reg, slot_last_reg, group_last_reg, stage_last_reg, one_entry_reg, group_done;
  logic [STAGE_BITS-1:0] stage_reg;
  logic [GROUP_BITS-1:0] group_reg, last_group_reg;
  logic [2:0] kind_reg;
  logic [ADDR_BITS-1:0] addr_reg, before_last_entry_reg, last_slot_reg;
  assign step = taken_reg | (out_valid & out_ready);
  assign group_done = (kind_reg == 3'd5) & slot_last_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      stage_reg <= '0;
      group_reg <= '0;
      kind_reg <= '0;
      addr_reg <= '0;
    end else if (step) begin
      case (kind_reg)
        3'd2: begin
          kind_reg <= entry_last_reg ? 3'd3 : 3'd2;
          addr_reg <= entry_last_reg ? '0 : addr_reg + 1'b1;
        end
        3'd5: begin
          kind_reg <= slot_last_reg ? 3'd0 : 3'd3;
          addr_reg <= slot_last_reg ? '0 : addr_reg + 1'b1;
        end
        default: kind_reg <= kind_reg + 3'd1;
      endcase
      if (group_done) begin
        group_reg <= group_last_reg ? '0 : group_reg + 1'b1;
        if (group_last_reg) stage_reg <= stage_last_reg ? '0 : stage_reg + 1'b1;
      end
    end
    last_group_reg <= LAST_GROUP[32*32'(stage_reg)+:GROUP_BITS];
    last_slot_reg <= LAST_SLOT[32*32'(stage_reg)+:ADDR_BITS];
    before_last_entry_reg <= BEFORE_LAST_ENTRY[32*32'(stage_reg)+:ADDR_BITS];
    one_entry_reg <= LAST_ENTRY[32*32'(stage_reg)+:ADDR_BITS] == '0;
    stage_last_reg <= stage_reg == STAGE_BITS'(STAGES - 1);
    group_last_reg <= group_reg == last_group_reg;
    slot_last_reg <= addr_reg == last_slot_reg;
    if (step) begin
      entry_last_reg <= kind_reg == 3'd2 ? addr_reg == before_last_entry_reg : one_entry_reg;
    end
  end

  logic [WAIT_BITS-1:0] wait_reg;
  logic waited_reg;
  assign out_valid = reading_reg & waited_reg;
  assign out_last = final_reg;
  assign done = ~loading_reg & ~reading_reg & ~taken_reg & ~write_reg;

  // The bus is registered.
  logic write_reg;
  logic [STAGE_BITS-1:0] bus_stage_reg;
  logic [2:0] bus_kind_reg;
  logic [GROUP_BITS-1:0] bus_group_reg;
  logic [ADDR_BITS-1:0] bus_addr_reg;
  logic [31:0] bus_data_reg, read_reg;
  always_ff @(posedge clk) begin
    write_reg <= taken_reg & ~rst;
    if (rst || !reading_reg || (out_valid && out_ready)) begin
      wait_reg   <= '0;
      waited_reg <= 1'b0;
    end else if (!waited_reg) begin
      wait_reg   <= wait_reg + 1'b1;
      waited_reg <= wait_reg == WAIT_BITS'(READ_CYCLES - 2);
    end
    bus_stage_reg <= stage_reg;
    bus_kind_reg <= kind_reg;
    bus_group_reg <= group_reg;
    bus_addr_reg <= addr_reg;
    bus_data_reg <= word_reg;
    read_reg <= cfg_rdata;
  end
  assign cfg_write = write_reg;
  assign cfg_read = reading_reg;
  assign cfg_stage = bus_stage_reg;
  assign cfg_kind = bus_kind_reg;
  assign cfg_group = bus_group_reg;
  assign cfg_addr = bus_addr_reg;
  assign cfg_wdata = bus_data_reg;
  assign out_word = read_reg;
endmodule
