// The whole chip: the processor of a Zynq-7000 around pyadmm_system. The interrupts are IRQ_F2P[2:0].
module pyadmm_zynq7 #(
    parameter int LENGTH_BITS = 26
) ();
  logic clk, resetn;
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

  /* verilator lint_off PINCONNECTEMPTY */
  zynq7_processor processor (
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
      .hp1_arvalid(1'b0),
      .hp1_arready(),
      .hp1_araddr(32'd0),
      .hp1_arlen(4'd0),
      .hp1_rvalid(),
      .hp1_rready(1'b0),
      .hp1_rdata(),
      .hp1_rresp(),
      .irq(irq)
  );
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
