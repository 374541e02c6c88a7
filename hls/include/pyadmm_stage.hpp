// What a stage's configuration implies: geometry, memories and the things its processes exchange.
#ifndef PYADMM_STAGE_HPP
#define PYADMM_STAGE_HPP

#include <hls_stream.h>

#include "pyadmm_types.hpp"

namespace pyadmm {

// Shape of a frame buffer: one image between two stages. Padded row i = h + PADDING of channel c
// lies in bank i mod BANKS at address c * BANK_HEIGHT + i div BANKS; padding rows are not stored.
template <class Act_, int CHANNELS_, int HEIGHT_, int WIDTH_, int PADDING_, int BANKS_, int COPIES_>
struct FrameShape {
    static_assert(CHANNELS_ >= 1 && HEIGHT_ >= 1 && WIDTH_ >= 1, "a frame holds something");
    static_assert(PADDING_ >= 0 && BANKS_ >= 1 && COPIES_ >= 1, "banks and copies exist");

    typedef Act_ Act;
    static constexpr int CHANNELS = CHANNELS_;
    static constexpr int HEIGHT = HEIGHT_;
    static constexpr int WIDTH = WIDTH_;
    static constexpr int PADDING = PADDING_;
    static constexpr int BANKS = BANKS_;
    static constexpr int COPIES = COPIES_;
    static constexpr int BANK_HEIGHT = ceil_div(HEIGHT + 2 * PADDING, BANKS);
    static constexpr int DEPTH = CHANNELS * BANK_HEIGHT;

    // One row word.
    struct Row {
        Act col[WIDTH];
    };
};

template <class Shape>
using Frame = typename Shape::Row[Shape::COPIES][Shape::BANKS][Shape::DEPTH];

// Everything that follows from the numbers of a stage configuration `Cfg`.
template <class Cfg>
struct Stage {
    static_assert(Cfg::H_OUT == (Cfg::H + 2 * Cfg::PADDING - Cfg::KH) / Cfg::STRIDE + 1, "H_OUT");
    static_assert(Cfg::W_OUT == (Cfg::W + 2 * Cfg::PADDING - Cfg::KW) / Cfg::STRIDE + 1, "W_OUT");
    static_assert(Cfg::C % Cfg::CONV_GROUPS == 0, "convolution groups split the input channels");
    static_assert(Cfg::O % Cfg::CONV_GROUPS == 0, "convolution groups split the output channels");
    static_assert(Cfg::R >= 1 && Cfg::R <= Cfg::H_OUT, "tile rows lie within the output");
    static_assert(Cfg::G >= 1 && Cfg::G <= Cfg::O, "every group can have an output channel");
    static_assert(Cfg::POOL >= 1 && Cfg::POOL_STRIDE >= 1, "POOL = POOL_STRIDE = 1 is no pool");
    static_assert(Cfg::POOL <= Cfg::H_OUT && Cfg::POOL <= Cfg::W_OUT, "the pool window fits");
    static_assert(Cfg::ACC_BITS <= 32 && Cfg::WEIGHT_BITS <= 8, "limits of the weight image");

    static constexpr int TILES = ceil_div(Cfg::H_OUT, Cfg::R);
    // Output rows of the last tile: those beyond H_OUT are computed and dropped.
    static constexpr int LAST_ROWS = Cfg::H_OUT - (TILES - 1) * Cfg::R;
    // Steps of the drain for an image: as many rows of a tile at once as the pool's stride.
    static constexpr int DRAIN_STEPS = Cfg::O * TILES * ceil_div(Cfg::R, Cfg::POOL_STRIDE);
    static constexpr int BANKS = Cfg::R * Cfg::STRIDE;
    static constexpr int WIDE = Cfg::W + 2 * Cfg::PADDING;
    static constexpr int H_POOL = (Cfg::H_OUT - Cfg::POOL) / Cfg::POOL_STRIDE + 1;
    static constexpr int W_POOL = (Cfg::W_OUT - Cfg::POOL) / Cfg::POOL_STRIDE + 1;

    // Sparse entry, least significant field first: code, kw, kh, dc, mac, last.
    static constexpr int KW_BITS = index_width(Cfg::KW);
    static constexpr int KH_BITS = index_width(Cfg::KH);
    static constexpr int KW_LSB = Cfg::WEIGHT_BITS;
    static constexpr int KH_LSB = KW_LSB + KW_BITS;
    static constexpr int DC_LSB = KH_LSB + KH_BITS;
    static constexpr int MAC_BIT = DC_LSB + Cfg::INDEX_BITS;
    // Balanced entry: code, choice; in a walker's first group then sub-window, kh, dc, last.
    static constexpr int CHOICE_BITS = index_width(Cfg::WINDOW + 1);
    static constexpr int ENTRY_BITS = Cfg::WEIGHT_BITS + CHOICE_BITS;
    static constexpr int SUB_BITS = Cfg::FOLD > 1 ? 0 : index_width(ceil_div(Cfg::KW, Cfg::WINDOW));
    static constexpr int BALANCED_KH_LSB = ENTRY_BITS + SUB_BITS;
    static constexpr int BALANCED_DC_LSB = BALANCED_KH_LSB + KH_BITS;
    static constexpr int LAST_BIT = Cfg::BALANCED ? BALANCED_DC_LSB + Cfg::INDEX_BITS : MAC_BIT + 1;
    // A dense weight is signed, an entry is a collection of fields.
    static constexpr bool ENTRIES = Cfg::SPARSE || Cfg::BALANCED;
    static constexpr int WORD_BITS = ENTRIES ? LAST_BIT + 1 : Cfg::WEIGHT_BITS + 1;
    static_assert(WORD_BITS <= 32, "an entry or weight is one word of the weight image");

    typedef Number<Cfg::ACT_BITS, Cfg::ACT_SIGNED> Act;
    typedef Number<Cfg::OUT_BITS, Cfg::OUT_SIGNED> Out;
    typedef Int<Cfg::ACC_BITS> Acc;
    typedef Int<Cfg::WEIGHT_BITS + 1> Weight;
    typedef Number<WORD_BITS, !ENTRIES> Word;
    typedef Count<Cfg::C> InChannel;
    typedef Count<Cfg::O> OutChannel;
    typedef Count<TILES> Tile;
    typedef Count<Cfg::R> TileRow;
    typedef Count<Cfg::KH> KernelRow;
    typedef Count<Cfg::KW> KernelColumn;
    typedef Count<Cfg::ENTRY_CAPACITY> EntryCount;
    typedef Count<Cfg::SLOT_CAPACITY> SlotCount;
    static_assert(int64_t(Cfg::ENTRY_CAPACITY) * TILES < (int64_t(1) << 31), "steps are an int");
    static constexpr int MAX_JOBS = Cfg::SLOT_CAPACITY * TILES;
    static constexpr int MAX_STEPS = Cfg::ENTRY_CAPACITY * TILES;

    typedef FrameShape<Act, Cfg::C, Cfg::H, Cfg::W, Cfg::PADDING, BANKS,
                       Cfg::SPARSE ? Cfg::G : Cfg::FOLD * Cfg::WALKERS>
        Input;
};

// The stage's frame when it is the last one: the logits.
template <class Cfg>
using LogitFrame = FrameShape<typename Stage<Cfg>::Out, Cfg::O, Stage<Cfg>::H_POOL,
                              Stage<Cfg>::W_POOL, 0, 1, 1>;

// How an accumulator of one output channel becomes an activation.
struct Requant {
    UInt<16> mult;
    UInt<6> shift;
};

// How a stage without weights scales: one multiplier per source.
struct Scale {
    UInt<16> mult[2];
    UInt<6> shift;
};

// A group's record of one output channel. `entries` (sparse; balanced: of a walker's first group) is counted
// while loading.
template <class Cfg>
struct Slot {
    typename Stage<Cfg>::OutChannel channel;
    typename Stage<Cfg>::Acc bias;
    Requant requant;
    typename Stage<Cfg>::EntryCount entries;
};

// How full a group's memories are.
template <class Cfg>
struct Fill {
    typename Stage<Cfg>::EntryCount entries;
    typename Stage<Cfg>::SlotCount slots;
};

template <class Cfg>
using Words = typename Stage<Cfg>::Word[Cfg::G][Cfg::ENTRY_CAPACITY];
template <class Cfg>
using Slots = Slot<Cfg>[Cfg::G][Cfg::SLOT_CAPACITY];
// An array of one element per group, so that it is passed to the group's process like the other memories.
template <class Cfg>
using Fills = Fill<Cfg>[Cfg::G][1];

// What a group emits: R rows of accumulators of one output channel, the first `rows` of them valid.
template <class Cfg>
struct TileOf {
    typename Stage<Cfg>::Acc acc[Cfg::R][Cfg::W_OUT];
    typename Stage<Cfg>::TileRow rows;
    bool first;  // the channel's first tile
    typename Stage<Cfg>::OutChannel channel;
    Requant requant;
};

// Send the accumulators of tile t of a slot to the drain.
template <class Cfg>
void emit_tile(const typename Stage<Cfg>::Acc acc[Cfg::R][Cfg::W_OUT], const Slot<Cfg>& slot,
               typename Stage<Cfg>::Tile t, hls::stream<TileOf<Cfg> >& tiles) {
#pragma HLS INLINE
    TileOf<Cfg> tile;
ROW:
    for (int r = 0; r < Cfg::R; ++r) {
        PYADMM_UNROLL(Cfg::R)
    LANE:
        for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
            PYADMM_UNROLL(Cfg::W_OUT)
            tile.acc[r][ow] = acc[r][ow];
        }
    }
    const bool is_last = t == Stage<Cfg>::TILES - 1;
    tile.rows = is_last ? Stage<Cfg>::LAST_ROWS : Cfg::R;
    tile.first = t == 0;
    tile.channel = slot.channel;
    tile.requant = slot.requant;
    tiles.write(tile);
}

}  // namespace pyadmm

#endif
