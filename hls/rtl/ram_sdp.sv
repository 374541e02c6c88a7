// Simple dual-port memory: one write port, one read port with a registered output.
// BLOCK asks for block RAM however few words there are, ULTRA for UltraRAM, which only UltraScale+
// chips have; else the tool chooses.
// Reading an address in the cycle in which it is written gives the old word; no user relies on it.
module ram_sdp #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 16,
    parameter int ADDR_BITS = 4,
    parameter bit BLOCK = 0,
    parameter bit ULTRA = 0
) (
    input  logic                 clk,
    input  logic                 write_enable,
    input  logic [ADDR_BITS-1:0] write_addr,
    input  logic [    WIDTH-1:0] write_data,
    input  logic                 read_enable,
    input  logic [ADDR_BITS-1:0] read_addr,
    output logic [    WIDTH-1:0] read_data
);
  if (DEPTH < 1 || DEPTH > 2 ** ADDR_BITS) begin : gen_bad_depth
    $error("ram_sdp: DEPTH must be 1 to 2**ADDR_BITS");
  end

  logic [WIDTH-1:0] data_reg;
  if (ULTRA) begin : gen_ultra
    (* ram_style = "ultra" *) logic [WIDTH-1:0] memory [0:DEPTH-1];
    always_ff @(posedge clk) begin
      if (write_enable) memory[write_addr] <= write_data;
      if (read_enable) data_reg <= memory[read_addr];
    end
  end else if (BLOCK) begin : gen_block
    (* ram_style = "block" *) logic [WIDTH-1:0] memory [0:DEPTH-1];
    always_ff @(posedge clk) begin
      if (write_enable) memory[write_addr] <= write_data;
      if (read_enable) data_reg <= memory[read_addr];
    end
  end else begin : gen_any
    logic [WIDTH-1:0] memory [0:DEPTH-1];
    always_ff @(posedge clk) begin
      if (write_enable) memory[write_addr] <= write_data;
      if (read_enable) data_reg <= memory[read_addr];
    end
  end
  assign read_data = data_reg;
endmodule
