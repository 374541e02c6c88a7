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
    always_comb begin
      result = choices[(COUNT-1)*WIDTH+:WIDTH];
      for (int i = COUNT - 2; i >= 0; i--) begin
        if (select == SELECT_BITS'(i)) result = choices[i*WIDTH+:WIDTH];
      end
    end
  end
endmodule
