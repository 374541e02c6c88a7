// The whole chip: the processor of a Zynq-7000 around pyadmm_system. The interrupts are IRQ_F2P[2:0].
// Signals have the names of the ports that they join (.*).
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
  ) system (.*);

  /* verilator lint_off PINCONNECTEMPTY */
  zynq7_processor processor (
      .*,
      .hp1_arvalid(1'b0),
      .hp1_arready(),
      .hp1_araddr(32'd0),
      .hp1_arlen(4'd0),
      .hp1_rvalid(),
      .hp1_rready(1'b0),
      .hp1_rdata(),
      .hp1_rresp()
  );
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
