// Stream to memory (S2MM): a packet of 32-bit words becomes AXI3/AXI4 write bursts of 64-bit beats.
//
//   words -> beats with byte strobes -> queue -> bursts (at most 16 beats, within 128 bytes), one at
//   a time, each begun when all its beats are there
//
// The packet ends with TLAST; one that does not fit in length bytes is an error, and so is an error
// response. What was taken before an overflow or a stop is written. The address is a multiple of
// four; bytes of TKEEP beyond the last word's are not written.
module dma_write #(
    parameter int LENGTH_BITS = 26
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
    output logic [LENGTH_BITS-1:0] moved,
    output logic                   fail,
    output logic                   fail_overflow,
    output logic                   fail_decode,
    output logic                   awvalid,
    input  logic                   awready,
    output logic [           31:0] awaddr,
    output logic [            3:0] awlen,
    output logic                   wvalid,
    input  logic                   wready,
    output logic [           63:0] wdata,
    output logic [            7:0] wstrb,
    output logic                   wlast,
    input  logic                   bvalid,
    output logic                   bready,
    input  logic [            1:0] bresp,
    input  logic                   stream_valid,
    output logic                   stream_ready,
    input  logic [           31:0] stream_data,
    input  logic [            3:0] stream_keep,
    input  logic                   stream_last
);
  localparam int QUEUE_BITS = 6;
  // Beats that wait for a burst, so that one burst and what is on its way to the queue fit beside them.
  localparam logic [QUEUE_BITS:0] NEARLY_FULL = (QUEUE_BITS + 1)'(2 ** QUEUE_BITS - 22);
  localparam int WORD_BITS = LENGTH_BITS - 2;

  // Words into beats.
  logic active_reg, collecting_reg, overflow_reg, upper_reg, low_held_reg, push_reg;
  logic room_reg, whole_left_reg;
  logic [WORD_BITS-1:0] left_reg, words_reg;
  logic [1:0] ragged_reg, short_reg;
  logic [63:0] beat_reg;
  logic [7:0] strobe_reg;
  logic [QUEUE_BITS:0] held_reg;
  logic [2:0] bytes;
  logic take, fits, stopping, flush;
  always_comb begin
    if (stream_keep[3] || ~stream_last) bytes = 3'd4;
    else if (stream_keep[2]) bytes = 3'd3;
    else if (stream_keep[1]) bytes = 3'd2;
    else bytes = 3'd1;
  end
  assign stopping = cancel | ~run;
  assign stream_ready = collecting_reg & ~stopping & room_reg;
  assign take = stream_valid & stream_ready;
  // Every word but the last has four bytes; of the buffer whole words are left, then ragged bytes.
  assign fits = whole_left_reg | bytes <= {1'b0, ragged_reg};
  assign flush = ~collecting_reg & low_held_reg;

  always_ff @(posedge clk) begin
    if (rst) begin
      collecting_reg <= 1'b0;
      room_reg <= 1'b1;
      low_held_reg <= 1'b0;
      push_reg <= 1'b0;
    end else begin
      if (start) collecting_reg <= 1'b1;
      else if (stopping || (take && (stream_last || ~fits)) || broken) collecting_reg <= 1'b0;
      if (start || flush || broken) low_held_reg <= 1'b0;
      else if (take && fits) low_held_reg <= ~upper_reg & ~stream_last;
      room_reg <= held_reg < NEARLY_FULL;
      push_reg <= ~broken & (flush | (take & fits & (upper_reg | stream_last)));
    end
    if (start) begin
      overflow_reg <= 1'b0;
      upper_reg <= address[2];
      left_reg <= length[LENGTH_BITS-1:2];
      whole_left_reg <= length[LENGTH_BITS-1:2] != '0;
      ragged_reg <= length[1:0];
      words_reg <= '0;
    end else if (take) begin
      overflow_reg <= ~fits;
      if (fits) begin
        upper_reg <= ~upper_reg;
        left_reg <= left_reg - 1'b1;
        whole_left_reg <= whole_left_reg & left_reg != WORD_BITS'(1);
        words_reg <= words_reg + 1'b1;
        short_reg <= 2'(3'd4 - bytes);
      end
    end
    if (take && fits) begin
      if (upper_reg) begin
        beat_reg[63:32] <= stream_data;
        strobe_reg[7:4] <= 4'hf >> (3'd4 - bytes);
        if (~low_held_reg) strobe_reg[3:0] <= 4'h0;
      end else begin
        beat_reg[31:0] <= stream_data;
        strobe_reg <= {4'h0, 4'hf >> (3'd4 - bytes)};
      end
    end
  end

  logic queue_valid, queue_pop;
  beat_fifo #(
      .WIDTH(72),
      .DEPTH_BITS(QUEUE_BITS)
  ) queue (
      .clk(clk),
      .rst(rst | broken),
      .push(push_reg),
      .push_data({strobe_reg, beat_reg}),
      .valid(queue_valid),
      .pop(queue_pop),
      .data({wstrb, wdata})
  );

  // Beats into bursts. held counts the beats in the queue that belong to no burst yet.
  typedef enum logic [2:0] {
    GATHER,
    PLAN,
    ADDRESS,
    DATA,
    RESPONSE
  } state_t;
  state_t state_reg;
  logic [28:0] next_reg;
  logic [4:0] burst_reg, to_boundary, burst;
  logic all_here, choose, issue, answered, broken, finished;
  logic [1:0] awaited;
  assign awaited = {push_reg, low_held_reg};
  assign to_boundary = 5'd16 - {1'b0, next_reg[3:0]};
  assign all_here = ~collecting_reg & awaited == 2'b00;
  assign burst = held_reg < (QUEUE_BITS + 1)'(to_boundary) ? held_reg[4:0] : to_boundary;
  assign choose = state_reg == GATHER & active_reg & ~cancel & held_reg != '0
      & (held_reg >= (QUEUE_BITS + 1)'(to_boundary) | all_here);
  assign issue = state_reg == PLAN;
  assign answered = state_reg == RESPONSE & bvalid;
  assign broken = answered & bresp[1];
  assign finished = state_reg == GATHER & active_reg & all_here & (held_reg == '0 | cancel);
  assign awvalid = state_reg == ADDRESS;
  assign awaddr = {next_reg, 3'b000};
  assign awlen = 4'(burst_reg - 5'd1);
  assign wvalid = state_reg == DATA & queue_valid;
  assign wlast = burst_reg == 5'd1;
  assign queue_pop = wvalid & wready;
  assign bready = state_reg == RESPONSE;
  assign busy = active_reg;
  assign moved = {words_reg, 2'b00} - LENGTH_BITS'(short_reg);
  assign done = finished & ~overflow_reg & ~stopping;
  assign fail = broken | (finished & overflow_reg & ~stopping);
  assign fail_overflow = ~broken;
  assign fail_decode = bresp[0];

  always_ff @(posedge clk) begin
    if (rst) begin
      active_reg <= 1'b0;
      state_reg <= GATHER;
      held_reg <= '0;
    end else begin
      if (start) active_reg <= 1'b1;
      else if (finished || broken) active_reg <= 1'b0;
      held_reg <= broken ? '0 : held_reg + (QUEUE_BITS + 1)'(push_reg) - (issue ? (QUEUE_BITS + 1)'(burst_reg) : '0);
      case (state_reg)
        GATHER: if (choose) state_reg <= PLAN;
        PLAN: state_reg <= ADDRESS;
        ADDRESS: if (awready) state_reg <= DATA;
        DATA: if (queue_pop && wlast) state_reg <= RESPONSE;
        RESPONSE: if (bvalid) state_reg <= GATHER;
        default: state_reg <= GATHER;
      endcase
    end
    if (start) next_reg <= address[31:3];
    else if (queue_pop) next_reg <= next_reg + 29'd1;
    if (state_reg == GATHER) burst_reg <= burst;
    else if (queue_pop) burst_reg <= burst_reg - 5'd1;
  end

  logic unused;
  assign unused = ^{address[1:0], stream_keep[0]};
endmodule
