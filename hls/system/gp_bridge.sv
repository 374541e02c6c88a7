// From the processor's general-purpose port (AXI3, 32 bits) to two AXI4-Lite slaves, chosen by the upper
// half of the address. One transaction at a time, a burst beat by beat; an address of neither slave gets
// a decode error, so that a wrong access ends instead of hanging the processor.
module gp_bridge #(
    parameter int ID_BITS = 12,
    parameter logic [15:0] FIRST_BASE = 16'h4040,
    parameter logic [15:0] SECOND_BASE = 16'h43c0
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               gp_awvalid,
    output logic               gp_awready,
    input  logic [ID_BITS-1:0] gp_awid,
    input  logic [       31:0] gp_awaddr,
    input  logic [        3:0] gp_awlen,
    input  logic [        1:0] gp_awburst,
    input  logic               gp_wvalid,
    output logic               gp_wready,
    input  logic [       31:0] gp_wdata,
    input  logic [        3:0] gp_wstrb,
    output logic               gp_bvalid,
    input  logic               gp_bready,
    output logic [ID_BITS-1:0] gp_bid,
    output logic [        1:0] gp_bresp,
    input  logic               gp_arvalid,
    output logic               gp_arready,
    input  logic [ID_BITS-1:0] gp_arid,
    input  logic [       31:0] gp_araddr,
    input  logic [        3:0] gp_arlen,
    input  logic [        1:0] gp_arburst,
    output logic               gp_rvalid,
    input  logic               gp_rready,
    output logic [ID_BITS-1:0] gp_rid,
    output logic [       31:0] gp_rdata,
    output logic [        1:0] gp_rresp,
    output logic               gp_rlast,
    // Both slaves, the first one lowest.
    output logic [        1:0] lite_awvalid,
    input  logic [        1:0] lite_awready,
    output logic [        1:0] lite_wvalid,
    input  logic [        1:0] lite_wready,
    input  logic [        1:0] lite_bvalid,
    output logic [        1:0] lite_bready,
    output logic [        1:0] lite_arvalid,
    input  logic [        1:0] lite_arready,
    input  logic [        1:0] lite_rvalid,
    output logic [        1:0] lite_rready,
    output logic [       15:0] lite_addr,
    output logic [       31:0] lite_wdata,
    output logic [        3:0] lite_wstrb,
    input  logic [       31:0] first_rdata,
    input  logic [       31:0] second_rdata
);
  typedef enum logic [2:0] {
    IDLE,
    TAKE,
    WRITE,
    WRITTEN,
    RESPOND,
    READ,
    FETCH,
    GIVE
  } state_t;
  localparam logic [1:0] FIXED = 2'b00;
  localparam logic [1:0] DECODE_ERROR = 2'b11;

  state_t state_reg;
  logic [ID_BITS-1:0] id_reg;
  logic [1:0] to_reg;
  logic [15:0] addr_reg;
  logic [3:0] left_reg, strobe_reg;
  logic fixed_reg, last_reg, addr_open_reg, data_open_reg;
  logic [31:0] data_reg;
  logic idle, next, addr_taken, data_taken;
  logic [31:0] addr;
  assign idle = state_reg == IDLE;
  assign gp_arready = idle;
  assign gp_awready = idle & ~gp_arvalid;
  assign addr = gp_arvalid ? gp_araddr : gp_awaddr;
  assign gp_wready = state_reg == TAKE;
  assign gp_bvalid = state_reg == RESPOND;
  assign gp_bid = id_reg;
  assign gp_bresp = to_reg == 2'b00 ? DECODE_ERROR : 2'b00;
  assign gp_rvalid = state_reg == GIVE;
  assign gp_rid = id_reg;
  assign gp_rdata = data_reg;
  assign gp_rresp = gp_bresp;
  assign gp_rlast = left_reg == 4'd0;

  assign lite_addr = addr_reg;
  assign lite_wdata = data_reg;
  assign lite_wstrb = strobe_reg;
  assign lite_awvalid = to_reg & {2{state_reg == WRITE & addr_open_reg}};
  assign lite_wvalid = to_reg & {2{state_reg == WRITE & data_open_reg}};
  assign lite_bready = to_reg & {2{state_reg == WRITTEN}};
  assign lite_arvalid = to_reg & {2{state_reg == READ}};
  assign lite_rready = to_reg & {2{state_reg == FETCH}};
  assign addr_taken = ~addr_open_reg | (|(lite_awvalid & lite_awready));
  assign data_taken = ~data_open_reg | (|(lite_wvalid & lite_wready));
  assign next = (state_reg == WRITTEN & ((|(to_reg & lite_bvalid)) | to_reg == 2'b00))
      | (state_reg == GIVE & gp_rready);

  always_ff @(posedge clk) begin
    if (rst) state_reg <= IDLE;
    else
      case (state_reg)
        IDLE:
        if (gp_arvalid) state_reg <= READ;
        else if (gp_awvalid) state_reg <= TAKE;
        TAKE: if (gp_wvalid) state_reg <= to_reg == 2'b00 ? WRITTEN : WRITE;
        WRITE: if (addr_taken && data_taken) state_reg <= WRITTEN;
        WRITTEN: if (next) state_reg <= last_reg ? RESPOND : TAKE;
        RESPOND: if (gp_bready) state_reg <= IDLE;
        READ: if (to_reg == 2'b00 || (|(lite_arvalid & lite_arready))) state_reg <= FETCH;
        FETCH: if (to_reg == 2'b00 || (|(to_reg & lite_rvalid))) state_reg <= GIVE;
        GIVE: if (gp_rready) state_reg <= gp_rlast ? IDLE : READ;
      endcase
    if (idle) begin
      id_reg <= gp_arvalid ? gp_arid : gp_awid;
      addr_reg <= addr[15:0];
      to_reg <= {addr[31:16] == SECOND_BASE, addr[31:16] == FIRST_BASE};
      left_reg <= gp_arvalid ? gp_arlen : gp_awlen;
      fixed_reg <= (gp_arvalid ? gp_arburst : gp_awburst) == FIXED;
    end else if (next) begin
      left_reg <= left_reg - 4'd1;
      if (~fixed_reg) addr_reg <= addr_reg + 16'd4;
    end
    if (state_reg == TAKE) begin
      data_reg <= gp_wdata;
      strobe_reg <= gp_wstrb;
      last_reg <= left_reg == 4'd0;
    end else if (state_reg == FETCH) begin
      data_reg <= to_reg[0] ? first_rdata : to_reg[1] ? second_rdata : 32'd0;
    end
    addr_open_reg <= state_reg == WRITE ? ~addr_taken : 1'b1;
    data_open_reg <= state_reg == WRITE ? ~data_taken : 1'b1;
  end
endmodule
