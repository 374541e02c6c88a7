// The largest of COUNT lines, lane by lane; line i at bits [i*LINE +: LINE]. A tree of pairs: every level
// compares in one cycle and chooses in the next, so the result comes DELAY cycles later. A single line
// passes one register.
module max_lines #(
    parameter int COUNT = 2,
    parameter int LANES = 4,
    parameter int BITS = 8,
    parameter bit SIGNED = 0,
    parameter int LINE = LANES * BITS
) (
    input  logic                  clk,
    input  logic [COUNT*LINE-1:0] x,
    output logic [      LINE-1:0] y
);
  localparam int LEVELS = $clog2(COUNT);

  function automatic logic larger(input logic [BITS-1:0] a, input logic [BITS-1:0] b);
    if (SIGNED) larger = $signed(a) > $signed(b);
    else larger = a > b;
  endfunction

  if (COUNT == 1) begin : gen_pass
    always_ff @(posedge clk) y <= x;
  end else begin : gen_tree
    // Level l has LEFT lines left, at the places l*COUNT and up.
    logic [(LEVELS+1)*COUNT*LINE-1:0] lines;
    assign lines[COUNT*LINE-1:0] = x;
    for (genvar l = 0; l < LEVELS; l++) begin : gen_level
      localparam int LEFT = (COUNT + (1 << l) - 1) >> l;
      for (genvar i = 0; i < COUNT; i++) begin : gen_line
        localparam int FROM = (l * COUNT + 2 * i) * LINE;
        localparam int TO = ((l + 1) * COUNT + i) * LINE;
        if (2 * i + 1 < LEFT) begin : gen_pair
          logic [LINE-1:0] a_reg, b_reg, best_reg;
          logic [LANES-1:0] larger_reg;
          always_ff @(posedge clk) begin
            a_reg <= lines[FROM+:LINE];
            b_reg <= lines[FROM+LINE+:LINE];
            for (int v = 0; v < LANES; v++) begin
              larger_reg[v] <= larger(lines[FROM+v*BITS+:BITS], lines[FROM+LINE+v*BITS+:BITS]);
              best_reg[v*BITS+:BITS] <= larger_reg[v] ? a_reg[v*BITS+:BITS] : b_reg[v*BITS+:BITS];
            end
          end
          assign lines[TO+:LINE] = best_reg;
        end else if (2 * i < LEFT) begin : gen_alone
          logic [LINE-1:0] alone_reg, later_reg;
          always_ff @(posedge clk) begin
            alone_reg <= lines[FROM+:LINE];
            later_reg <= alone_reg;
          end
          assign lines[TO+:LINE] = later_reg;
        end else begin : gen_none
          assign lines[TO+:LINE] = '0;
        end
      end
    end
    assign y = lines[LEVELS*COUNT*LINE+:LINE];
    logic unused;
    assign unused = ^lines;
  end
endmodule
