// Registers of one channel of the DMA: control, status and length of AXI DMA 7.1 in direct mode (AMD
// PG021, "Register Space"). Control and status as there; an error halts the channel until a reset.
module dma_channel #(
    parameter int LENGTH_BITS = 26,
    parameter int WORD_BYTES = 4
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic                   resetting,
    // Register writes, one cycle each.
    input  logic                   write_control,
    input  logic                   write_status,
    input  logic                   write_address,
    input  logic                   write_length,
    input  logic [           31:0] wdata,
    output logic [           31:0] control,
    output logic [           31:0] status,
    output logic [           31:0] address,
    output logic [LENGTH_BITS-1:0] length,
    output logic                   irq,
    // The engine.
    output logic                   run,
    output logic                   start,
    input  logic                   busy,
    input  logic                   done,
    input  logic                   set_length,
    input  logic [LENGTH_BITS-1:0] moved,
    input  logic                   fail,
    input  logic                   fail_internal,
    input  logic                   fail_decode
);
  logic run_reg, halted_reg, idle_reg, start_reg;
  logic internal_reg, slave_reg, decode_reg, complete_irq_reg, error_irq_reg;
  logic complete_enable_reg, delay_enable_reg, error_enable_reg;
  logic [7:0] threshold_reg, delay_reg;
  logic [31:0] address_reg;
  logic [LENGTH_BITS-1:0] length_reg;
  logic errors, accept, refuse, failing;
  assign errors = internal_reg | slave_reg | decode_reg;
  assign accept = write_length & ~halted_reg & ~busy & ~start_reg;
  // No byte shifter: a transfer begins at a whole word, and it has at least one byte.
  assign refuse = accept & (wdata[LENGTH_BITS-1:0] == '0 | address_reg[$clog2(WORD_BYTES)-1:0] != '0);
  assign failing = fail | refuse;
  assign run = run_reg & ~errors;
  assign start = start_reg;
  assign address = address_reg;
  assign length = length_reg;
  assign irq = (complete_irq_reg & complete_enable_reg) | (error_irq_reg & error_enable_reg);
  assign control = {delay_reg, threshold_reg, 1'b0, error_enable_reg, delay_enable_reg,
                    complete_enable_reg, 9'd0, resetting, 1'b1, run_reg};
  assign status = {8'd0, 8'd1, 1'b0, error_irq_reg, 1'b0, complete_irq_reg, 5'd0,
                   decode_reg, slave_reg, internal_reg, 2'd0, idle_reg, halted_reg};

  always_ff @(posedge clk) begin
    if (rst) begin
      run_reg <= 1'b0;
      halted_reg <= 1'b1;
      idle_reg <= 1'b0;
      start_reg <= 1'b0;
      internal_reg <= 1'b0;
      slave_reg <= 1'b0;
      decode_reg <= 1'b0;
      complete_irq_reg <= 1'b0;
      error_irq_reg <= 1'b0;
      complete_enable_reg <= 1'b0;
      delay_enable_reg <= 1'b0;
      error_enable_reg <= 1'b0;
      threshold_reg <= 8'd1;
      delay_reg <= 8'd0;
      address_reg <= '0;
      length_reg <= '0;
    end else begin
      start_reg <= accept & ~refuse;
      if (failing) run_reg <= 1'b0;
      else if (write_control) run_reg <= wdata[0];
      if (write_control) begin
        complete_enable_reg <= wdata[12];
        delay_enable_reg <= wdata[13];
        error_enable_reg <= wdata[14];
        if (wdata[23:16] != 8'd0) threshold_reg <= wdata[23:16];
        delay_reg <= wdata[31:24];
      end
      if (failing) halted_reg <= 1'b1;
      else if (run) halted_reg <= 1'b0;
      else if (~busy && ~start_reg) halted_reg <= 1'b1;
      if (failing || accept || ~run) idle_reg <= 1'b0;
      else if (done) idle_reg <= 1'b1;
      if (failing) begin
        internal_reg <= refuse | fail_internal;
        slave_reg <= ~refuse & ~fail_internal & ~fail_decode;
        decode_reg <= ~refuse & ~fail_internal & fail_decode;
      end
      // A one clears an interrupt; a new one wins.
      if (done) complete_irq_reg <= 1'b1;
      else if (write_status && wdata[12]) complete_irq_reg <= 1'b0;
      if (failing) error_irq_reg <= 1'b1;
      else if (write_status && wdata[14]) error_irq_reg <= 1'b0;
      if (write_address) address_reg <= wdata;
      if (accept) length_reg <= wdata[LENGTH_BITS-1:0];
      else if (done && set_length) length_reg <= moved;
    end
  end

  logic unused;
  assign unused = ^{wdata};
endmodule
