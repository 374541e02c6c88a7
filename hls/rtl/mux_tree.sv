// result = choices[select], choice i at bits [i*WIDTH +: WIDTH]; select beyond COUNT-1 gives any choice.
module mux_tree #(
    parameter int WIDTH = 8,
    parameter int COUNT = 3,
    parameter int SELECT_BITS = 2
) (
    input  logic [  SELECT_BITS-1:0] select,
    input  logic [COUNT*WIDTH-1:0] choices,
    output logic [      WIDTH-1:0] result
);
  if (COUNT < 1 || COUNT > 2 ** SELECT_BITS) begin : gen_bad_count
    $error("mux_tree: COUNT must be 1 to 2**SELECT_BITS");
  end

  if (COUNT == 1) begin : gen_wire
    logic unused;
    assign unused = ^select;
    assign result = choices;
  end else begin : gen_select
    // Halving by one select bit after the other: a binary tree packs into 4:1 LUTs, a chain of
    // comparisons takes twice as many.
    logic [COUNT*WIDTH-1:0] left;
    always_comb begin
      left = choices;
      for (int level = 0; level < SELECT_BITS; level++) begin
        for (int i = 0; i + (1 << level) < COUNT; i += 2 << level) begin
          if (select[level]) left[i*WIDTH+:WIDTH] = left[(i+(1<<level))*WIDTH+:WIDTH];
        end
      end
      result = left[WIDTH-1:0];
    end
  end
endmodule
