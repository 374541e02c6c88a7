// Stores complete channels: transfers of SLICE bytes in order, or bytes as the repacking list says, as lines to the
// buffer or as bursts to memory.
//
// A list word: transfer (15:0), bytes of it that leave (31:16), zeros instead (32), end of a piece (33). The next
// piece begins piece_stride bytes behind the last one; a word without bytes follows an end within a list, so that
// the rest of a piece has a cycle to leave.
module seq_store #(
    parameter int LANES = 64,
    parameter int SLICE = 16,
    parameter int TILES = 64,
    parameter int LISTS = 2048,
    parameter int GROUP_BITS = 2
) (
    input  logic        clk,
    input  logic        rst,
    input  logic        clear,
    input  logic        to_buffer,
    input  logic        listed,
    input  logic        per_tile,
    input  logic [ 3:0] last_slices,
    input  logic [15:0] stored,
    input  logic [31:0] piece_stride,
    input  logic [31:0] destination,
    input  logic [15:0] list_base,
    input  logic [31:0] memory_base,
    input  logic [31:0] memory_bytes,
    output logic        busy,
    output logic        quiet,
    output logic        out_of_range,
    output logic        bus_error,
    // Channel buffer.
    input  logic        write,
    input  logic [GROUP_BITS+$clog2(TILES)+$clog2(LANES/SLICE):0] write_addr,
    input  logic [8*SLICE-1:0] write_data,
    input  logic        job,
    output logic        job_room,
    input  logic        job_final,
    input  logic [$clog2(TILES)-1:0] job_tile,
    input  logic [GROUP_BITS:0] job_bank,
    input  logic [23:0] job_dest,
    output logic        release_valid,
    output logic [GROUP_BITS:0] release_bank,
    // List.
    input  logic        list_write,
    input  logic [15:0] list_write_addr,
    input  logic [33:0] list_write_data,
    // Lines to the buffer.
    output logic        line_valid,
    input  logic        line_ready,
    output logic [31:0] line_addr,
    output logic [8*LANES-1:0] line_data,
    // AXI4 write port.
    output logic        awvalid,
    input  logic        awready,
    output logic [31:0] awaddr,
    output logic [ 7:0] awlen,
    output logic        wvalid,
    input  logic        wready,
    output logic [63:0] wdata,
    output logic        wlast,
    input  logic        bvalid,
    input  logic [ 1:0] bresp
);
  localparam int UNIT_BITS = $clog2(SLICE);
  localparam int SLICE_BITS = $clog2(LANES / SLICE);
  localparam int BANK_BITS = $clog2(TILES) + SLICE_BITS;
  localparam int ADDR_BITS = GROUP_BITS + 1 + BANK_BITS;
  localparam int LIST_BITS = $clog2(LISTS);
  localparam int JOB_BITS = 5;
  // Tiles of two slices on their way through the drain, from the question for room to their jobs, at most.
  localparam int FLYING = 20;
  localparam int TILE_BITS = $clog2(TILES);
  localparam int FIFO_BITS = 5;
  localparam int STAGES = 7;

  if (SLICE != 16) begin : gen_bad_slice
    $error("seq_store: SLICE must be 16");
  end

  function automatic logic [2:0] zeros(input logic [3:0] bits);
    case (bits)
      4'b1111: zeros = 3'd0;
      4'b0111, 4'b1011, 4'b1101, 4'b1110: zeros = 3'd1;
      4'b0001, 4'b0010, 4'b0100, 4'b1000: zeros = 3'd3;
      4'b0000: zeros = 3'd4;
      default: zeros = 3'd2;
    endcase
  endfunction

  (* ram_style = "block" *) logic [8*SLICE-1:0] channels [0:2**ADDR_BITS-1];
  (* ram_style = "block" *) logic [33:0] list [0:LISTS-1];

  // Jobs: a tile, or a whole channel. Room is kept for those on their way through the drain.
  logic [TILE_BITS+GROUP_BITS+25:0] jobs [0:2**JOB_BITS-1];
  logic [TILE_BITS+GROUP_BITS+25:0] front;
  logic [JOB_BITS:0] job_in_reg, job_out_reg, job_count;
  logic job_waits;
  assign job_count = job_in_reg - job_out_reg;
  assign job_waits = job_count != 0;
  assign front = jobs[job_out_reg[JOB_BITS-1:0]];
  always_ff @(posedge clk) begin
    job_room <= job_count <= (JOB_BITS + 1)'(2 ** JOB_BITS - FLYING);
    if (job) jobs[job_in_reg[JOB_BITS-1:0]] <= {job_final, job_tile, job_bank, job_dest};
    if (clear) job_in_reg <= '0;
    else if (job) job_in_reg <= job_in_reg + 1'b1;
  end

  // Issue: one list word or transfer per cycle while the FIFO has room for all under way. Behind a repacked
  // channel a cycle passes, in which the rest of its last piece leaves.
  logic active_reg, fresh_reg, frees_reg, step, last_index, take;
  logic [15:0] index_reg, last_reg, tile_start;
  logic [GROUP_BITS:0] bank_reg;
  logic [FIFO_BITS:0] count_reg;
  logic [23:0] start_reg;
  assign last_index = index_reg == last_reg;
  assign step = active_reg & (count_reg < (FIFO_BITS + 1)'(2 ** (FIFO_BITS - 1)));
  assign take = job_waits & (~active_reg | (~listed & step & last_index));
  assign tile_start = per_tile ? 16'({front[GROUP_BITS+25+:TILE_BITS], {SLICE_BITS{1'b0}}}) : 16'd0;
  always_ff @(posedge clk) begin
    if (clear) begin
      active_reg <= 1'b0;
      job_out_reg <= '0;
    end else begin
      if (take) active_reg <= 1'b1;
      else if (step && last_index) active_reg <= 1'b0;
      if (take) job_out_reg <= job_out_reg + 1'b1;
    end
    if (take) begin
      index_reg <= tile_start;
      last_reg <= ~per_tile ? stored - 16'd1
          : tile_start + (front[TILE_BITS+GROUP_BITS+25] ? {12'd0, last_slices} : 16'(LANES / SLICE)) - 16'd1;
      frees_reg <= front[TILE_BITS+GROUP_BITS+25];
      bank_reg <= front[24+:GROUP_BITS+1];
      start_reg <= front[23:0] + {8'd0, tile_start};
      fresh_reg <= 1'b1;
    end else if (step) begin
      index_reg <= index_reg + 16'd1;
      fresh_reg <= 1'b0;
    end
  end

  // Stage 1, 2: list word. Stage 3, 4: transfer, and how far each of its bytes moves down.
  logic [STAGES:1] valid_reg, first_reg;
  logic [STAGES:3] end_reg;
  logic [4:1] final_reg;
  logic [LIST_BITS-1:0] list_addr;
  logic [33:0] list1_reg, word2_reg;
  logic [15:0] index1_reg;
  logic [GROUP_BITS:0] bank1_reg, bank2_reg, bank3_reg, bank4_reg;
  logic [8*SLICE-1:0] channel3_reg, channel4_reg;
  logic [SLICE-1:0] mask3_reg;
  logic zero3_reg, zero4_reg, last1_reg;
  logic [4:0] gaps [SLICE+1], below [SLICE/4+1];
  logic [SLICE-1:0] stay4_reg [4];
  logic [3:0] coarse4_reg [SLICE];
  logic [4:0] count4_reg;
  assign list_addr = list_base[LIST_BITS-1:0] + index_reg[LIST_BITS-1:0];
  always_comb begin
    // Within four bytes by a table, then one addition of what lies before them.
    below[0] = '0;
    for (int q = 0; q < SLICE / 4; q++) begin
      below[q+1] = below[q] + {2'd0, zeros(mask3_reg[4*q+:4])};
      for (int i = 0; i < 4; i++) gaps[4*q+i] = below[q] + {2'd0, zeros(mask3_reg[4*q+:4] | 4'(15 << i))};
    end
    gaps[SLICE] = below[SLICE/4];
  end
  always_ff @(posedge clk) begin
    if (write) channels[write_addr] <= write_data;
    if (list_write) list[list_write_addr[LIST_BITS-1:0]] <= list_write_data;
    list1_reg <= list[list_addr];
    index1_reg <= index_reg;
    last1_reg <= last_index;
    word2_reg <= listed ? list1_reg : {last1_reg, 1'b0, {SLICE{1'b1}}, index1_reg};
    channel3_reg <= channels[{bank2_reg, word2_reg[BANK_BITS-1:0]}];
    channel4_reg <= channel3_reg;
    mask3_reg <= word2_reg[31:16];
    zero3_reg <= word2_reg[32];
    zero4_reg <= zero3_reg;
    count4_reg <= 5'(SLICE) - gaps[SLICE];
    // stay4_reg[d][i]: byte i leaves and moves down by d and a multiple of four.
    for (int d = 0; d < 4; d++)
      for (int i = 0; i < SLICE; i++) stay4_reg[d][i] <= mask3_reg[i] & (gaps[i][1:0] == 2'(d));
    for (int i = 0; i < SLICE; i++) coarse4_reg[i] <= 4'd1 << gaps[i][3:2];
    bank1_reg <= bank_reg;
    bank2_reg <= bank1_reg;
    bank3_reg <= bank2_reg;
    bank4_reg <= bank3_reg;
    if (clear) valid_reg <= '0;
    else valid_reg <= {valid_reg[STAGES-1:1], step};
    first_reg <= {first_reg[STAGES-1:1], fresh_reg};
    end_reg <= {end_reg[STAGES-1:3], word2_reg[33]};
    final_reg <= {final_reg[3:1], last_index & frees_reg};
  end
  // The bank is free once its last transfer has been read.
  assign release_valid = valid_reg[4] & final_reg[4];
  assign release_bank = bank4_reg;

  // Stage 5: moved down by 0 to 3. Stage 6: by multiples of 4; now bytes lie together at the low end.
  logic [8*SLICE-1:0] data5_reg, data6_reg, data5, data6;
  logic [3:0] coarse5_reg [SLICE], coarse5 [SLICE];
  logic [4:0] count5_reg, count6_reg;
  always_comb begin
    data5 = '0;
    data6 = '0;
    for (int i = 0; i < SLICE; i++) begin
      coarse5[i] = '0;
      for (int d = 0; d < 4 && i + d < SLICE; d++)
        if (stay4_reg[d][i+d]) begin
          data5[8*i+:8] = data5[8*i+:8] | (channel4_reg[8*(i+d)+:8] & {8{~zero4_reg}});
          coarse5[i] = coarse5[i] | coarse4_reg[i+d];
        end
      for (int d = 0; d < 4 && i + 4 * d < SLICE; d++)
        if (coarse5_reg[i+4*d][d]) data6[8*i+:8] = data6[8*i+:8] | data5_reg[8*(i+4*d)+:8];
    end
  end
  always_ff @(posedge clk) begin
    data5_reg <= data5;
    for (int i = 0; i < SLICE; i++) coarse5_reg[i] <= coarse5[i];
    count5_reg <= count4_reg;
    data6_reg <= data6;
    count6_reg <= count5_reg;
  end

  // Stage 7: bytes turned to where they go within a transfer; held6 bytes lie before them.
  logic [UNIT_BITS-1:0] held6_reg, held7_reg;
  logic [4:0] total6, total7_reg;
  logic [8*SLICE-1:0] turned, data7_reg;
  logic [16*SLICE-1:0] doubled;
  assign total6 = {1'b0, held6_reg} + count6_reg;
  assign doubled = {data6_reg, data6_reg};
  assign turned = doubled[8*(5'(SLICE)-{1'b0, held6_reg})+:8*SLICE];
  always_ff @(posedge clk) begin
    if (clear) held6_reg <= '0;
    else if (valid_reg[6]) held6_reg <= end_reg[6] ? '0 : total6[UNIT_BITS-1:0];
    data7_reg <= turned;
    held7_reg <= held6_reg;
    total7_reg <= total6;
  end

  // Packer: bytes that wait for a whole transfer. A job's start address comes with its first word.
  logic [31:0] start_wait_reg [1:STAGES];
  logic [8*SLICE-1:0] rest_reg, joined, over;
  logic flush_reg, begins, push, push_end, beyond;
  logic [31:0] piece_reg, addr_reg, push_addr, piece;
  logic [8*SLICE-1:0] push_data;
  always_comb
    for (int i = 0; i < SLICE; i++) begin
      joined[8*i+:8] = UNIT_BITS'(i) < held7_reg ? rest_reg[8*i+:8] : data7_reg[8*i+:8];
      over[8*i+:8] = UNIT_BITS'(i) < held7_reg ? data7_reg[8*i+:8] : 8'd0;
    end
  assign begins = valid_reg[7] & first_reg[7];
  assign beyond = total7_reg > 5'(SLICE);
  assign piece = begins ? start_wait_reg[7] : piece_reg;
  assign push_addr = begins ? start_wait_reg[7] : addr_reg;
  assign push = flush_reg | (valid_reg[7] & (total7_reg[UNIT_BITS] | end_reg[7]));
  assign push_data = flush_reg ? rest_reg : joined;
  assign push_end = flush_reg | (end_reg[7] & ~beyond);
  always_ff @(posedge clk) begin
    start_wait_reg[1] <= destination + 32'({start_reg, {UNIT_BITS{1'b0}}});
    for (int s = 2; s <= STAGES; s++) start_wait_reg[s] <= start_wait_reg[s-1];
    if (clear) begin
      flush_reg <= 1'b0;
    end else if (flush_reg) begin
      flush_reg <= 1'b0;
      addr_reg <= piece_reg + piece_stride;
      piece_reg <= piece_reg + piece_stride;
    end else if (valid_reg[7]) begin
      flush_reg <= end_reg[7] & beyond;
      rest_reg <= total7_reg[UNIT_BITS] ? over : joined;
      piece_reg <= piece;
      addr_reg <= push_addr;
      if (end_reg[7] && !beyond) begin
        piece_reg <= piece + piece_stride;
        addr_reg <= piece + piece_stride;
      end else if (push) begin
        addr_reg <= push_addr + 32'(SLICE);
      end
    end
  end

  // FIFO of transfers.
  localparam int WORD = 8 * SLICE + 32 - UNIT_BITS + 1;
  logic [WORD-1:0] fifo [0:2**FIFO_BITS-1];
  logic [FIFO_BITS-1:0] fifo_in_reg, fifo_out_reg;
  logic pop, head_end;
  logic [WORD-1:0] head;
  logic [SLICE_BITS-1:0] head_place;
  assign head = fifo[fifo_out_reg];
  assign head_place = head[8*SLICE+:SLICE_BITS];
  assign head_end = head[WORD-1] | (&head_place);
  always_ff @(posedge clk) begin
    if (push) fifo[fifo_in_reg] <= {push_end, push_addr[31:UNIT_BITS], push_data};
    if (clear) begin
      fifo_in_reg <= '0;
      fifo_out_reg <= '0;
      count_reg <= '0;
    end else begin
      if (push) fifo_in_reg <= fifo_in_reg + 1'b1;
      if (pop) fifo_out_reg <= fifo_out_reg + 1'b1;
      count_reg <= count_reg + (FIFO_BITS + 1)'(push) - (FIFO_BITS + 1)'(pop);
    end
  end

  // Lines: transfers of one aligned line; a full or ended one goes to the sender.
  logic [8*LANES-1:0] line_reg, send_reg;
  logic line_full_reg, send_line_reg, send_burst_reg, started_reg;
  logic [SLICE_BITS-1:0] from_reg, to_reg, send_to_reg;
  logic [SLICE_BITS:0] beat_reg;
  logic [31:0] line_addr_reg, send_addr_reg;
  logic move, sent, final_beat;
  assign pop = (count_reg != 0) & (~line_full_reg | move);
  always_ff @(posedge clk) begin
    if (clear) begin
      line_full_reg <= line_full_reg & (asked_reg | addressed_reg) & ~move;
      started_reg <= 1'b0;
    end else if (pop) begin
      line_full_reg <= head_end;
      started_reg <= ~head_end;
    end else if (move) begin
      line_full_reg <= 1'b0;
    end
    if (pop) begin
      line_reg[8*SLICE*head_place+:8*SLICE] <= head[8*SLICE-1:0];
      to_reg <= head_place;
      if (!started_reg) begin
        from_reg <= head_place;
        line_addr_reg <= {head[WORD-2:8*SLICE], {UNIT_BITS{1'b0}}};
      end
    end
  end

  // Sender: a line to the buffer, or a burst to memory. The address of a burst leaves while the line waits for the
  // sender. What memory was asked for is finished in any case.
  logic addressed_reg, address_now;
  logic [4:0] open_reg;
  logic checked_reg, in_memory_reg;
  assign line_valid = send_line_reg;
  assign line_addr = send_addr_reg;
  assign line_data = send_reg;
  logic asked_reg;
  logic [31:0] ask_addr_reg;
  logic [7:0] ask_len_reg;
  logic ask_now;
  assign ask_now = line_full_reg & checked_reg & ~to_buffer & in_memory_reg & ~addressed_reg & ~asked_reg & ~open_reg[4] & ~clear;
  assign awvalid = asked_reg;
  assign awaddr = ask_addr_reg;
  assign awlen = ask_len_reg;
  assign address_now = asked_reg & awready;
  assign final_beat = beat_reg == {send_to_reg, 1'b1};
  assign wvalid = send_burst_reg;
  assign wdata = send_reg[64*beat_reg+:64];
  assign wlast = final_beat;
  assign sent = (send_line_reg & line_ready) | (send_burst_reg & wready & final_beat);
  // A line whose burst has an address goes to the sender even through clear.
  assign move = line_full_reg & (~(send_line_reg | send_burst_reg) | sent) & (to_buffer ? ~clear : addressed_reg | (checked_reg & ~in_memory_reg));
  assign quiet = ~send_burst_reg & ~asked_reg & ~addressed_reg & (open_reg == 0);
  always_ff @(posedge clk) begin
    // A line's address is compared in the cycle before it is used.
    checked_reg <= line_full_reg & ~move & ~clear;
    in_memory_reg <= {1'b0, line_addr_reg} + 33'(LANES) <= {1'b0, memory_bytes};
    out_of_range <= line_full_reg & checked_reg & ~to_buffer & ~in_memory_reg & ~clear;
    bus_error <= bvalid & bresp[1];
    if (rst) asked_reg <= 1'b0;
    else if (ask_now) asked_reg <= 1'b1;
    else if (awready) asked_reg <= 1'b0;
    if (ask_now) begin
      ask_addr_reg <= memory_base + line_addr_reg;
      ask_len_reg <= 8'({to_reg, 1'b1} - {from_reg, 1'b0});
    end
    if (rst) addressed_reg <= 1'b0;
    else if (address_now) addressed_reg <= 1'b1;
    else if (move) addressed_reg <= 1'b0;
    if (clear) send_line_reg <= 1'b0;
    else if (move || sent) send_line_reg <= move & to_buffer;
    if (rst) send_burst_reg <= 1'b0;
    else if (move || sent) send_burst_reg <= move & ~to_buffer & in_memory_reg;
    if (move) begin
      send_reg <= line_reg;
      send_addr_reg <= line_addr_reg;
      send_to_reg <= to_reg;
      beat_reg <= {from_reg, 1'b0};
    end else if (wvalid && wready) begin
      beat_reg <= beat_reg + 1'b1;
    end
    if (rst) open_reg <= '0;
    else open_reg <= open_reg + 5'(ask_now) - 5'(bvalid);
  end
  assign busy = job_waits | active_reg | (|valid_reg) | flush_reg | (count_reg != 0) | started_reg
      | line_full_reg | send_line_reg | send_burst_reg | (open_reg != 0);

  logic unused;
  assign unused = ^{list_write_addr, list_base, bresp[0], word2_reg};
endmodule
