// One group of the dense engine: weight memory, lanes, tiles that wait for the drain.
// All groups of a stage are one module for simulators (no_inline_module), which keeps builds short.
module dense_group #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter int ROWS = 2,
    parameter int OUT_WIDTH = 8,
    parameter int LANES = ROWS * OUT_WIDTH,
    parameter int TILES = 4,
    parameter int WEIGHT_CAPACITY = 200,
    parameter int SLOT_CAPACITY = 2,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter bit USE_DSP = 0,
    parameter bit PAIRED = 0,
    parameter int CFG_ADDR_BITS = 16,
    parameter int ADDR_BITS = WEIGHT_CAPACITY > 1 ? $clog2(WEIGHT_CAPACITY) : 1,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1
) (
    input  logic                     clk,
    input  logic                     rst,
    // A window's last step claims a place for the tile of its slot, where the group has that slot.
    input  logic                     out_ready,
    input  logic                     claim,
    input  logic [SLOT_BITS-1:0]     claim_slot,
    output logic                     room,
    // Four stages before the last of the window.
    input  logic [ADDR_BITS-1:0]     weight_addr,
    // Last stage of the window.
    input  logic                     x_valid,
    input  logic                     first,
    input  logic                     last,
    input  logic [SLOT_BITS-1:0]     slot,
    input  logic [LANES*X_BITS-1:0]  x,
    output logic                     tile_valid,
    output logic [PAYLOAD_BITS-1:0]  tile_payload,
    input  logic                     tile_pop,
    input  logic                     cfg_write,
    input  logic                     cfg_read,
    input  logic [2:0]               cfg_kind,
    input  logic [CFG_ADDR_BITS-1:0] cfg_addr,
    input  logic [31:0]              cfg_wdata,
    output logic [31:0]              cfg_rdata
);
  /* verilator no_inline_module */
  localparam int WORD_BITS = CODE_BITS + 1;
  localparam int COUNT_BITS = $clog2(WEIGHT_CAPACITY + 1);
  localparam int SLOTS_BITS = $clog2(SLOT_CAPACITY + 1);
  localparam int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2);

  // Copies of what all groups share, kept apart from those of the other groups.
  (* keep = "true" *) logic rst_reg;
  (* keep = "true" *) logic [ADDR_BITS-1:0] weight_addr_reg;
  (* keep = "true" *) logic [LANES*X_BITS-1:0] x_reg;
  (* keep = "true" *) logic valid_reg, first_reg, last_reg;
  (* keep *)
  always_ff @(posedge clk) begin
    rst_reg <= rst;
    weight_addr_reg <= weight_addr;
    x_reg <= x;
    // The last slot may lack a channel in the higher groups, which have one slot less.
    valid_reg <= x_valid & (SLOTS_BITS'(slot) != slots_reg);
    first_reg <= first;
    last_reg <= last;
  end

  // Weight memory and header.
  logic [COUNT_BITS-1:0] entries_reg;
  logic [SLOTS_BITS-1:0] slots_reg;
  logic [WORD_BITS-1:0] read_weight, weight_reg;
  ram_sdp #(
      .WIDTH(WORD_BITS),
      .DEPTH(WEIGHT_CAPACITY),
      .ADDR_BITS(ADDR_BITS)
  ) weight_memory (
      .clk(clk),
      .write_enable(cfg_write & (cfg_kind == 3'd2)),
      .write_addr(cfg_addr[ADDR_BITS-1:0]),
      .write_data(cfg_wdata[WORD_BITS-1:0]),
      .read_enable(1'b1),
      .read_addr(weight_addr_reg),
      .read_data(read_weight)
  );
  always_ff @(posedge clk) begin
    if (rst_reg) begin
      entries_reg <= '0;
      slots_reg   <= '0;
    end else if (cfg_write) begin
      if (cfg_kind == 3'd0) entries_reg <= cfg_wdata[COUNT_BITS-1:0];
      if (cfg_kind == 3'd1) slots_reg <= cfg_wdata[SLOTS_BITS-1:0];
    end
  end
  always_comb begin
    cfg_rdata = '0;
    if (cfg_read) begin
      if (cfg_kind == 3'd0) cfg_rdata = 32'(entries_reg);
      if (cfg_kind == 3'd1) cfg_rdata = 32'(slots_reg);
      if (cfg_kind == 3'd2) cfg_rdata = 32'($signed(read_weight));
    end
  end

  always_ff @(posedge clk) weight_reg <= read_weight;

  logic [CODE_BITS-1:0] magnitude;
  logic [OPERAND_BITS-1:0] operand, operand_reg;
  assign magnitude = weight_reg[CODE_BITS] ? -weight_reg[CODE_BITS-1:0] : weight_reg[CODE_BITS-1:0];
  weight_operand #(
      .CODE_BITS(CODE_BITS),
      .USE_DSP(USE_DSP)
  ) decode (
      .negative(weight_reg[CODE_BITS]),
      .magnitude(magnitude),
      .operand(operand)
  );
  always_ff @(posedge clk) operand_reg <= operand;

  logic [LANES-1:0] done;
  logic [LANES*ACC_BITS-1:0] acc;
  mac_group #(
      .ROWS(ROWS),
      .OUT_WIDTH(OUT_WIDTH),
      .X_BITS(X_BITS),
      .X_SIGNED(X_SIGNED),
      .CODE_BITS(CODE_BITS),
      .ACC_BITS(ACC_BITS),
      .USE_DSP(USE_DSP),
      .PAIRED(PAIRED)
  ) macs (
      .clk(clk),
      .rst(rst_reg),
      .x_valid(valid_reg),
      .first(first_reg),
      .last(last_reg),
      .kw(1'b0),
      .operand_next(operand_reg),
      .x(x_reg),
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
      .claim(claim & (SLOTS_BITS'(claim_slot) != slots_reg)),
      .room(room),
      .done(done),
      .acc(acc),
      .slots(slots_reg),
      .tile_valid(tile_valid),
      .tile_payload(tile_payload),
      .tile_pop(tile_pop)
  );
  logic unused;
  assign unused = ^{cfg_addr, cfg_wdata};
endmodule
