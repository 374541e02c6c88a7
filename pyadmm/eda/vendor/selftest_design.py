"""A tiny accelerator for the self-test of the vendor tools: every word of a stream plus one.

It has the interfaces of the real ones (two AXI streams, AXI4-Lite, interrupt), once in C++ and once
in Verilog, so it takes the same path through every tool in minutes instead of hours.
"""

from __future__ import annotations

from pyadmm.codegen.vendor_params import Flavour, VendorParams, vendor_params
from pyadmm.hardware.boards import Board

_CPP = """\
#include "ap_axi_sdata.h"
#include "hls_stream.h"

typedef ap_axiu<32, 1, 1, 1> word_t;

void pyadmm_top(hls::stream<word_t> &in_stream, hls::stream<word_t> &out_stream, int count) {
#pragma HLS INTERFACE axis port=in_stream
#pragma HLS INTERFACE axis port=out_stream
#pragma HLS INTERFACE s_axilite port=count bundle=control
#pragma HLS INTERFACE s_axilite port=return bundle=control
add_one:
    for (int i = 0; i < count; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=16 max=16
        word_t word = in_stream.read();
        word.data = word.data + 1;
        word.last = i == count - 1;
        out_stream.write(word);
    }
}
"""

_TESTBENCH = """\
#include <cstdio>
#include "ap_axi_sdata.h"
#include "hls_stream.h"

typedef ap_axiu<32, 1, 1, 1> word_t;

void pyadmm_top(hls::stream<word_t> &in_stream, hls::stream<word_t> &out_stream, int count);

int main() {
    hls::stream<word_t> to, from;
    for (int i = 0; i < 16; i++) {
        word_t word;
        word.data = 3 * i;
        word.keep = -1;
        word.strb = -1;
        word.user = 0;
        word.last = 0;
        word.id = 0;
        word.dest = 0;
        to.write(word);
    }
    pyadmm_top(to, from, 16);
    for (int i = 0; i < 16; i++) {
        word_t word = from.read();
        if (word.data != 3 * i + 1 || word.last != (i == 15)) {
            std::printf("word %d is wrong\\n", i);
            return 1;
        }
    }
    return 0;
}
"""

_VERILOG = """\
// Every word of the input stream plus one. Register 0x10 of the AXI4-Lite port: words a packet.
module pyadmm_top (
    input  wire        ap_clk,
    input  wire        ap_rst_n,
    output wire        interrupt,
    input  wire        s_axi_control_AWVALID,
    output wire        s_axi_control_AWREADY,
    input  wire [5:0]  s_axi_control_AWADDR,
    input  wire        s_axi_control_WVALID,
    output wire        s_axi_control_WREADY,
    input  wire [31:0] s_axi_control_WDATA,
    input  wire [3:0]  s_axi_control_WSTRB,
    output reg         s_axi_control_BVALID,
    input  wire        s_axi_control_BREADY,
    output wire [1:0]  s_axi_control_BRESP,
    input  wire        s_axi_control_ARVALID,
    output wire        s_axi_control_ARREADY,
    input  wire [5:0]  s_axi_control_ARADDR,
    output reg         s_axi_control_RVALID,
    input  wire        s_axi_control_RREADY,
    output reg  [31:0] s_axi_control_RDATA,
    output wire [1:0]  s_axi_control_RRESP,
    input  wire [31:0] in_stream_TDATA,
    input  wire [3:0]  in_stream_TKEEP,
    input  wire        in_stream_TLAST,
    input  wire        in_stream_TVALID,
    output wire        in_stream_TREADY,
    output wire [31:0] out_stream_TDATA,
    output wire [3:0]  out_stream_TKEEP,
    output wire        out_stream_TLAST,
    output wire        out_stream_TVALID,
    input  wire        out_stream_TREADY
);
    reg [31:0] count;
    reg [31:0] index;
    wire write = s_axi_control_AWVALID && s_axi_control_WVALID && !s_axi_control_BVALID;
    wire read = s_axi_control_ARVALID && !s_axi_control_RVALID;
    wire move = in_stream_TVALID && out_stream_TREADY;
    wire [31:0] rest = count - 32'd1;

    assign interrupt = 1'b0;
    assign s_axi_control_AWREADY = write;
    assign s_axi_control_WREADY = write;
    assign s_axi_control_BRESP = 2'b00;
    assign s_axi_control_ARREADY = read;
    assign s_axi_control_RRESP = 2'b00;
    assign in_stream_TREADY = out_stream_TREADY;
    assign out_stream_TVALID = in_stream_TVALID;
    assign out_stream_TDATA = in_stream_TDATA + 32'd1;
    assign out_stream_TKEEP = in_stream_TKEEP;
    assign out_stream_TLAST = in_stream_TLAST || index == rest;

    always @(posedge ap_clk) begin
        if (!ap_rst_n) begin
            count <= 32'd0;
            index <= 32'd0;
            s_axi_control_BVALID <= 1'b0;
            s_axi_control_RVALID <= 1'b0;
            s_axi_control_RDATA <= 32'd0;
        end else begin
            if (write) begin
                s_axi_control_BVALID <= 1'b1;
                if (s_axi_control_AWADDR == 6'h10 && s_axi_control_WSTRB == 4'hf)
                    count <= s_axi_control_WDATA;
            end else if (s_axi_control_BREADY)
                s_axi_control_BVALID <= 1'b0;
            if (read) begin
                s_axi_control_RVALID <= 1'b1;
                s_axi_control_RDATA <= s_axi_control_ARADDR == 6'h10 ? count : 32'd0;
            end else if (s_axi_control_RREADY)
                s_axi_control_RVALID <= 1'b0;
            if (move)
                index <= out_stream_TLAST ? 32'd0 : index + 32'd1;
        end
    end
endmodule
"""


def selftest_params(board: Board, flavour: Flavour) -> VendorParams:
    """Parameters of the tiny design. Its C++ is plain enough for the oldest HLS."""
    params = vendor_params(
        board,
        project=f"selftest_{flavour}",
        sources=("src/pyadmm_top.cpp",),
        testbenches=("src/testbench.cpp",),
        rtl_sources=("rtl/pyadmm_top.v",),
        flavour=flavour,
    )
    return VendorParams(**{**vars(params), "cflags": "-std=c++11"})


def selftest_sources() -> dict[str, str]:
    """Path in the build folder to text."""
    return {
        "src/pyadmm_top.cpp": _CPP,
        "src/testbench.cpp": _TESTBENCH,
        "rtl/pyadmm_top.v": _VERILOG,
    }
