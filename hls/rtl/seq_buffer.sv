// The activation buffer: one copy for two groups, LANES byte-wide banks each.
//
// A group's address may be any byte; its LANES bytes lie in one line or two: bank b reads the line after the
// first one where b is below the address' place in the line. addr comes at stage 8, data at stage 12. write
// takes the place of the even or, with write_odd, the odd groups' reads of stage 9.
module seq_buffer #(
    parameter int GROUPS = 4,
    parameter int LANES = 64,
    parameter int LINES = 2048,
    parameter int BUFFER_BITS = 17
) (
    input  logic                          clk,
    input  logic [GROUPS*BUFFER_BITS-1:0] addr,
    output logic [    GROUPS*8*LANES-1:0] data,
    output logic [GROUPS*$clog2(LANES)-1:0] rotate,
    input  logic                          write,
    input  logic                          write_odd,
    input  logic [     $clog2(LINES)-1:0] write_line,
    input  logic [           8*LANES-1:0] write_data
);
  localparam int LANE_BITS = $clog2(LANES);
  localparam int LINE_BITS = $clog2(LINES);
  localparam int COPIES = (GROUPS + 1) / 2;

  logic [LINE_BITS-1:0] line_reg [GROUPS], next_reg [GROUPS];
  logic [LANE_BITS-1:0] place9_reg [GROUPS], place10_reg [GROUPS], place11_reg [GROUPS], place12_reg [GROUPS];
  for (genvar g = 0; g < GROUPS; g++) begin : gen_line
    always_ff @(posedge clk) begin
      line_reg[g] <= addr[g*BUFFER_BITS+LANE_BITS+:LINE_BITS];
      next_reg[g] <= addr[g*BUFFER_BITS+LANE_BITS+:LINE_BITS] + 1'b1;
      place9_reg[g] <= addr[g*BUFFER_BITS+:LANE_BITS];
      place10_reg[g] <= place9_reg[g];
      place11_reg[g] <= place10_reg[g];
      place12_reg[g] <= place11_reg[g];
    end
    assign rotate[g*LANE_BITS+:LANE_BITS] = place12_reg[g];
  end

  for (genvar c = 0; c < COPIES; c++) begin : gen_copy
    localparam int ODD = 2 * c + 1 < GROUPS ? 2 * c + 1 : 2 * c;
    logic write_a_reg, write_b_reg;
    logic [8*LANES-1:0] write_data_reg;
    always_ff @(posedge clk) begin
      write_a_reg <= write & ~write_odd;
      write_b_reg <= write & write_odd;
      if (write) write_data_reg <= write_data;
    end
    for (genvar b = 0; b < LANES; b++) begin : gen_bank
      // One bit wider than a place, so that bank 0 compares like all others.
      localparam logic [LANE_BITS:0] BANK = (LANE_BITS + 1)'(b);
      logic [LINE_BITS-1:0] addr_a_reg, addr_b_reg;
      logic [7:0] out_a, out_b;
      always_ff @(posedge clk) begin
        addr_a_reg <= write & ~write_odd ? write_line : {1'b0, place9_reg[2*c]} > BANK ? next_reg[2*c] : line_reg[2*c];
        addr_b_reg <= write & write_odd ? write_line : {1'b0, place9_reg[ODD]} > BANK ? next_reg[ODD] : line_reg[ODD];
      end
      seq_bank #(
          .DEPTH(LINES),
          .ADDR_BITS(LINE_BITS)
      ) bank (
          .clk(clk),
          .write_a(write_a_reg),
          .addr_a(addr_a_reg),
          .out_a(out_a),
          .write_b(write_b_reg),
          .addr_b(addr_b_reg),
          .out_b(out_b),
          .data(write_data_reg[8*b+:8])
      );
      assign data[(2*c)*8*LANES+8*b+:8] = out_a;
      if (2 * c + 1 < GROUPS) begin : gen_odd
        assign data[(2*c+1)*8*LANES+8*b+:8] = out_b;
      end else begin : gen_single
        logic unused;
        assign unused = ^out_b;
      end
    end
  end
endmodule
