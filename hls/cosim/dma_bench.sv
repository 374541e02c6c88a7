// The DMA alone behind the register bridge, with its streams as ports, for hls/cosim/system.cpp.
module dma_bench #(
    parameter int LENGTH_BITS = 26
) (
    input  logic        clk,
    input  logic        resetn,
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
    output logic [ 2:0] irq,
    output logic        mm2s_valid,
    input  logic        mm2s_ready,
    output logic [31:0] mm2s_data,
    output logic [ 3:0] mm2s_keep,
    output logic        mm2s_last,
    input  logic        s2mm_valid,
    output logic        s2mm_ready,
    input  logic [31:0] s2mm_data,
    input  logic [ 3:0] s2mm_keep,
    input  logic        s2mm_last
);
  logic rst, awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic streams_rst;
  logic [4:0] unused_valid;
  logic [15:0] addr;
  logic [31:0] wdata, rdata;
  logic [3:0] wstrb;
  reset_sync reset (
      .clk(clk),
      .resetn(resetn),
      .rst(rst)
  );
  gp_bridge bridge (
      .*,
      .lite_awvalid({unused_valid[0], awvalid}),
      .lite_awready({1'b1, awready}),
      .lite_wvalid({unused_valid[1], wvalid}),
      .lite_wready({1'b1, wready}),
      .lite_bvalid({1'b1, bvalid}),
      .lite_bready({unused_valid[2], bready}),
      .lite_arvalid({unused_valid[3], arvalid}),
      .lite_arready({1'b1, arready}),
      .lite_rvalid({1'b1, rvalid}),
      .lite_rready({unused_valid[4], rready}),
      .lite_addr(addr),
      .lite_wdata(wdata),
      .lite_wstrb(wstrb),
      .first_rdata(rdata),
      .second_rdata(32'h5ec0_0d00)
  );
  axi_dma #(
      .LENGTH_BITS(LENGTH_BITS)
  ) dma (
      .*,
      .awaddr(addr[9:0]),
      .araddr(addr[9:0]),
      .mm2s_irq(irq[1]),
      .s2mm_irq(irq[2])
  );
  assign irq[0] = 1'b0;
  logic unused;
  assign unused = ^{streams_rst, unused_valid, addr[15:10], wstrb};
endmodule
