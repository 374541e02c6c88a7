// Memory to stream (MM2S): AXI3/AXI4 read bursts of 64-bit beats become a packet of 32- or 64-bit words.
//
//   start -> bursts (at most 16 beats, within 128 bytes) -> queue of beats -> words, TLAST, TKEEP
//
// A burst is asked for only when the queue has room for all of it, so the bus never waits for the
// stream. The address is a multiple of a word's bytes; bytes beyond the length are zero and not kept. An error
// response ends the transfer: beats before it still reach the stream, without TLAST. Without run no
// further burst is asked for, and the transfer ends when the stream has taken what came before; with
// cancel it ends when the bus is quiet.
module dma_read #(
    parameter int LENGTH_BITS = 26,
    parameter int STREAM_BITS = 32
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic                   cancel,
    input  logic                   run,
    input  logic                   start,
    input  logic [           31:0] address,
    input  logic [LENGTH_BITS-1:0] length,
    output logic                   busy,
    output logic                   done,
    output logic                   fail,
    output logic                   fail_decode,
    output logic                   arvalid,
    input  logic                   arready,
    output logic [           31:0] araddr,
    output logic [            3:0] arlen,
    input  logic                   rvalid,
    output logic                   rready,
    input  logic [           63:0] rdata,
    input  logic [            1:0] rresp,
    output logic                   stream_valid,
    input  logic                   stream_ready,
    output logic [STREAM_BITS-1:0] stream_data,
    output logic [STREAM_BITS/8-1:0] stream_keep,
    output logic                   stream_last
);
  if (STREAM_BITS != 32 && STREAM_BITS != 64) begin : gen_bad_width
    $error("dma_read: STREAM_BITS must be 32 or 64");
  end
  localparam int QUEUE_BITS = 6;
  localparam int BEAT_BITS = LENGTH_BITS - 2;
  localparam logic [QUEUE_BITS:0] BURST = 'd16;

  // What to ask for.
  logic active_reg, failed_reg, decode_reg, arvalid_reg, planned_reg, roomy_reg;
  logic [28:0] next_reg;
  logic [BEAT_BITS-1:0] asked_left_reg, came_left_reg, start_beats;
  logic [QUEUE_BITS:0] pending_reg;
  logic [LENGTH_BITS:0] start_bytes;
  logic [QUEUE_BITS:0] room_reg;
  logic [31:0] araddr_reg;
  logic [3:0] arlen_reg;
  logic [4:0] to_boundary, burst_reg;
  logic stopping, ask, arrive, good, drop, quiet, empty, pop;
  assign stopping = cancel | ~run | failed_reg;
  assign to_boundary = 5'd16 - {1'b0, next_reg[3:0]};
  assign ask = active_reg & ~stopping & ~arvalid_reg & planned_reg & roomy_reg;
  assign arrive = arrive_reg;
  assign good = ~response_reg[1] & ~stopping;
  assign drop = arrive & ~good;
  assign quiet = ~arvalid_reg & pending_reg == '0;
  assign empty = room_reg == (QUEUE_BITS + 1)'(2 ** QUEUE_BITS) & ~stream_valid & ~finished_reg;
  // The next burst is planned in the cycle after the last one was asked for.
  always_ff @(posedge clk) begin
    planned_reg <= ~rst & ~start & ~ask & asked_left_reg != '0;
    roomy_reg <= room_reg >= BURST;
    burst_reg <= asked_left_reg < BEAT_BITS'(to_boundary) ? asked_left_reg[4:0] : to_boundary;
  end

  // From the beat's beginning, rounded up.
  assign start_bytes = {1'b0, length} + (LENGTH_BITS + 1)'({address[2], 2'b00}) + (LENGTH_BITS + 1)'(7);
  assign start_beats = BEAT_BITS'(start_bytes >> 3);
  assign arvalid = arvalid_reg;
  assign araddr = araddr_reg;
  assign arlen = arlen_reg;
  assign rready = 1'b1;

  // What the memory sends, one cycle later.
  logic arrive_reg;
  logic [63:0] beat_reg;
  logic [1:0] response_reg;
  always_ff @(posedge clk) begin
    arrive_reg <= rvalid & ~rst;
    beat_reg <= rdata;
    response_reg <= rresp;
  end

  // Words of the beats: the first may begin in its upper half, the last may end in its lower one.
  logic first_reg, upper_first_reg;
  logic [2:0] tail_reg;
  logic last_beat_reg, ends_low;
  logic [1:0] words;
  logic [3:0] last_keep;
  always_ff @(posedge clk) last_beat_reg <= came_left_reg == (arrive ? BEAT_BITS'(2) : BEAT_BITS'(1));
  assign ends_low = last_beat_reg & tail_reg != 3'd0 & tail_reg <= 3'd4;
  assign words = {~ends_low, ~(first_reg & upper_first_reg)};
  always_comb begin
    case (tail_reg[1:0])
      2'd1: last_keep = 4'h1;
      2'd2: last_keep = 4'h3;
      2'd3: last_keep = 4'h7;
      default: last_keep = 4'hf;
    endcase
  end

  logic queue_valid, q_last;
  logic [1:0] q_words;
  logic [3:0] q_keep;
  logic [63:0] q_data;
  beat_fifo #(
      .WIDTH(71),
      .DEPTH_BITS(QUEUE_BITS)
  ) queue (
      .clk(clk),
      .rst(rst),
      .push(arrive & good),
      .push_data({last_beat_reg, words, last_beat_reg ? last_keep : 4'hf, beat_reg}),
      .valid(queue_valid),
      .pop(pop),
      .data({q_last, q_words, q_keep, q_data})
  );

  // One or two words of a beat; a word of 64 bits is a beat.
  localparam int KEEP_BITS = STREAM_BITS / 8;
  logic second_reg, final_word, word_ready, word_last;
  logic [STREAM_BITS-1:0] word, kept_word;
  logic [KEEP_BITS-1:0] word_keep;
  assign pop = queue_valid & word_ready & final_word;
  assign word_last = q_last & final_word;
  if (STREAM_BITS == 64) begin : gen_beats
    logic unused;
    assign final_word = 1'b1;
    assign word = q_data;
    always_comb begin
      word_keep = '1;
      if (q_last) word_keep = q_words[1] ? {q_keep, 4'hf} : {4'h0, q_keep};
    end
    assign unused = second_reg ^ q_words[0];
  end else begin : gen_halves
    logic upper;
    assign upper = second_reg | ~q_words[0];
    assign final_word = upper | ~q_words[1];
    assign word = upper ? q_data[63:32] : q_data[31:0];
    assign word_keep = word_last ? q_keep : 4'hf;
  end
  for (genvar i = 0; i < KEEP_BITS; i++) begin : gen_byte
    assign kept_word[8*i+:8] = word_keep[i] ? word[8*i+:8] : 8'd0;
  end
  stream_register #(
      .WIDTH(1 + KEEP_BITS + STREAM_BITS)
  ) out (
      .clk(clk),
      .rst(rst),
      .in_valid(queue_valid),
      .in_ready(word_ready),
      .in_data({word_last, word_keep, kept_word}),
      .out_valid(stream_valid),
      .out_ready(stream_ready),
      .out_data({stream_last, stream_keep, stream_data})
  );

  // The end: the last word taken, or nothing under way after an error or a stop.
  logic finished, finished_reg, halted;
  always_ff @(posedge clk) finished_reg <= stream_valid & stream_ready & stream_last & ~rst;
  assign finished = finished_reg & active_reg;
  assign halted = active_reg & stopping & quiet & (cancel | failed_reg | empty) & ~finished;
  assign busy = active_reg | ~quiet;
  assign done = finished;
  assign fail = halted & failed_reg;
  assign fail_decode = decode_reg;

  always_ff @(posedge clk) begin
    if (rst) begin
      active_reg <= 1'b0;
      failed_reg <= 1'b0;
      arvalid_reg <= 1'b0;
      pending_reg <= '0;
      room_reg <= (QUEUE_BITS + 1)'(2 ** QUEUE_BITS);
      second_reg <= 1'b0;
      asked_left_reg <= '0;
    end else begin
      if (start) begin
        active_reg <= 1'b1;
        failed_reg <= 1'b0;
        asked_left_reg <= start_beats;
      end else begin
        if (finished || halted) active_reg <= 1'b0;
        if (arrive && response_reg[1] && ~stopping) failed_reg <= 1'b1;
        if (ask) asked_left_reg <= asked_left_reg - BEAT_BITS'(burst_reg);
      end
      arvalid_reg <= ask | (arvalid_reg & ~arready);
      pending_reg <= pending_reg + (ask ? (QUEUE_BITS + 1)'(burst_reg) : '0) - (QUEUE_BITS + 1)'(arrive);
      room_reg <= room_reg - (ask ? (QUEUE_BITS + 1)'(burst_reg) : '0) + (QUEUE_BITS + 1)'(pop) + (QUEUE_BITS + 1)'(drop);
      if (queue_valid && word_ready) second_reg <= ~final_word;
    end
    if (start) begin
      next_reg <= address[31:3];
      came_left_reg <= start_beats;
      first_reg <= 1'b1;
      upper_first_reg <= address[2];
      tail_reg <= length[2:0] + {address[2], 2'b00};
    end else begin
      if (ask) next_reg <= next_reg + 29'(burst_reg);
      if (arrive) begin
        came_left_reg <= came_left_reg - 1'b1;
        first_reg <= 1'b0;
      end
    end
    if (arrive && response_reg[1] && ~stopping) decode_reg <= response_reg[0];
    if (ask) begin
      araddr_reg <= {next_reg, 3'b000};
      arlen_reg  <= 4'(burst_reg - 5'd1);
    end
  end

  logic unused;
  assign unused = ^{address[1:0]};
endmodule
