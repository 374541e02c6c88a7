// The array: every group decodes one entry per step and multiplies V activations by its weight.
#ifndef PYADMM_SEQ_COMPUTE_HPP
#define PYADMM_SEQ_COMPUTE_HPP

#include <cstring>

#include "seq_array.hpp"

namespace pyadmm {
namespace seq {

// What a group keeps from one entry to the next, and from one piece of a slot to the next.
template <class Cfg>
struct Group {
    typename Array<Cfg>::Acc acc[Cfg::LANES];
    uint8_t skip[Cfg::LANES];
    uint32_t channel;
    uint32_t entry, tile;
};

// One decoded entry.
struct Entry {
    bool mac, escalate, skip;
    uint32_t tap, advance;
    Int<9> weight;
};

inline Entry decode(Beat word, uint32_t place, uint32_t tap_bits) {
#pragma HLS INLINE
    const uint32_t entry = uint32_t(word >> (16 * place)) & 0xffff;
    const uint32_t position = field<8, 7>(entry);
    const int magnitude = int(field<0, 7>(entry)) + 1;
    Entry found;
    found.mac = field<15, 1>(entry);
    found.escalate = !found.mac && field<0, 1>(entry);
    found.skip = !found.mac && field<1, 1>(entry);
    found.tap = position & ((1u << tap_bits) - 1);
    found.advance = position >> tap_bits;
    found.weight = !found.mac ? 0 : field<7, 1>(entry) ? -magnitude : magnitude;
    return found;
}

#if defined(__SYNTHESIS__) || defined(PYADMM_EXACT_WIDTHS)

// V bytes of the buffer from any byte on, and zeros where the mask is 0. A bank in front of the first byte reads
// the next line; then the lanes rotate.
template <class Cfg>
void read_lanes(const uint8_t buffer[Cfg::LINES][Cfg::LANES], uint32_t address, Beat mask,
                uint8_t lanes[Cfg::LANES]) {
#pragma HLS INLINE
    typedef Array<Cfg> Arr;
    const uint32_t place = address & (Cfg::LANES - 1);
    const uint32_t line = address >> Arr::LANE_BITS;
    uint8_t turned[Arr::LANE_BITS + 1][Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=turned type=complete dim=0
BANK:
    for (int b = 0; b < Cfg::LANES; ++b) {
        PYADMM_UNROLL(Cfg::LANES)
        turned[0][b] = buffer[(line + (uint32_t(b) < place ? 1 : 0)) & (Cfg::LINES - 1)][b];
    }
ROTATE:
    for (int s = 0; s < Arr::LANE_BITS; ++s) {
        PYADMM_UNROLL(Array<Cfg>::LANE_BITS)
        const int by = (place >> s & 1) << s;
    ROTATED:
        for (int v = 0; v < Cfg::LANES; ++v) {
            PYADMM_UNROLL(Cfg::LANES)
            turned[s + 1][v] = turned[s][(v + by) & (Cfg::LANES - 1)];
        }
    }
MASK:
    for (int v = 0; v < Cfg::LANES; ++v) {
        PYADMM_UNROLL(Cfg::LANES)
        lanes[v] = (mask >> v & 1) != 0 ? turned[Arr::LANE_BITS][v] : uint8_t(0);
    }
}

#else

// The same for a simulation in native integers: lines follow each other, so the bytes do.
template <class Cfg>
void read_lanes(const uint8_t buffer[Cfg::LINES][Cfg::LANES], uint32_t address, Beat mask,
                uint8_t lanes[Cfg::LANES]) {
    const uint8_t* const bytes = buffer[0];
    if (address + Cfg::LANES <= Array<Cfg>::BUFFER_MASK + 1) {
        std::memcpy(lanes, bytes + address, Cfg::LANES);
    } else {
        for (int v = 0; v < Cfg::LANES; ++v) {
            lanes[v] = bytes[(address + v) & Array<Cfg>::BUFFER_MASK];
        }
    }
    if (mask << (64 - Cfg::LANES) != ~Beat(0) << (64 - Cfg::LANES)) {
        for (int v = 0; v < Cfg::LANES; ++v) {
            lanes[v] &= uint8_t(-(mask >> v & 1));
        }
    }
}

#endif

// acc := first ? term : acc * (escalate ? 128 : 1) + term, or the larger of the two.
template <class Acc>
void accumulate(Acc& acc, int term, bool first, bool escalate, bool maximum) {
#pragma HLS INLINE
    if (maximum) {
        acc = first || term > acc ? Acc(term) : acc;
    } else {
        // Unsigned, so that the accumulators of a bad program wrap as those of the hardware do.
        const uint32_t before = first ? 0u : uint32_t(int32_t(acc)) * (escalate ? 128u : 1u);
        acc = Acc(int32_t(before + uint32_t(term)));
    }
}

// Two neighbouring pixels share the weight and one multiplier: x1 * 2**16 + x0 times the weight. Products are
// within +-255 * 128, so 32 bits hold both; the upper one gets the borrow of the lower one back.
template <class Cfg>
void multiply_lanes(typename Array<Cfg>::Acc acc[Cfg::LANES], const uint8_t lanes[Cfg::LANES], const Int<9>& weight,
                    bool is_signed, bool first, bool escalate, bool maximum) {
#pragma HLS INLINE
PAIR:
    for (int v = 0; v < Cfg::LANES; v += 2) {
        PYADMM_UNROLL(Cfg::LANES / 2)
        const int x0 = is_signed ? int(int8_t(lanes[v])) : int(lanes[v]);
        const int x1 = is_signed ? int(int8_t(lanes[v + 1])) : int(lanes[v + 1]);
        const int32_t both = (x1 * 65536 + x0) * int(weight);
        const int low = int16_t(both);
        const int high = (both - low) / 65536;
        accumulate(acc[v], low, first, escalate, maximum);
        accumulate(acc[v + 1], high, first, escalate, maximum);
    }
}

// One entry of one group.
template <class Cfg>
void step(const Run& run, const uint8_t buffer[Cfg::LINES][Cfg::LANES], const Beat masks[Cfg::MASKS],
          const uint32_t taps[Array<Cfg>::TAPS], const Entry& entry, const Slot& slot, Group<Cfg>& group) {
#pragma HLS INLINE
    typedef Array<Cfg> Arr;
    const bool first = slot.begins && group.entry == 0;
    const uint32_t tap = taps[(run.tap_base + entry.tap) & (Arr::TAPS - 1)];
    const uint32_t start = run.base + slot.start + group.tile * Cfg::LANES;
    group.channel = (first ? start : group.channel) + entry.advance * run.plane;
    const uint32_t skip = (slot.skip_line + group.tile) * Cfg::LANES;
    const uint32_t address = (entry.skip ? skip : group.channel) + field<0, 24>(tap);
    const uint32_t mask = run.mask_base + group.tile * run.taps + entry.tap;
    uint8_t lanes[Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=lanes type=complete dim=0
    read_lanes<Cfg>(buffer, address & Arr::BUFFER_MASK, masks[mask & (Cfg::MASKS - 1)], lanes);
    multiply_lanes<Cfg>(group.acc, lanes, entry.weight, field<24, 1>(tap), first, entry.escalate, run.maximum);
    if (entry.skip) {
    KEEP:
        for (int v = 0; v < Cfg::LANES; ++v) {
            PYADMM_UNROLL(Cfg::LANES)
            group.skip[v] = lanes[v];
        }
    }
}

template <class Cfg>
void emit(const Group<Cfg>& group, hls::stream<Tile<Cfg> >& tiles) {
#pragma HLS INLINE
    Tile<Cfg> tile;
LANE:
    for (int v = 0; v < Cfg::LANES; ++v) {
        PYADMM_UNROLL(Cfg::LANES)
        tile.acc[v] = group.acc[v];
        tile.skip[v] = group.skip[v];
    }
    tile.number = group.tile;
    tiles.write(tile);
}

// All tiles of one slot, or piece, of every group: the entries of a slot are replayed for every tile.
template <class Cfg>
void compute_slots(const Run& run, const typename Array<Cfg>::Buffer buffer, const typename Array<Cfg>::Masks masks,
                   const typename Array<Cfg>::Taps taps, const typename Array<Cfg>::Rings rings,
                   const Slot slots[Cfg::GROUPS], Group<Cfg> groups[Cfg::GROUPS],
                   hls::stream<Tile<Cfg> > tiles[Cfg::GROUPS]) {
    uint32_t longest = 0;
LENGTH:
    for (int g = 0; g < Cfg::GROUPS; ++g) {
        PYADMM_UNROLL(Cfg::GROUPS)
        groups[g].entry = 0;
        groups[g].tile = 0;
        if (slots[g].active && slots[g].entries > longest) {
            longest = slots[g].entries;
        }
    }
STEP:
    for (uint32_t left = longest * run.tiles; left != 0; --left) {
        PYADMM_PIPELINE(1)
    GROUP:
        for (int g = 0; g < Cfg::GROUPS; ++g) {
            PYADMM_UNROLL(Cfg::GROUPS)
            Group<Cfg>& group = groups[g];
            if (slots[g].active && group.tile < run.tiles) {
                const Entry entry = decode(rings[g][group.entry / 4], group.entry % 4, run.tap_bits);
                step<Cfg>(run, buffer[g / 2], masks[g / 2], taps[g / 2], entry, slots[g], group);
                const bool is_last = group.entry == slots[g].entries - 1;
                if (is_last && slots[g].ends) {
                    emit<Cfg>(group, tiles[g]);
                }
                group.entry = is_last ? 0 : group.entry + 1;
                group.tile += is_last ? 1 : 0;
            }
        }
    }
}

}  // namespace seq
}  // namespace pyadmm

#endif
