// Two words between a sender and a receiver, so that neither's valid nor ready is the other's logic.
module stream_register #(
    parameter int WIDTH = 37
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             in_valid,
    output logic             in_ready,
    input  logic [WIDTH-1:0] in_data,
    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
  logic out_valid_reg, spare_valid_reg, load;
  logic [WIDTH-1:0] out_reg, spare_reg;
  assign in_ready = ~spare_valid_reg;
  assign out_valid = out_valid_reg;
  assign out_data = out_reg;
  assign load = ~out_valid_reg | out_ready;
  always_ff @(posedge clk) begin
    if (rst) begin
      out_valid_reg <= 1'b0;
      spare_valid_reg <= 1'b0;
    end else begin
      if (load) out_valid_reg <= in_valid | spare_valid_reg;
      spare_valid_reg <= ~load & (in_valid | spare_valid_reg);
    end
    if (load) out_reg <= spare_valid_reg ? spare_reg : in_data;
    if (~spare_valid_reg) spare_reg <= in_data;
  end
endmodule
