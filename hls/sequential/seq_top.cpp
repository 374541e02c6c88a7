#include "seq_top.hpp"

#include "seq_config.hpp"
#include "seq_program.hpp"

void seq_top(const uint64_t* stream, uint64_t* map, unsigned base, unsigned* status, unsigned* ident,
             unsigned* build, unsigned* cycles, unsigned* runs) {
#pragma HLS INTERFACE mode=m_axi port=stream bundle=stream offset=off depth=SEQ_MEMORY_BEATS max_read_burst_length=16 num_read_outstanding=8
#pragma HLS INTERFACE mode=m_axi port=map bundle=map offset=off depth=SEQ_MEMORY_BEATS max_read_burst_length=16 max_write_burst_length=16 num_read_outstanding=8 num_write_outstanding=8
#pragma HLS INTERFACE mode=s_axilite port=base bundle=control offset=0x10
#pragma HLS INTERFACE mode=s_axilite port=status bundle=control offset=0x18
#pragma HLS INTERFACE mode=s_axilite port=ident bundle=control offset=0x20
#pragma HLS INTERFACE mode=s_axilite port=build bundle=control offset=0x28
#pragma HLS INTERFACE mode=s_axilite port=cycles bundle=control offset=0x30
#pragma HLS INTERFACE mode=s_axilite port=runs bundle=control offset=0x38
#pragma HLS INTERFACE mode=s_axilite port=return bundle=control
    typedef pyadmm::seq::Array<cfg_array> Array;
    // Static, so that they are memories of the hardware; every program loads what it reads.
    static Array::Buffer buffer;
#pragma HLS ARRAY_PARTITION variable=buffer type=complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffer type=complete dim=3
#pragma HLS BIND_STORAGE variable=buffer type=ram_t2p impl=bram
    static Array::Masks masks;
#pragma HLS ARRAY_PARTITION variable=masks type=complete dim=1
#pragma HLS BIND_STORAGE variable=masks type=ram_t2p impl=bram
    static Array::Taps taps;
#pragma HLS ARRAY_PARTITION variable=taps type=complete dim=1
    static Array::List list;
#pragma HLS BIND_STORAGE variable=list type=ram_s2p impl=bram
    static Array::Rings even_rings, odd_rings;
#pragma HLS ARRAY_PARTITION variable=even_rings type=complete dim=1
#pragma HLS ARRAY_PARTITION variable=odd_rings type=complete dim=1
#pragma HLS BIND_STORAGE variable=even_rings type=ram_s2p impl=bram
#pragma HLS BIND_STORAGE variable=odd_rings type=ram_s2p impl=bram
    static pyadmm::seq::Group<cfg_array> groups[cfg_array::GROUPS];
#pragma HLS ARRAY_PARTITION variable=groups type=complete dim=0
    static Array::Channels channels;
#pragma HLS ARRAY_PARTITION variable=channels type=complete dim=1
#pragma HLS AGGREGATE variable=channels compact=bit
#pragma HLS BIND_STORAGE variable=channels type=ram_s2p impl=bram

    uint32_t finished = 0;
    *status = pyadmm::seq::execute<cfg_array>(stream, map, base, finished, buffer, masks, taps, list, even_rings,
                                              odd_rings, groups, channels);
    *ident = SEQ_IDENT;
    *build = Array::BUILD;
    // C++ has no clock; the driver takes 0 as "not measured".
    *cycles = 0;
    *runs = finished;
}
