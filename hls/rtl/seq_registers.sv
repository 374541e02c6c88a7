// AXI4-Lite registers of the layer-sequential top: the ap_ctrl_hs map and the run's facts
// (docs/kernels.md, "Layer-sequential"). start is one cycle long; finished ends the run with its status.
module seq_registers (
    input  logic        clk,
    input  logic        rst,
    input  logic        awvalid,
    output logic        awready,
    input  logic [6:0]  awaddr,
    input  logic        wvalid,
    output logic        wready,
    input  logic [31:0] wdata,
    input  logic [3:0]  wstrb,
    output logic        bvalid,
    input  logic        bready,
    output logic [1:0]  bresp,
    input  logic        arvalid,
    output logic        arready,
    input  logic [6:0]  araddr,
    output logic        rvalid,
    input  logic        rready,
    output logic [31:0] rdata,
    output logic [1:0]  rresp,
    output logic        irq,
    input  logic [31:0] ident,
    input  logic [31:0] build,
    output logic        start,
    output logic [31:0] memory_base,
    input  logic        finished,
    input  logic [31:0] status,
    input  logic [31:0] runs,
    output logic [8:0]  profile_index,
    input  logic [31:0] profile_cycles,
    input  logic [31:0] profile_waits
);
  // Word addresses, written by pyadmm.codegen.registers.
  localparam logic [4:0] AP_CTRL = 5'h00;  // bit 0 start, 1 done, 2 idle, 3 ready, 7 auto-restart
  localparam logic [4:0] GLOBAL_ENABLE = 5'h01;  // bit 0: interrupts reach the processor
  localparam logic [4:0] INTERRUPT_ENABLE = 5'h02;  // bit 0 done, 1 ready
  localparam logic [4:0] INTERRUPT_STATUS = 5'h03;  // bit 0 done, 1 ready; a one toggles
  localparam logic [4:0] BASE = 5'h04;  // byte address of the program in memory, a multiple of 4096
  localparam logic [4:0] STATUS = 5'h06;  // how the last program ended
  localparam logic [4:0] IDENT = 5'h08;  // first 32 bits of the build's digest
  localparam logic [4:0] BUILD = 5'h0a;  // version, groups << 8, lanes << 16
  localparam logic [4:0] CYCLES = 5'h0c;  // clock cycles of the last program
  localparam logic [4:0] RUNS = 5'h0e;  // RUNs that the last program finished
  localparam logic [4:0] PROFILE_INDEX = 5'h10;  // number of a layer
  localparam logic [4:0] PROFILE_CYCLES = 5'h12;  // cycles of that layer
  localparam logic [4:0] PROFILE_WAITS = 5'h14;  // how many of them waited for memory
  // End of the word addresses.

  // Bytes of a register that a write does not select keep their value.
  function automatic logic [31:0] written(input logic [31:0] old, input logic [31:0] data,
                                          input logic [3:0] strobe);
    for (int i = 0; i < 4; i++) written[8*i+:8] = strobe[i] ? data[8*i+:8] : old[8*i+:8];
  endfunction

  // Write channel: address and data may come in any order.
  logic aw_held_reg, w_held_reg, b_valid_reg, write;
  logic [4:0] write_addr_reg;
  logic [31:0] write_data_reg;
  logic [3:0] write_strobe_reg;
  assign awready = ~aw_held_reg;
  assign wready = ~w_held_reg;
  assign bvalid = b_valid_reg;
  assign bresp = 2'b00;
  assign write = aw_held_reg & w_held_reg & ~b_valid_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      aw_held_reg <= 1'b0;
      w_held_reg  <= 1'b0;
      b_valid_reg <= 1'b0;
    end else begin
      aw_held_reg <= (awvalid & awready) | (aw_held_reg & ~write);
      w_held_reg  <= (wvalid & wready) | (w_held_reg & ~write);
      b_valid_reg <= write | (b_valid_reg & ~bready);
    end
    if (awvalid && awready) write_addr_reg <= awaddr[6:2];
    if (wvalid && wready) begin
      write_data_reg   <= wdata;
      write_strobe_reg <= wstrb;
    end
  end

  logic ap_start_reg, done_reg, ready_reg, running_reg, global_enable_reg, done, read, strobed;
  logic [1:0] interrupt_enable_reg, interrupt_status_reg;
  logic [31:0] base_reg, cycles_reg, elapsed_reg, status_reg, index_reg;
  logic [4:0] read_addr;
  assign strobed = write & write_strobe_reg[0];
  assign start = ap_start_reg & ~running_reg;
  assign done = running_reg & finished;
  assign memory_base = base_reg;
  assign profile_index = index_reg[8:0];
  assign irq = global_enable_reg & (|interrupt_status_reg);
  always_ff @(posedge clk) begin
    if (rst) begin
      ap_start_reg <= 1'b0;
      done_reg <= 1'b0;
      ready_reg <= 1'b0;
      running_reg <= 1'b0;
      global_enable_reg <= 1'b0;
      interrupt_enable_reg <= '0;
      interrupt_status_reg <= '0;
      base_reg <= '0;
      index_reg <= '0;
      cycles_reg <= '0;
      elapsed_reg <= '0;
      status_reg <= '0;
    end else begin
      if (strobed && write_addr_reg == AP_CTRL && write_data_reg[0]) ap_start_reg <= 1'b1;
      else if (done) ap_start_reg <= 1'b0;
      if (start) running_reg <= 1'b1;
      else if (done) running_reg <= 1'b0;
      // done and ready clear on read.
      if (done) done_reg <= 1'b1;
      else if (read && read_addr == AP_CTRL) done_reg <= 1'b0;
      if (done) ready_reg <= 1'b1;
      else if (read && read_addr == AP_CTRL) ready_reg <= 1'b0;
      if (strobed && write_addr_reg == GLOBAL_ENABLE) global_enable_reg <= write_data_reg[0];
      if (strobed && write_addr_reg == INTERRUPT_ENABLE) interrupt_enable_reg <= write_data_reg[1:0];
      // Writing a one to a status bit toggles it.
      for (int i = 0; i < 2; i++) begin
        if (done && interrupt_enable_reg[i]) interrupt_status_reg[i] <= 1'b1;
        else if (strobed && write_addr_reg == INTERRUPT_STATUS)
          interrupt_status_reg[i] <= interrupt_status_reg[i] ^ write_data_reg[i];
      end
      if (write && write_addr_reg == BASE && !running_reg)
        base_reg <= written(base_reg, write_data_reg, write_strobe_reg);
      if (write && write_addr_reg == PROFILE_INDEX)
        index_reg <= written(index_reg, write_data_reg, write_strobe_reg);
      elapsed_reg <= start ? 32'd1 : elapsed_reg + 32'd1;
      if (done) begin
        cycles_reg <= elapsed_reg;
        status_reg <= status;
      end
    end
  end

  // Read channel.
  logic r_valid_reg;
  logic [31:0] read_data_reg;
  assign arready = ~r_valid_reg;
  assign read = arvalid & arready;
  assign read_addr = araddr[6:2];
  assign rvalid = r_valid_reg;
  assign rdata = read_data_reg;
  assign rresp = 2'b00;
  always_ff @(posedge clk) begin
    if (rst) r_valid_reg <= 1'b0;
    else r_valid_reg <= read | (r_valid_reg & ~rready);
    if (read) begin
      case (read_addr)
        AP_CTRL: read_data_reg <= {28'd0, ready_reg, ~running_reg & ~ap_start_reg, done_reg, ap_start_reg};
        GLOBAL_ENABLE: read_data_reg <= {31'd0, global_enable_reg};
        INTERRUPT_ENABLE: read_data_reg <= {30'd0, interrupt_enable_reg};
        INTERRUPT_STATUS: read_data_reg <= {30'd0, interrupt_status_reg};
        BASE: read_data_reg <= base_reg;
        STATUS: read_data_reg <= status_reg;
        IDENT: read_data_reg <= ident;
        BUILD: read_data_reg <= build;
        CYCLES: read_data_reg <= cycles_reg;
        RUNS: read_data_reg <= runs;
        PROFILE_INDEX: read_data_reg <= index_reg;
        PROFILE_CYCLES: read_data_reg <= profile_cycles;
        PROFILE_WAITS: read_data_reg <= profile_waits;
        default: read_data_reg <= '0;
      endcase
    end
  end

  logic unused;
  assign unused = ^{awaddr[1:0], araddr[1:0]};
endmodule
