// The sequencer: header, descriptors, LOADs and RUNs of a program, one after the other.
//
// The RTL loads the next stripes while it computes; here the order of the program is the order in time. What a
// round does at once is in `round`: the next slots are fetched while the present ones are computed and drained.
#ifndef PYADMM_SEQ_PROGRAM_HPP
#define PYADMM_SEQ_PROGRAM_HPP

#include "seq_compute.hpp"
#include "seq_drain.hpp"
#include "seq_fetch.hpp"
#include "seq_load.hpp"
#include "seq_store.hpp"

namespace pyadmm {
namespace seq {

// One slot of every group, and the fetch of the next ones.
template <class Cfg>
void round(const Run& run, const Beat* stream, const Memory& memory, Cursor cursors[Cfg::GROUPS],
           typename Array<Cfg>::Rings ahead, Slot slots_ahead[Cfg::GROUPS], const typename Array<Cfg>::Rings rings,
           const Slot slots[Cfg::GROUPS], const Slot drained[Cfg::GROUPS], const typename Array<Cfg>::Buffer buffer,
           const typename Array<Cfg>::Masks masks, const typename Array<Cfg>::Taps taps,
           Group<Cfg> groups[Cfg::GROUPS], typename Array<Cfg>::Channels channels, Status* fetched) {
#pragma HLS DATAFLOW
    hls::stream<Tile<Cfg> > tiles[Cfg::GROUPS];
#pragma HLS STREAM variable=tiles depth=2
    *fetched = fetch_slots<Cfg>(stream, memory, run.tiles, cursors, ahead, slots_ahead);
    compute_slots<Cfg>(run, buffer, masks, taps, rings, slots, groups, tiles);
    drain_slots<Cfg>(run, drained, tiles, channels);
}

template <class Cfg>
bool any_active(const Slot slots[Cfg::GROUPS]) {
#pragma HLS INLINE
    bool found = false;
GROUP:
    for (int g = 0; g < Cfg::GROUPS; ++g) {
        PYADMM_UNROLL(Cfg::GROUPS)
        found = found || slots[g].active;
    }
    return found;
}

// RUN: rounds until every group has ended its stream. Rings and slots take turns.
template <class Cfg>
Status run_layer(const Descriptor& descriptor, const Beat* stream, Beat* map, const Memory& memory,
                 typename Array<Cfg>::Buffer buffer, const typename Array<Cfg>::Masks masks,
                 const typename Array<Cfg>::Taps taps, const typename Array<Cfg>::List list,
                 typename Array<Cfg>::Rings even_rings, typename Array<Cfg>::Rings odd_rings,
                 Group<Cfg> groups[Cfg::GROUPS], typename Array<Cfg>::Channels channels) {
    const Run run = run_of(descriptor);
    Cursor cursors[Cfg::GROUPS];
    Slot even[Cfg::GROUPS], odd[Cfg::GROUPS], drained[Cfg::GROUPS];
    open_streams<Cfg>(descriptor, cursors);
    Status status = fetch_slots<Cfg>(stream, memory, run.tiles, cursors, even_rings, even);
    bool is_even = true;
ROUND:
    while (status == OK && any_active<Cfg>(is_even ? even : odd)) {
        Status fetched = OK;
    COPY:
        for (int g = 0; g < Cfg::GROUPS; ++g) {
            PYADMM_UNROLL(Cfg::GROUPS)
            drained[g] = is_even ? even[g] : odd[g];
        }
        if (is_even) {
            round<Cfg>(run, stream, memory, cursors, odd_rings, odd, even_rings, even, drained, buffer, masks, taps,
                       groups, channels, &fetched);
        } else {
            round<Cfg>(run, stream, memory, cursors, even_rings, even, odd_rings, odd, drained, buffer, masks, taps,
                       groups, channels, &fetched);
        }
        status = store_slots<Cfg>(run, drained, channels, list, map, memory, buffer);
        status = status == OK ? fetched : status;
        is_even = !is_even;
    }
    return status;
}

// The first words of a program must be for this hardware; gives the bytes of memory that it may touch.
template <class Cfg>
Status read_header(const Beat* stream, Memory& memory) {
    const Beat first = stream[memory.beat(0)], second = stream[memory.beat(BEAT_BYTES)];
    memory.bytes = bits<0, 32>(second);
    const bool is_ours = bits<0, 32>(first) == MAGIC && bits<32, 32>(first) == Array<Cfg>::BUILD;
    return is_ours ? OK : BAD_HEADER;
}

inline Status read_descriptor(const Beat* stream, const Memory& memory, uint32_t address, Descriptor& descriptor) {
    if (!memory.holds(address, DESCRIPTOR_BYTES)) {
        return OUT_OF_RANGE;
    }
    const Beat* const from = stream + memory.beat(address);
BEAT:
    for (int i = 0; i < DESCRIPTOR_BEATS; ++i) {
        PYADMM_PIPELINE(1)
        const Beat beat = from[i];
        descriptor.word[2 * i] = bits<0, 32>(beat);
        descriptor.word[2 * i + 1] = bits<32, 32>(beat);
    }
    const uint32_t kind = field<0, 8>(descriptor.word[0]);
    return field<16, 16>(descriptor.word[0]) != TAG || kind > 2 ? BAD_DESCRIPTOR : OK;
}

// A whole program. `runs` counts the RUNs that were finished.
template <class Cfg>
Status execute(const Beat* stream, Beat* map, uint32_t base, uint32_t& runs, typename Array<Cfg>::Buffer buffer,
               typename Array<Cfg>::Masks masks, typename Array<Cfg>::Taps taps, typename Array<Cfg>::List list,
               typename Array<Cfg>::Rings even_rings, typename Array<Cfg>::Rings odd_rings,
               Group<Cfg> groups[Cfg::GROUPS], typename Array<Cfg>::Channels channels) {
    Memory memory = {base, 0};
    runs = 0;
    Status status = read_header<Cfg>(stream, memory);
    uint32_t address = HEADER_BYTES;
    bool ended = false;
DESCRIPTOR:
    while (status == OK && !ended) {
        Descriptor descriptor;
#pragma HLS ARRAY_PARTITION variable=descriptor.word type=complete dim=0
        status = read_descriptor(stream, memory, address, descriptor);
        if (status != OK) {
            break;
        }
        const uint32_t kind = field<0, 8>(descriptor.word[0]);
        if (kind == 0) {
            ended = true;
        } else if (kind == 1) {
            status = load<Cfg>(map, memory, descriptor, buffer, masks, taps, list);
        } else {
            status = run_layer<Cfg>(descriptor, stream, map, memory, buffer, masks, taps, list, even_rings, odd_rings,
                                    groups, channels);
            runs += status == OK ? 1 : 0;
        }
        address += DESCRIPTOR_BYTES;
    }
    return status;
}

}  // namespace seq
}  // namespace pyadmm

#endif
