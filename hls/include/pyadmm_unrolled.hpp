// Unrolled stage: the weights are a generated graph of additions, computed for R x PIXELS output pixels
// of all channels at once.
//
// `Graph` (generated, constants.hpp) gives PIXELS, LIVE input channels that have weights and their
// numbers, the COLUMNS of a window, the OFFSET of the first kernel in it, accumulate() and the record of
// every output channel. Blocks, requantisers and pools are those of hls/rtl/unrolled_*.sv; rows come
// from the frame one after the other, and row words go to the next one.
#ifndef PYADMM_UNROLLED_HPP
#define PYADMM_UNROLLED_HPP

#include <hls_stream.h>

#include "pyadmm_drain.hpp"
#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

template <class Cfg, class Graph>
struct Unrolled {
    typedef Stage<Cfg> St;
    static constexpr int PIXELS = Graph::PIXELS;
    static constexpr int STEP = PIXELS * Cfg::STRIDE;
    static constexpr int LAG = Graph::COLUMNS / STEP - 1;
    // Output rows and columns that reach the next stage.
    static constexpr int HEIGHT = (St::H_POOL - 1) * Cfg::POOL_STRIDE + Cfg::POOL;
    static constexpr int WIDTH = (St::W_POOL - 1) * Cfg::POOL_STRIDE + Cfg::POOL;
    static constexpr int GROUPS = ceil_div(WIDTH, PIXELS);
    static constexpr int BLOCK_ROWS = ceil_div(HEIGHT, Cfg::R);
    static constexpr int BEATS = LAG + GROUPS;
    static constexpr int WIDE = BEATS * STEP;
    // Rows of the window: OLD of the block row above, NEW ones.
    static constexpr int ROW_STEP = Cfg::R * Cfg::STRIDE;
    static constexpr int WINDOW_ROWS = (Cfg::R - 1) * Cfg::STRIDE + Cfg::KH;
    static constexpr int OLD = Cfg::KH > Cfg::STRIDE ? Cfg::KH - Cfg::STRIDE : 0;
    static constexpr int NEW = WINDOW_ROWS - OLD;
    // Block rows that only fill the delays.
    static constexpr int BEFORE = ceil_div(OLD, ROW_STEP);
    // The pool inside a block, and what is left of it for later.
    static constexpr int INSIDE = PIXELS == 1 ? 1 : Cfg::POOL_STRIDE;
    static constexpr int POOLED = PIXELS / INSIDE;
    static constexpr int ROW_POOL = Cfg::R == 1 ? Cfg::POOL : 1;
    static constexpr int ROW_STRIDE = Cfg::R == 1 ? Cfg::POOL_STRIDE : 1;
    static constexpr int COLUMN_POOL = PIXELS == 1 ? Cfg::POOL : 1;
    static constexpr int COLUMN_STRIDE = PIXELS == 1 ? Cfg::POOL_STRIDE : 1;
    static_assert(Graph::COLUMNS % STEP == 0, "the window is whole beats");
    static_assert(PIXELS % INSIDE == 0, "a block is whole windows of the pool");
    static_assert(Cfg::G == Cfg::O && !Cfg::SPARSE, "all output channels share one frame");

    struct Rows {
        typename St::Act x[Graph::LIVE][NEW][WIDE];
    };
    struct Block {
        typename St::Acc best[Cfg::O][POOLED];
    };
    struct Pooled {
        typename St::Out row[Cfg::O][St::W_POOL];
    };
};

// The new rows of every block row, all active channels; zeros outside the map.
template <class Cfg, class Graph>
void fetch_rows(
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    hls::stream<typename Unrolled<Cfg, Graph>::Rows>& rows) {
    typedef Unrolled<Cfg, Graph> U;
    typedef typename Stage<Cfg>::Input Shape;
BLOCK_ROW:
    for (int block = -U::BEFORE; block < U::BLOCK_ROWS; ++block) {
        typename U::Rows fetched;
    ROW:
        for (int i = 0; i < U::NEW; ++i) {
            const int row = block * U::ROW_STEP + U::OLD + i;
            const bool stored = row >= Cfg::PADDING && row < Cfg::H + Cfg::PADDING;
        CHANNEL:
            for (int k = 0; k < Graph::LIVE; ++k) {
                PYADMM_PIPELINE(1)
                typename Shape::Row word;
                if (stored) {
                    const int line = row / Shape::BANKS;
                    word = frame[row % Shape::BANKS][Graph::channel(k) * Shape::BANK_HEIGHT + line];
                }
            COLUMN:
                for (int w = 0; w < U::WIDE; ++w) {
                    PYADMM_UNROLL(U::WIDE)
                    const int column = w - Graph::OFFSET - Cfg::PADDING;
                    const bool inside = stored && column >= 0 && column < Cfg::W;
                    fetched.x[k][i][w] =
                        inside ? word.col[inside ? column : 0] : typename Stage<Cfg>::Act(0);
                }
            }
        }
        rows.write(fetched);
    }
}

// One beat of columns into the window: those of the new rows come from `fetched`, those above them from
// the line delays, into which every row moves up by a block row.
template <class Cfg, class Graph>
void shift_window(
    const typename Unrolled<Cfg, Graph>::Rows& fetched,
    typename Stage<Cfg>::Act lines[Graph::LIVE][Unrolled<Cfg, Graph>::OLD + 1]
                                  [Unrolled<Cfg, Graph>::WIDE],
    int beat,
    typename Stage<Cfg>::Act window[Graph::LIVE][Unrolled<Cfg, Graph>::WINDOW_ROWS]
                                   [Graph::COLUMNS]) {
#pragma HLS INLINE
    typedef Unrolled<Cfg, Graph> U;
CHANNEL:
    for (int k = 0; k < Graph::LIVE; ++k) {
        PYADMM_UNROLL(Graph::LIVE)
    ROW:
        for (int h = 0; h < U::WINDOW_ROWS; ++h) {
            PYADMM_UNROLL(U::WINDOW_ROWS)
        KEEP:
            for (int c = 0; c < U::LAG * U::STEP; ++c) {
                PYADMM_UNROLL(Graph::COLUMNS)
                window[k][h][c] = window[k][h][c + U::STEP];
            }
        TAKE:
            for (int c = 0; c < U::STEP; ++c) {
                PYADMM_UNROLL(U::STEP)
                const int column = beat * U::STEP + c;
                const typename Stage<Cfg>::Act x =
                    h >= U::OLD ? fetched.x[k][h >= U::OLD ? h - U::OLD : 0][column]
                                : lines[k][h < U::OLD ? h : 0][column];
                window[k][h][U::LAG * U::STEP + c] = x;
                if (h >= U::ROW_STEP && h - U::ROW_STEP < U::OLD) {
                    lines[k][h >= U::ROW_STEP ? h - U::ROW_STEP : 0][column] = x;
                }
            }
        }
    }
}

// Accumulators of every block, the largest of each window of the pool that lies in the block.
template <class Cfg, class Graph>
void unrolled_engine(hls::stream<typename Unrolled<Cfg, Graph>::Rows>& rows,
                     hls::stream<typename Unrolled<Cfg, Graph>::Block>& blocks) {
    typedef Stage<Cfg> St;
    typedef Unrolled<Cfg, Graph> U;
    // Values of an earlier image in the delays never reach an output.
    static typename St::Act lines[Graph::LIVE][U::OLD + 1][U::WIDE];
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=1
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=2
    static typename St::Act window[Graph::LIVE][U::WINDOW_ROWS][Graph::COLUMNS];
#pragma HLS ARRAY_PARTITION variable=window type=complete dim=0
BLOCK_ROW:
    for (int row = -U::BEFORE; row < U::BLOCK_ROWS; ++row) {
        const typename U::Rows fetched = rows.read();
    BEAT:
        for (int beat = 0; beat < U::BEATS; ++beat) {
            PYADMM_PIPELINE(1)
            shift_window<Cfg, Graph>(fetched, lines, beat, window);
            typename U::Block block;
        PIXEL:
            for (int v = 0; v < Cfg::R * U::PIXELS; ++v) {
                PYADMM_UNROLL(Cfg::R * U::PIXELS)
                typename St::Acc acc[Cfg::O];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
                const int pixel = v % U::PIXELS;
                Graph::accumulate(window, v / U::PIXELS * Cfg::STRIDE,
                                  Graph::OFFSET + pixel * Cfg::STRIDE, acc);
            CHANNEL:
                for (int o = 0; o < Cfg::O; ++o) {
                    PYADMM_UNROLL(Cfg::O)
                    typename St::Acc& best = block.best[o][pixel / U::INSIDE];
                    const bool first = v < U::PIXELS && pixel % U::INSIDE == 0;
                    best = first || acc[o] > best ? acc[o] : best;
                }
            }
            if (row >= 0 && beat >= U::LAG) {
                blocks.write(block);
            }
        }
    }
}

// Requantise every block; what is left of the pool, over columns and rows.
template <class Cfg, class Graph>
void unrolled_pool(hls::stream<typename Unrolled<Cfg, Graph>::Block>& blocks,
                   hls::stream<typename Unrolled<Cfg, Graph>::Pooled>& pooled) {
    typedef Stage<Cfg> St;
    typedef Unrolled<Cfg, Graph> U;
    static constexpr int KEPT = U::COLUMN_POOL;
    typename St::Out before[Cfg::O][KEPT];
#pragma HLS ARRAY_PARTITION variable=before type=complete dim=0
    typename U::Pooled lines[U::ROW_POOL];
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=1
BLOCK_ROW:
    for (int row = 0; row < U::BLOCK_ROWS; ++row) {
    GROUP:
        for (int group = 0; group < U::GROUPS; ++group) {
            PYADMM_PIPELINE(1)
            const typename U::Block block = blocks.read();
            const int last = group - (U::COLUMN_POOL - 1);
            const bool ends = last >= 0 && last % U::COLUMN_STRIDE == 0;
        CHANNEL:
            for (int o = 0; o < Cfg::O; ++o) {
                PYADMM_UNROLL(Cfg::O)
                const Slot<Cfg> slot = Graph::record(o);
            PIXEL:
                for (int p = 0; p < U::POOLED; ++p) {
                    PYADMM_UNROLL(U::POOLED)
                    const typename St::Acc acc = block.best[o][p] + slot.bias;
                    typename St::Out best = requantise<Cfg>(acc, slot.requant);
                    const typename St::Out fresh = best;
                ACROSS:
                    for (int k = 0; k + 1 < U::COLUMN_POOL; ++k) {
                        PYADMM_UNROLL(U::COLUMN_POOL)
                        best = group > k && before[o][k] > best ? before[o][k] : best;
                    }
                KEEP:
                    for (int k = KEPT - 1; k > 0; --k) {
                        PYADMM_UNROLL(KEPT)
                        before[o][k] = before[o][k - 1];
                    }
                    before[o][0] = fresh;
                    const int column = (ends ? last / U::COLUMN_STRIDE : 0) * U::POOLED + p;
                    if (ends && column < St::W_POOL) {
                        lines[0].row[o][column] = best;
                    }
                }
            }
        }
        const int last = row - (U::ROW_POOL - 1);
        typename U::Pooled best = lines[0];
    LINE:
        for (int k = U::ROW_POOL - 1; k > 0; --k) {
            PYADMM_UNROLL(U::ROW_POOL)
        CHANNEL_OF_LINE:
            for (int o = 0; o < Cfg::O; ++o) {
                PYADMM_UNROLL(Cfg::O)
            COLUMN:
                for (int w = 0; w < St::W_POOL; ++w) {
                    PYADMM_UNROLL(St::W_POOL)
                    const typename St::Out other = lines[k].row[o][w];
                    best.row[o][w] = other > best.row[o][w] ? other : best.row[o][w];
                }
            }
            lines[k] = lines[k - 1];
        }
        if (last >= 0 && last % U::ROW_STRIDE == 0) {
            pooled.write(best);
        }
    }
}

template <class Cfg, class Graph, class Next>
void write_rows(hls::stream<typename Unrolled<Cfg, Graph>::Pooled>& pooled,
                typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    typedef Stage<Cfg> St;
    static_assert(Next::CHANNELS == Cfg::O && Next::HEIGHT == St::H_POOL &&
                      Next::WIDTH == St::W_POOL,
                  "the next stage takes what this one gives");
    RowCursor<Next> cursor;
    cursor.first();
ROW:
    for (int row = 0; row < St::H_POOL; ++row) {
        const typename Unrolled<Cfg, Graph>::Pooled all = pooled.read();
    CHANNEL:
        for (int o = 0; o < Cfg::O; ++o) {
            PYADMM_PIPELINE(1)
            typename Next::Act word[St::W_POOL];
#pragma HLS ARRAY_PARTITION variable=word type=complete dim=0
        COLUMN:
            for (int w = 0; w < St::W_POOL; ++w) {
                PYADMM_UNROLL(St::W_POOL)
                word[w] = all.row[o][w];
            }
            write_row<Next>(output, o, cursor, word);
        }
        cursor.next();
    }
}

// One unrolled stage for one image.
template <class Cfg, class Graph, class Next>
void unrolled_stage(
    const typename Stage<Cfg>::Input::Row
        input[Stage<Cfg>::Input::COPIES][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
#pragma HLS DATAFLOW
    typedef Unrolled<Cfg, Graph> U;
    hls::stream<typename U::Rows> rows;
#pragma HLS STREAM variable=rows depth=2
    hls::stream<typename U::Block> blocks;
#pragma HLS STREAM variable=blocks depth=2
    hls::stream<typename U::Pooled> pooled;
#pragma HLS STREAM variable=pooled depth=2
    fetch_rows<Cfg, Graph>(input[0], rows);
    unrolled_engine<Cfg, Graph>(rows, blocks);
    unrolled_pool<Cfg, Graph>(blocks, pooled);
    write_rows<Cfg, Graph, Next>(pooled, output);
}

}  // namespace pyadmm

#endif
