// The layer-sequential accelerator: one sparse array that a program in memory runs (docs/kernels.md).
module seq_top #(
    parameter int GROUPS = 4,
    parameter int LANES = 64,
    parameter int LINES = 2048,
    parameter int ENTRY_WORDS = 1024,
    parameter int MASKS = 2048,
    parameter int LISTS = 2048,
    parameter int TILES = 64,
    parameter int ACC_BITS = 28,
    parameter int DRAIN = 16,
    parameter logic [31:0] IDENT = 32'd0
) (
    input  logic        ap_clk,
    input  logic        ap_rst_n,
    output logic        irq,
    input  logic        s_axi_control_awvalid,
    output logic        s_axi_control_awready,
    input  logic [ 6:0] s_axi_control_awaddr,
    input  logic        s_axi_control_wvalid,
    output logic        s_axi_control_wready,
    input  logic [31:0] s_axi_control_wdata,
    input  logic [ 3:0] s_axi_control_wstrb,
    output logic        s_axi_control_bvalid,
    input  logic        s_axi_control_bready,
    output logic [ 1:0] s_axi_control_bresp,
    input  logic        s_axi_control_arvalid,
    output logic        s_axi_control_arready,
    input  logic [ 6:0] s_axi_control_araddr,
    output logic        s_axi_control_rvalid,
    input  logic        s_axi_control_rready,
    output logic [31:0] s_axi_control_rdata,
    output logic [ 1:0] s_axi_control_rresp,
    output logic        m_axi_stream_arvalid,
    input  logic        m_axi_stream_arready,
    output logic [31:0] m_axi_stream_araddr,
    output logic [ 7:0] m_axi_stream_arlen,
    output logic [ 2:0] m_axi_stream_arsize,
    output logic [ 1:0] m_axi_stream_arburst,
    input  logic        m_axi_stream_rvalid,
    output logic        m_axi_stream_rready,
    input  logic [63:0] m_axi_stream_rdata,
    input  logic [ 1:0] m_axi_stream_rresp,
    input  logic        m_axi_stream_rlast,
    output logic        m_axi_map_arvalid,
    input  logic        m_axi_map_arready,
    output logic [31:0] m_axi_map_araddr,
    output logic [ 7:0] m_axi_map_arlen,
    output logic [ 2:0] m_axi_map_arsize,
    output logic [ 1:0] m_axi_map_arburst,
    input  logic        m_axi_map_rvalid,
    output logic        m_axi_map_rready,
    input  logic [63:0] m_axi_map_rdata,
    input  logic [ 1:0] m_axi_map_rresp,
    input  logic        m_axi_map_rlast,
    output logic        m_axi_map_awvalid,
    input  logic        m_axi_map_awready,
    output logic [31:0] m_axi_map_awaddr,
    output logic [ 7:0] m_axi_map_awlen,
    output logic [ 2:0] m_axi_map_awsize,
    output logic [ 1:0] m_axi_map_awburst,
    output logic        m_axi_map_wvalid,
    input  logic        m_axi_map_wready,
    output logic [63:0] m_axi_map_wdata,
    output logic [ 7:0] m_axi_map_wstrb,
    output logic        m_axi_map_wlast,
    input  logic        m_axi_map_bvalid,
    output logic        m_axi_map_bready,
    input  logic [ 1:0] m_axi_map_bresp
);
  localparam int LANE_BITS = $clog2(LANES);
  localparam int LINE_BITS = $clog2(LINES);
  localparam int BUFFER_BITS = LANE_BITS + LINE_BITS;
  localparam int GROUP_BITS = $clog2(GROUPS) > 0 ? $clog2(GROUPS) : 1;
  // Bytes of one transfer of the store; the drain takes DRAIN lanes per cycle.
  localparam int SLICE = 16;
  localparam int SLICE_BITS = $clog2(LANES / DRAIN);
  localparam int BANK_ADDR_BITS = GROUP_BITS + 1 + $clog2(TILES) + $clog2(LANES / SLICE);
  localparam int CLIENTS = GROUPS + 1;
  localparam int CLIENT_BITS = $clog2(CLIENTS);
  localparam int TOKENS = 9;
  localparam logic [GROUPS-1:0] ODD_GROUPS = GROUPS'(8'hAA);
  localparam int LINE_FIFO_BITS = 4;
  // Lines that wait before a gap is forced upon groups that issue.
  localparam int PRESSING = 6;

  if (LANES != 32 && LANES != 64) begin : gen_bad_lanes
    $error("seq_top: LANES must be 32 or 64");
  end
  if (GROUPS < 1 || GROUPS > 8) begin : gen_bad_groups
    $error("seq_top: GROUPS must be 1 to 8");
  end
  if ((DRAIN != 4 && DRAIN != 8 && DRAIN != 16) || LANES > 8 * DRAIN) begin : gen_bad_drain
    $error("seq_top: DRAIN must be 4, 8 or 16, and at least LANES / 8");
  end
  if (ACC_BITS < 20 || ACC_BITS > 32) begin : gen_bad_acc
    $error("seq_top: ACC_BITS must be 20 to 32");
  end

  logic clk, rst, clear, wipe;
  assign clk = ap_clk;
  reset_sync synchronise (
      .clk(ap_clk),
      .resetn(ap_rst_n),
      .rst(rst)
  );
  always_ff @(posedge clk) wipe <= rst | clear;

  // Control.
  logic start, finished;
  logic [31:0] memory_base, memory_bytes, status, runs, profile_cycles, profile_waits;
  logic [8:0] profile_index;
  seq_registers registers (
      .clk(clk),
      .rst(rst),
      .awvalid(s_axi_control_awvalid),
      .awready(s_axi_control_awready),
      .awaddr(s_axi_control_awaddr),
      .wvalid(s_axi_control_wvalid),
      .wready(s_axi_control_wready),
      .wdata(s_axi_control_wdata),
      .wstrb(s_axi_control_wstrb),
      .bvalid(s_axi_control_bvalid),
      .bready(s_axi_control_bready),
      .bresp(s_axi_control_bresp),
      .arvalid(s_axi_control_arvalid),
      .arready(s_axi_control_arready),
      .araddr(s_axi_control_araddr),
      .rvalid(s_axi_control_rvalid),
      .rready(s_axi_control_rready),
      .rdata(s_axi_control_rdata),
      .rresp(s_axi_control_rresp),
      .irq(irq),
      .ident(IDENT),
      .build(32'd3 | (32'(GROUPS) << 8) | (32'(LANES) << 16)),
      .start(start),
      .memory_base(memory_base),
      .finished(finished),
      .status(status),
      .runs(runs),
      .profile_index(profile_index),
      .profile_cycles(profile_cycles),
      .profile_waits(profile_waits)
  );

  logic [CLIENTS-1:0] ask_valid, ask_ready, data_valid;
  logic [CLIENTS*32-1:0] ask_addr;
  logic [CLIENTS*5-1:0] ask_beats;
  logic [63:0] data;
  logic load_ask_valid, load_ask_ready, load_data_valid;
  logic [31:0] load_ask_addr;
  logic [4:0] load_ask_beats;
  logic [63:0] load_data;
  logic [1:0] read_idle, read_outside, read_error;
  logic store_outside, store_error, store_quiet;
  logic loader_ready, load_start, load_working, run_working, progress, waiting, group_start;
  logic [GROUPS-1:0] group_fetch, group_fetched, group_busy, group_waiting, group_issued;
  logic [31:0] stream_addr, stream_words;
  logic [1023:0] descriptor;
  logic [1023:0] run;
  seq_sequencer #(
      .GROUPS(GROUPS),
      .LANES(LANES)
  ) sequencer (
      .clk(clk),
      .rst(rst),
      .start(start),
      .finished(finished),
      .status(status),
      .clear(clear),
      .memory_bytes(memory_bytes),
      .request_valid(ask_valid[0]),
      .request_addr(ask_addr[31:0]),
      .request_beats(ask_beats[4:0]),
      .request_ready(ask_ready[0]),
      .in_valid(data_valid[0]),
      .in_data(data),
      .load_start(load_start),
      .load_working(load_working),
      .group_fetch(group_fetch),
      .fetched(&group_fetched),
      .group_start(group_start),
      .stream_addr(stream_addr),
      .stream_words(stream_words),
      .run_working(run_working),
      .descriptor(descriptor),
      .run(run),
      .out_of_range((|read_outside) | store_outside),
      .read_error(|read_error),
      .write_error(store_error),
      .progress(progress),
      .quiet((&read_idle) & store_quiet),
      .waiting(waiting),
      .runs(runs),
      .profile_index(profile_index),
      .profile_cycles(profile_cycles),
      .profile_waits(profile_waits)
  );
  assign waiting = |group_waiting;
  always_ff @(posedge clk)
    progress <= (m_axi_stream_rvalid & m_axi_stream_rready) | (m_axi_map_rvalid & m_axi_map_rready)
        | (m_axi_map_wvalid & m_axi_map_wready) | (|group_issued) | start;

  // Two read ports: descriptors and entries; maps and tables.
  seq_read_port #(
      .CLIENTS(CLIENTS),
      .CLIENT_BITS(CLIENT_BITS)
  ) stream_port (
      .clk(clk),
      .rst(rst),
      .clear(wipe),
      .memory_base(memory_base),
      .memory_bytes(memory_bytes),
      .idle(read_idle[0]),
      .out_of_range(read_outside[0]),
      .bus_error(read_error[0]),
      .request_valid(ask_valid),
      .request_addr(ask_addr),
      .request_beats(ask_beats),
      .request_ready(ask_ready),
      .data_valid(data_valid),
      .data(data),
      .data_ready(1'b1),
      .arvalid(m_axi_stream_arvalid),
      .arready(m_axi_stream_arready),
      .araddr(m_axi_stream_araddr),
      .arlen(m_axi_stream_arlen),
      .rvalid(m_axi_stream_rvalid),
      .rready(m_axi_stream_rready),
      .rdata(m_axi_stream_rdata),
      .rresp(m_axi_stream_rresp)
  );
  seq_read_port #(
      .CLIENTS(1),
      .CLIENT_BITS(1)
  ) map_port (
      .clk(clk),
      .rst(rst),
      .clear(wipe),
      .memory_base(memory_base),
      .memory_bytes(memory_bytes),
      .idle(read_idle[1]),
      .out_of_range(read_outside[1]),
      .bus_error(read_error[1]),
      .request_valid(load_ask_valid),
      .request_addr(load_ask_addr),
      .request_beats(load_ask_beats),
      .request_ready(load_ask_ready),
      .data_valid(load_data_valid),
      .data(load_data),
      .data_ready(loader_ready),
      .arvalid(m_axi_map_arvalid),
      .arready(m_axi_map_arready),
      .araddr(m_axi_map_araddr),
      .arlen(m_axi_map_arlen),
      .rvalid(m_axi_map_rvalid),
      .rready(m_axi_map_rready),
      .rdata(m_axi_map_rdata),
      .rresp(m_axi_map_rresp)
  );
  assign m_axi_stream_arsize = 3'd3;
  assign m_axi_stream_arburst = 2'd1;
  assign m_axi_map_arsize = 3'd3;
  assign m_axi_map_arburst = 2'd1;
  assign m_axi_map_awsize = 3'd3;
  assign m_axi_map_awburst = 2'd1;
  assign m_axi_map_wstrb = 8'hff;
  assign m_axi_map_bready = 1'b1;

  // Loads.
  logic load_line_valid, load_line_ready;
  logic [LINE_BITS-1:0] load_line;
  logic [8*LANES-1:0] load_line_data;
  logic [3:1] table_write;
  logic [15:0] table_addr;
  logic [63:0] table_data;
  logic loading, line_waits;
  seq_loader #(
      .LANES(LANES),
      .LINE_BITS(LINE_BITS)
  ) loader (
      .clk(clk),
      .clear(wipe),
      .start(load_start),
      .source(descriptor[63:32]),
      .rows(descriptor[95:64]),
      .beats(descriptor[127:96]),
      .stride(descriptor[159:128]),
      .target(descriptor[161:160]),
      .index(descriptor[207:192]),
      .step(descriptor[239:224]),
      .busy(loading),
      .request_valid(load_ask_valid),
      .request_addr(load_ask_addr),
      .request_beats(load_ask_beats),
      .request_ready(load_ask_ready),
      .in_valid(load_data_valid),
      .in_data(load_data),
      .in_ready(loader_ready),
      .line_valid(load_line_valid),
      .line_ready(load_line_ready),
      .line(load_line),
      .line_data(load_line_data),
      .table_write(table_write),
      .table_addr(table_addr),
      .table_data(table_data)
  );
  assign load_working = loading | line_waits;

  // Lines on their way into the buffer. A line takes the place of the even or the odd groups' reads: of those that
  // did not issue a few cycles before, or in turn where lines press. They are held off at the issue, of which groups
  // and drain learn a cycle ahead, and the write comes when the gap arrives at the banks.
  logic store_line_valid, store_line_ready, line_push, line_pop, bubble, odd_bubble, turn_reg;
  logic [1:0] bubble_next_reg, bubble_reg;
  logic [GROUPS-1:0] group_bubble, group_bubble_next;
  logic [1:0] active_reg;
  logic [31:0] store_line_addr;
  logic [8*LANES-1:0] store_line_data;
  logic [LINE_BITS+8*LANES:0] lines [0:2**LINE_FIFO_BITS-1];
  logic [LINE_BITS+8*LANES:0] front_line;
  logic [LINE_FIFO_BITS-1:0] line_in_reg, line_out_reg;
  logic [LINE_FIFO_BITS:0] lines_reg, stored_lines_reg, unclaimed_reg;
  logic [TOKENS:1] token_reg, odd_reg;
  assign store_line_ready = ~lines_reg[LINE_FIFO_BITS];
  assign load_line_ready = ~lines_reg[LINE_FIFO_BITS] & ~store_line_valid;
  assign line_push = (store_line_valid | load_line_valid) & ~lines_reg[LINE_FIFO_BITS];
  assign line_pop = token_reg[TOKENS];
  assign odd_bubble = active_reg[0] & active_reg[1] ? turn_reg : active_reg[0];
  assign bubble = (unclaimed_reg != 0) & (~(&active_reg) | (unclaimed_reg >= (LINE_FIFO_BITS + 1)'(PRESSING)));
  assign front_line = lines[line_out_reg];
  assign line_waits = lines_reg != 0;
  always_ff @(posedge clk) begin
    if (line_push)
      lines[line_in_reg] <= store_line_valid ? {1'b1, store_line_addr[LANE_BITS+:LINE_BITS], store_line_data}
          : {1'b0, load_line, load_line_data};
    if (wipe) begin
      line_in_reg <= '0;
      line_out_reg <= '0;
      lines_reg <= '0;
      stored_lines_reg <= '0;
      unclaimed_reg <= '0;
      token_reg <= '0;
      bubble_next_reg <= '0;
      bubble_reg <= '0;
      turn_reg <= 1'b0;
      active_reg <= '0;
    end else begin
      turn_reg <= turn_reg ^ bubble;
      active_reg <= {|(group_issued & ODD_GROUPS), |(group_issued & ~ODD_GROUPS)};
      if (line_push) line_in_reg <= line_in_reg + 1'b1;
      if (line_pop) line_out_reg <= line_out_reg + 1'b1;
      lines_reg <= lines_reg + (LINE_FIFO_BITS + 1)'(line_push) - (LINE_FIFO_BITS + 1)'(line_pop);
      stored_lines_reg <= stored_lines_reg + (LINE_FIFO_BITS + 1)'(line_push & store_line_valid)
          - (LINE_FIFO_BITS + 1)'(line_pop & front_line[LINE_BITS+8*LANES]);
      unclaimed_reg <= unclaimed_reg + (LINE_FIFO_BITS + 1)'(line_push) - (LINE_FIFO_BITS + 1)'(bubble);
      bubble_next_reg <= {bubble & odd_bubble, bubble & ~odd_bubble};
      bubble_reg <= bubble_next_reg;
      token_reg <= {token_reg[TOKENS-1:1], |bubble_reg};
      odd_reg <= {odd_reg[TOKENS-1:1], bubble_reg[1]};
    end
  end

  // The array.
  logic [GROUPS*BUFFER_BITS-1:0] addr;
  logic [GROUPS*8*LANES-1:0] line_data;
  logic [GROUPS*LANE_BITS-1:0] rotate;
  logic [GROUPS-1:0] ask, ask_begins, ask_ends, grant, done, final_tile;
  logic [SLICE_BITS-1:0] slice, skip_slice;
  logic [GROUPS*8*DRAIN-1:0] skip_data;
  logic [GROUPS*DRAIN*ACC_BITS-1:0] slice_data;
  logic [GROUPS*8-1:0] tile;
  logic [GROUPS*24-1:0] dest;
  logic [GROUPS*32-1:0] bias;
  logic [GROUPS*16-1:0] mult;
  logic [GROUPS*6-1:0] shift;
  seq_buffer #(
      .GROUPS(GROUPS),
      .LANES(LANES),
      .LINES(LINES),
      .BUFFER_BITS(BUFFER_BITS)
  ) buffer_memory (
      .clk(clk),
      .addr(addr),
      .data(line_data),
      .rotate(rotate),
      .write(line_pop),
      .write_odd(odd_reg[TOKENS]),
      .write_line(front_line[8*LANES+:LINE_BITS]),
      .write_data(front_line[0+:8*LANES])
  );

  for (genvar g = 0; g < GROUPS; g++) begin : gen_group
    assign group_bubble[g] = bubble_reg[g%2];
    assign group_bubble_next[g] = bubble_next_reg[g%2];
    logic [LANES-1:0] mask;
    logic [8:0] weight;
    logic x_signed, op_valid, op_first, op_escalate, op_last, skip;
    seq_group #(
        .LANES(LANES),
        .BUFFER_BITS(BUFFER_BITS),
        .ENTRY_WORDS(ENTRY_WORDS),
        .MASKS(MASKS)
    ) group (
        .clk(clk),
        .rst(wipe),
        .fetch(group_fetch[g]),
        .fetched(group_fetched[g]),
        .start(group_start),
        .stream_addr(stream_addr),
        .stream_words(stream_words),
        .tiles(run[96+:8]),
        .taps(run[128+:8]),
        .tap_bits(run[136+:3]),
        .base(run[32+:BUFFER_BITS]),
        .plane(run[64+:BUFFER_BITS]),
        .mask_base(run[352+:16]),
        .tap_base(run[384+:8]),
        .busy(group_busy[g]),
        .waiting(group_waiting[g]),
        .issued(group_issued[g]),
        .request_valid(ask_valid[1+g]),
        .request_addr(ask_addr[32*(1+g)+:32]),
        .request_beats(ask_beats[5*(1+g)+:5]),
        .request_ready(ask_ready[1+g]),
        .in_valid(data_valid[1+g]),
        .in_data(data),
        .tap_write(table_write[2]),
        .tap_write_addr(table_addr[7:0]),
        .mask_write(table_write[1]),
        .mask_write_addr(table_addr),
        .table_data(table_data),
        .bubble(group_bubble[g]),
        .bubble_next(group_bubble_next[g]),
        .addr(addr[g*BUFFER_BITS+:BUFFER_BITS]),
        .mask(mask),
        .weight(weight),
        .x_signed(x_signed),
        .op_valid(op_valid),
        .op_first(op_first),
        .op_escalate(op_escalate),
        .op_last(op_last),
        .skip(skip),
        .ask(ask[g]),
        .ask_begins(ask_begins[g]),
        .ask_ends(ask_ends[g]),
        .grant(grant[g]),
        .result_tile(tile[8*g+:8]),
        .result_final(final_tile[g]),
        .result_dest(dest[24*g+:24]),
        .result_bias(bias[32*g+:32]),
        .result_mult(mult[16*g+:16]),
        .result_shift(shift[6*g+:6])
    );
    seq_lanes #(
        .LANES(LANES),
        .SLICE(DRAIN),
        .ACC_BITS(ACC_BITS)
    ) lanes (
        .clk(clk),
        .maximum(run[160]),
        .data(line_data[8*LANES*g+:8*LANES]),
        .rotate(rotate[LANE_BITS*g+:LANE_BITS]),
        .mask(mask),
        .weight(weight),
        .x_signed(x_signed),
        .op_valid(op_valid),
        .op_first(op_first),
        .op_escalate(op_escalate),
        .op_last(op_last),
        .skip(skip),
        .skip_slice(skip_slice),
        .skip_data(skip_data[8*DRAIN*g+:8*DRAIN]),
        .done(done[g]),
        .slice(slice),
        .slice_data(slice_data[DRAIN*ACC_BITS*g+:DRAIN*ACC_BITS])
    );
  end

  // Results.
  logic drain_busy, store_busy, channel_write, job, job_room, job_final, per_tile, release_valid;
  logic [$clog2(TILES)-1:0] job_tile;
  logic [BANK_ADDR_BITS-1:0] channel_addr;
  logic [8*SLICE-1:0] channel_data;
  logic [GROUP_BITS:0] job_bank, release_bank;
  logic [23:0] job_dest;
  seq_drain #(
      .GROUPS(GROUPS),
      .LANES(LANES),
      .SLICE(DRAIN),
      .UNIT(SLICE),
      .TILES(TILES),
      .ACC_BITS(ACC_BITS),
      .GROUP_BITS(GROUP_BITS)
  ) drain (
      .clk(clk),
      .rst(wipe),
      .wide(run[163]),
      .per_tile(per_tile),
      .job_room(job_room),
      .low(run[192+:32]),
      .high(run[224+:32]),
      .tiles(run[96+:8]),
      .last_slices(run[168+:4]),
      .sum(run[164]),
      .skip_signed(run[165]),
      .mult0(run[768+:16]),
      .mult1(run[784+:16]),
      .sum_shift(run[800+:6]),
      .sum_low(run[832+:32]),
      .sum_high(run[864+:32]),
      .busy(drain_busy),
      .ask(ask),
      .stopped(group_bubble_next),
      .ask_begins(ask_begins),
      .ask_ends(ask_ends),
      .grant(grant),
      .done(done),
      .slice(slice),
      .slice_data(slice_data),
      .skip_slice(skip_slice),
      .skip_data(skip_data),
      .tile(tile),
      .final_tile(final_tile),
      .dest(dest),
      .bias(bias),
      .mult(mult),
      .shift(shift),
      .write(channel_write),
      .write_addr(channel_addr),
      .write_data(channel_data),
      .job(job),
      .job_final(job_final),
      .job_tile(job_tile),
      .job_bank(job_bank),
      .job_dest(job_dest),
      .release_valid(release_valid),
      .release_bank(release_bank)
  );
  seq_store #(
      .LANES(LANES),
      .SLICE(SLICE),
      .TILES(TILES),
      .LISTS(LISTS),
      .GROUP_BITS(GROUP_BITS)
  ) store (
      .clk(clk),
      .rst(rst),
      .clear(wipe),
      .to_buffer(run[161]),
      .listed(run[162]),
      .per_tile(per_tile),
      .last_slices(run[168+:4]),
      .stored(run[256+:16]),
      .piece_stride(run[288+:32]),
      .destination(run[320+:32]),
      .list_base(run[416+:16]),
      .memory_base(memory_base),
      .memory_bytes(memory_bytes),
      .busy(store_busy),
      .quiet(store_quiet),
      .out_of_range(store_outside),
      .bus_error(store_error),
      .write(channel_write),
      .write_addr(channel_addr),
      .write_data(channel_data),
      .job(job),
      .job_room(job_room),
      .job_final(job_final),
      .job_tile(job_tile),
      .job_bank(job_bank),
      .job_dest(job_dest),
      .release_valid(release_valid),
      .release_bank(release_bank),
      .list_write(table_write[3]),
      .list_write_addr(table_addr),
      .list_write_data(table_data[33:0]),
      .line_valid(store_line_valid),
      .line_ready(store_line_ready),
      .line_addr(store_line_addr),
      .line_data(store_line_data),
      .awvalid(m_axi_map_awvalid),
      .awready(m_axi_map_awready),
      .awaddr(m_axi_map_awaddr),
      .awlen(m_axi_map_awlen),
      .wvalid(m_axi_map_wvalid),
      .wready(m_axi_map_wready),
      .wdata(m_axi_map_wdata),
      .wlast(m_axi_map_wlast),
      .bvalid(m_axi_map_bvalid),
      .bresp(m_axi_map_bresp)
  );
  assign per_tile = ~run[162] & ~run[163];
  assign run_working = (|group_busy) | drain_busy | store_busy | (stored_lines_reg != 0);

  logic unused;
  assign unused = ^{m_axi_stream_rlast, m_axi_map_rlast, descriptor, run, store_line_addr, finished};
endmodule
