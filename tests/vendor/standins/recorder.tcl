# Stands in for a vendor tool's Tcl shell: every command is written to a record and gives a
# plausible answer. Usage: tclsh recorder.tcl TOOL SCRIPT, TOOL one of hls, vivado.
# STANDIN_RECORD: file of the record. STANDIN_GENERATION: 2019.2 … STANDIN_FAULT: what goes wrong.

set generation $::env(STANDIN_GENERATION)
set fault [expr {[info exists ::env(STANDIN_FAULT)] ? $::env(STANDIN_FAULT) : ""}]
set tool [lindex $argv 0]
set script [file normalize [lindex $argv 1]]
set here [file dirname $script]

proc record {words} {
    set file [open $::env(STANDIN_RECORD) a]
    fconfigure $file -translation lf -encoding utf-8
    puts $file [string map [list $::here @] $words]
    close $file
}

# Leaves what the tool would leave; a report is that of STANDIN_REPORTS, where it has one.
proc leave {args} {
    set path [file join $::here {*}$args]
    file mkdir [file dirname $path]
    close [open $path w]
    if {[info exists ::env(STANDIN_REPORTS)]} {
        set report [file join $::env(STANDIN_REPORTS) [file tail $path]]
        if {[file exists $report]} {
            file copy -force $report $path
        }
    }
}

# Declares commands that are recorded and answer what $body returns; the words are in $args.
proc stand_in {names {body {}}} {
    foreach name $names {
        proc ::$name args "record \[linsert \$args 0 $name\]\n$body"
    }
}

proc option {words name} {
    set at [lsearch -exact $words $name]
    return [expr {$at < 0 ? "" : [lindex $words $at+1]}]
}

proc trouble {stage} {
    switch -- "$::fault:$stage" {
        hang:csynth { puts "INFO: \[HLS 200-10\] working"; after 60000 }
        crash:csynth { puts stderr "Segmentation fault"; exit 139 }
        quiet:csynth { puts "ERROR: \[HLS 214-124\] use of undeclared identifier 'x'"; exit 0 }
        licence:csynth {
            puts "ERROR: \[Common 17-345\] A valid license was not found for feature 'HLS'."
            return -code error "csynth_design failed"
        }
        y2k22:export {
            puts "bad lexical cast: source type value could not be interpreted as target"
            return -code error "'2201010000' is an invalid argument. Please specify an integer value."
        }
        mismatch:cosim {
            puts "ERROR: \[COSIM 212-4\] *** C/RTL co-simulation finished: FAIL ***"
            return -code error "cosim failed"
        }
    }
}

if {$tool eq "hls"} {
    set top pyadmm_top
    stand_in set_top {set ::top [lindex $args 0]}
    stand_in {open_project add_files open_solution set_part create_clock}
    stand_in csim_design {trouble csim}
    stand_in csynth_design {trouble csynth; leave hls solution1 syn report csynth.xml}
    stand_in cosim_design {
        trouble cosim
        leave hls solution1 sim report ${::top}_cosim.rpt
    }
    stand_in export_design {trouble export; leave hls solution1 impl ip component.xml}
} else {
    namespace eval ::ipx {}
    stand_in {create_project close_project current_project current_fileset set_property
        update_compile_order update_ip_catalog create_bd_design connect_bd_net
        connect_bd_intf_net apply_bd_automation assign_bd_address validate_bd_design
        save_bd_design add_files generate_target open_run close_design launch_runs
        ipx::package_project ipx::current_core ipx::infer_bus_interface
        ipx::associate_bus_interfaces ipx::update_checksums ipx::check_integrity ipx::save_core
    } {return [lindex [info level 0] 0]}
    stand_in [expr {$generation >= 2021 ? "wait_on_runs" : "wait_on_run"}] {
        if {[lindex $args 0] eq "impl_1"} {
            set kind [expr {$::generation >= 2020.2 ? "gen" : "srcs"}]
            leave vivado system system.$kind sources_1 bd system hw_handoff system.hwh
            leave vivado system system.runs impl_1 system_wrapper.bit
        }
    }
    stand_in {report_utilization report_timing_summary report_power} {
        leave reports [file tail [option $args -file]]
    }
    stand_in {get_files get_runs get_board_parts get_bd_cells} {return [lindex $args end]}
    stand_in get_ipdefs {
        set name [string trimright [lindex $args end] *]
        if {[string match "*inline_hdl*" $name]} {return {}}
        return [list ${name}1.9 ${name}1.10]
    }
    stand_in create_bd_cell {return /[lindex $args end]}
    stand_in make_wrapper {return @/vivado/system_wrapper.v}
    stand_in get_bd_pins {
        set cell [option $args -of_objects]
        switch -glob -- [option $args -filter] {
            "*clk" {return $cell/ap_clk}
            "*rst" {return $cell/ap_rst_n}
            "*intr" {return $cell/interrupt}
        }
        return [lindex $args 0]
    }
    stand_in get_bd_intf_pins {
        set cell [option $args -of_objects]
        switch -glob -- [option $args -filter] {
            "*Slave*aximm*" {return $cell/s_axi_control}
            "*Slave*axis*" {return $cell/in_stream}
            "*Master*axis*" {return $cell/out_stream}
            "*Master*aximm*" {return [list $cell/m_axi_stream $cell/m_axi_map]}
        }
        return [lindex $args 0]
    }
    stand_in ipx::get_bus_interfaces {
        if {[lindex $args 1] in {ap_clk ap_rst_n interrupt}} {return {}}
        return {s_axi_control in_stream out_stream}
    }
    stand_in ipx::get_memory_maps {return s_axi_control}
    stand_in ipx::get_address_blocks {return Reg}
    stand_in get_timing_paths {return path}
    stand_in get_property {
        switch -- [lindex $args 0] {
            PROGRESS {return [expr {$::fault eq "run" ? "40%" : "100%"}]}
            STATUS {return "place_design ERROR"}
            SLACK {return [expr {$::fault eq "slack" ? -0.25 : 0.125}]}
            NAME {return [lindex $args 1]}
            BUS_TYPE_VLNV {
                set kind [expr {[lindex $args 1] eq "s_axi_control" ? "aximm" : "axis"}]
                return xilinx.com:interface:$kind:1.0
            }
        }
    }
}

source $script
