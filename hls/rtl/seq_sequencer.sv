// Fetches the program's header and descriptors, checks them, starts the loader and the array, ends with a status.
module seq_sequencer #(
    parameter int GROUPS = 4,
    parameter int LANES = 64
) (
    input  logic          clk,
    input  logic          rst,
    input  logic          start,
    output logic          finished,
    output logic [  31:0] status,
    output logic          clear,
    output logic [  31:0] memory_bytes,
    // Read port.
    output logic          request_valid,
    output logic [  31:0] request_addr,
    output logic [   4:0] request_beats,
    input  logic          request_ready,
    input  logic          in_valid,
    input  logic [  63:0] in_data,
    // Loader and array.
    output logic          load_start,
    input  logic          load_working,
    output logic [GROUPS-1:0] group_fetch,
    input  logic          fetched,
    output logic          group_start,
    output logic [  31:0] stream_addr,
    output logic [  31:0] stream_words,
    input  logic          run_working,
    output logic [1023:0] descriptor,
    output logic [1023:0] run,
    // Faults, and signs of life.
    input  logic          out_of_range,
    input  logic          read_error,
    input  logic          write_error,
    input  logic          progress,
    input  logic          quiet,
    // Profile.
    input  logic          waiting,
    output logic [  31:0] runs,
    input  logic [   8:0] profile_index,
    output logic [  31:0] profile_cycles,
    output logic [  31:0] profile_waits
);
  localparam logic [31:0] MAGIC = 32'h51534450;
  localparam logic [31:0] BUILD = 32'd3 | (32'(GROUPS) << 8) | (32'(LANES) << 16);
  localparam logic [15:0] TAG = 16'h5ac3;
  localparam logic [31:0] OK = 0, BAD_HEADER = 1, BAD_DESCRIPTOR = 2, READ_ERROR = 3, WRITE_ERROR = 4,
      NO_PROGRESS = 5, OUT_OF_RANGE = 6;
  localparam int PATIENCE_BITS = 16;
  localparam int GROUP_BITS = $clog2(GROUPS) > 0 ? $clog2(GROUPS) : 1;

  typedef enum logic [3:0] {IDLE, ASK_HEADER, HEADER, CHECK, ASK, FETCH, DECODE, FETCH_RUN, WAIT_RUN, START_LOAD, START_RUN, SETTLE, ABORT, FINISH} state_t;
  state_t state_reg;
  logic [3:0] beat_reg;
  logic [31:0] next_reg, memory_reg, status_reg, runs_reg, cycles_reg, waits_reg, stream_reg;
  logic [1023:0] descriptor_reg;
  logic [1023:0] run_reg;
  logic [PATIENCE_BITS:0] patience_reg;
  logic [GROUP_BITS-1:0] group_reg;
  logic ran_reg, run_ended, active, load_busy, run_busy, fault;
  logic [31:0] fault_status;
  logic [7:0] kind;
  assign kind = descriptor_reg[7:0];
  // What many parts decide goes through a register. A fault of the last store still comes before the end of its run.
  always_ff @(posedge clk) begin
    load_busy <= load_working;
    run_busy <= run_working;
    fault <= read_error | write_error | out_of_range | patience_reg[PATIENCE_BITS];
    fault_status <= read_error ? READ_ERROR : write_error ? WRITE_ERROR : out_of_range ? OUT_OF_RANGE : NO_PROGRESS;
  end
  // END waits for all; a LOAD needs the loader, a RUN the array; the rest is the program's choice.
  logic load_ready, run_ready;
  assign load_ready = ~load_busy | ((kind == 8'd2) & ~descriptor_reg[8]);
  assign run_ready = ~run_busy | ((kind == 8'd1) & ~descriptor_reg[9]);
  assign run_ended = ran_reg & ~run_busy;
  assign active = (state_reg != IDLE) & (state_reg != ABORT) & (state_reg != FINISH);

  always_ff @(posedge clk) begin
    if (rst) begin
      state_reg <= IDLE;
      patience_reg <= '0;
      ran_reg <= 1'b0;
      runs_reg <= '0;
      status_reg <= OK;
      memory_reg <= '0;
    end else begin
      patience_reg <= (progress | ~active & (state_reg != ABORT)) ? '0 : patience_reg + 1'b1;
      case (state_reg)
        IDLE: if (start) begin
          state_reg <= ASK_HEADER;
          status_reg <= OK;
          runs_reg <= '0;
          memory_reg <= 32'd64;
        end
        ASK_HEADER: if (request_ready) state_reg <= HEADER;
        HEADER: if (in_valid && beat_reg == 4'd7) state_reg <= CHECK;
        CHECK: begin
          memory_reg <= descriptor_reg[95:64];
          if (descriptor_reg[31:0] == MAGIC && descriptor_reg[63:32] == BUILD) begin
            state_reg <= ASK;
          end else begin
            status_reg <= BAD_HEADER;
            state_reg <= ABORT;
          end
        end
        ASK: if (request_ready) state_reg <= FETCH;
        FETCH: if (in_valid && beat_reg == 4'd15) state_reg <= DECODE;
        DECODE:
        if (descriptor_reg[31:16] != TAG || kind > 8'd2) begin
          status_reg <= BAD_DESCRIPTOR;
          state_reg <= ABORT;
        end else if (kind == 8'd2) begin
          if (fetched) state_reg <= FETCH_RUN;
        end else if (load_ready && run_ready) begin
          state_reg <= kind == 8'd0 ? FINISH : START_LOAD;
        end
        // The groups' streams of a RUN are fetched while the RUN before computes.
        FETCH_RUN: if (group_reg == GROUP_BITS'(GROUPS - 1)) state_reg <= WAIT_RUN;
        WAIT_RUN: if (load_ready && run_ready) state_reg <= START_RUN;
        START_LOAD, START_RUN: state_reg <= SETTLE;
        // The busy signals follow a start by two cycles, before the next descriptor is there.
        SETTLE: state_reg <= ASK;
        // Results on their way to the drain need a few cycles to get lost.
        ABORT: if ((quiet && patience_reg[3]) || patience_reg[PATIENCE_BITS]) state_reg <= FINISH;
        FINISH: state_reg <= IDLE;
        default: state_reg <= IDLE;
      endcase
      if (active && fault) begin
        status_reg <= fault_status;
        state_reg <= ABORT;
        patience_reg <= '0;
      end
      ran_reg <= run_busy & active;
      if (run_ended && active) runs_reg <= runs_reg + 32'd1;
    end
    if (state_reg == ASK_HEADER || state_reg == ASK || state_reg == IDLE) beat_reg <= '0;
    else if (in_valid) beat_reg <= beat_reg + 4'd1;
    if (in_valid) descriptor_reg[64*beat_reg+:64] <= in_data;
    if (state_reg == IDLE) next_reg <= 32'd128;
    else if (state_reg == ASK && request_ready) next_reg <= next_reg + 32'd128;
    if (state_reg == DECODE) begin
      group_reg <= '0;
      stream_reg <= descriptor_reg[32*14+:32];
    end else if (state_reg == FETCH_RUN) begin
      group_reg <= group_reg + 1'b1;
      stream_reg <= stream_reg + {descriptor_reg[512+32*group_reg+:29], 3'd0};
    end
    if (state_reg == WAIT_RUN && load_ready && run_ready) run_reg <= descriptor_reg;
    cycles_reg <= state_reg == IDLE || run_ended ? '0 : cycles_reg + 32'd1;
    if (state_reg == IDLE || run_ended) waits_reg <= '0;
    else if (waiting || !run_busy) waits_reg <= waits_reg + 32'd1;
  end
  assign request_valid = (state_reg == ASK_HEADER) | (state_reg == ASK);
  assign request_addr = state_reg == ASK ? next_reg : '0;
  assign request_beats = state_reg == ASK ? 5'd16 : 5'd8;
  assign load_start = state_reg == START_LOAD;
  always_ff @(posedge clk) begin
    stream_addr <= stream_reg;
    stream_words <= descriptor_reg[512+32*group_reg+:32];
    group_fetch <= '0;
    group_fetch[group_reg] <= (state_reg == FETCH_RUN) & ~rst;
  end
  assign group_start = state_reg == START_RUN;
  assign descriptor = descriptor_reg;
  assign run = run_reg;
  assign clear = state_reg == ABORT;
  assign finished = state_reg == FINISH;
  assign status = status_reg;
  assign memory_bytes = memory_reg;
  assign runs = runs_reg;

  // Cycles of every layer, from the end of the RUN before each of its RUNs, and how many of them were spent waiting
  // for memory: for the RUN's descriptor, loads and streams, or for entries while it computed.
  (* ram_style = "block" *) logic [63:0] profile [0:511];
  logic [63:0] profile_reg;
  logic [31:0] sum_cycles_reg, sum_waits_reg;
  logic [8:0] sum_layer_reg;
  logic [2:1] sum_reg;
  logic sum_first_reg;
  always_ff @(posedge clk) begin
    sum_reg <= rst ? '0 : {sum_reg[1], run_ended};
    if (run_ended) begin
      sum_cycles_reg <= cycles_reg + 32'd1;
      sum_waits_reg  <= waits_reg;
      sum_layer_reg  <= run_reg[32*15+:9];
      sum_first_reg  <= run_reg[32*15+31];
    end
    if (sum_reg[2])
      profile[sum_layer_reg] <= {
        sum_waits_reg + (sum_first_reg ? 32'd0 : profile_reg[63:32]),
        sum_cycles_reg + (sum_first_reg ? 32'd0 : profile_reg[31:0])
      };
    profile_reg <= profile[sum_reg[1] ? sum_layer_reg : profile_index];
  end
  assign profile_cycles = profile_reg[31:0];
  assign profile_waits = profile_reg[63:32];
endmodule
