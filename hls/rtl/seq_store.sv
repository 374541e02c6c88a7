// Stores complete channels: transfers in order, or bytes as the repacking list says, as lines to the buffer or
// as bursts to memory.
//
// A list word: transfer (15:0), bytes of it that leave (23:16), zeros instead (24), end of a piece (25). The
// next piece begins piece_stride bytes behind the last one; a word without bytes follows an end in_memory a list,
// so that the rest of a piece has a cycle to leave.
module seq_store #(
    parameter int LANES = 64,
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
    input  logic [GROUP_BITS+$clog2(TILES)+$clog2(LANES/8):0] write_addr,
    input  logic [63:0] write_data,
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
    input  logic [31:0] list_write_data,
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
  localparam int SLICE_BITS = $clog2(LANES / 8);
  localparam int BANK_BITS = $clog2(TILES) + SLICE_BITS;
  localparam int ADDR_BITS = GROUP_BITS + 1 + BANK_BITS;
  localparam int LIST_BITS = $clog2(LISTS);
  localparam int JOB_BITS = 5;
  localparam int TILE_BITS = $clog2(TILES);
  localparam int FIFO = 32;

  function automatic logic [3:0] ones(input logic [7:0] bits);
    ones = '0;
    for (int i = 0; i < 8; i++) ones = ones + {3'd0, bits[i]};
  endfunction

  (* ram_style = "block" *) logic [63:0] channels [0:2**ADDR_BITS-1];
  (* ram_style = "block" *) logic [25:0] list [0:LISTS-1];

  // Jobs: a tile, or a whole channel. Room is kept for those on their way through the drain.
  logic [TILE_BITS+GROUP_BITS+25:0] jobs [0:2**JOB_BITS-1];
  logic [TILE_BITS+GROUP_BITS+25:0] front;
  logic [JOB_BITS:0] job_in_reg, job_out_reg, job_count;
  logic job_waits;
  assign job_count = job_in_reg - job_out_reg;
  assign job_waits = job_count != 0;
  assign job_room = job_count <= (JOB_BITS + 1)'(2 ** (JOB_BITS - 1));
  assign front = jobs[job_out_reg[JOB_BITS-1:0]];
  always_ff @(posedge clk) begin
    if (job) jobs[job_in_reg[JOB_BITS-1:0]] <= {job_final, job_tile, job_bank, job_dest};
    if (clear) job_in_reg <= '0;
    else if (job) job_in_reg <= job_in_reg + 1'b1;
  end

  // Issue: one list word or transfer per cycle while the FIFO has room for all under way. Behind a repacked
  // channel a cycle passes, in which the rest of its last piece leaves.
  logic active_reg, fresh_reg, frees_reg, step, last_index, take;
  logic [15:0] index_reg, last_reg, tile_start;
  logic [GROUP_BITS:0] bank_reg;
  logic [5:0] count_reg;
  logic [31:0] start_reg;
  assign last_index = index_reg == last_reg;
  assign step = active_reg & (count_reg < 6'(FIFO / 2));
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
          : tile_start + (front[TILE_BITS+GROUP_BITS+25] ? {12'd0, last_slices} : 16'(LANES / 8)) - 16'd1;
      frees_reg <= front[TILE_BITS+GROUP_BITS+25];
      bank_reg <= front[24+:GROUP_BITS+1];
      start_reg <= destination + {5'd0, front[23:0], 3'd0} + {13'd0, tile_start, 3'd0};
      fresh_reg <= 1'b1;
    end else if (step) begin
      index_reg <= index_reg + 16'd1;
      fresh_reg <= 1'b0;
    end
  end

  // Stage 1, 2: list word. Stage 3, 4: transfer. Stage 5, 6: bytes moved together.
  logic [6:1] valid_reg, first_reg;
  logic [4:1] final_reg;
  logic [LIST_BITS-1:0] list_addr;
  logic [25:0] list1_reg, word2_reg;
  logic [15:0] index1_reg;
  logic [GROUP_BITS:0] bank1_reg, bank2_reg, bank3_reg, bank4_reg;
  logic [63:0] channel3_reg, channel4_reg;
  logic [7:0] mask3_reg, mask4_reg;
  logic zero3_reg, zero4_reg, end3_reg, end4_reg, end5_reg, end6_reg;
  logic last1_reg;
  assign list_addr = list_base[LIST_BITS-1:0] + index_reg[LIST_BITS-1:0];
  always_ff @(posedge clk) begin
    if (write) channels[write_addr] <= write_data;
    if (list_write) list[list_write_addr[LIST_BITS-1:0]] <= list_write_data[25:0];
    list1_reg <= list[list_addr];
    index1_reg <= index_reg;
    last1_reg <= last_index;
    word2_reg <= listed ? list1_reg : {last1_reg, 1'b0, 8'hff, index1_reg};
    channel3_reg <= channels[{bank2_reg, word2_reg[BANK_BITS-1:0]}];
    channel4_reg <= channel3_reg;
    mask3_reg <= word2_reg[23:16];
    mask4_reg <= mask3_reg;
    zero3_reg <= word2_reg[24];
    zero4_reg <= zero3_reg;
    end3_reg <= word2_reg[25];
    end4_reg <= end3_reg;
    end5_reg <= end4_reg;
    end6_reg <= end5_reg;
    bank1_reg <= bank_reg;
    bank2_reg <= bank1_reg;
    bank3_reg <= bank2_reg;
    bank4_reg <= bank3_reg;
    if (clear) valid_reg <= '0;
    else valid_reg <= {valid_reg[5:1], step};
    first_reg <= {first_reg[5:1], fresh_reg};
    final_reg <= {final_reg[3:1], last_index & frees_reg};
  end
  // The bank is free once its last transfer has been read.
  assign release_valid = valid_reg[4] & final_reg[4];
  assign release_bank = bank4_reg;

  // Stage 5: how many bytes lie below each byte. Stage 6: bytes packed to the low end.
  logic [63:0] data5_reg, data6_reg, packed_bytes;
  logic [7:0] mask5_reg;
  logic [3:0] below5_reg [8], count5_reg, count6_reg;
  always_comb begin
    packed_bytes = '0;
    for (int i = 0; i < 8; i++)
      for (int j = 0; j <= i; j++)
        if (mask5_reg[i] && below5_reg[i] == 4'(j)) packed_bytes[8*j+:8] = packed_bytes[8*j+:8] | data5_reg[8*i+:8];
  end
  always_ff @(posedge clk) begin
    data5_reg <= zero4_reg ? '0 : channel4_reg;
    mask5_reg <= mask4_reg;
    for (int i = 0; i < 8; i++) below5_reg[i] <= ones(mask4_reg & 8'((1 << i) - 1));
    count5_reg <= ones(mask4_reg);
    data6_reg <= packed_bytes;
    count6_reg <= count5_reg;
  end

  // Packer: bytes that wait for a whole transfer. A job's start address comes with its first word.
  logic [31:0] start_wait_reg [1:6];
  logic [55:0] rest_reg;
  logic [2:0] held_reg;
  logic flush_reg;
  logic [31:0] piece_reg, addr_reg;
  logic [119:0] joined;
  logic [3:0] total;
  logic push, push_end;
  logic [63:0] push_data;
  logic [31:0] push_addr, piece;
  assign joined = {64'd0, rest_reg} | ({56'd0, data6_reg} << {held_reg, 3'd0});
  assign total = {1'b0, held_reg} + count6_reg;
  assign piece = valid_reg[6] & first_reg[6] ? start_wait_reg[6] : piece_reg;
  assign push_addr = valid_reg[6] & first_reg[6] ? start_wait_reg[6] : addr_reg;
  assign push = flush_reg | (valid_reg[6] & (total[3] | end6_reg));
  assign push_data = flush_reg ? {8'd0, rest_reg} : joined[63:0];
  assign push_end = flush_reg | (end6_reg & (total <= 4'd8));
  always_ff @(posedge clk) begin
    start_wait_reg[1] <= start_reg;
    for (int s = 2; s <= 6; s++) start_wait_reg[s] <= start_wait_reg[s-1];
    if (clear) begin
      held_reg <= '0;
      rest_reg <= '0;
      flush_reg <= 1'b0;
    end else if (flush_reg) begin
      flush_reg <= 1'b0;
      held_reg <= '0;
      rest_reg <= '0;
      addr_reg <= piece_reg + piece_stride;
      piece_reg <= piece_reg + piece_stride;
    end else if (valid_reg[6]) begin
      flush_reg <= end6_reg & (total > 4'd8);
      rest_reg <= total[3] ? joined[119:64] : end6_reg ? '0 : joined[55:0];
      held_reg <= end6_reg & (total <= 4'd8) ? '0 : total[2:0];
      piece_reg <= piece;
      addr_reg <= push_addr;
      if (end6_reg && total <= 4'd8) begin
        piece_reg <= piece + piece_stride;
        addr_reg <= piece + piece_stride;
      end else if (push) begin
        addr_reg <= push_addr + 32'd8;
      end
    end
  end

  // FIFO of transfers.
  logic [93:0] fifo [0:FIFO-1];
  logic [4:0] fifo_in_reg, fifo_out_reg;
  logic pop;
  logic [93:0] head;
  assign head = fifo[fifo_out_reg];
  always_ff @(posedge clk) begin
    if (push) fifo[fifo_in_reg] <= {push_end, push_addr[31:3], push_data};
    if (clear) begin
      fifo_in_reg <= '0;
      fifo_out_reg <= '0;
      count_reg <= '0;
    end else begin
      if (push) fifo_in_reg <= fifo_in_reg + 5'd1;
      if (pop) fifo_out_reg <= fifo_out_reg + 5'd1;
      count_reg <= count_reg + 6'(push) - 6'(pop);
    end
  end

  // Lines: transfers of one aligned line; a full or ended one goes to the sender.
  logic [8*LANES-1:0] line_reg, send_reg;
  logic line_full_reg, send_full_reg, started_reg;
  logic [SLICE_BITS-1:0] from_reg, to_reg, send_to_reg, beat_reg;
  logic [31:0] line_addr_reg, send_addr_reg;
  logic move, sent;
  assign pop = (count_reg != 0) & (~line_full_reg | move);
  assign move = line_full_reg & ~send_full_reg & ~clear;
  always_ff @(posedge clk) begin
    if (clear) begin
      line_full_reg <= 1'b0;
      started_reg <= 1'b0;
    end else if (pop) begin
      line_full_reg <= head[93] | (&head[64+:SLICE_BITS]);
      started_reg <= ~(head[93] | (&head[64+:SLICE_BITS]));
    end else if (move) begin
      line_full_reg <= 1'b0;
    end
    if (pop) begin
      line_reg[64*head[64+:SLICE_BITS]+:64] <= head[63:0];
      to_reg <= head[64+:SLICE_BITS];
      if (!started_reg) begin
        from_reg <= head[64+:SLICE_BITS];
        line_addr_reg <= {head[92:64], 3'd0};
      end
    end
  end

  // Sender: a line to the buffer, or a burst to memory. What memory was asked for is finished in any case.
  logic address_sent_reg;
  logic [4:0] open_reg;
  logic in_memory;
  assign in_memory = (line_addr_reg < memory_bytes) & (memory_bytes - line_addr_reg >= 32'(LANES));
  assign line_valid = send_full_reg & to_buffer;
  assign line_addr = send_addr_reg;
  assign line_data = send_reg;
  assign awvalid = send_full_reg & ~to_buffer & ~address_sent_reg & ~open_reg[4];
  assign awaddr = memory_base + send_addr_reg;
  assign awlen = 8'(send_to_reg - beat_reg);
  assign wvalid = send_full_reg & address_sent_reg;
  assign wdata = send_reg[64*beat_reg+:64];
  assign wlast = beat_reg == send_to_reg;
  assign sent = to_buffer ? line_valid & line_ready : wvalid & wready & wlast;
  assign quiet = (to_buffer | ~send_full_reg) & (open_reg == 0);
  always_ff @(posedge clk) begin
    out_of_range <= move & ~to_buffer & ~in_memory & ~clear;
    bus_error <= bvalid & bresp[1];
    if (rst) send_full_reg <= 1'b0;
    else if (clear) send_full_reg <= send_full_reg & ~to_buffer & ~sent;
    else if (move) send_full_reg <= to_buffer | in_memory;
    else if (sent) send_full_reg <= 1'b0;
    if (rst) address_sent_reg <= 1'b0;
    else if (awvalid && awready) address_sent_reg <= 1'b1;
    else if (wvalid && wready && wlast) address_sent_reg <= 1'b0;
    if (move) begin
      send_reg <= line_reg;
      send_addr_reg <= line_addr_reg;
      send_to_reg <= to_reg;
      beat_reg <= from_reg;
    end else if (wvalid && wready) begin
      beat_reg <= beat_reg + 1'b1;
    end
    if (rst) open_reg <= '0;
    else open_reg <= open_reg + 5'(awvalid & awready) - 5'(bvalid);
  end
  assign busy = job_waits | active_reg | (|valid_reg) | flush_reg | (count_reg != 0) | started_reg
      | line_full_reg | send_full_reg | (open_reg != 0);

  logic unused;
  assign unused = ^{list_write_addr, list_base, list_write_data, bresp[0], word2_reg};
endmodule
