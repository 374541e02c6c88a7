// The store: channels leave for memory or for the buffer, in order or as a list repacks them.
#ifndef PYADMM_SEQ_STORE_HPP
#define PYADMM_SEQ_STORE_HPP

#include "seq_array.hpp"

namespace pyadmm {
namespace seq {

// SLICE bytes to a multiple of SLICE bytes.
template <class Cfg>
Status put_slice(const Run& run, Beat* map, const Memory& memory, typename Array<Cfg>::Buffer buffer,
                 uint32_t address, const typename Array<Cfg>::Slice& slice) {
#pragma HLS INLINE
    typedef Array<Cfg> Arr;
    const uint32_t at = address / Arr::SLICE * Arr::SLICE;
    if (run.to_buffer) {
        const uint32_t line = at >> Arr::LANE_BITS & (Cfg::LINES - 1);
        const uint32_t part = at / Arr::SLICE % Arr::SLICES;
    COPY:
        for (int c = 0; c < Arr::COPIES; ++c) {
            PYADMM_UNROLL(Array<Cfg>::COPIES)
        LANE:
            for (int b = 0; b < Cfg::LANES; ++b) {
                PYADMM_UNROLL(Cfg::LANES)
                if (uint32_t(b) / Arr::SLICE == part) {
                    buffer[c][line][b] = slice.byte[b % Arr::SLICE];
                }
            }
        }
        return OK;
    }
    if (!memory.holds(at, Arr::SLICE)) {
        return OUT_OF_RANGE;
    }
    Beat beats[2] = {0, 0};
BYTE:
    for (int i = 0; i < Arr::SLICE; ++i) {
        PYADMM_UNROLL(Array<Cfg>::SLICE)
        beats[i / BEAT_BYTES] |= Beat(slice.byte[i]) << (8 * (i % BEAT_BYTES));
    }
    map[memory.beat(at)] = beats[0];
    map[memory.beat(at) + 1] = beats[1];
    return OK;
}

// Transfers of a channel one behind the other.
template <class Cfg>
Status store_in_order(const Run& run, const Slot& slot, const typename Array<Cfg>::Slice channel[Array<Cfg>::DEPTH],
                      Beat* map, const Memory& memory, typename Array<Cfg>::Buffer buffer) {
    typedef Array<Cfg> Arr;
    const uint32_t last_slices = (run.last_slices - 1) % Arr::SLICES + 1;
    const uint32_t count = run.wide ? run.stored : (run.tiles - 1) * Arr::SLICES + last_slices;
    const uint32_t start = run.destination + slot.destination * Arr::SLICE;
    Status status = OK;
TRANSFER:
    for (uint32_t i = 0; i < count && status == OK; ++i) {
        PYADMM_PIPELINE(2)
        status = put_slice<Cfg>(run, map, memory, buffer, start + i * Arr::SLICE, channel[i & (Arr::DEPTH - 1)]);
    }
    return status;
}

// Bytes that wait for a whole transfer: fewer than SLICE, and those of the present word behind them.
template <class Cfg>
struct Packer {
    uint8_t byte[2 * Array<Cfg>::SLICE];
    uint32_t held;

    // The selected bytes of a transfer, or that many zeros.
    void append(const typename Array<Cfg>::Slice& slice, uint32_t selected, bool zero) {
#pragma HLS INLINE
    BYTE:
        for (int i = 0; i < Array<Cfg>::SLICE; ++i) {
            PYADMM_UNROLL(Array<Cfg>::SLICE)
            if ((selected >> i & 1) != 0) {
                byte[held % (2 * Array<Cfg>::SLICE)] = zero ? uint8_t(0) : slice.byte[i];
                ++held;
            }
        }
    }

    // The first SLICE bytes; those behind them move down.
    typename Array<Cfg>::Slice take() {
#pragma HLS INLINE
        typename Array<Cfg>::Slice taken;
    BYTE:
        for (int i = 0; i < Array<Cfg>::SLICE; ++i) {
            PYADMM_UNROLL(Array<Cfg>::SLICE)
            taken.byte[i] = byte[i];
            byte[i] = byte[i + Array<Cfg>::SLICE];
        }
        held = held > uint32_t(Array<Cfg>::SLICE) ? held - Array<Cfg>::SLICE : 0;
        return taken;
    }
};

// A word of the list per step: which bytes of which transfer follow, and where a piece ends.
template <class Cfg>
Status store_by_list(const Run& run, const Slot& slot, const typename Array<Cfg>::Slice channel[Array<Cfg>::DEPTH],
                     const typename Array<Cfg>::List list, Beat* map, const Memory& memory,
                     typename Array<Cfg>::Buffer buffer) {
    typedef Array<Cfg> Arr;
    uint32_t piece = run.destination + slot.destination * Arr::SLICE, address = piece;
    Packer<Cfg> packer;
#pragma HLS ARRAY_PARTITION variable=packer.byte type=complete dim=0
    packer.held = 0;
    Status status = OK;
WORD:
    for (uint32_t i = 0; i < run.stored && status == OK; ++i) {
        const Beat word = list[(run.list_base + i) & (Cfg::LISTS - 1)];
        const bool ends = bits<33, 1>(word);
        packer.append(channel[bits<0, 16>(word) & (Arr::DEPTH - 1)], bits<16, 16>(word), bits<32, 1>(word));
    LEAVE:
        while ((packer.held >= uint32_t(Arr::SLICE) || (ends && packer.held != 0)) && status == OK) {
            PYADMM_PIPELINE(2)
            status = put_slice<Cfg>(run, map, memory, buffer, address, packer.take());
            address += Arr::SLICE;
        }
        if (ends) {
            piece += run.piece_stride;
            address = piece;
        }
    }
    return status;
}

// The channels that the groups have finished in this round.
template <class Cfg>
Status store_slots(const Run& run, const Slot slots[Cfg::GROUPS], const typename Array<Cfg>::Channels channels,
                   const typename Array<Cfg>::List list, Beat* map, const Memory& memory,
                   typename Array<Cfg>::Buffer buffer) {
    Status status = OK;
GROUP:
    for (int g = 0; g < Cfg::GROUPS && status == OK; ++g) {
        if (!slots[g].active || !slots[g].ends) {
            continue;
        }
        status = run.listed ? store_by_list<Cfg>(run, slots[g], channels[g], list, map, memory, buffer)
                            : store_in_order<Cfg>(run, slots[g], channels[g], map, memory, buffer);
    }
    return status;
}

}  // namespace seq
}  // namespace pyadmm

#endif
