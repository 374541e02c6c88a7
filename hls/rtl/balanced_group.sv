// One group of the balanced engine: choice of a place in the window, lanes, tiles for the drain.
// All groups of a stage are one module for simulators (no_inline_module), which keeps builds short.
//
// An entry is {choice, code}; choice = WINDOW is no weight, whose operand is 0. x holds, for every
// row, the columns that the windows of all lanes cover: lane o takes column o + choice.
// ACC_MUX = 1 chooses behind the multipliers (mac_group).
module balanced_group #(
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter int ROWS = 2,
    parameter int OUT_WIDTH = 8,
    parameter int WINDOW = 3,
    parameter int X_WIDTH = OUT_WIDTH + WINDOW - 1,
    parameter int LANES = ROWS * OUT_WIDTH,
    parameter int TILES = 4,
    parameter int SLOT_CAPACITY = 2,
    parameter int FIFO_DEPTH = 1,
    parameter int SPACING = 0,
    parameter bit USE_DSP = 0,
    parameter bit PAIRED = 0,
    parameter bit ACC_MUX = 0,
    parameter int CHOICE_BITS = $clog2(WINDOW + 1),
    parameter int ENTRY_BITS = CODE_BITS + CHOICE_BITS,
    parameter int TILE_BITS = TILES > 1 ? $clog2(TILES) : 1,
    parameter int SLOT_BITS = SLOT_CAPACITY > 1 ? $clog2(SLOT_CAPACITY) : 1,
    parameter int SLOTS_BITS = $clog2(SLOT_CAPACITY + 1),
    parameter int PAYLOAD_BITS = LANES * ACC_BITS + SLOT_BITS + TILE_BITS + 1
) (
    input  logic                           clk,
    input  logic                           rst,
    // A slot's last word claims a place for its tile, where the group has that slot.
    input  logic                           out_ready,
    input  logic                           claim,
    input  logic                           claim_last_slot,
    output logic                           room,
    // One stage before the window's last one.
    input  logic [ENTRY_BITS-1:0]          entry,
    // Last stage of the window.
    input  logic                           x_valid,
    input  logic                           first,
    input  logic                           last,
    input  logic                           last_slot,
    input  logic [ROWS*X_WIDTH*X_BITS-1:0] x,
    output logic                           tile_valid,
    output logic [PAYLOAD_BITS-1:0]        tile_payload,
    input  logic                           tile_pop,
    // Slots of this group, and of the program.
    output logic [SLOTS_BITS-1:0]          slots,
    input  logic [SLOTS_BITS-1:0]          all_slots,
    input  logic                           slots_write,
    input  logic [SLOTS_BITS-1:0]          slots_wdata
);
  /* verilator no_inline_module */
  localparam int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2);
  localparam int PLACE_BITS = WINDOW > 1 ? $clog2(WINDOW) : 1;

  // The last slot may lack a channel in the higher groups.
  logic [SLOTS_BITS-1:0] slots_reg;
  logic has_last_slot;
  always_ff @(posedge clk) begin
    if (rst) slots_reg <= '0;
    else if (slots_write) slots_reg <= slots_wdata;
  end
  assign slots = slots_reg;
  assign has_last_slot = slots_reg == all_slots;

  // Weight: decoded once for all lanes.
  logic [CHOICE_BITS-1:0] choice;
  logic [CODE_BITS-1:0] magnitude;
  logic [OPERAND_BITS-1:0] operand, operand_reg;
  assign choice = entry[CODE_BITS+:CHOICE_BITS];
  if (CODE_BITS > 1) begin : gen_magnitude
    assign magnitude = CODE_BITS'(entry[CODE_BITS-2:0]) + 1'b1;
  end else begin : gen_sign_only
    assign magnitude = 1'b1;
  end
  weight_operand #(
      .CODE_BITS(CODE_BITS),
      .USE_DSP(USE_DSP)
  ) decode (
      .negative(entry[CODE_BITS-1]),
      .magnitude(magnitude),
      .operand(operand)
  );
  always_ff @(posedge clk) operand_reg <= choice == CHOICE_BITS'(WINDOW) ? '0 : operand;

  // Copies of what all groups share, kept apart from those of the other groups.
  (* keep = "true" *) logic valid_reg, first_reg, last_reg;
  (* keep *)
  always_ff @(posedge clk) begin
    valid_reg <= x_valid & (~last_slot | has_last_slot);
    first_reg <= first;
    last_reg <= last;
  end

  logic [LANES-1:0] done;
  logic [LANES*ACC_BITS-1:0] acc;
  if (ACC_MUX) begin : gen_choose_products
    (* keep = "true" *) logic [ROWS*X_WIDTH*X_BITS-1:0] x_reg;
    logic [PLACE_BITS-1:0] place_early_reg, place_reg;
    (* keep *)
    always_ff @(posedge clk) x_reg <= x;
    always_ff @(posedge clk) begin
      place_early_reg <= choice[PLACE_BITS-1:0];
      place_reg <= place_early_reg;
    end
    mac_group #(
        .ROWS(ROWS),
        .OUT_WIDTH(OUT_WIDTH),
        .IN_WIDTH(X_WIDTH),
        .KERNEL_W(WINDOW),
        .ACC_MUX(1),
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS)
    ) macs (
        .clk(clk),
        .rst(rst),
        .x_valid(valid_reg),
        .first(first_reg),
        .last(last_reg),
        .kw(place_reg),
        .operand_next(operand_reg),
        .x(x_reg),
        .done(done),
        .acc(acc)
    );
  end else begin : gen_choose_inputs
    logic [LANES*X_BITS-1:0] x_reg;
    for (genvar r = 0; r < ROWS; r++) begin : gen_row
      localparam int ROW_BITS = OUT_WIDTH * X_BITS;
      (* keep = "true" *) logic [PLACE_BITS-1:0] place_reg;
      logic [WINDOW*ROW_BITS-1:0] choices;
      logic [ROW_BITS-1:0] chosen;
      (* keep *)
      always_ff @(posedge clk) place_reg <= choice[PLACE_BITS-1:0];
      for (genvar i = 0; i < WINDOW; i++) begin : gen_place
        assign choices[i*ROW_BITS+:ROW_BITS] = x[(r*X_WIDTH+i)*X_BITS+:ROW_BITS];
      end
      mux_tree #(
          .WIDTH(ROW_BITS),
          .COUNT(WINDOW),
          .SELECT_BITS(PLACE_BITS)
      ) place_mux (
          .select(place_reg),
          .choices(choices),
          .result(chosen)
      );
      // Kept: with WINDOW = 1 the groups' copies are alike.
      (* keep *)
      always_ff @(posedge clk) x_reg[r*ROW_BITS+:ROW_BITS] <= chosen;
    end
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
        .rst(rst),
        .x_valid(valid_reg),
        .first(first_reg),
        .last(last_reg),
        .kw(1'b0),
        .operand_next(operand_reg),
        .x(x_reg),
        .done(done),
        .acc(acc)
    );
  end
  group_output #(
      .LANES(LANES),
      .ACC_BITS(ACC_BITS),
      .TILES(TILES),
      .SLOT_CAPACITY(SLOT_CAPACITY),
      .FIFO_DEPTH(FIFO_DEPTH),
      .SPACING(SPACING)
  ) out (
      .clk(clk),
      .rst(rst),
      .ready(out_ready),
      .claim(claim & (~claim_last_slot | has_last_slot)),
      .room(room),
      .done(done),
      .acc(acc),
      .slots(slots_reg),
      .tile_valid(tile_valid),
      .tile_payload(tile_payload),
      .tile_pop(tile_pop)
  );
  logic unused;
  assign unused = ^choice;
endmodule
