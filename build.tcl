# Builds one pyadmm accelerator with AMD's tools; the parameters are in params.tcl beside this file.
#
#   vitis-run --mode hls --tcl build.tcl       csim csynth cosim export_ip   (2023.2 and later)
#   vitis_hls -f build.tcl                     the same                      (2020.2 to 2024.x)
#   vivado_hls -f build.tcl                    the same                      (to 2020.1)
#   vivado -mode batch -source build.tcl       bitstream
#
# The environment variable PYADMM_STAGES picks stages by name, in order: "csim csynth".
# Everything is written below this folder: hls/, ip/, vivado/, reports/, PROJECT.bit, PROJECT.hwh.

namespace eval ::pyadmm {
    variable here [file normalize [file dirname [info script]]]
    variable hls_stages {csim csynth cosim export_ip}
    variable vivado_stages {bitstream}
}

# ---------------------------------------------------------------- common

proc ::pyadmm::p {name} {
    variable params
    return [dict get $params $name]
}

proc ::pyadmm::under {args} {
    variable here
    return [file join $here {*}$args]
}

proc ::pyadmm::say {text} {
    puts "PYADMM: $text"
    flush stdout
}

proc ::pyadmm::has {command} {
    return [expr {[llength [info commands ::$command]] > 0}]
}

# Files of the list $name as absolute paths; a missing one is an error before any tool starts.
proc ::pyadmm::files {name} {
    set found {}
    foreach path [p $name] {
        set full [under $path]
        if {![file exists $full]} {
            error "$name: $full does not exist; write the build folder again"
        }
        lappend found $full
    }
    return $found
}

# Copies the first file that one of the patterns finds; the tool should have left it.
proc ::pyadmm::keep {target args} {
    foreach pattern $args {
        foreach path [lsort [glob -nocomplain -directory [under] -- $pattern]] {
            file mkdir [file dirname [under $target]]
            file copy -force -- $path [under $target]
            return
        }
    }
    error "no file like [join $args { or }]: the tool did not leave what this stage needs"
}

# ---------------------------------------------------------------- HLS

# Vitis HLS knows -flow_target; Vivado HLS, up to 2020.1, does not.
proc ::pyadmm::is_vivado_hls {} {
    if {[info exists ::env(PYADMM_LAUNCHER)]} {
        return [expr {$::env(PYADMM_LAUNCHER) eq "vivado_hls"}]
    }
    return [string match "*vivado_hls*" [file tail [info nameofexecutable]]]
}

proc ::pyadmm::flags {} {
    set flags [p cflags]
    foreach directory [files include_dirs] {
        if {[regexp {[\s"'$]} $directory]} {
            error "include_dirs: HLS cannot take the path $directory; move the build to a folder\
                without blanks, quotes or dollar signs"
        }
        append flags " -I$directory"
    }
    return $flags
}

# A new project where csynth is to run; else the one whose synthesis the other stages need.
proc ::pyadmm::open_hls {stages} {
    cd [under]
    if {"csynth" ni $stages && [file isdirectory [under hls solution1]]} {
        open_project hls
        open_solution solution1
        return
    }
    open_project -reset hls
    set_top [p top]
    foreach path [files sources] {
        add_files [list $path] -cflags [flags]
    }
    foreach path [files testbenches] {
        add_files -tb [list $path] -cflags [flags]
    }
    foreach path [files testbench_data] {
        add_files -tb [list $path]
    }
    if {[is_vivado_hls]} {
        open_solution -reset solution1
    } else {
        open_solution -reset -flow_target vivado solution1
    }
    set_part [p part]
    create_clock -period [p clock_ns] -name default
}

proc ::pyadmm::arguments {} {
    if {[p csim_arguments] eq ""} {
        return {}
    }
    return [list -argv [p csim_arguments]]
}

proc ::pyadmm::stage_csim {} {
    csim_design -clean {*}[arguments]
}

proc ::pyadmm::stage_csynth {} {
    csynth_design
    keep reports/csynth.xml hls/solution1/syn/report/csynth.xml \
        hls/solution1/syn/report/[p top]_csynth.xml
}

proc ::pyadmm::stage_cosim {} {
    cosim_design -rtl verilog {*}[arguments]
    keep reports/cosim.rpt hls/solution1/sim/report/[p top]_cosim.rpt
}

proc ::pyadmm::stage_export_ip {} {
    export_design -rtl verilog -format ip_catalog -vendor [p ip_vendor] -library [p ip_library] \
        -ipname [p top] -version [p ip_version]
    if {![file exists [under hls solution1 impl ip component.xml]]} {
        error "export_design left no hls/solution1/impl/ip/component.xml"
    }
}

# ---------------------------------------------------------------- Vivado: IP

# The newest version of an IP that this Vivado has; without its version a script outlives a release.
proc ::pyadmm::newest {args} {
    foreach name $args {
        set found [lsort -dictionary [get_ipdefs -all -quiet $name:*]]
        if {[llength $found] > 0} {
            return [lindex $found end]
        }
    }
    error "this Vivado has no IP [join $args { or }]; install the device family of [p part]"
}

# Packages the RTL as an IP, so that Vivado alone makes a bitstream.
proc ::pyadmm::package_rtl {} {
    set repository [under ip]
    create_project -force package_ip [under vivado package_ip] -part [p part]
    set_property target_language Verilog [current_project]
    add_files -norecurse [files rtl_sources]
    set_property include_dirs [files rtl_include_dirs] [current_fileset]
    set_property top [p top] [current_fileset]
    update_compile_order -fileset sources_1
    ipx::package_project -root_dir $repository -vendor [p ip_vendor] -library [p ip_library] \
        -taxonomy /UserIP -import_files -force
    set core [ipx::current_core]
    set_property name [p top] $core
    set_property version [p ip_version] $core
    set_property display_name [p top] $core
    foreach {port kind} {ap_clk clock_rtl ap_rst_n reset_rtl interrupt interrupt_rtl} {
        if {[llength [ipx::get_bus_interfaces -quiet $port -of_objects $core]] == 0} {
            ipx::infer_bus_interface $port xilinx.com:signal:$kind:1.0 $core
        }
    }
    # As large as the one that HLS gives its IP; the packager would take 2 ** address bits.
    foreach map [ipx::get_memory_maps -quiet -of_objects $core] {
        foreach block [ipx::get_address_blocks -quiet -of_objects $map] {
            set_property range 65536 $block
        }
    }
    foreach bus [ipx::get_bus_interfaces -quiet -of_objects $core] {
        set kind [get_property BUS_TYPE_VLNV $bus]
        if {[string match "*:interface:axis:*" $kind] || [string match "*:interface:aximm:*" $kind]} {
            ipx::associate_bus_interfaces -busif [get_property NAME $bus] -clock ap_clk $core
        }
    }
    ipx::update_checksums $core
    ipx::check_integrity $core
    ipx::save_core $core
    close_project
    return $repository
}

proc ::pyadmm::ip_repository {} {
    if {[p flavour] eq "rtl"} {
        return [package_rtl]
    }
    set repository [under hls solution1 impl ip]
    if {![file exists [file join $repository component.xml]]} {
        error "the accelerator's IP is missing: run the HLS stages csynth and export_ip first, or\
            build the RTL flavour, which needs no HLS"
    }
    return $repository
}

# ---------------------------------------------------------------- Vivado: block design

proc ::pyadmm::cell {name args} {
    return [create_bd_cell -type ip -vlnv [newest {*}$args] $name]
}

proc ::pyadmm::wire {from args} {
    foreach pin $args {
        connect_bd_net [get_bd_pins $from] [get_bd_pins $pin]
    }
}

proc ::pyadmm::bus {from to} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}

# The one pin of the accelerator of a kind; found by kind, since HLS may rename ports.
proc ::pyadmm::only {what pins} {
    if {[llength $pins] != 1} {
        error "the accelerator must have one $what, not [llength $pins]: $pins"
    }
    return [lindex $pins 0]
}

proc ::pyadmm::stream {cell mode} {
    return [only "$mode AXI stream" [get_bd_intf_pins -quiet -of_objects $cell \
        -filter "MODE == $mode && VLNV =~ *:axis_rtl:*"]]
}

proc ::pyadmm::board_preset {} {
    if {[p board_part] ne "" && [llength [get_board_parts -quiet [p board_part]]] > 0} {
        set_property board_part [p board_part] [current_project]
        return 1
    }
    say "WARNING: board files '[p board_part]' are not installed; the processor keeps Vivado's\
        defaults. That is fine for an overlay that PYNQ loads on a booted board, and wrong for a\
        boot image."
    return 0
}

# Name of the processor cell and its pins: clock, reset, control master, memory slave, interrupt.
proc ::pyadmm::processor_zynq7000 {preset} {
    set name processing_system7_0
    set ps [cell $name xilinx.com:ip:processing_system7]
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config [list \
        make_external "FIXED_IO, DDR" apply_board_preset $preset Master Disable Slave Disable] $ps
    set_property -dict [list \
        CONFIG.PCW_USE_M_AXI_GP0 1 \
        CONFIG.PCW_USE_S_AXI_HP0 1 \
        CONFIG.PCW_EN_CLK0_PORT 1 \
        CONFIG.PCW_EN_RST0_PORT 1 \
        CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ [p clock_mhz] \
        CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
        CONFIG.PCW_IRQ_F2P_INTR 1] $ps
    return [dict create clock $name/FCLK_CLK0 reset $name/FCLK_RESET0_N \
        master $name/M_AXI_GP0 slave $name/S_AXI_HP0 interrupt $name/IRQ_F2P \
        bus_clocks [list $name/M_AXI_GP0_ACLK $name/S_AXI_HP0_ACLK] address_bits 32]
}

proc ::pyadmm::processor_zynqmp {preset} {
    set name zynq_ultra_ps_e_0
    set ps [cell $name xilinx.com:ip:zynq_ultra_ps_e]
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
        -config [list apply_board_preset $preset] $ps
    set_property -dict [list \
        CONFIG.PSU__USE__M_AXI_GP0 1 \
        CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__M_AXI_GP2 0 \
        CONFIG.PSU__USE__S_AXI_GP2 1 \
        CONFIG.PSU__FPGA_PL0_ENABLE 1 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ [p clock_mhz] \
        CONFIG.PSU__USE__IRQ0 1] $ps
    return [dict create clock $name/pl_clk0 reset $name/pl_resetn0 \
        master $name/M_AXI_HPM0_FPD slave $name/S_AXI_HP0_FPD interrupt $name/pl_ps_irq0 \
        bus_clocks [list $name/maxihpm0_fpd_aclk $name/saxihp0_fpd_aclk] address_bits 40]
}

proc ::pyadmm::block_design {} {
    create_bd_design system
    set ps [processor_[p family] [board_preset]]
    cell reset_0 xilinx.com:ip:proc_sys_reset
    [p interface]_design $ps
    assign_bd_address
    validate_bd_design
    save_bd_design
}

# An accelerator with streams: a DMA serves it.
proc ::pyadmm::stream_design {ps} {
    set clock [dict get $ps clock]
    set dma [p dma_cell]
    # Simple mode; the default length register of 14 bits would end a transfer at 16 KiB.
    set_property -dict [list \
        CONFIG.c_include_sg 0 \
        CONFIG.c_sg_include_stscntrl_strm 0 \
        CONFIG.c_sg_length_width [p dma_length_bits] \
        CONFIG.c_addr_width [dict get $ps address_bits] \
        CONFIG.c_include_mm2s 1 \
        CONFIG.c_include_s2mm 1 \
        CONFIG.c_m_axi_mm2s_data_width [p in_stream_bits] \
        CONFIG.c_m_axi_s2mm_data_width [p stream_bits] \
        CONFIG.c_m_axis_mm2s_tdata_width [p in_stream_bits] \
        CONFIG.c_s_axis_s2mm_tdata_width [p stream_bits] \
        CONFIG.c_mm2s_burst_size 16 \
        CONFIG.c_s2mm_burst_size 16] [cell $dma xilinx.com:ip:axi_dma]
    set kernel [cell [p cell] [p ip_vendor]:[p ip_library]:[p top]]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 2} \
        [cell control_0 xilinx.com:ip:smartconnect]
    set_property -dict {CONFIG.NUM_SI 2 CONFIG.NUM_MI 1} [cell memory_0 xilinx.com:ip:smartconnect]

    bus [dict get $ps master] control_0/S00_AXI
    bus control_0/M00_AXI $dma/S_AXI_LITE
    bus control_0/M01_AXI [control_slave $kernel]
    bus $dma/M_AXI_MM2S memory_0/S00_AXI
    bus $dma/M_AXI_S2MM memory_0/S01_AXI
    bus memory_0/M00_AXI [dict get $ps slave]
    bus $dma/M_AXIS_MM2S [stream $kernel Slave]
    bus [stream $kernel Master] $dma/S_AXIS_S2MM

    wire $clock {*}[dict get $ps bus_clocks] reset_0/slowest_sync_clk control_0/aclk \
        memory_0/aclk $dma/s_axi_lite_aclk $dma/m_axi_mm2s_aclk $dma/m_axi_s2mm_aclk \
        [clock_pin $kernel]
    wire [dict get $ps reset] reset_0/ext_reset_in
    wire reset_0/peripheral_aresetn control_0/aresetn memory_0/aresetn $dma/axi_resetn \
        [reset_pin $kernel]
    interrupts $kernel [list $dma/mm2s_introut $dma/s2mm_introut] [dict get $ps interrupt]
}

# An accelerator that reads and writes memory itself: each of its two masters has a port of its own.
proc ::pyadmm::memory_design {ps} {
    set clock [dict get $ps clock]
    set second [second_port_[p family]]
    set kernel [cell [p cell] [p ip_vendor]:[p ip_library]:[p top]]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} \
        [cell control_0 xilinx.com:ip:smartconnect]
    bus [dict get $ps master] control_0/S00_AXI
    bus control_0/M00_AXI [control_slave $kernel]

    set masters [get_bd_intf_pins -quiet -of_objects $kernel \
        -filter {MODE == Master && VLNV =~ *:aximm_rtl:*}]
    set ports [list [dict get $ps slave] [dict get $second slave]]
    if {[llength $masters] != [llength $ports]} {
        error "the accelerator must have two memory masters, not [llength $masters]: $masters"
    }
    set index 0
    foreach master $masters port $ports {
        set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} \
            [cell memory_$index xilinx.com:ip:smartconnect]
        bus $master memory_$index/S00_AXI
        bus memory_$index/M00_AXI $port
        incr index
    }

    wire $clock {*}[dict get $ps bus_clocks] [dict get $second clock] reset_0/slowest_sync_clk \
        control_0/aclk memory_0/aclk memory_1/aclk [clock_pin $kernel]
    wire [dict get $ps reset] reset_0/ext_reset_in
    wire reset_0/peripheral_aresetn control_0/aresetn memory_0/aresetn memory_1/aresetn \
        [reset_pin $kernel]
    interrupts $kernel {} [dict get $ps interrupt]
}

# Ports 0 and 2 of the Zynq-7000, and 0 and 1 of the UltraScale+, do not share a port of the memory controller.
proc ::pyadmm::second_port_zynq7000 {} {
    set name processing_system7_0
    set_property CONFIG.PCW_USE_S_AXI_HP2 1 [get_bd_cells $name]
    return [dict create slave $name/S_AXI_HP2 clock $name/S_AXI_HP2_ACLK]
}

proc ::pyadmm::second_port_zynqmp {} {
    set name zynq_ultra_ps_e_0
    set_property CONFIG.PSU__USE__S_AXI_GP3 1 [get_bd_cells $name]
    return [dict create slave $name/S_AXI_HP1_FPD clock $name/saxihp1_fpd_aclk]
}

proc ::pyadmm::control_slave {kernel} {
    return [only "AXI4-Lite slave" [get_bd_intf_pins -quiet -of_objects $kernel \
        -filter {MODE == Slave && VLNV =~ *:aximm_rtl:*}]]
}

proc ::pyadmm::clock_pin {kernel} {
    return [only clock [get_bd_pins -quiet -of_objects $kernel -filter {TYPE == clk}]]
}

proc ::pyadmm::reset_pin {kernel} {
    return [only reset [get_bd_pins -quiet -of_objects $kernel -filter {TYPE == rst}]]
}

# The interrupts of the cells beside the kernel, then the kernel's.
proc ::pyadmm::interrupts {kernel sources target} {
    lappend sources {*}[get_bd_pins -quiet -of_objects $kernel -filter {TYPE == intr}]
    set_property CONFIG.NUM_PORTS [llength $sources] [interrupt_concat]
    set index 0
    foreach source $sources {
        wire $source interrupts_0/In$index
        incr index
    }
    wire interrupts_0/dout $target
}

# xlconcat gave way to the inline_hdl library in late releases.
proc ::pyadmm::interrupt_concat {} {
    set vlnv [newest xilinx.com:ip:xlconcat xilinx.com:inline_hdl:ilconcat]
    set type [expr {[string match "*:inline_hdl:*" $vlnv] ? "inline_hdl" : "ip"}]
    return [create_bd_cell -type $type -vlnv $vlnv interrupts_0]
}

# ---------------------------------------------------------------- Vivado: runs

proc ::pyadmm::run_to_end {run args} {
    launch_runs $run {*}$args -jobs [p jobs]
    if {[has wait_on_runs]} {
        wait_on_runs $run
    } else {
        wait_on_run $run
    }
    set progress [get_property PROGRESS [get_runs $run]]
    if {$progress ne "100%"} {
        error "run $run ended at $progress, [get_property STATUS [get_runs $run]]: see\
            vivado/system/system.runs/$run/runme.log"
    }
}

proc ::pyadmm::report {stage} {
    file mkdir [under reports]
    report_utilization -file [under reports ${stage}_utilization.rpt]
    report_utilization -hierarchical -file [under reports ${stage}_utilization_hierarchical.rpt]
    report_timing_summary -file [under reports ${stage}_timing.rpt]
    report_power -file [under reports ${stage}_power.rpt]
}

proc ::pyadmm::check_timing {} {
    foreach {what option} {set-up -setup hold -hold} {
        set paths [get_timing_paths -max_paths 1 -nworst 1 $option]
        if {[llength $paths] == 0} {
            error "no $what path is constrained: the design has no clock"
        }
        set slack [get_property SLACK [lindex $paths 0]]
        if {$slack < 0} {
            error "timing is not met: worst $what slack $slack ns at a period of [p clock_ns] ns;\
                build for a slower clock, see reports/post_route_timing.rpt"
        }
    }
}

proc ::pyadmm::stage_bitstream {} {
    cd [under]
    file delete -force -- [under [p project].bit] [under [p project].hwh]
    set repository [ip_repository]
    create_project -force system [under vivado system] -part [p part]
    set_property target_language Verilog [current_project]
    set_property ip_repo_paths [list $repository] [current_project]
    update_ip_catalog -rebuild
    block_design
    set design [get_files system.bd]
    generate_target all $design
    add_files -norecurse [make_wrapper -files $design -top]
    set_property top system_wrapper [current_fileset]
    update_compile_order -fileset sources_1
    run_to_end synth_1
    open_run synth_1
    report post_synthesis
    close_design
    run_to_end impl_1 -to_step write_bitstream
    open_run impl_1
    report post_route
    check_timing
    keep [p project].hwh vivado/system/system.gen/sources_1/bd/system/hw_handoff/system.hwh \
        vivado/system/system.srcs/sources_1/bd/system/hw_handoff/system.hwh
    keep [p project].bit vivado/system/system.runs/impl_1/system_wrapper.bit
    close_project
}

# ---------------------------------------------------------------- main

# Which stages this tool can run; told from its commands, so that no version need be known.
proc ::pyadmm::offered {} {
    variable hls_stages
    variable vivado_stages
    if {[has csynth_design]} {
        return $hls_stages
    }
    if {[has create_bd_design]} {
        return $vivado_stages
    }
    error "neither HLS nor Vivado runs this script: it has no csynth_design and no create_bd_design"
}

proc ::pyadmm::wanted {offered} {
    if {![info exists ::env(PYADMM_STAGES)] || [string trim $::env(PYADMM_STAGES)] eq ""} {
        return $offered
    }
    set wanted [split [string trim $::env(PYADMM_STAGES)]]
    foreach stage $wanted {
        if {$stage ni $offered} {
            error "this tool has no stage '$stage'; it has: [join $offered {, }]"
        }
    }
    return $wanted
}

proc ::pyadmm::main {} {
    variable here
    variable params
    source [file join $here params.tcl]
    set stages [wanted [offered]]
    if {[has csynth_design]} {
        open_hls $stages
    }
    foreach stage $stages {
        say "stage $stage begins"
        stage_$stage
        say "stage $stage done"
    }
}

if {[catch {::pyadmm::main} message options]} {
    puts stderr "ERROR: \[pyadmm\] $message"
    puts stderr [dict get $options -errorinfo]
    exit 1
}
exit 0
