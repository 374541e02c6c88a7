// The whole chip: the processor of a Zynq-7000 around pyadmm_system. Clock and reset are its FCLK0, which
// the boot loader or Linux sets; registers come from M_AXI_GP0, memory is S_AXI_HP0 with 64 bits, the
// interrupts are IRQ_F2P[2:0]. The chip's other pins belong to the processor and are not named here.
module pyadmm_zynq7 #(
    parameter int LENGTH_BITS = 26
) ();
  localparam logic [1:0] INCREMENT = 2'b01;
  localparam logic [1:0] EIGHT_BYTES = 2'b11;
  localparam logic [3:0] BUFFERABLE = 4'b0011;

  logic clk, resetn;
  logic [3:0] fclk, fclk_resetn;
  logic [2:0] irq;
  logic gp_awvalid, gp_awready, gp_wvalid, gp_wready, gp_bvalid, gp_bready;
  logic gp_arvalid, gp_arready, gp_rvalid, gp_rready, gp_rlast;
  logic [11:0] gp_awid, gp_bid, gp_arid, gp_rid;
  logic [31:0] gp_awaddr, gp_wdata, gp_araddr, gp_rdata;
  logic [3:0] gp_awlen, gp_wstrb, gp_arlen;
  logic [1:0] gp_awburst, gp_bresp, gp_arburst, gp_rresp;
  logic hp_arvalid, hp_arready, hp_rvalid, hp_rready;
  logic hp_awvalid, hp_awready, hp_wvalid, hp_wready, hp_wlast, hp_bvalid, hp_bready;
  logic [31:0] hp_araddr, hp_awaddr;
  logic [3:0] hp_arlen, hp_awlen;
  logic [63:0] hp_rdata, hp_wdata;
  logic [1:0] hp_rresp, hp_bresp;
  logic [7:0] hp_wstrb;

  BUFG clock_buffer (
      .I(fclk[0]),
      .O(clk)
  );

  // The processor's reset comes at any time.
  logic [1:0] resetn_reg;
  always_ff @(posedge clk) resetn_reg <= {resetn_reg[0], fclk_resetn[0]};
  assign resetn = resetn_reg[1];

  pyadmm_system #(
      .LENGTH_BITS(LENGTH_BITS)
  ) system (
      .clk(clk),
      .resetn(resetn),
      .gp_awvalid(gp_awvalid),
      .gp_awready(gp_awready),
      .gp_awid(gp_awid),
      .gp_awaddr(gp_awaddr),
      .gp_awlen(gp_awlen),
      .gp_awburst(gp_awburst),
      .gp_wvalid(gp_wvalid),
      .gp_wready(gp_wready),
      .gp_wdata(gp_wdata),
      .gp_wstrb(gp_wstrb),
      .gp_bvalid(gp_bvalid),
      .gp_bready(gp_bready),
      .gp_bid(gp_bid),
      .gp_bresp(gp_bresp),
      .gp_arvalid(gp_arvalid),
      .gp_arready(gp_arready),
      .gp_arid(gp_arid),
      .gp_araddr(gp_araddr),
      .gp_arlen(gp_arlen),
      .gp_arburst(gp_arburst),
      .gp_rvalid(gp_rvalid),
      .gp_rready(gp_rready),
      .gp_rid(gp_rid),
      .gp_rdata(gp_rdata),
      .gp_rresp(gp_rresp),
      .gp_rlast(gp_rlast),
      .hp_arvalid(hp_arvalid),
      .hp_arready(hp_arready),
      .hp_araddr(hp_araddr),
      .hp_arlen(hp_arlen),
      .hp_rvalid(hp_rvalid),
      .hp_rready(hp_rready),
      .hp_rdata(hp_rdata),
      .hp_rresp(hp_rresp),
      .hp_awvalid(hp_awvalid),
      .hp_awready(hp_awready),
      .hp_awaddr(hp_awaddr),
      .hp_awlen(hp_awlen),
      .hp_wvalid(hp_wvalid),
      .hp_wready(hp_wready),
      .hp_wdata(hp_wdata),
      .hp_wstrb(hp_wstrb),
      .hp_wlast(hp_wlast),
      .hp_bvalid(hp_bvalid),
      .hp_bready(hp_bready),
      .hp_bresp(hp_bresp),
      .irq(irq)
  );

  // Inputs that are left open would read as ones: all that is not used is tied to zero.
  /* verilator lint_off PINMISSING */
  PS7 processor (
      .FCLKCLK(fclk),
      .FCLKRESETN(fclk_resetn),
      .IRQF2P({17'd0, irq}),
      .MAXIGP0ACLK(clk),
      .MAXIGP0AWVALID(gp_awvalid),
      .MAXIGP0AWREADY(gp_awready),
      .MAXIGP0AWID(gp_awid),
      .MAXIGP0AWADDR(gp_awaddr),
      .MAXIGP0AWLEN(gp_awlen),
      .MAXIGP0AWBURST(gp_awburst),
      .MAXIGP0WVALID(gp_wvalid),
      .MAXIGP0WREADY(gp_wready),
      .MAXIGP0WDATA(gp_wdata),
      .MAXIGP0WSTRB(gp_wstrb),
      .MAXIGP0BVALID(gp_bvalid),
      .MAXIGP0BREADY(gp_bready),
      .MAXIGP0BID(gp_bid),
      .MAXIGP0BRESP(gp_bresp),
      .MAXIGP0ARVALID(gp_arvalid),
      .MAXIGP0ARREADY(gp_arready),
      .MAXIGP0ARID(gp_arid),
      .MAXIGP0ARADDR(gp_araddr),
      .MAXIGP0ARLEN(gp_arlen),
      .MAXIGP0ARBURST(gp_arburst),
      .MAXIGP0RVALID(gp_rvalid),
      .MAXIGP0RREADY(gp_rready),
      .MAXIGP0RID(gp_rid),
      .MAXIGP0RDATA(gp_rdata),
      .MAXIGP0RRESP(gp_rresp),
      .MAXIGP0RLAST(gp_rlast),
      .SAXIHP0ACLK(clk),
      .SAXIHP0ARVALID(hp_arvalid),
      .SAXIHP0ARREADY(hp_arready),
      .SAXIHP0ARADDR(hp_araddr),
      .SAXIHP0ARLEN(hp_arlen),
      .SAXIHP0ARBURST(INCREMENT),
      .SAXIHP0ARSIZE(EIGHT_BYTES),
      .SAXIHP0ARCACHE(BUFFERABLE),
      .SAXIHP0RVALID(hp_rvalid),
      .SAXIHP0RREADY(hp_rready),
      .SAXIHP0RDATA(hp_rdata),
      .SAXIHP0RRESP(hp_rresp),
      .SAXIHP0AWVALID(hp_awvalid),
      .SAXIHP0AWREADY(hp_awready),
      .SAXIHP0AWADDR(hp_awaddr),
      .SAXIHP0AWLEN(hp_awlen),
      .SAXIHP0AWBURST(INCREMENT),
      .SAXIHP0AWSIZE(EIGHT_BYTES),
      .SAXIHP0AWCACHE(BUFFERABLE),
      .SAXIHP0WVALID(hp_wvalid),
      .SAXIHP0WREADY(hp_wready),
      .SAXIHP0WDATA(hp_wdata),
      .SAXIHP0WSTRB(hp_wstrb),
      .SAXIHP0WLAST(hp_wlast),
      .SAXIHP0BVALID(hp_bvalid),
      .SAXIHP0BREADY(hp_bready),
      .SAXIHP0BRESP(hp_bresp),
      .DDRARB(4'd0), .DMA0ACLK(1'b0), .DMA0DAREADY(1'b0), .DMA0DRLAST(1'b0), .DMA0DRTYPE(2'd0), .DMA0DRVALID(1'b0),
      .DMA1ACLK(1'b0), .DMA1DAREADY(1'b0), .DMA1DRLAST(1'b0), .DMA1DRTYPE(2'd0), .DMA1DRVALID(1'b0), .DMA2ACLK(1'b0),
      .DMA2DAREADY(1'b0), .DMA2DRLAST(1'b0), .DMA2DRTYPE(2'd0), .DMA2DRVALID(1'b0), .DMA3ACLK(1'b0),
      .DMA3DAREADY(1'b0), .DMA3DRLAST(1'b0), .DMA3DRTYPE(2'd0), .DMA3DRVALID(1'b0), .EMIOCAN0PHYRX(1'b0),
      .EMIOCAN1PHYRX(1'b0), .EMIOENET0EXTINTIN(1'b0), .EMIOENET0GMIICOL(1'b0), .EMIOENET0GMIICRS(1'b0),
      .EMIOENET0GMIIRXCLK(1'b0), .EMIOENET0GMIIRXD(8'd0), .EMIOENET0GMIIRXDV(1'b0), .EMIOENET0GMIIRXER(1'b0),
      .EMIOENET0GMIITXCLK(1'b0), .EMIOENET0MDIOI(1'b0), .EMIOENET1EXTINTIN(1'b0), .EMIOENET1GMIICOL(1'b0),
      .EMIOENET1GMIICRS(1'b0), .EMIOENET1GMIIRXCLK(1'b0), .EMIOENET1GMIIRXD(8'd0), .EMIOENET1GMIIRXDV(1'b0),
      .EMIOENET1GMIIRXER(1'b0), .EMIOENET1GMIITXCLK(1'b0), .EMIOENET1MDIOI(1'b0), .EMIOGPIOI(64'd0),
      .EMIOI2C0SCLI(1'b0), .EMIOI2C0SDAI(1'b0), .EMIOI2C1SCLI(1'b0), .EMIOI2C1SDAI(1'b0), .EMIOPJTAGTCK(1'b0),
      .EMIOPJTAGTDI(1'b0), .EMIOPJTAGTMS(1'b0), .EMIOSDIO0CDN(1'b0), .EMIOSDIO0CLKFB(1'b0), .EMIOSDIO0CMDI(1'b0),
      .EMIOSDIO0DATAI(4'd0), .EMIOSDIO0WP(1'b0), .EMIOSDIO1CDN(1'b0), .EMIOSDIO1CLKFB(1'b0), .EMIOSDIO1CMDI(1'b0),
      .EMIOSDIO1DATAI(4'd0), .EMIOSDIO1WP(1'b0), .EMIOSPI0MI(1'b0), .EMIOSPI0SCLKI(1'b0), .EMIOSPI0SI(1'b0),
      .EMIOSPI0SSIN(1'b0), .EMIOSPI1MI(1'b0), .EMIOSPI1SCLKI(1'b0), .EMIOSPI1SI(1'b0), .EMIOSPI1SSIN(1'b0),
      .EMIOSRAMINTIN(1'b0), .EMIOTRACECLK(1'b0), .EMIOTTC0CLKI(3'd0), .EMIOTTC1CLKI(3'd0), .EMIOUART0CTSN(1'b0),
      .EMIOUART0DCDN(1'b0), .EMIOUART0DSRN(1'b0), .EMIOUART0RIN(1'b0), .EMIOUART0RX(1'b0), .EMIOUART1CTSN(1'b0),
      .EMIOUART1DCDN(1'b0), .EMIOUART1DSRN(1'b0), .EMIOUART1RIN(1'b0), .EMIOUART1RX(1'b0),
      .EMIOUSB0VBUSPWRFAULT(1'b0), .EMIOUSB1VBUSPWRFAULT(1'b0), .EMIOWDTCLKI(1'b0), .EVENTEVENTI(1'b0),
      .FCLKCLKTRIGN(4'd0), .FPGAIDLEN(1'b0), .FTMDTRACEINATID(4'd0), .FTMDTRACEINCLOCK(1'b0),
      .FTMDTRACEINDATA(32'd0), .FTMDTRACEINVALID(1'b0), .FTMTF2PDEBUG(32'd0), .FTMTF2PTRIG(4'd0),
      .FTMTP2FTRIGACK(4'd0), .MAXIGP1ACLK(1'b0), .MAXIGP1ARREADY(1'b0), .MAXIGP1AWREADY(1'b0), .MAXIGP1BID(12'd0),
      .MAXIGP1BRESP(2'd0), .MAXIGP1BVALID(1'b0), .MAXIGP1RDATA(32'd0), .MAXIGP1RID(12'd0), .MAXIGP1RLAST(1'b0),
      .MAXIGP1RRESP(2'd0), .MAXIGP1RVALID(1'b0), .MAXIGP1WREADY(1'b0), .SAXIACPACLK(1'b0), .SAXIACPARADDR(32'd0),
      .SAXIACPARBURST(2'd0), .SAXIACPARCACHE(4'd0), .SAXIACPARID(3'd0), .SAXIACPARLEN(4'd0), .SAXIACPARLOCK(2'd0),
      .SAXIACPARPROT(3'd0), .SAXIACPARQOS(4'd0), .SAXIACPARSIZE(2'd0), .SAXIACPARUSER(5'd0), .SAXIACPARVALID(1'b0),
      .SAXIACPAWADDR(32'd0), .SAXIACPAWBURST(2'd0), .SAXIACPAWCACHE(4'd0), .SAXIACPAWID(3'd0), .SAXIACPAWLEN(4'd0),
      .SAXIACPAWLOCK(2'd0), .SAXIACPAWPROT(3'd0), .SAXIACPAWQOS(4'd0), .SAXIACPAWSIZE(2'd0), .SAXIACPAWUSER(5'd0),
      .SAXIACPAWVALID(1'b0), .SAXIACPBREADY(1'b0), .SAXIACPRREADY(1'b0), .SAXIACPWDATA(64'd0), .SAXIACPWID(3'd0),
      .SAXIACPWLAST(1'b0), .SAXIACPWSTRB(8'd0), .SAXIACPWVALID(1'b0), .SAXIGP0ACLK(1'b0), .SAXIGP0ARADDR(32'd0),
      .SAXIGP0ARBURST(2'd0), .SAXIGP0ARCACHE(4'd0), .SAXIGP0ARID(6'd0), .SAXIGP0ARLEN(4'd0), .SAXIGP0ARLOCK(2'd0),
      .SAXIGP0ARPROT(3'd0), .SAXIGP0ARQOS(4'd0), .SAXIGP0ARSIZE(2'd0), .SAXIGP0ARVALID(1'b0), .SAXIGP0AWADDR(32'd0),
      .SAXIGP0AWBURST(2'd0), .SAXIGP0AWCACHE(4'd0), .SAXIGP0AWID(6'd0), .SAXIGP0AWLEN(4'd0), .SAXIGP0AWLOCK(2'd0),
      .SAXIGP0AWPROT(3'd0), .SAXIGP0AWQOS(4'd0), .SAXIGP0AWSIZE(2'd0), .SAXIGP0AWVALID(1'b0), .SAXIGP0BREADY(1'b0),
      .SAXIGP0RREADY(1'b0), .SAXIGP0WDATA(32'd0), .SAXIGP0WID(6'd0), .SAXIGP0WLAST(1'b0), .SAXIGP0WSTRB(4'd0),
      .SAXIGP0WVALID(1'b0), .SAXIGP1ACLK(1'b0), .SAXIGP1ARADDR(32'd0), .SAXIGP1ARBURST(2'd0), .SAXIGP1ARCACHE(4'd0),
      .SAXIGP1ARID(6'd0), .SAXIGP1ARLEN(4'd0), .SAXIGP1ARLOCK(2'd0), .SAXIGP1ARPROT(3'd0), .SAXIGP1ARQOS(4'd0),
      .SAXIGP1ARSIZE(2'd0), .SAXIGP1ARVALID(1'b0), .SAXIGP1AWADDR(32'd0), .SAXIGP1AWBURST(2'd0),
      .SAXIGP1AWCACHE(4'd0), .SAXIGP1AWID(6'd0), .SAXIGP1AWLEN(4'd0), .SAXIGP1AWLOCK(2'd0), .SAXIGP1AWPROT(3'd0),
      .SAXIGP1AWQOS(4'd0), .SAXIGP1AWSIZE(2'd0), .SAXIGP1AWVALID(1'b0), .SAXIGP1BREADY(1'b0), .SAXIGP1RREADY(1'b0),
      .SAXIGP1WDATA(32'd0), .SAXIGP1WID(6'd0), .SAXIGP1WLAST(1'b0), .SAXIGP1WSTRB(4'd0), .SAXIGP1WVALID(1'b0),
      .SAXIHP0ARID(6'd0), .SAXIHP0ARLOCK(2'd0), .SAXIHP0ARPROT(3'd0), .SAXIHP0ARQOS(4'd0), .SAXIHP0AWID(6'd0),
      .SAXIHP0AWLOCK(2'd0), .SAXIHP0AWPROT(3'd0), .SAXIHP0AWQOS(4'd0), .SAXIHP0RDISSUECAP1EN(1'b0),
      .SAXIHP0WID(6'd0), .SAXIHP0WRISSUECAP1EN(1'b0), .SAXIHP1ACLK(1'b0), .SAXIHP1ARADDR(32'd0),
      .SAXIHP1ARBURST(2'd0), .SAXIHP1ARCACHE(4'd0), .SAXIHP1ARID(6'd0), .SAXIHP1ARLEN(4'd0), .SAXIHP1ARLOCK(2'd0),
      .SAXIHP1ARPROT(3'd0), .SAXIHP1ARQOS(4'd0), .SAXIHP1ARSIZE(2'd0), .SAXIHP1ARVALID(1'b0), .SAXIHP1AWADDR(32'd0),
      .SAXIHP1AWBURST(2'd0), .SAXIHP1AWCACHE(4'd0), .SAXIHP1AWID(6'd0), .SAXIHP1AWLEN(4'd0), .SAXIHP1AWLOCK(2'd0),
      .SAXIHP1AWPROT(3'd0), .SAXIHP1AWQOS(4'd0), .SAXIHP1AWSIZE(2'd0), .SAXIHP1AWVALID(1'b0), .SAXIHP1BREADY(1'b0),
      .SAXIHP1RDISSUECAP1EN(1'b0), .SAXIHP1RREADY(1'b0), .SAXIHP1WDATA(64'd0), .SAXIHP1WID(6'd0),
      .SAXIHP1WLAST(1'b0), .SAXIHP1WRISSUECAP1EN(1'b0), .SAXIHP1WSTRB(8'd0), .SAXIHP1WVALID(1'b0),
      .SAXIHP2ACLK(1'b0), .SAXIHP2ARADDR(32'd0), .SAXIHP2ARBURST(2'd0), .SAXIHP2ARCACHE(4'd0), .SAXIHP2ARID(6'd0),
      .SAXIHP2ARLEN(4'd0), .SAXIHP2ARLOCK(2'd0), .SAXIHP2ARPROT(3'd0), .SAXIHP2ARQOS(4'd0), .SAXIHP2ARSIZE(2'd0),
      .SAXIHP2ARVALID(1'b0), .SAXIHP2AWADDR(32'd0), .SAXIHP2AWBURST(2'd0), .SAXIHP2AWCACHE(4'd0), .SAXIHP2AWID(6'd0),
      .SAXIHP2AWLEN(4'd0), .SAXIHP2AWLOCK(2'd0), .SAXIHP2AWPROT(3'd0), .SAXIHP2AWQOS(4'd0), .SAXIHP2AWSIZE(2'd0),
      .SAXIHP2AWVALID(1'b0), .SAXIHP2BREADY(1'b0), .SAXIHP2RDISSUECAP1EN(1'b0), .SAXIHP2RREADY(1'b0),
      .SAXIHP2WDATA(64'd0), .SAXIHP2WID(6'd0), .SAXIHP2WLAST(1'b0), .SAXIHP2WRISSUECAP1EN(1'b0), .SAXIHP2WSTRB(8'd0),
      .SAXIHP2WVALID(1'b0), .SAXIHP3ACLK(1'b0), .SAXIHP3ARADDR(32'd0), .SAXIHP3ARBURST(2'd0), .SAXIHP3ARCACHE(4'd0),
      .SAXIHP3ARID(6'd0), .SAXIHP3ARLEN(4'd0), .SAXIHP3ARLOCK(2'd0), .SAXIHP3ARPROT(3'd0), .SAXIHP3ARQOS(4'd0),
      .SAXIHP3ARSIZE(2'd0), .SAXIHP3ARVALID(1'b0), .SAXIHP3AWADDR(32'd0), .SAXIHP3AWBURST(2'd0),
      .SAXIHP3AWCACHE(4'd0), .SAXIHP3AWID(6'd0), .SAXIHP3AWLEN(4'd0), .SAXIHP3AWLOCK(2'd0), .SAXIHP3AWPROT(3'd0),
      .SAXIHP3AWQOS(4'd0), .SAXIHP3AWSIZE(2'd0), .SAXIHP3AWVALID(1'b0), .SAXIHP3BREADY(1'b0),
      .SAXIHP3RDISSUECAP1EN(1'b0), .SAXIHP3RREADY(1'b0), .SAXIHP3WDATA(64'd0), .SAXIHP3WID(6'd0),
      .SAXIHP3WLAST(1'b0), .SAXIHP3WRISSUECAP1EN(1'b0), .SAXIHP3WSTRB(8'd0), .SAXIHP3WVALID(1'b0)
  );
  /* verilator lint_on PINMISSING */

  logic unused;
  assign unused = ^{fclk[3:1], fclk_resetn[3:1]};
endmodule
