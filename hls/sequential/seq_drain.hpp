// The drain: takes the groups' tiles, requantises SLICE lanes per step, makes sums, fills the channel memory.
#ifndef PYADMM_SEQ_DRAIN_HPP
#define PYADMM_SEQ_DRAIN_HPP

#include "seq_array.hpp"

namespace pyadmm {
namespace seq {

// clamp((total + (1 << (shift - 1))) >> shift, low, high), as the shift by shift - 1 and (x + 1) >> 1.
inline int32_t scaled(int64_t total, uint32_t shift, int32_t low, int32_t high) {
#pragma HLS INLINE
    const int64_t half = total >> ((shift - 1) & 63);
    const int64_t value = (half + 1) >> 1;
    return value < low ? low : value > high ? high : int32_t(value);
}

// One slice of a tile. Pass 0 requantises the accumulators. Pass 1 of a sum adds the skip's bytes to what pass 0
// gave; passes 1 to 3 of a wide result give its higher bytes.
template <class Cfg>
typename Array<Cfg>::Slice drain_slice(const Run& run, const Slot& slot, const Tile<Cfg>& tile, int slice,
                                       uint32_t pass, Int<9> first[Cfg::LANES]) {
#pragma HLS INLINE
    typedef Array<Cfg> Arr;
    const bool adds = run.sum && pass == 1;
    typename Arr::Slice made;
LANE:
    for (int i = 0; i < Arr::SLICE; ++i) {
        PYADMM_UNROLL(Array<Cfg>::SLICE)
        const int v = slice * Arr::SLICE + i;
        const typename Arr::Acc sum = int64_t(tile.acc[v]) + slot.bias;
        const Int<9> skip = run.skip_signed ? int(int8_t(tile.skip[v])) : int(tile.skip[v]);
        const int64_t own = adds ? int64_t(first[v]) : int64_t(sum);
        const int64_t other = adds ? int64_t(skip) * int64_t(run.mult1) : 0;
        const int64_t total = own * int64_t(adds ? run.mult0 : slot.mult) + other;
        const int32_t value = scaled(total, adds ? run.sum_shift : slot.shift, adds ? run.sum_low : run.low,
                                     adds ? run.sum_high : run.high);
        first[v] = Int<9>(value);
        made.byte[i] = uint8_t(uint32_t(value) >> (run.wide ? 8 * pass : 0));
    }
    return made;
}

// Tiles of all groups in the order in which they are ready: groups are asked in turn.
template <class Cfg>
void drain_slots(const Run& run, const Slot slots[Cfg::GROUPS], hls::stream<Tile<Cfg> > tiles[Cfg::GROUPS],
                 typename Array<Cfg>::Channels channels) {
    typedef Array<Cfg> Arr;
    const uint32_t passes = run.wide ? 4 : run.sum ? 2 : 1;
    const int last_slices = int((run.last_slices - 1) % Arr::SLICES) + 1;
    uint32_t left = 0;
COUNT:
    for (int g = 0; g < Cfg::GROUPS; ++g) {
        PYADMM_UNROLL(Cfg::GROUPS)
        left += slots[g].active && slots[g].ends ? run.tiles : 0;
    }
    int group = 0;
TAKE:
    while (left != 0) {
        if (!tiles[group].empty()) {
            const Tile<Cfg> tile = tiles[group].read();
            const int slices = tile.number == run.tiles - 1 ? last_slices : Arr::SLICES;
            Int<9> first[Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=first type=complete dim=0
        PASS:
            for (uint32_t pass = 0; pass < passes; ++pass) {
                const uint32_t place = run.wide ? tile.number + pass * run.tiles : tile.number;
            SLICE:
                for (int slice = 0; slice < slices; ++slice) {
                    PYADMM_PIPELINE(Array<Cfg>::SLICE_CYCLES)
                    channels[group][(place * Arr::SLICES + slice) & (Arr::DEPTH - 1)] =
                        drain_slice<Cfg>(run, slots[group], tile, slice, pass, first);
                }
            }
            --left;
        }
        group = group == Cfg::GROUPS - 1 ? 0 : group + 1;
    }
}

}  // namespace seq
}  // namespace pyadmm

#endif
