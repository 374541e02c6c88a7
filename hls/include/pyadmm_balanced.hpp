// Balanced engine: the groups of a walker walk the same windows in lock step, each entry chooses a place in
// one.
//
// The words of a walker's first group also carry the program: which window a step is for, and where a channel
// ends.
#ifndef PYADMM_BALANCED_HPP
#define PYADMM_BALANCED_HPP

#include <hls_stream.h>

#include "pyadmm_drain.hpp"
#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

// Activations of every place of window `sub` in kernel row kh of channel c. Folded, channel c is a
// row of FOLD channels of one pixel, each from a copy of the frame of its own.
template <class Cfg>
void read_places(
    const typename Stage<Cfg>::Input::Row
        input[Cfg::FOLD][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    int c, typename Stage<Cfg>::Tile t, int kh, int sub,
    typename Stage<Cfg>::Act x[Cfg::WINDOW][Cfg::R][Cfg::W_OUT]) {
#pragma HLS INLINE
    typedef Stage<Cfg> St;
PLACE:
    for (int place = 0; place < Cfg::WINDOW; ++place) {
        PYADMM_UNROLL(Cfg::WINDOW)
        const int column = sub * Cfg::WINDOW + place;
        if (Cfg::FOLD > 1) {
            const int channel = c * Cfg::FOLD + place;
            x[place][0][0] = channel < Cfg::C ? input[Cfg::FOLD > 1 ? place : 0][0][channel].col[0]
                                              : typename St::Act(0);
        } else if (column < Cfg::KW) {
            read_window<Cfg>(input[0], c, t, kh, column, x[place]);
        } else {
        ROW:
            for (int r = 0; r < Cfg::R; ++r) {
                PYADMM_UNROLL(Cfg::R)
            LANE:
                for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                    PYADMM_UNROLL(Cfg::W_OUT)
                    x[place][r][ow] = 0;
                }
            }
        }
    }
}

// The weight of an entry, 0 where it chooses no place.
template <class Cfg>
typename Stage<Cfg>::Weight balanced_weight(uint32_t word) {
#pragma HLS INLINE
    const int magnitude = int(field<0, Cfg::WEIGHT_BITS - 1>(word)) + 1;
    const bool negative = field<Cfg::WEIGHT_BITS - 1, 1>(word) != 0;
    const int choice = field<Cfg::WEIGHT_BITS, Stage<Cfg>::CHOICE_BITS>(word);
    return choice == Cfg::WINDOW ? 0 : negative ? -magnitude : magnitude;
}

// One walker: its groups, and its copies of the frame.
template <class Cfg>
void balanced_walker(
    const typename Stage<Cfg>::Word words[Cfg::G / Cfg::WALKERS][Cfg::ENTRY_CAPACITY],
    const Slot<Cfg> slots[Cfg::G / Cfg::WALKERS][Cfg::SLOT_CAPACITY],
    const Fill<Cfg> fills[Cfg::G / Cfg::WALKERS][1],
    const typename Stage<Cfg>::Input::Row
        input[Cfg::FOLD][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    hls::stream<TileOf<Cfg> > tiles[Cfg::G / Cfg::WALKERS]) {
    typedef Stage<Cfg> St;
    static constexpr int GROUPS = Cfg::G / Cfg::WALKERS;
    static_assert(Cfg::G % Cfg::WALKERS == 0, "walkers have as many groups each");
    static_assert(Cfg::CONV_GROUPS == 1, "a balanced kernel takes no convolution groups");
    static_assert(Cfg::WINDOW == 1 || Cfg::STRIDE == 1, "windows of several places need stride 1");
    static_assert(Cfg::FOLD == 1 || (Cfg::FOLD == Cfg::WINDOW && Cfg::H == 1 && Cfg::W == 1),
                  "folded channels have one pixel");
    typename St::Acc acc[GROUPS][Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
    typename St::SlotCount slot = 0;
    typename St::Tile tile = 0;
    typename St::EntryCount address = 0, slot_address = 0, left = 0;
    typename St::InChannel c = 0;
    const Count<St::MAX_STEPS> total = int(fills[0][0].entries) * St::TILES;
STEP:
    for (Count<St::MAX_STEPS> n = 0; n < total; ++n) {
        PYADMM_PIPELINE(1)
#pragma HLS LOOP_TRIPCOUNT max=St::MAX_STEPS
        const bool starts = left == 0;
        if (starts) {
            left = slots[0][slot].entries;
            address = slot_address;
            c = 0;
        }
        const uint32_t program = to_word(words[0][address]);
        c = int(c) + int(field<St::BALANCED_DC_LSB, Cfg::INDEX_BITS>(program));
        typename St::Act x[Cfg::WINDOW][Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=x type=complete dim=0
        read_places<Cfg>(input, int(c), tile, int(field<St::BALANCED_KH_LSB, St::KH_BITS>(program)),
                         int(field<St::ENTRY_BITS, St::SUB_BITS>(program)), x);
        const bool ends = left == 1;
    GROUP:
        for (int g = 0; g < GROUPS; ++g) {
            PYADMM_UNROLL(GROUPS)
            const Slot<Cfg> record = slots[g][slot];
            const uint32_t word = to_word(words[g][address]);
            const typename St::Weight weight = balanced_weight<Cfg>(word);
            const int choice = field<Cfg::WEIGHT_BITS, St::CHOICE_BITS>(word);
        ROW:
            for (int r = 0; r < Cfg::R; ++r) {
                PYADMM_UNROLL(Cfg::R)
            LANE:
                for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                    PYADMM_UNROLL(Cfg::W_OUT)
                    typename St::Act chosen = x[0][r][ow];
                PLACE:
                    for (int place = 1; place < Cfg::WINDOW; ++place) {
                        PYADMM_UNROLL(Cfg::WINDOW)
                        chosen = choice == place ? x[place][r][ow] : chosen;
                    }
                    const typename St::Acc before = starts ? record.bias : acc[g][r][ow];
                    acc[g][r][ow] = before + weight * chosen;
                }
            }
            if (ends && slot < fills[g][0].slots) {
                emit_tile<Cfg>(acc[g], record, tile, tiles[g]);
            }
        }

        ++address;
        --left;
        if (ends) {
            if (tile != St::TILES - 1) {
                ++tile;
            } else {
                tile = 0;
                slot_address = address;
                ++slot;
            }
        }
    }
}

// One balanced stage: its walkers and the drain, for one image.
template <class Cfg, class Next>
void balanced_stage(
    const typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
    const Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY], const Fill<Cfg> fills[Cfg::G][1],
    const typename Stage<Cfg>::Input::Row
        input[Stage<Cfg>::Input::COPIES][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    static_assert(Cfg::BALANCED && !Cfg::SPARSE, "the configuration is of a balanced kernel");
#pragma HLS DATAFLOW
    hls::stream<TileOf<Cfg> > tiles[Cfg::G];
#pragma HLS STREAM variable=tiles depth=2
    static constexpr int GROUPS = Cfg::G / Cfg::WALKERS;
WALKER:
    for (int v = 0; v < Cfg::WALKERS; ++v) {
        PYADMM_UNROLL(Cfg::WALKERS)
        balanced_walker<Cfg>(words + v * GROUPS, slots + v * GROUPS, fills + v * GROUPS,
                             input + v * Cfg::FOLD, tiles + v * GROUPS);
    }
    drain_tiles<Cfg, Next>(tiles, output);
}

}  // namespace pyadmm

#endif
