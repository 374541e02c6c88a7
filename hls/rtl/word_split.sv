// Splits words of 64 bits into words of 32, the lower one first. start discards a remaining upper half.
module word_split (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [63:0] in_words,
    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_word
);
  logic upper_reg;
  logic [31:0] held_reg;
  assign in_ready = out_ready & ~upper_reg;
  assign out_valid = upper_reg | in_valid;
  assign out_word = upper_reg ? held_reg : in_words[31:0];
  always_ff @(posedge clk) begin
    if (rst || start) upper_reg <= 1'b0;
    else if (out_valid && out_ready) upper_reg <= ~upper_reg;
    if (in_ready) held_reg <= in_words[63:32];
  end
endmodule
