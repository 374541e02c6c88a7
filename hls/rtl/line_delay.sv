// Delay by DEPTH enabled cycles, without reset: a chain that maps to SRL16E/SRLC32E.
module line_delay #(
    parameter int WIDTH = 16,
    parameter int DEPTH = 7
) (
    input  logic             clk,
    input  logic             enable,
    input  logic [WIDTH-1:0] d,
    output logic [WIDTH-1:0] q
);
  if (DEPTH < 1) begin : gen_bad_depth
    $error("line_delay: DEPTH must be at least 1");
  end
  logic [DEPTH*WIDTH-1:0] chain_reg;
  if (DEPTH > 1) begin : gen_chain
    always_ff @(posedge clk) begin
      if (enable) chain_reg <= {chain_reg[(DEPTH-1)*WIDTH-1:0], d};
    end
  end else begin : gen_one
    always_ff @(posedge clk) begin
      if (enable) chain_reg <= d;
    end
  end
  assign q = chain_reg[(DEPTH-1)*WIDTH+:WIDTH];
endmodule
