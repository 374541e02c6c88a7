// Loads the weight image from the input stream, or streams it back (docs/kernels.md, "Weight image").
//
// Walks stages, groups and sections, and gives each word's place on the cfg bus: kind 0 entries,
// 1 slots (the header), 2 an entry, 3/4/5 the words of slot record addr. Per stage, bits [32*i +: 32]
// of GROUPS, ENTRIES and SLOTS are its groups and capacities. Reading holds a place for READ_CYCLES
// before the word leaves, more than any memory behind the bus takes.
module weight_port #(
    parameter int STAGES = 1,
    parameter logic [32*STAGES-1:0] GROUPS = 32'd1,
    parameter logic [32*STAGES-1:0] ENTRIES = 32'd16,
    parameter logic [32*STAGES-1:0] SLOTS = 32'd2,
    parameter int STAGE_BITS = 1,
    parameter int GROUP_BITS = 1,
    parameter int ADDR_BITS = 16,
    parameter int READ_CYCLES = 12
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

  logic loading_reg, reading_reg, step, group_done, stage_done, image_done;
  logic [STAGE_BITS-1:0] stage_reg;
  logic [GROUP_BITS-1:0] group_reg;
  logic [2:0] kind_reg, kind_next;
  logic [ADDR_BITS-1:0] addr_reg, addr_next;

  // The last place of every stage: constants, so that a comparison needs no adder.
  function automatic logic [32*STAGES-1:0] last_of(input logic [32*STAGES-1:0] counts);
    for (int i = 0; i < STAGES; i++) last_of[32*i+:32] = counts[32*i+:32] - 32'd1;
  endfunction
  localparam logic [32*STAGES-1:0] LAST_GROUP = last_of(GROUPS);
  localparam logic [32*STAGES-1:0] LAST_ENTRY = last_of(ENTRIES);
  localparam logic [32*STAGES-1:0] LAST_SLOT = last_of(SLOTS);

  logic entry_last, slot_last;
  assign entry_last = addr_reg == LAST_ENTRY[32*32'(stage_reg)+:ADDR_BITS];
  assign slot_last = addr_reg == LAST_SLOT[32*32'(stage_reg)+:ADDR_BITS];
  assign group_done = (kind_reg == 3'd5) & slot_last;
  assign stage_done = group_done & (group_reg == LAST_GROUP[32*32'(stage_reg)+:GROUP_BITS]);
  assign image_done = stage_done & (stage_reg == STAGE_BITS'(STAGES - 1));

  always_comb begin
    kind_next = kind_reg + 3'd1;
    addr_next = addr_reg;
    case (kind_reg)
      3'd2: begin
        if (!entry_last) kind_next = 3'd2;
        addr_next = entry_last ? '0 : addr_reg + 1'b1;
      end
      3'd5: begin
        kind_next = slot_last ? 3'd0 : 3'd3;
        addr_next = slot_last ? '0 : addr_reg + 1'b1;
      end
      default: ;
    endcase
  end

  logic [WAIT_BITS-1:0] wait_reg;
  logic waited;
  assign waited = wait_reg == WAIT_BITS'(READ_CYCLES - 1);
  assign step = (loading_reg & in_valid) | (out_valid & out_ready);
  assign in_ready = loading_reg;
  assign out_valid = reading_reg & waited;
  assign out_last = image_done;
  assign done = ~loading_reg & ~reading_reg & ~write_reg;

  // The bus is registered: a word is written in the cycle after it was taken.
  logic write_reg;
  logic [STAGE_BITS-1:0] bus_stage_reg;
  logic [2:0] bus_kind_reg;
  logic [GROUP_BITS-1:0] bus_group_reg;
  logic [ADDR_BITS-1:0] bus_addr_reg;
  logic [31:0] bus_data_reg, read_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      loading_reg <= 1'b0;
      reading_reg <= 1'b0;
      write_reg <= 1'b0;
      stage_reg <= '0;
      group_reg <= '0;
      kind_reg <= '0;
      addr_reg <= '0;
      wait_reg <= '0;
    end else begin
      loading_reg <= start_load | (loading_reg & ~(step & image_done));
      reading_reg <= start_read | (reading_reg & ~(step & image_done));
      write_reg <= loading_reg & in_valid;
      if (step) begin
        kind_reg <= kind_next;
        addr_reg <= addr_next;
        if (group_done) group_reg <= stage_done ? '0 : group_reg + 1'b1;
        if (stage_done) stage_reg <= image_done ? '0 : stage_reg + 1'b1;
      end
      if (step || !reading_reg) wait_reg <= '0;
      else if (!waited) wait_reg <= wait_reg + 1'b1;
    end
    bus_stage_reg <= stage_reg;
    bus_kind_reg <= kind_reg;
    bus_group_reg <= group_reg;
    bus_addr_reg <= addr_reg;
    bus_data_reg <= in_word;
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
