// Registered, active-high reset from the active-low reset of the bus. The bus reset must last at least four
// cycles, in which pipelines without reset drain.
module reset_sync (
    input  logic clk,
    input  logic resetn,
    output logic rst
);
  logic rst_reg;
  always_ff @(posedge clk) rst_reg <= ~resetn;
  assign rst = rst_reg;
endmodule
