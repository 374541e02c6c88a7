// Scaling of a stage without weights, on the cfg bus in the form of a dense group of one weight: the
// entry is the multiplier of a sum's second source, the slot record holds the first one and the shift.
module scale_record (
    input  logic        clk,
    input  logic        cfg_write,
    input  logic        cfg_read,
    input  logic [2:0]  cfg_kind,
    input  logic [31:0] cfg_wdata,
    output logic [31:0] cfg_rdata,
    output logic [15:0] mult,
    output logic [15:0] second_mult,
    output logic [5:0]  shift
);
  logic [15:0] mult_reg, second_mult_reg;
  logic [5:0] shift_reg;
  always_ff @(posedge clk) begin
    if (cfg_write && cfg_kind == 3'd2) second_mult_reg <= cfg_wdata[15:0];
    if (cfg_write && cfg_kind == 3'd5) {shift_reg, mult_reg} <= cfg_wdata[21:0];
  end
  always_comb begin
    cfg_rdata = '0;
    if (cfg_read) begin
      case (cfg_kind)
        3'd0, 3'd1: cfg_rdata = 32'd1;
        3'd2: cfg_rdata = 32'(second_mult_reg);
        3'd5: cfg_rdata = 32'({shift_reg, mult_reg});
        default: ;
      endcase
    end
  end
  assign mult = mult_reg;
  assign second_mult = second_mult_reg;
  assign shift = shift_reg;

  logic unused;
  assign unused = ^cfg_wdata[31:22];
endmodule
