#!/bin/sh
# Stands in for vitis-run, vitis_hls, vivado_hls or vivado, by the name it is called by.
name=$(basename "$0")
case "$name" in
vitis-run) banner="****** vitis-run v$STANDIN_GENERATION (64-bit)" ;;
vitis_hls) banner="****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v$STANDIN_GENERATION (64-bit)" ;;
vivado_hls) banner="****** Vivado(TM) HLS - High-Level Synthesis from C, C++ and SystemC v$STANDIN_GENERATION (64-bit)" ;;
vivado) banner="Vivado v$STANDIN_GENERATION (64-bit)" ;;
esac
case " $* " in
*" -version "* | *" --version "*)
    echo "$banner"
    exit 0
    ;;
esac
echo "$banner"
shell=$(dirname "$0")/shell/$name
case "$name $*" in
"vitis-run --mode hls --tcl build.tcl") tool=hls ;;
"vitis_hls -f build.tcl" | "vivado_hls -f build.tcl") tool=hls ;;
"vivado -mode batch -nojournal -notrace -source build.tcl -log "*) tool=vivado ;;
*)
    echo "ERROR: unknown arguments: $*"
    exit 2
    ;;
esac
exec "$shell" "$STANDIN_RECORDER" "$tool" build.tcl
