// result = late & enable ? chosen : other. A module of its own because synthesis maps module by module:
// so late, which comes from a memory, passes one LUT, and is not first combined with enable for all bits.
module late_select #(
    parameter int WIDTH = 8
) (
    input  logic             late,
    input  logic             enable,
    input  logic [WIDTH-1:0] chosen,
    input  logic [WIDTH-1:0] other,
    output logic [WIDTH-1:0] result
);
  assign result = late & enable ? chosen : other;
endmodule
