// The layer-sequential array in the logic of a Zynq-7000, without the processor: its registers behind the
// general-purpose port, its ports to memory at two 64-bit high-performance ports. Ports are AXI3.
module pyadmm_seq_system #(
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
    input  logic        clk,
    input  logic        resetn,
    // Registers, from M_AXI_GP0.
    input  logic        gp_awvalid,
    output logic        gp_awready,
    input  logic [11:0] gp_awid,
    input  logic [31:0] gp_awaddr,
    input  logic [ 3:0] gp_awlen,
    input  logic [ 1:0] gp_awburst,
    input  logic        gp_wvalid,
    output logic        gp_wready,
    input  logic [31:0] gp_wdata,
    input  logic [ 3:0] gp_wstrb,
    output logic        gp_bvalid,
    input  logic        gp_bready,
    output logic [11:0] gp_bid,
    output logic [ 1:0] gp_bresp,
    input  logic        gp_arvalid,
    output logic        gp_arready,
    input  logic [11:0] gp_arid,
    input  logic [31:0] gp_araddr,
    input  logic [ 3:0] gp_arlen,
    input  logic [ 1:0] gp_arburst,
    output logic        gp_rvalid,
    input  logic        gp_rready,
    output logic [11:0] gp_rid,
    output logic [31:0] gp_rdata,
    output logic [ 1:0] gp_rresp,
    output logic        gp_rlast,
    // Memory, to S_AXI_HP0.
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
    // Memory that is only read, to S_AXI_HP1.
    output logic        hp1_arvalid,
    input  logic        hp1_arready,
    output logic [31:0] hp1_araddr,
    output logic [ 3:0] hp1_arlen,
    input  logic        hp1_rvalid,
    output logic        hp1_rready,
    input  logic [63:0] hp1_rdata,
    input  logic [ 1:0] hp1_rresp,
    output logic        irq
);
  // The bridge's first slave is none: the processor's port has no such address.
  localparam logic [15:0] NOWHERE = 16'h0000;

  logic rst;
  reset_sync reset (
      .clk(clk),
      .resetn(resetn),
      .rst(rst)
  );

  logic [1:0] lite_awvalid, lite_awready, lite_wvalid, lite_wready, lite_bvalid, lite_bready;
  logic [1:0] lite_arvalid, lite_arready, lite_rvalid, lite_rready;
  logic [15:0] lite_addr;
  logic [31:0] lite_wdata, core_rdata;
  logic [3:0] lite_wstrb;
  assign {lite_awready[0], lite_wready[0], lite_bvalid[0], lite_arready[0], lite_rvalid[0]} = 5'd0;
  gp_bridge #(
      .FIRST_BASE(NOWHERE)
  ) bridge (
      .*,
      .first_rdata(32'd0),
      .second_rdata(core_rdata)
  );

  // Bursts have at most 16 beats of 8 bytes, which AXI3 and the port's width ask for.
  logic [7:0] stream_arlen, map_arlen, map_awlen;
  logic [2:0] stream_arsize, map_arsize, map_awsize;
  logic [1:0] stream_arburst, map_arburst, map_awburst, core_bresp, core_rresp;
  assign hp1_arlen = stream_arlen[3:0];
  assign hp_arlen = map_arlen[3:0];
  assign hp_awlen = map_awlen[3:0];
  seq_top #(
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
  ) core (
      .ap_clk(clk),
      .ap_rst_n(resetn),
      .irq(irq),
      .s_axi_control_awvalid(lite_awvalid[1]),
      .s_axi_control_awready(lite_awready[1]),
      .s_axi_control_awaddr(lite_addr[6:0]),
      .s_axi_control_wvalid(lite_wvalid[1]),
      .s_axi_control_wready(lite_wready[1]),
      .s_axi_control_wdata(lite_wdata),
      .s_axi_control_wstrb(lite_wstrb),
      .s_axi_control_bvalid(lite_bvalid[1]),
      .s_axi_control_bready(lite_bready[1]),
      .s_axi_control_bresp(core_bresp),
      .s_axi_control_arvalid(lite_arvalid[1]),
      .s_axi_control_arready(lite_arready[1]),
      .s_axi_control_araddr(lite_addr[6:0]),
      .s_axi_control_rvalid(lite_rvalid[1]),
      .s_axi_control_rready(lite_rready[1]),
      .s_axi_control_rdata(core_rdata),
      .s_axi_control_rresp(core_rresp),
      .m_axi_stream_arvalid(hp1_arvalid),
      .m_axi_stream_arready(hp1_arready),
      .m_axi_stream_araddr(hp1_araddr),
      .m_axi_stream_arlen(stream_arlen),
      .m_axi_stream_arsize(stream_arsize),
      .m_axi_stream_arburst(stream_arburst),
      .m_axi_stream_rvalid(hp1_rvalid),
      .m_axi_stream_rready(hp1_rready),
      .m_axi_stream_rdata(hp1_rdata),
      .m_axi_stream_rresp(hp1_rresp),
      .m_axi_stream_rlast(1'b0),
      .m_axi_map_arvalid(hp_arvalid),
      .m_axi_map_arready(hp_arready),
      .m_axi_map_araddr(hp_araddr),
      .m_axi_map_arlen(map_arlen),
      .m_axi_map_arsize(map_arsize),
      .m_axi_map_arburst(map_arburst),
      .m_axi_map_rvalid(hp_rvalid),
      .m_axi_map_rready(hp_rready),
      .m_axi_map_rdata(hp_rdata),
      .m_axi_map_rresp(hp_rresp),
      .m_axi_map_rlast(1'b0),
      .m_axi_map_awvalid(hp_awvalid),
      .m_axi_map_awready(hp_awready),
      .m_axi_map_awaddr(hp_awaddr),
      .m_axi_map_awlen(map_awlen),
      .m_axi_map_awsize(map_awsize),
      .m_axi_map_awburst(map_awburst),
      .m_axi_map_wvalid(hp_wvalid),
      .m_axi_map_wready(hp_wready),
      .m_axi_map_wdata(hp_wdata),
      .m_axi_map_wstrb(hp_wstrb),
      .m_axi_map_wlast(hp_wlast),
      .m_axi_map_bvalid(hp_bvalid),
      .m_axi_map_bready(hp_bready),
      .m_axi_map_bresp(hp_bresp)
  );

  // The register file refuses no access and has 128 bytes; sizes and kinds of bursts are always the same.
  logic unused;
  assign unused = ^{core_bresp, core_rresp, lite_addr[15:7], lite_awvalid[0], lite_wvalid[0], lite_bready[0],
      lite_arvalid[0], lite_rready[0], stream_arlen[7:4], map_arlen[7:4], map_awlen[7:4], stream_arsize, map_arsize,
      map_awsize, stream_arburst, map_arburst, map_awburst};
endmodule
