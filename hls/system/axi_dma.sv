// A DMA that is register-compatible with AXI DMA 7.1 in direct mode, without scatter-gather and without
// byte shifters (docs/system.md): MM2S at 0x00, S2MM at 0x30, 64-bit memory, streams of 32 bits; MM2S may
// have SEND_BITS = 64.
//
// A reset through either control register ends the bus transfers that are under way, then sets both
// channels back; the bit reads as one until then.
module axi_dma #(
    parameter int LENGTH_BITS = 26,
    parameter int SEND_BITS = 32
) (
    input  logic        clk,
    input  logic        rst,
    // Registers, AXI4-Lite.
    input  logic        awvalid,
    output logic        awready,
    input  logic [ 9:0] awaddr,
    input  logic        wvalid,
    output logic        wready,
    input  logic [31:0] wdata,
    output logic        bvalid,
    input  logic        bready,
    input  logic        arvalid,
    output logic        arready,
    input  logic [ 9:0] araddr,
    output logic        rvalid,
    input  logic        rready,
    output logic [31:0] rdata,
    output logic        mm2s_irq,
    output logic        s2mm_irq,
    // Memory, AXI3 or AXI4 with bursts of up to 16 beats.
    output logic        hp_arvalid,
    input  logic        hp_arready,
    output logic [31:0] hp_araddr,
    output logic [ 3:0] hp_arlen,
    input  logic        hp_rvalid,
    output logic        hp_rready,
    input  logic [63:0] hp_rdata,
    input  logic [ 1:0] hp_rresp,
    output logic        hp_awvalid,
    input  logic        hp_awready,
    output logic [31:0] hp_awaddr,
    output logic [ 3:0] hp_awlen,
    output logic        hp_wvalid,
    input  logic        hp_wready,
    output logic [63:0] hp_wdata,
    output logic [ 7:0] hp_wstrb,
    output logic        hp_wlast,
    input  logic        hp_bvalid,
    output logic        hp_bready,
    input  logic [ 1:0] hp_bresp,
    // Streams; their reset, which comes with the DMA's own.
    output logic        streams_rst,
    output logic        mm2s_valid,
    input  logic        mm2s_ready,
    output logic [SEND_BITS-1:0] mm2s_data,
    output logic [SEND_BITS/8-1:0] mm2s_keep,
    output logic        mm2s_last,
    input  logic        s2mm_valid,
    output logic        s2mm_ready,
    input  logic [31:0] s2mm_data,
    input  logic [ 3:0] s2mm_keep,
    input  logic        s2mm_last
);
  if (LENGTH_BITS < 8 || LENGTH_BITS > 26) begin : gen_bad_length
    $error("axi_dma: LENGTH_BITS must be 8 to 26");
  end
  localparam logic [3:0] CONTROL = 4'h0;
  localparam logic [3:0] STATUS = 4'h1;
  localparam logic [3:0] ADDRESS = 4'h6;
  localparam logic [3:0] LENGTH = 4'ha;
  localparam logic [7:0] S2MM = 8'h0c;

  // Write channel: address and data may come in any order.
  logic aw_held_reg, w_held_reg, bvalid_reg, write;
  logic [7:0] waddr_reg;
  logic [31:0] wdata_reg;
  assign awready = ~aw_held_reg;
  assign wready = ~w_held_reg;
  assign bvalid = bvalid_reg;
  assign write = aw_held_reg & w_held_reg & ~bvalid_reg;
  always_ff @(posedge clk) begin
    if (rst) begin
      aw_held_reg <= 1'b0;
      w_held_reg <= 1'b0;
      bvalid_reg <= 1'b0;
    end else begin
      aw_held_reg <= (awvalid & awready) | (aw_held_reg & ~write);
      w_held_reg <= (wvalid & wready) | (w_held_reg & ~write);
      bvalid_reg <= write | (bvalid_reg & ~bready);
    end
    if (awvalid && awready) waddr_reg <= awaddr[9:2];
    if (wvalid && wready) wdata_reg <= wdata;
  end

  // Which register of which channel, 0 = MM2S.
  logic [1:0] write_to, write_control, write_status, write_address, write_length;
  logic [3:0] write_register;
  assign write_to = {waddr_reg >= S2MM & waddr_reg < 8'h18, waddr_reg < S2MM} & {2{write & ~resetting_reg}};
  assign write_register = 4'(waddr_reg - (waddr_reg < S2MM ? 8'h00 : S2MM));
  assign write_control = write_to & {2{write_register == CONTROL}};
  assign write_status = write_to & {2{write_register == STATUS}};
  assign write_address = write_to & {2{write_register == ADDRESS}};
  assign write_length = write_to & {2{write_register == LENGTH}};

  // A reset of the whole DMA, by bit 2 of either control register.
  logic resetting_reg, clear;
  logic [1:0] busy;
  assign clear = resetting_reg & busy == 2'b00;
  assign streams_rst = rst | clear;
  always_ff @(posedge clk) begin
    if (rst || clear) resetting_reg <= 1'b0;
    else if (|write_control && wdata_reg[2]) resetting_reg <= 1'b1;
  end

  logic [31:0] control[2], status[2], address[2];
  logic [LENGTH_BITS-1:0] length[2], moved;
  logic [1:0] run, start, done, fail, fail_internal, fail_decode, irq;
  assign fail_internal[0] = 1'b0;
  for (genvar i = 0; i < 2; i++) begin : gen_channel
    dma_channel #(
        .LENGTH_BITS(LENGTH_BITS),
        .WORD_BYTES(i == 0 ? SEND_BITS / 8 : 4)
    ) channel (
        .clk(clk),
        .rst(rst | clear),
        .resetting(resetting_reg),
        .write_control(write_control[i]),
        .write_status(write_status[i]),
        .write_address(write_address[i]),
        .write_length(write_length[i]),
        .wdata(wdata_reg),
        .control(control[i]),
        .status(status[i]),
        .address(address[i]),
        .length(length[i]),
        .irq(irq[i]),
        .run(run[i]),
        .start(start[i]),
        .busy(busy[i]),
        .done(done[i]),
        .set_length(i == 1),
        .moved(moved),
        .fail(fail[i]),
        .fail_internal(fail_internal[i]),
        .fail_decode(fail_decode[i])
    );
  end
  assign mm2s_irq = irq[0];
  assign s2mm_irq = irq[1];

  dma_read #(
      .LENGTH_BITS(LENGTH_BITS),
      .STREAM_BITS(SEND_BITS)
  ) sender (
      .clk(clk),
      .rst(rst | clear),
      .cancel(resetting_reg),
      .run(run[0]),
      .start(start[0]),
      .address(address[0]),
      .length(length[0]),
      .busy(busy[0]),
      .done(done[0]),
      .fail(fail[0]),
      .fail_decode(fail_decode[0]),
      .arvalid(hp_arvalid),
      .arready(hp_arready),
      .araddr(hp_araddr),
      .arlen(hp_arlen),
      .rvalid(hp_rvalid),
      .rready(hp_rready),
      .rdata(hp_rdata),
      .rresp(hp_rresp),
      .stream_valid(mm2s_valid),
      .stream_ready(mm2s_ready),
      .stream_data(mm2s_data),
      .stream_keep(mm2s_keep),
      .stream_last(mm2s_last)
  );

  dma_write #(
      .LENGTH_BITS(LENGTH_BITS)
  ) receiver (
      .clk(clk),
      .rst(rst | clear),
      .cancel(resetting_reg),
      .run(run[1]),
      .start(start[1]),
      .address(address[1]),
      .length(length[1]),
      .busy(busy[1]),
      .done(done[1]),
      .moved(moved),
      .fail(fail[1]),
      .fail_overflow(fail_internal[1]),
      .fail_decode(fail_decode[1]),
      .awvalid(hp_awvalid),
      .awready(hp_awready),
      .awaddr(hp_awaddr),
      .awlen(hp_awlen),
      .wvalid(hp_wvalid),
      .wready(hp_wready),
      .wdata(hp_wdata),
      .wstrb(hp_wstrb),
      .wlast(hp_wlast),
      .bvalid(hp_bvalid),
      .bready(hp_bready),
      .bresp(hp_bresp),
      .stream_valid(s2mm_valid),
      .stream_ready(s2mm_ready),
      .stream_data(s2mm_data),
      .stream_keep(s2mm_keep),
      .stream_last(s2mm_last)
  );

  // Read channel.
  logic rvalid_reg, channel;
  logic [31:0] rdata_reg;
  logic [7:0] raddr;
  logic [3:0] register;
  assign raddr = araddr[9:2];
  assign channel = raddr >= S2MM;
  assign register = 4'(raddr - (channel ? S2MM : 8'h00));
  assign arready = ~rvalid_reg;
  assign rvalid = rvalid_reg;
  assign rdata = rdata_reg;
  always_ff @(posedge clk) begin
    if (rst) rvalid_reg <= 1'b0;
    else rvalid_reg <= (arvalid & arready) | (rvalid_reg & ~rready);
    if (arvalid && arready) begin
      if (raddr >= 8'h18) rdata_reg <= '0;
      else
        case (register)
          CONTROL: rdata_reg <= control[channel];
          STATUS: rdata_reg <= status[channel];
          ADDRESS: rdata_reg <= address[channel];
          LENGTH: rdata_reg <= 32'(length[channel]);
          default: rdata_reg <= '0;
        endcase
    end
  end

  logic unused;
  assign unused = ^{awaddr[1:0], araddr[1:0]};
endmodule
