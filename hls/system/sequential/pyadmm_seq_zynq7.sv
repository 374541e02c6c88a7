// The whole chip: the processor of a Zynq-7000 around pyadmm_seq_system. The interrupt is IRQ_F2P[0].
// Signals have the names of the ports that they join (.*).
module pyadmm_seq_zynq7 #(
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
) ();
  logic clk, resetn;
  logic irq;
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
  logic hp1_arvalid, hp1_arready, hp1_rvalid, hp1_rready;
  logic [31:0] hp1_araddr;
  logic [3:0] hp1_arlen;
  logic [63:0] hp1_rdata;
  logic [1:0] hp1_rresp;

  pyadmm_seq_system #(
      .GROUPS(GROUPS),
      .LANES(LANES),
      .LINES(LINES),
      .ENTRY_WORDS(ENTRY_WORDS),
      .MASKS(MASKS),
      .LISTS(LISTS),
      .TILES(TILES),
      .ACC_BITS(ACC_BITS),
      .DRAIN(DRAIN),
      .IDENT(IDENT)
  ) system (.*);

  zynq7_processor #(
      .SECOND_PORT(1'b1)
  ) processor (
      .*,
      .irq({2'b00, irq})
  );
endmodule
