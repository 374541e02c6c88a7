// Registered reset, active high, from the active-low one of the bus, which must last four cycles or more:
// pipelines whose registers have no reset then run empty.
module reset_sync (
    input  logic clk,
    input  logic resetn,
    output logic rst
);
  logic rst_reg;
  always_ff @(posedge clk) rst_reg <= ~resetn;
  assign rst = rst_reg;
endmodule
