// Dense engine: no index hardware; all groups walk k = (c, kh, kw) in lock step on one read port.
#ifndef PYADMM_DENSE_HPP
#define PYADMM_DENSE_HPP

#include <hls_stream.h>

#include "pyadmm_drain.hpp"
#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

template <class Cfg>
void dense_engine(
    const typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
    const Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY], const Fill<Cfg> fills[Cfg::G][1],
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    hls::stream<TileOf<Cfg> > tiles[Cfg::G]) {
    typedef Stage<Cfg> St;
    static constexpr int GROUP_CHANNELS = Cfg::C / Cfg::CONV_GROUPS;
    static constexpr int WINDOW = GROUP_CHANNELS * Cfg::KH * Cfg::KW;
    static constexpr int SLOTS = ceil_div(Cfg::O, Cfg::G);
    static constexpr int GROUP_SLOTS = ceil_div(Cfg::O / Cfg::CONV_GROUPS, Cfg::G);
    static constexpr int STEPS = SLOTS * St::TILES * WINDOW;
    static_assert(Cfg::ENTRY_CAPACITY >= SLOTS * WINDOW, "a group's weights fit its memory");
    static_assert(Cfg::SLOT_CAPACITY >= SLOTS, "a group's channels fit its slot table");
    static_assert(Cfg::CONV_GROUPS == 1 || (Cfg::O / Cfg::CONV_GROUPS) % Cfg::G == 0,
                  "groups that share a slot belong to the same convolution group");

    typename St::Acc acc[Cfg::G][Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
    typename St::SlotCount slot = 0, slot_in_group = 0;
    typename St::Tile tile = 0;
    typename St::InChannel c = 0, first_channel = 0;
    typename St::KernelRow kh = 0;
    typename St::KernelColumn kw = 0;
    typename St::EntryCount address = 0, slot_address = 0;
STEP:
    for (int n = 0; n < STEPS; ++n) {
        PYADMM_PIPELINE(1)
        const bool starts = c == 0 && kh == 0 && kw == 0;
        const bool ends = c == GROUP_CHANNELS - 1 && kh == Cfg::KH - 1 && kw == Cfg::KW - 1;
        typename St::Act x[Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=x type=complete dim=0
        read_window<Cfg>(frame, int(first_channel) + int(c), tile, kh, kw, x);
    GROUP:
        for (int g = 0; g < Cfg::G; ++g) {
            PYADMM_UNROLL(Cfg::G)
            const Slot<Cfg> record = slots[g][slot];
            const typename St::Weight weight = words[g][address];
        ROW:
            for (int r = 0; r < Cfg::R; ++r) {
                PYADMM_UNROLL(Cfg::R)
            LANE:
                for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                    PYADMM_UNROLL(Cfg::W_OUT)
                    const typename St::Acc before = starts ? record.bias : acc[g][r][ow];
                    acc[g][r][ow] = before + weight * x[r][ow];
                }
            }
            if (ends && slot < fills[g][0].slots) {
                emit_tile<Cfg>(acc[g], record, tile, tiles[g]);
            }
        }

        ++address;
        if (kw != Cfg::KW - 1) {
            ++kw;
        } else {
            kw = 0;
            if (kh != Cfg::KH - 1) {
                ++kh;
            } else {
                kh = 0;
                c = c == GROUP_CHANNELS - 1 ? 0 : int(c) + 1;
            }
        }
        if (ends) {
            if (tile != St::TILES - 1) {
                ++tile;
                address = slot_address;
            } else {
                tile = 0;
                slot_address = address;
                ++slot;
                const bool last_slot = slot_in_group == GROUP_SLOTS - 1;
                slot_in_group = last_slot ? 0 : int(slot_in_group) + 1;
                first_channel = int(first_channel) + (last_slot ? GROUP_CHANNELS : 0);
            }
        }
    }
}

// One dense stage: the engine and its drain, for one image.
template <class Cfg, class Next>
void dense_stage(
    const typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
    const Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY], const Fill<Cfg> fills[Cfg::G][1],
    const typename Stage<Cfg>::Input::Row
        input[Stage<Cfg>::Input::COPIES][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    static_assert(!Stage<Cfg>::ENTRIES, "the configuration is of a dense kernel");
#pragma HLS DATAFLOW
    hls::stream<TileOf<Cfg> > tiles[Cfg::G];
#pragma HLS STREAM variable=tiles depth=2
    dense_engine<Cfg>(words, slots, fills, input[0], tiles);
    drain_tiles<Cfg, Next>(tiles, output);
}

}  // namespace pyadmm

#endif
