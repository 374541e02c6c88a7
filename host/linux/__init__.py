"""The board without pynq: fpga_manager, UIO or ``/dev/mem``, u-dma-buf or a reserved region, clk.

Needs numpy and a kernel that offers those files; :class:`host.linux.board.LinuxBoard` refuses one
that does not, and says what is missing.
"""
