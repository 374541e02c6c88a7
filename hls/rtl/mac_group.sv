// The lanes of one group, row by row (mac_row): tile = sum over entries of weight * x, per lane.
//
// operand_next comes one cycle before x and what goes with it. done, a bit per lane, is high for
// the one cycle in which acc is complete; all lanes are so in the same cycle.
module mac_group #(
    parameter int ROWS = 1,
    parameter int OUT_WIDTH = 24,
    parameter int IN_WIDTH = 24,
    parameter int KERNEL_W = 1,
    parameter int PADDING = 0,
    parameter bit ACC_MUX = 0,
    parameter int X_BITS = 8,
    parameter bit X_SIGNED = 0,
    parameter int CODE_BITS = 4,
    parameter int ACC_BITS = 20,
    parameter bit USE_DSP = 0,
    parameter bit PAIRED = 0,
    parameter int KW_BITS = KERNEL_W > 1 ? $clog2(KERNEL_W) : 1,
    parameter int X_WIDTH = ACC_MUX ? IN_WIDTH : OUT_WIDTH,
    parameter int LANES = ROWS * OUT_WIDTH,
    parameter int OPERAND_BITS = USE_DSP ? CODE_BITS + 1 : 3 * ((CODE_BITS + 1) / 2)
) (
    input  logic                           clk,
    input  logic                           rst,
    input  logic                           x_valid,
    input  logic                           first,
    input  logic                           last,
    input  logic [KW_BITS-1:0]             kw,
    input  logic [OPERAND_BITS-1:0]        operand_next,
    input  logic [ROWS*X_WIDTH*X_BITS-1:0] x,
    output logic [LANES-1:0]               done,
    output logic [LANES*ACC_BITS-1:0]      acc
);
  for (genvar r = 0; r < ROWS; r++) begin : gen_row
    mac_row #(
        .OUT_WIDTH(OUT_WIDTH),
        .IN_WIDTH(IN_WIDTH),
        .KERNEL_W(KERNEL_W),
        .PADDING(PADDING),
        .ACC_MUX(ACC_MUX),
        .X_BITS(X_BITS),
        .X_SIGNED(X_SIGNED),
        .CODE_BITS(CODE_BITS),
        .ACC_BITS(ACC_BITS),
        .USE_DSP(USE_DSP),
        .PAIRED(PAIRED)
    ) lanes (
        .clk(clk),
        .rst(rst),
        .x_valid(x_valid),
        .first(first),
        .last(last),
        .kw(kw),
        .operand_next(operand_next),
        .x(x[r*X_WIDTH*X_BITS+:X_WIDTH*X_BITS]),
        .done(done[r*OUT_WIDTH+:OUT_WIDTH]),
        .acc(acc[r*OUT_WIDTH*ACC_BITS+:OUT_WIDTH*ACC_BITS])
    );
  end
endmodule
