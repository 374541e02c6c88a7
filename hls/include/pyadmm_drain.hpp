// Drain: takes the groups' tiles in any order, max-pools, requantises and fills the next frame.
#ifndef PYADMM_DRAIN_HPP
#define PYADMM_DRAIN_HPP

#include <hls_stream.h>

#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

// y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi)
template <class Cfg>
typename Stage<Cfg>::Out requantise(typename Stage<Cfg>::Acc acc, const Requant& q) {
#pragma HLS INLINE
    typedef NumberOf<Cfg::OUT_BITS, Cfg::OUT_SIGNED> Range;
    // acc * mult has ACC_BITS + 16 bits, the rounding term is at most 2**47.
    typedef Int<larger_of(Cfg::ACC_BITS + 16, 49) + 1> Sum;
    const Sum half = Sum(1) << (int(q.shift) - 1);
    const Sum sum = multiply<Cfg::ACC_BITS, 16>(acc, q.mult) + half;
    const Sum y = sum >> int(q.shift);
    const Sum lo = Range::LO, hi = Range::HI;
    return typename Stage<Cfg>::Out(y < lo ? lo : y > hi ? hi : y);
}

// Pool state of one group. Window n covers the rows n*POOL_STRIDE ... + POOL - 1; `line[j]` is the
// maximum so far of the window that began j windows ago. The window that ends is always the same
// one, END_LINE, in the same phase, END_PHASE.
template <class Cfg, class Next>
struct PoolState {
    static constexpr int LINES = ceil_div(Cfg::POOL, Cfg::POOL_STRIDE);
    static constexpr int END_LINE = (Cfg::POOL - 1) / Cfg::POOL_STRIDE;
    static constexpr int END_PHASE = (Cfg::POOL - 1) % Cfg::POOL_STRIDE;
    typedef typename Stage<Cfg>::Acc Lines[LINES][Stage<Cfg>::W_POOL];

    Count<Cfg::POOL_STRIDE> phase;
    Count<END_LINE + 1> begun;
    RowCursor<Next> cursor;

    void reset() {
#pragma HLS INLINE
        phase = 0;
        begun = 0;
        cursor.first();
    }

    // Take one output row; returns true where it completes a window: the pooled row is line[END_LINE].
    bool take(const typename Stage<Cfg>::Acc row[Cfg::W_OUT], Lines& line) {
#pragma HLS INLINE
        const bool begins = phase == 0;
    COLUMN:
        for (int w = 0; w < Stage<Cfg>::W_POOL; ++w) {
            PYADMM_UNROLL(Stage<Cfg>::W_POOL)
            typename Stage<Cfg>::Acc best = row[w * Cfg::POOL_STRIDE];
        ACROSS:
            for (int k = 1; k < Cfg::POOL; ++k) {
                PYADMM_UNROLL(Cfg::POOL)
                const typename Stage<Cfg>::Acc other = row[w * Cfg::POOL_STRIDE + k];
                best = other > best ? other : best;
            }
        DOWN:
            for (int j = LINES - 1; j >= 0; --j) {
                PYADMM_UNROLL(LINES)
                const typename Stage<Cfg>::Acc before = line[begins && j > 0 ? j - 1 : j][w];
                const bool fresh = begins && j == 0;
                const bool covers = int(phase) + j * Cfg::POOL_STRIDE < Cfg::POOL;
                line[j][w] = fresh || (covers && best > before) ? best : before;
            }
        }
        if (begins && begun != END_LINE + 1) {
            ++begun;
        }
        const bool ends = phase == END_PHASE && begun == END_LINE + 1;
        phase = phase == Cfg::POOL_STRIDE - 1 ? 0 : int(phase) + 1;
        return ends;
    }
};

// POOL_STRIDE output rows of a tile per cycle, in which at most one pool window ends. Groups are asked
// in turn; one that has no tile ready costs a cycle.
template <class Cfg, class Next>
void drain_tiles(hls::stream<TileOf<Cfg> > tiles[Cfg::G],
                 typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    typedef Stage<Cfg> St;
    typedef PoolState<Cfg, Next> Pool;
    static_assert(Next::CHANNELS == Cfg::O && Next::HEIGHT == St::H_POOL &&
                      Next::WIDTH == St::W_POOL,
                  "the next stage takes what this one gives");
    static constexpr int ROWS = Cfg::O * Cfg::H_OUT;
    Pool pools[Cfg::G];
#pragma HLS ARRAY_PARTITION variable=pools type=complete dim=0
    typename Pool::Lines lines[Cfg::G];
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=0
    typename St::Acc acc[Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
    typename St::OutChannel channel = 0;
    Requant requant;
    Count<Cfg::G> group = 0;
    typename St::TileRow row = 0, rows_left = 0;
STEP:
    for (Count<ROWS> done = 0; done < ROWS;) {
        PYADMM_PIPELINE(1)
#pragma HLS LOOP_TRIPCOUNT min=St::DRAIN_STEPS max=St::DRAIN_STEPS
        if (rows_left == 0) {
        GROUP:
            for (int g = 0; g < Cfg::G; ++g) {
                PYADMM_UNROLL(Cfg::G)
                if (g == group && !tiles[g].empty()) {
                    const TileOf<Cfg> tile = tiles[g].read();
                TAKE_ROW:
                    for (int r = 0; r < Cfg::R; ++r) {
                        PYADMM_UNROLL(Cfg::R)
                    TAKE_LANE:
                        for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                            PYADMM_UNROLL(Cfg::W_OUT)
                            acc[r][ow] = tile.acc[r][ow];
                        }
                    }
                    channel = tile.channel;
                    requant = tile.requant;
                    rows_left = tile.rows;
                    row = 0;
                    if (tile.first) {
                        pools[g].reset();
                    }
                }
            }
        }
        if (rows_left != 0) {
            bool ends = false;
            typename St::Acc ended[St::W_POOL];
#pragma HLS ARRAY_PARTITION variable=ended type=complete dim=0
        ROW:
            for (int r = 0; r < Cfg::POOL_STRIDE; ++r) {
                PYADMM_UNROLL(Cfg::POOL_STRIDE)
                if (rows_left != 0) {
                    if (pools[group].take(acc[row], lines[group])) {
                        ends = true;
                    KEEP:
                        for (int w = 0; w < St::W_POOL; ++w) {
                            PYADMM_UNROLL(Stage<Cfg>::W_POOL)
                            ended[w] = lines[group][Pool::END_LINE][w];
                        }
                    }
                    ++row;
                    ++done;
                    --rows_left;
                }
            }
            if (ends) {
                typename Next::Act pooled[St::W_POOL];
#pragma HLS ARRAY_PARTITION variable=pooled type=complete dim=0
            COLUMN:
                for (int w = 0; w < St::W_POOL; ++w) {
                    PYADMM_UNROLL(Stage<Cfg>::W_POOL)
                    pooled[w] = requantise<Cfg>(ended[w], requant);
                }
                write_row<Next>(output, int(channel), pools[group].cursor, pooled);
                pools[group].cursor.next();
            }
        }
        if (rows_left == 0) {
            group = group == Cfg::G - 1 ? 0 : int(group) + 1;
        }
    }
}

}  // namespace pyadmm

#endif
