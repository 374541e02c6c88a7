// The top function of the layer-sequential array in HLS C++; its registers are those of seq_top in RTL.
#ifndef PYADMM_SEQ_TOP_HPP
#define PYADMM_SEQ_TOP_HPP

#include <stdint.h>

// stream: header, descriptors and entries; map: maps and tables in, maps out. Both are the same memory.
void seq_top(const uint64_t* stream, uint64_t* map, unsigned base, unsigned* status, unsigned* ident,
             unsigned* build, unsigned* cycles, unsigned* runs);

#endif
