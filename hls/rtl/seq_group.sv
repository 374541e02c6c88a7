// One group of the layer-sequential array, up to the buffer address: entry stream, slots, decoder.
//
// The entry buffer is a ring: words arrive in order, a slot's entries are read once per tile and freed in the
// last one. The stream of the next RUN is fetched into it while this one computes. An entry enters the pipeline
// per cycle; nothing behind the issue stalls. The last entry of a tile leaves when the drain grants it, in just that
// cycle. The group asks two cycles ahead, so that question, grant and issue begin and end in registers
// (docs/kernels.md, "Layer-sequential").
module seq_group #(
    parameter int LANES = 64,
    parameter int BUFFER_BITS = 17,
    parameter int ENTRY_WORDS = 1024,
    parameter int MASKS = 2048
) (
    input  logic                   clk,
    input  logic                   rst,
    // Run: its stream first, then its start.
    input  logic                   fetch,
    output logic                   fetched,
    input  logic                   start,
    input  logic [           31:0] stream_addr,
    input  logic [           31:0] stream_words,
    input  logic [            7:0] tiles,
    input  logic [            7:0] taps,
    input  logic [            2:0] tap_bits,
    input  logic [BUFFER_BITS-1:0] base,
    input  logic [BUFFER_BITS-1:0] plane,
    input  logic [           15:0] mask_base,
    input  logic [            7:0] tap_base,
    output logic                   busy,
    output logic                   waiting,
    output logic                   issued,
    // Entry stream: bursts of up to 16 words.
    output logic                   request_valid,
    output logic [           31:0] request_addr,
    output logic [            4:0] request_beats,
    input  logic                   request_ready,
    input  logic                   in_valid,
    input  logic [           63:0] in_data,
    // Tables.
    input  logic                   tap_write,
    input  logic [            7:0] tap_write_addr,
    input  logic                   mask_write,
    input  logic [           15:0] mask_write_addr,
    input  logic [           63:0] table_data,
    // To the buffer: address, and what the lanes need with the data. No entry leaves in a cycle of a bubble, of which
    // the group learns a cycle ahead.
    input  logic                   bubble,
    input  logic                   bubble_next,
    output logic [BUFFER_BITS-1:0] addr,
    output logic [LANES-1:0]       mask,
    output logic [            8:0] weight,
    output logic                   x_signed,
    output logic                   op_valid,
    output logic                   op_first,
    output logic                   op_escalate,
    output logic                   op_last,
    output logic                   skip,
    // The last entry of a tile could leave in the next cycle; it leaves with the grant. Facts of the tile come one
    // cycle after the grant.
    output logic                   ask,
    output logic                   ask_begins,
    output logic                   ask_ends,
    input  logic                   grant,
    output logic [            7:0] result_tile,
    output logic                   result_final,
    output logic [           23:0] result_dest,
    output logic [           31:0] result_bias,
    output logic [           15:0] result_mult,
    output logic [            5:0] result_shift
);
  localparam int WORD_BITS = $clog2(ENTRY_WORDS);
  localparam int MASK_BITS = $clog2(MASKS);
  localparam int LANE_BITS = $clog2(LANES);
  localparam int LINE_BITS = BUFFER_BITS - LANE_BITS;
  // Stages from issue to the accumulator, and to the registers that need the entry's flags.
  localparam int TO_MASK = 15;
  localparam int TO_WEIGHT = 16;
  localparam int TO_ACC = 19;

  // Ring of entry words. Pointers have a wrap bit more than the address. The port reads the word of the entry that
  // comes next where that entry begins a word; in all other cycles it is free for the next slot's header.
  logic [WORD_BITS:0] filled_reg, freed_reg, asked_reg, slot_reg;
  logic [WORD_BITS-1:0] read_addr;
  logic entry_turn, entry_read_reg;
  logic [63:0] word_reg, word_out_reg;
  (* ram_style = "block" *) logic [63:0] ring [0:ENTRY_WORDS-1];
  always_ff @(posedge clk) begin
    if (in_valid) ring[filled_reg[WORD_BITS-1:0]] <= in_data;
    word_reg <= ring[read_addr];
    entry_read_reg <= entry_turn;
    if (entry_read_reg) word_out_reg <= word_reg;
  end

  // Requests, where the ring has room.
  logic room, asking;
  assign room = (asked_reg - freed_reg) <= (WORD_BITS + 1)'(ENTRY_WORDS - 16);
  assign fetched = ~asking;
  seq_requests #(
      .SINGLE(1'b1)
  ) requests (
      .clk(clk),
      .clear(rst),
      .start(fetch),
      .source(stream_addr),
      .rows(32'd1),
      .beats(stream_words),
      .stride(32'd0),
      .busy(asking),
      .room(room),
      .request_valid(request_valid),
      .request_addr(request_addr),
      .request_beats(request_beats),
      .request_ready(request_ready)
  );
  always_ff @(posedge clk) begin
    if (rst) begin
      asked_reg <= '0;
      filled_reg <= '0;
    end else begin
      if (request_valid && request_ready) asked_reg <= asked_reg + (WORD_BITS + 1)'(request_beats);
      if (in_valid) filled_reg <= filled_reg + 1'b1;
    end
  end

  // Slots: the entries of every tile. NEXT waits for the header of the next slot.
  typedef enum logic [1:0] {IDLE, NEXT, ENTRIES} state_t;
  state_t state_reg;
  logic [15:0] entry_reg, left_reg, final_reg;
  logic [7:0] tiles_left_reg;
  logic [23:0] dest_reg;
  logic [31:0] bias_reg;
  logic [15:0] mult_reg;
  logic [5:0] shift_reg;
  logic pending_reg, last_slot_reg;
  logic [7:0] tile_reg;
  logic [WORD_BITS:0] entry_word, behind, behind_reg;
  logic [13:0] remaining_reg;
  logic available_reg, next_available_reg, whole_reg, loaded_reg, ready, issue, finishing, load;
  // Registered facts of the next entry: the first one of its tile, the last, the last but one or two; of the tile: the
  // first and the last one of its slot; of the slot: its tiles have one, two or three entries.
  logic is_first_reg, is_last_reg, second_last_reg, third_last_reg, first_tile_reg, last_tile_reg;
  logic single_reg, double_reg, triple_reg, last_now, last_next;
  logic [15:0] tile_mask_reg;
  logic [BUFFER_BITS-1:0] tile_start_reg;
  logic [LINE_BITS-1:0] skip_line_reg;

  assign entry_word = slot_reg + (WORD_BITS + 1)'(entry_reg[15:2]);
  assign behind = filled_reg - entry_word;
  assign ready = (state_reg == ENTRIES) & available_reg & ~bubble;
  assign ask_begins = first_tile_reg;
  assign ask_ends = last_tile_reg;
  // With a grant the last entry can always leave.
  assign issue = grant | (ready & ~is_last_reg);
  assign finishing = grant & last_tile_reg;
  // Whether the next cycle finds the last entry of a tile in turn, or the last but one and lets it leave. All entries
  // of the slot have arrived then, so that nothing but a bubble can stop them.
  assign last_now = is_last_reg ? ~grant | single_reg : second_last_reg & issue;
  assign last_next = is_last_reg ? grant & double_reg : issue ? third_last_reg : second_last_reg;
  assign busy = state_reg != IDLE;
  assign issued = issue;

  // The next slot's header: two words, read ahead while the present slot lies in the ring as a whole; then its
  // place behind the first word of entries, and the buffer address of its first tile.
  typedef enum logic [2:0] {NONE, HEADER0, HEADER1, CAPTURE1, SETTLE, READY} header_t;
  header_t header_state_reg;
  logic [WORD_BITS:0] header_reg, ahead, next_slot_reg;
  logic header_here, header_turn, header0_reg, long_reg;
  logic [63:0] next0_reg, next1_reg;
  logic [15:0] next_words_reg, next_final_reg;
  logic [WORD_BITS:0] next_here_reg;
  logic next_single_reg, next_double_reg, next_triple_reg, next_whole_reg;
  logic [12:0] next_skip;
  logic [BUFFER_BITS-1:0] next_start_reg;
  assign ahead = filled_reg - header_reg;
  // A header that has not arrived yet looks like one far ahead of the ring.
  assign header_here = (ahead != 0) & ~(ahead[WORD_BITS] & (|ahead[WORD_BITS-1:0]));
  assign entry_turn = (state_reg == ENTRIES) & (entry_reg[1:0] == 2'd0);
  assign header_turn = ((header_state_reg == HEADER0) | (header_state_reg == HEADER1)) & header_here & ~entry_turn
      & ~((state_reg == ENTRIES) & long_reg);
  assign read_addr = entry_turn ? entry_word[WORD_BITS-1:0] : header_reg[WORD_BITS-1:0];
  assign next_skip = {next1_reg[62:54], next0_reg[39:36]};
  assign load = (header_state_reg == READY) & ((state_reg == NEXT) | (finishing & ~last_slot_reg));
  assign waiting = ((state_reg == ENTRIES) & ~available_reg) | ((state_reg == NEXT) & ~header_here);

  always_ff @(posedge clk) begin
    if (rst) begin
      state_reg <= IDLE;
      pending_reg <= 1'b0;
      header_state_reg <= NONE;
      header_reg <= '0;
      freed_reg <= '0;
    end else begin
      if (fetch) pending_reg <= stream_words != 0;
      case (state_reg)
        IDLE: if (start && pending_reg) state_reg <= NEXT;
        NEXT: if (load) state_reg <= ENTRIES;
        ENTRIES: if (issue) begin
          if (last_tile_reg && (entry_reg[1:0] == 2'd3 || is_last_reg)) freed_reg <= entry_word + 1'b1;
          if (finishing) state_reg <= last_slot_reg ? IDLE : load ? ENTRIES : NEXT;
        end
        default: state_reg <= IDLE;
      endcase
      case (header_state_reg)
        NONE: if (start && pending_reg) header_state_reg <= HEADER0;
        HEADER0: if (header_turn) begin
          header_reg <= header_reg + 1'b1;
          header_state_reg <= HEADER1;
        end
        HEADER1: if (header_turn) begin
          header_reg <= header_reg + 1'b1;
          header_state_reg <= CAPTURE1;
        end
        CAPTURE1: header_state_reg <= SETTLE;
        SETTLE: header_state_reg <= READY;
        READY: if (load) begin
          header_reg <= next_slot_reg + (WORD_BITS + 1)'(next_words_reg);
          header_state_reg <= next1_reg[63] ? NONE : HEADER0;
          freed_reg <= next_slot_reg;
        end
        default: header_state_reg <= NONE;
      endcase
    end
    header0_reg <= header_turn & (header_state_reg == HEADER0);
    if (header0_reg) next0_reg <= word_reg;
    if (header_state_reg == CAPTURE1) next1_reg <= word_reg;
    next_slot_reg <= header_reg;
    next_final_reg <= next0_reg[15:0] - 16'd1;
    next_words_reg <= (next0_reg[15:0] + 16'd3) >> 2;
    next_single_reg <= next0_reg[15:0] == 16'd1;
    next_double_reg <= next0_reg[15:0] == 16'd2;
    next_triple_reg <= next0_reg[15:0] == 16'd3;
    next_here_reg <= filled_reg - next_slot_reg;
    next_available_reg <= (header_state_reg == READY) & (filled_reg != next_slot_reg);
    next_whole_reg <= (header_state_reg == READY) & (16'(next_here_reg) >= next_words_reg);
    // Whether the word of the entry that comes next has arrived.
    if (load) available_reg <= next_available_reg;
    else if (grant) available_reg <= ~last_tile_reg;
    else if (issue && entry_reg[1:0] == 2'd3) available_reg <= |behind[WORD_BITS:1];
    else available_reg <= behind != 0;
    // Whether all words of the slot have arrived. What is compared belongs to the slot from the second cycle on.
    behind_reg <= behind;
    remaining_reg <= final_reg[15:2] - entry_reg[15:2];
    loaded_reg <= load;
    if (load) whole_reg <= next_whole_reg;
    else whole_reg <= whole_reg | (~loaded_reg & (14'(behind_reg) > remaining_reg));
    ask <= ~rst & (state_reg == ENTRIES) & whole_reg & ~finishing & (last_now | (last_next & ~bubble_next));
    next_start_reg <= base + BUFFER_BITS'(next0_reg[35:16]);
    if (load) begin
      final_reg <= next_final_reg;
      left_reg <= next_final_reg;
      single_reg <= next_single_reg;
      double_reg <= next_double_reg;
      triple_reg <= next_triple_reg;
      is_first_reg <= 1'b1;
      is_last_reg <= next_single_reg;
      second_last_reg <= next_double_reg;
      third_last_reg <= next_triple_reg;
      long_reg <= next_words_reg >= 16'(ENTRY_WORDS - 32);
      first_tile_reg <= 1'b1;
      last_tile_reg <= tiles == 8'd1;
      tiles_left_reg <= tiles - 8'd1;
      dest_reg <= next0_reg[63:40];
      bias_reg <= next1_reg[31:0];
      mult_reg <= next1_reg[47:32];
      shift_reg <= next1_reg[53:48];
      last_slot_reg <= next1_reg[63];
      slot_reg <= next_slot_reg;
      entry_reg <= '0;
      tile_reg <= '0;
      tile_mask_reg <= mask_base;
      tile_start_reg <= next_start_reg;
      skip_line_reg <= next_skip[LINE_BITS-1:0];
    end else if (issue) begin
      entry_reg <= is_last_reg ? 16'd0 : entry_reg + 16'd1;
      left_reg <= is_last_reg ? final_reg : left_reg - 16'd1;
      is_first_reg <= is_last_reg;
      is_last_reg <= is_last_reg ? single_reg : second_last_reg;
      second_last_reg <= is_last_reg ? double_reg : third_last_reg;
      third_last_reg <= is_last_reg ? triple_reg : left_reg == 16'd3;
      if (is_last_reg) begin
        first_tile_reg <= 1'b0;
        last_tile_reg <= tiles_left_reg == 8'd1;
        tiles_left_reg <= tiles_left_reg - 8'd1;
        tile_reg <= tile_reg + 8'd1;
        tile_mask_reg <= tile_mask_reg + {8'd0, taps};
        tile_start_reg <= tile_start_reg + BUFFER_BITS'(LANES);
        skip_line_reg <= skip_line_reg + 1'b1;
      end
    end
    if (grant) begin
      result_tile <= tile_reg;
      result_final <= last_tile_reg;
      result_dest <= dest_reg;
      result_bias <= bias_reg;
      result_mult <= mult_reg;
      result_shift <= shift_reg;
    end
  end

  // Pipeline behind the issue; stage numbers count cycles from it.
  logic [TO_ACC-2:1] valid_reg, first_reg, last_reg;
  logic [1:0] place1_reg, place2_reg;
  logic [BUFFER_BITS-1:0] start1_reg, start2_reg, start3_reg, start4_reg, start5_reg, start6_reg;
  logic [15:0] mask1_reg, mask2_reg, mask3_reg, mask4_reg;
  logic [LINE_BITS-1:0] line_wait_reg [1:7];
  always_ff @(posedge clk) begin
    if (rst) begin
      valid_reg <= '0;
      last_reg <= '0;
    end else begin
      valid_reg <= {valid_reg[TO_ACC-3:1], issue};
      last_reg <= {last_reg[TO_ACC-3:1], grant};
    end
    first_reg <= {first_reg[TO_ACC-3:1], is_first_reg};
    place1_reg <= entry_reg[1:0];
    place2_reg <= place1_reg;
    start1_reg <= tile_start_reg;
    start2_reg <= start1_reg;
    start3_reg <= start2_reg;
    start4_reg <= start3_reg;
    start5_reg <= start4_reg;
    start6_reg <= start5_reg;
    mask1_reg <= tile_mask_reg;
    line_wait_reg[1] <= skip_line_reg;
    for (int s = 2; s < 8; s++) line_wait_reg[s] <= line_wait_reg[s-1];
    mask2_reg <= mask1_reg;
    mask3_reg <= mask2_reg;
    mask4_reg <= mask3_reg;
  end

  // Stage 3: the entry. Stage 4: its fields.
  logic [15:0] entry3_reg;
  logic [6:0] advance4_reg, tap4_reg;
  logic [8:0] weight4_reg;
  logic escalate4_reg, skip4_reg;
  logic [8:0] magnitude;
  assign magnitude = {2'b0, entry3_reg[6:0]} + 9'd1;
  always_ff @(posedge clk) begin
    entry3_reg <= word_out_reg[16*place2_reg+:16];
    advance4_reg <= entry3_reg[14:8] >> tap_bits;
    tap4_reg <= entry3_reg[14:8] & ~(7'h7f << tap_bits);
    weight4_reg <= ~entry3_reg[15] ? 9'd0 : entry3_reg[7] ? -magnitude : magnitude;
    escalate4_reg <= ~entry3_reg[15] & entry3_reg[0];
    skip4_reg <= ~entry3_reg[15] & entry3_reg[1];
  end

  // Stages 5 to 8: advance times plane, tap offset, channel address, pixel address. What a sum adds lies at its
  // slot's own line.
  logic [24:0] tap_table [0:255];
  logic [24:0] tap5_reg, tap6_reg, tap7_reg;
  logic [7:0] tap_addr;
  logic [BUFFER_BITS-1:0] step5_reg, step6_reg, channel7_reg, addr8_reg;
  logic [15:0] mask_addr5_reg;
  logic signed8_reg;
  localparam int WEIGHT_WAIT = TO_WEIGHT - 1 - 4;
  logic [WEIGHT_WAIT-1:0] skip_wait_reg;
  assign tap_addr = tap_base + {1'b0, tap4_reg};
  always_ff @(posedge clk) begin
    if (tap_write) tap_table[tap_write_addr] <= table_data[24:0];
    tap5_reg <= tap_table[tap_addr];
    tap6_reg <= tap5_reg;
    tap7_reg <= tap6_reg;
    step5_reg <= BUFFER_BITS'(advance4_reg * plane);
    step6_reg <= step5_reg;
    if (valid_reg[6]) channel7_reg <= (first_reg[6] ? start6_reg : channel7_reg) + step6_reg;
    addr8_reg <= (skip_wait_reg[2] ? {line_wait_reg[7], {LANE_BITS{1'b0}}} : channel7_reg) + tap7_reg[BUFFER_BITS-1:0];
    signed8_reg <= tap7_reg[24];
    mask_addr5_reg <= mask4_reg + {9'd0, tap4_reg};
  end
  assign addr = addr8_reg;

  // The mask is read late: its address waits, not the wide word.
  localparam int MASK_WAIT = TO_MASK - 1 - 5 - 2;
  logic [MASK_BITS*MASK_WAIT-1:0] mask_wait_reg;
  logic [LANES-1:0] mask_read_reg, mask_out_reg;
  (* ram_style = "block" *) logic [LANES-1:0] mask_table [0:MASKS-1];
  always_ff @(posedge clk) begin
    mask_wait_reg <= {mask_wait_reg[0+:MASK_BITS*(MASK_WAIT-1)], mask_addr5_reg[MASK_BITS-1:0]};
    if (mask_write) mask_table[mask_write_addr[MASK_BITS-1:0]] <= table_data[LANES-1:0];
    mask_read_reg <= mask_table[mask_wait_reg[MASK_BITS*(MASK_WAIT-1)+:MASK_BITS]];
    mask_out_reg <= mask_read_reg;
  end
  assign mask = mask_out_reg;

  // Weight and sign wait for the activations, the operation for the products.
  localparam int SIGN_WAIT = TO_MASK - 1 - 8;
  localparam int OP_WAIT = TO_ACC - 2 - 4;
  logic [9*WEIGHT_WAIT-1:0] weight_wait_reg;
  logic [SIGN_WAIT-1:0] sign_wait_reg;
  logic [OP_WAIT-1:0] escalate_wait_reg;
  always_ff @(posedge clk) begin
    weight_wait_reg <= {weight_wait_reg[0+:9*(WEIGHT_WAIT-1)], weight4_reg};
    skip_wait_reg <= {skip_wait_reg[WEIGHT_WAIT-2:0], skip4_reg & valid_reg[4]};
    sign_wait_reg <= {sign_wait_reg[SIGN_WAIT-2:0], signed8_reg};
    escalate_wait_reg <= {escalate_wait_reg[OP_WAIT-2:0], escalate4_reg};
  end
  assign weight = weight_wait_reg[9*(WEIGHT_WAIT-1)+:9];
  assign skip = skip_wait_reg[WEIGHT_WAIT-1];
  assign x_signed = sign_wait_reg[SIGN_WAIT-1];
  assign op_valid = valid_reg[TO_ACC-2];
  assign op_first = first_reg[TO_ACC-2];
  assign op_last = last_reg[TO_ACC-2];
  assign op_escalate = escalate_wait_reg[OP_WAIT-1];

  logic unused;
  assign unused = ^{tap7_reg[23:BUFFER_BITS], mask_write_addr, mask_addr5_reg, table_data, next0_reg, next1_reg, next_skip};
endmodule
