// Cuts rows of memory into bursts: up to 16 transfers of 8 bytes each, none across a boundary of 128 bytes.
//
// A burst is worked out in the cycle before it is asked for, so that no path leads from the request's answer through
// the sum that makes the next one. The read port takes a request every second cycle, so this costs no time. With SINGLE
// there is one row only.
module seq_requests #(
    parameter bit SINGLE = 1'b0
) (
    input  logic        clk,
    input  logic        clear,
    // Rows of so many transfers, stride bytes apart. busy follows start by a cycle.
    input  logic        start,
    input  logic [31:0] source,
    input  logic [31:0] rows,
    input  logic [31:0] beats,
    input  logic [31:0] stride,
    output logic        busy,
    // Whether there is room for 16 transfers beside all that were asked for.
    input  logic        room,
    output logic        request_valid,
    output logic [31:0] request_addr,
    output logic [ 4:0] request_beats,
    input  logic        request_ready
);
  logic [31:0] addr_reg, left_reg;
  logic [4:0] beats_reg, most;
  logic asking_reg, valid_reg, row_end_reg, last_row, taken, long_row;
  assign most = 5'd16 - {1'b0, addr_reg[6:3]};
  assign long_row = |left_reg[31:5];
  assign taken = valid_reg & request_ready;
  always_ff @(posedge clk) begin
    if (clear) begin
      asking_reg <= 1'b0;
      valid_reg <= 1'b0;
    end else begin
      if (start) asking_reg <= (rows != 0) & (beats != 0);
      else if (taken && row_end_reg && last_row) asking_reg <= 1'b0;
      valid_reg <= valid_reg ? ~request_ready : asking_reg & room & ~start;
    end
    if (!valid_reg) begin
      beats_reg <= ~long_row & (left_reg[4:0] < most) ? left_reg[4:0] : most;
      row_end_reg <= ~long_row & (left_reg[4:0] <= most);
    end
  end
  if (SINGLE) begin : gen_single
    assign last_row = 1'b1;
    always_ff @(posedge clk)
      if (start) begin
        addr_reg <= source;
        left_reg <= beats;
      end else if (taken) begin
        addr_reg <= addr_reg + {24'd0, beats_reg, 3'd0};
        left_reg <= left_reg - {27'd0, beats_reg};
      end
    logic unused;
    assign unused = ^stride;
  end else begin : gen_rows
    logic [31:0] row_reg, rows_reg, row_beats_reg, stride_reg;
    logic last_row_reg;
    assign last_row = last_row_reg;
    always_ff @(posedge clk) begin
      if (!valid_reg) last_row_reg <= rows_reg == 32'd1;
      if (start) begin
        addr_reg <= source;
        row_reg <= source;
        rows_reg <= rows;
        left_reg <= beats;
        row_beats_reg <= beats;
        stride_reg <= stride;
      end else if (taken) begin
        addr_reg <= (row_end_reg ? row_reg : addr_reg) + (row_end_reg ? stride_reg : {24'd0, beats_reg, 3'd0});
        left_reg <= row_end_reg ? row_beats_reg : left_reg - {27'd0, beats_reg};
        if (row_end_reg) begin
          row_reg <= row_reg + stride_reg;
          rows_reg <= rows_reg - 32'd1;
        end
      end
    end
  end
  assign busy = asking_reg;
  assign request_valid = valid_reg;
  assign request_addr = addr_reg;
  assign request_beats = beats_reg;
endmodule
