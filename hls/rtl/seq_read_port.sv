// An AXI4 read port: bursts of all clients in turn, answers in order. With CLIENTS = 1 the client may refuse data.
//
// Addresses are relative to memory_base; a burst beyond memory_bytes is refused. While clear is high no
// request is taken and what arrives is dropped.
module seq_read_port #(
    parameter int CLIENTS = 5,
    parameter int CLIENT_BITS = 3
) (
    input  logic                  clk,
    input  logic                  rst,
    input  logic                  clear,
    input  logic [          31:0] memory_base,
    input  logic [          31:0] memory_bytes,
    output logic                  idle,
    output logic                  out_of_range,
    output logic                  bus_error,
    input  logic [   CLIENTS-1:0] request_valid,
    input  logic [CLIENTS*32-1:0] request_addr,
    input  logic [ CLIENTS*5-1:0] request_beats,
    output logic [   CLIENTS-1:0] request_ready,
    output logic [   CLIENTS-1:0] data_valid,
    output logic [          63:0] data,
    input  logic                  data_ready,
    output logic                  arvalid,
    input  logic                  arready,
    output logic [          31:0] araddr,
    output logic [           7:0] arlen,
    input  logic                  rvalid,
    output logic                  rready,
    input  logic [          63:0] rdata,
    input  logic [           1:0] rresp
);
  localparam int DEPTH_BITS = 3;
  localparam bit REFUSES = CLIENTS == 1;

  // Stage 0: a client in turn; a single one is asked at once. Stage 1: its burst. Stage 2: the burst's end. Stage 3:
  // the end compared.
  logic [CLIENT_BITS-1:0] pick;
  logic take, taken_valid_reg, ask_valid_reg, ask_go, ask_inside;
  logic [31:0] taken_addr_reg, ask_addr_reg;
  logic [32:0] ask_end_reg;
  logic [4:0] taken_beats_reg, ask_beats_reg;
  logic [CLIENT_BITS-1:0] taken_client_reg, ask_client_reg;
  logic [DEPTH_BITS:0] in_reg, out_reg;
  logic room;
  if (CLIENTS == 1) begin : gen_one
    assign pick = '0;
    assign take = request_valid[0] & ~taken_valid_reg & ~clear;
    assign request_ready = ~taken_valid_reg & ~clear;
  end else begin : gen_turn
    logic [CLIENT_BITS-1:0] pick_reg, next;
    logic picked_reg, found;
    always_comb begin
      found = 1'b0;
      next = '0;
      for (int c = CLIENTS - 1; c >= 0; c--)
        if (request_valid[c]) begin
          found = 1'b1;
          next = CLIENT_BITS'(c);
        end
      for (int c = CLIENTS - 1; c >= 0; c--)
        if (request_valid[c] && CLIENT_BITS'(c) > pick_reg) next = CLIENT_BITS'(c);
    end
    assign pick = pick_reg;
    assign take = picked_reg & ~taken_valid_reg & ~clear;
    always_comb begin
      request_ready = '0;
      request_ready[pick_reg] = take;
    end
    // A request stays until it is taken.
    always_ff @(posedge clk) begin
      if (rst || clear) picked_reg <= 1'b0;
      else picked_reg <= picked_reg ? taken_valid_reg : found;
      if (!picked_reg && found) pick_reg <= next;
    end
  end
  assign room = (in_reg - out_reg) < (DEPTH_BITS + 1)'(2 ** DEPTH_BITS);
  assign ask_inside = ask_end_reg <= {1'b0, memory_bytes};
  assign ask_go = ask_valid_reg & ask_inside & room & (~arvalid | arready) & ~clear;
  always_ff @(posedge clk) begin
    if (rst || clear) begin
      taken_valid_reg <= 1'b0;
      ask_valid_reg <= 1'b0;
    end else begin
      taken_valid_reg <= taken_valid_reg ? ask_valid_reg : take;
      ask_valid_reg <= ask_valid_reg ? ~ask_go : taken_valid_reg;
    end
    if (!taken_valid_reg) begin
      taken_addr_reg <= request_addr[32*pick+:32];
      taken_beats_reg <= request_beats[5*pick+:5];
      taken_client_reg <= pick;
    end
    if (!ask_valid_reg) begin
      ask_addr_reg <= taken_addr_reg;
      ask_end_reg <= {1'b0, taken_addr_reg} + {25'd0, taken_beats_reg, 3'd0};
      ask_beats_reg <= taken_beats_reg;
      ask_client_reg <= taken_client_reg;
    end
    out_of_range <= ask_valid_reg & ~ask_inside & ~clear;
    if (rst) arvalid <= 1'b0;
    else if (ask_go) arvalid <= 1'b1;
    else if (arready) arvalid <= 1'b0;
    if (ask_go) begin
      araddr <= memory_base + ask_addr_reg;
      arlen <= {3'd0, ask_beats_reg - 5'd1};
    end
  end

  // Whose answer comes next, and how much of it.
  logic [CLIENT_BITS+4:0] order [0:2**DEPTH_BITS-1];
  logic [CLIENT_BITS+4:0] front;
  logic [4:0] taken_reg;
  logic beat, last_beat, stored_reg, stored_free;
  logic [63:0] stored_data_reg;
  logic [CLIENT_BITS-1:0] stored_client_reg;
  assign front = order[out_reg[DEPTH_BITS-1:0]];
  assign last_beat = taken_reg == front[4:0] - 5'd1;
  assign stored_free = ~stored_reg | ~REFUSES | data_ready | clear;
  assign rready = stored_free & (in_reg != out_reg);
  assign beat = rvalid & rready;
  always_ff @(posedge clk) begin
    if (ask_go) order[in_reg[DEPTH_BITS-1:0]] <= {ask_client_reg, ask_beats_reg};
    if (rst) begin
      in_reg <= '0;
      out_reg <= '0;
      taken_reg <= '0;
      stored_reg <= 1'b0;
    end else begin
      if (ask_go) in_reg <= in_reg + 1'b1;
      if (beat) taken_reg <= last_beat ? '0 : taken_reg + 5'd1;
      if (beat && last_beat) out_reg <= out_reg + 1'b1;
      if (stored_free) stored_reg <= beat & ~clear;
    end
    if (beat) begin
      stored_data_reg <= rdata;
      stored_client_reg <= front[5+:CLIENT_BITS];
    end
    bus_error <= beat & rresp[1];
  end
  assign data = stored_data_reg;
  always_comb begin
    data_valid = '0;
    data_valid[stored_client_reg] = stored_reg & ~clear;
  end
  assign idle = ~arvalid & (in_reg == out_reg) & ~stored_reg;

  logic unused;
  assign unused = ^{rresp[0], data_ready};
endmodule
