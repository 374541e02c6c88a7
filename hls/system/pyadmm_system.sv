// The whole design in the logic of a Zynq-7000, without the processor: the accelerator behind the
// general-purpose port, its DMA between the streams and a 64-bit high-performance port. Ports are AXI3.
// SEND_BITS is the width of the accelerator's input stream.
module pyadmm_system #(
    parameter int LENGTH_BITS = 26,
    parameter int SEND_BITS = 32
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
    // Interrupts: accelerator, send, receive.
    output logic [ 2:0] irq
);
  logic rst;
  reset_sync reset (
      .clk(clk),
      .resetn(resetn),
      .rst(rst)
  );

  logic [1:0] lite_awvalid, lite_awready, lite_wvalid, lite_wready, lite_bvalid, lite_bready;
  logic [1:0] lite_arvalid, lite_arready, lite_rvalid, lite_rready;
  logic [15:0] lite_addr;
  logic [31:0] lite_wdata, dma_rdata, core_rdata;
  logic [3:0] lite_wstrb;
  gp_bridge bridge (
      .*,
      .first_rdata(dma_rdata),
      .second_rdata(core_rdata)
  );

  logic streams_rst, send_valid, send_ready, send_last, receive_valid, receive_ready, receive_last;
  logic [SEND_BITS-1:0] send_data;
  logic [SEND_BITS/8-1:0] send_keep;
  logic [31:0] receive_data;
  logic [3:0] receive_keep;
  axi_dma #(
      .LENGTH_BITS(LENGTH_BITS),
      .SEND_BITS(SEND_BITS)
  ) dma (
      .*,
      .awvalid(lite_awvalid[0]),
      .awready(lite_awready[0]),
      .awaddr(lite_addr[9:0]),
      .wvalid(lite_wvalid[0]),
      .wready(lite_wready[0]),
      .wdata(lite_wdata),
      .bvalid(lite_bvalid[0]),
      .bready(lite_bready[0]),
      .arvalid(lite_arvalid[0]),
      .arready(lite_arready[0]),
      .araddr(lite_addr[9:0]),
      .rvalid(lite_rvalid[0]),
      .rready(lite_rready[0]),
      .rdata(dma_rdata),
      .mm2s_irq(irq[1]),
      .s2mm_irq(irq[2]),
      .mm2s_valid(send_valid),
      .mm2s_ready(send_ready),
      .mm2s_data(send_data),
      .mm2s_keep(send_keep),
      .mm2s_last(send_last),
      .s2mm_valid(receive_valid),
      .s2mm_ready(receive_ready),
      .s2mm_data(receive_data),
      .s2mm_keep(receive_keep),
      .s2mm_last(receive_last)
  );

  // What the core gives is registered. A reset of the DMA drops it: words left from a failed run must not
  // come first in the next one.
  logic result_valid, result_ready, result_last;
  logic [31:0] result_data;
  logic [3:0] result_keep;
  stream_register #(
      .WIDTH(37)
  ) result (
      .clk(clk),
      .rst(streams_rst),
      .in_valid(result_valid),
      .in_ready(result_ready),
      .in_data({result_last, result_keep, result_data}),
      .out_valid(receive_valid),
      .out_ready(receive_ready),
      .out_data({receive_last, receive_keep, receive_data})
  );

  logic [1:0] core_bresp, core_rresp;
  pyadmm_top core (
      .ap_clk(clk),
      .ap_rst_n(resetn),
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
      .interrupt(irq[0]),
      .in_stream_tvalid(send_valid),
      .in_stream_tready(send_ready),
      .in_stream_tdata(send_data),
      .in_stream_tkeep(send_keep),
      .in_stream_tlast(send_last),
      .out_stream_tvalid(result_valid),
      .out_stream_tready(result_ready),
      .out_stream_tdata(result_data),
      .out_stream_tkeep(result_keep),
      .out_stream_tlast(result_last)
  );

  // Neither register file refuses an access, and none has more than 64 KiB.
  logic unused;
  assign unused = ^{core_bresp, core_rresp, lite_addr[15:10]};
endmodule
