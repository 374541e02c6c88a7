// AXI4-Lite control with the ap_ctrl_hs register map of Vitis HLS (docs/kernels.md, "Top").
//
// start is one cycle long and comes with mode and count; the run ends a cycle after finished, which counts
// from the cycle after start on. cycles counts the clock cycles from start to done.
module axi_control (
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
    output logic        start,
    output logic [1:0]  mode,
    output logic [31:0] count,
    input  logic        finished
);
  // Word addresses, written by pyadmm.codegen.registers.
  localparam logic [4:0] AP_CTRL = 5'h00;  // bit 0 start, 1 done, 2 idle, 3 ready, 7 auto-restart
  localparam logic [4:0] GLOBAL_ENABLE = 5'h01;  // bit 0: interrupts reach the processor
  localparam logic [4:0] INTERRUPT_ENABLE = 5'h02;  // bit 0 done, 1 ready
  localparam logic [4:0] INTERRUPT_STATUS = 5'h03;  // bit 0 done, 1 ready; a one toggles
  localparam logic [4:0] MODE = 5'h04;  // 0 infer, 1 load weights, 2 read weights back
  localparam logic [4:0] COUNT = 5'h06;  // images of this run
  localparam logic [4:0] IDENT = 5'h08;  // first 32 bits of the build's digest
  localparam logic [4:0] CYCLES = 5'h0c;  // clock cycles of the last run; 0 where not measured
  // End of the word addresses.

  // A write strobe of 0 keeps that byte of the register.
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

  // Registers.
  logic ap_start_reg, auto_restart_reg, done_reg, ready_reg, running_reg, late_running_reg, finished_reg;
  logic global_enable_reg, done, read;
  logic [1:0] interrupt_enable_reg, interrupt_status_reg;
  logic [31:0] mode_reg, count_reg, cycles_reg, elapsed_reg;
  logic [4:0] read_addr;
  logic strobed;
  assign strobed = write & write_strobe_reg[0];
  assign start = ap_start_reg & ~running_reg;
  // What finished is made of lies far away.
  assign done = running_reg & late_running_reg & finished_reg;
  assign mode = |mode_reg[31:2] ? 2'd3 : mode_reg[1:0];
  assign count = count_reg;
  assign irq = global_enable_reg & (|interrupt_status_reg);

  always_ff @(posedge clk) begin
    finished_reg <= finished;
    late_running_reg <= running_reg & ~rst;
    if (rst) begin
      ap_start_reg <= 1'b0;
      auto_restart_reg <= 1'b0;
      done_reg <= 1'b0;
      ready_reg <= 1'b0;
      running_reg <= 1'b0;
      global_enable_reg <= 1'b0;
      interrupt_enable_reg <= '0;
      interrupt_status_reg <= '0;
      mode_reg <= '0;
      count_reg <= '0;
      cycles_reg <= '0;
      elapsed_reg <= '0;
    end else begin
      if (strobed && write_addr_reg == AP_CTRL) begin
        auto_restart_reg <= write_data_reg[7];
        if (write_data_reg[0]) ap_start_reg <= 1'b1;
      end else if (done) begin
        ap_start_reg <= auto_restart_reg;
      end
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
      if (write && write_addr_reg == MODE) mode_reg <= written(mode_reg, write_data_reg, write_strobe_reg);
      if (write && write_addr_reg == COUNT) count_reg <= written(count_reg, write_data_reg, write_strobe_reg);
      elapsed_reg <= start ? 32'd1 : elapsed_reg + 32'd1;
      if (done) cycles_reg <= elapsed_reg;
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
        AP_CTRL:
        read_data_reg <= {24'd0, auto_restart_reg, 3'd0, ready_reg, ~running_reg & ~ap_start_reg, done_reg, ap_start_reg};
        GLOBAL_ENABLE: read_data_reg <= {31'd0, global_enable_reg};
        INTERRUPT_ENABLE: read_data_reg <= {30'd0, interrupt_enable_reg};
        INTERRUPT_STATUS: read_data_reg <= {30'd0, interrupt_status_reg};
        MODE: read_data_reg <= mode_reg;
        COUNT: read_data_reg <= count_reg;
        IDENT: read_data_reg <= ident;
        CYCLES: read_data_reg <= cycles_reg;
        default: read_data_reg <= '0;
      endcase
    end
  end

  logic unused;
  assign unused = ^{awaddr[1:0], araddr[1:0]};
endmodule
