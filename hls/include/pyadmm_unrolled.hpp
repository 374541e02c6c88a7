// Unrolled stage: the weights are a generated graph of additions, PIXELS output pixels per cycle.
//
// `Graph` (generated, constants.hpp) gives PIXELS, LIVE input channels with any weight and their
// numbers, the COLUMNS of a window, accumulate() and the record of every output channel. The schedule
// is that of hls/rtl/unrolled_*.sv: row after row of the padded map, BEATS beats each.
#ifndef PYADMM_UNROLLED_HPP
#define PYADMM_UNROLLED_HPP

#include <hls_stream.h>

#include "pyadmm_drain.hpp"
#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

template <class Cfg, class Graph>
struct Unrolled {
    static constexpr int ROWS = (Cfg::H_OUT - 1) * Cfg::STRIDE + Cfg::KH;
    static constexpr int STEP = Graph::PIXELS * Cfg::STRIDE;
    static constexpr int LAG = ceil_div((Graph::PIXELS - 1) * Cfg::STRIDE + Cfg::KW, STEP) - 1;
    static constexpr int ROW_BEATS = ceil_div(Cfg::W_OUT, Graph::PIXELS);
    static constexpr int BEATS = ROW_BEATS + LAG;
    static constexpr int WIDE = BEATS * STEP;
    static_assert(Graph::COLUMNS == (LAG + 1) * STEP, "the window is whole beats");
    static_assert(Cfg::R == 1 && Cfg::G == Cfg::O, "one row of every output channel is a tile");
    static_assert(!Cfg::SPARSE, "an unrolled kernel has one copy of its frame");
};

// Row words of all live channels, one padded row, its columns beyond the map zero.
template <class Cfg, class Graph>
void fetch_row(
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    int row, typename Stage<Cfg>::Act fetched[Graph::LIVE][Unrolled<Cfg, Graph>::WIDE]) {
#pragma HLS INLINE
    typedef Unrolled<Cfg, Graph> U;
    typedef typename Stage<Cfg>::Input Shape;
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
            const bool inside = stored && w >= Cfg::PADDING && w < Cfg::W + Cfg::PADDING;
            const int column = inside ? w - Cfg::PADDING : 0;
            fetched[k][w] = inside ? word.col[column] : typename Stage<Cfg>::Act(0);
        }
    }
}

// One beat of columns into the window: those of the newest row come from `fetched`, those above it
// from the line delays, into which every row moves up by one.
template <class Cfg, class Graph>
void shift_window(const typename Stage<Cfg>::Act fetched[Graph::LIVE][Unrolled<Cfg, Graph>::WIDE],
                  typename Stage<Cfg>::Act lines[Graph::LIVE][Cfg::KH][Unrolled<Cfg, Graph>::WIDE],
                  int beat,
                  typename Stage<Cfg>::Act window[Graph::LIVE][Cfg::KH][Graph::COLUMNS]) {
#pragma HLS INLINE
    typedef Unrolled<Cfg, Graph> U;
CHANNEL:
    for (int k = 0; k < Graph::LIVE; ++k) {
        PYADMM_UNROLL(Graph::LIVE)
    ROW:
        for (int h = 0; h < Cfg::KH; ++h) {
            PYADMM_UNROLL(Cfg::KH)
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
                    h == Cfg::KH - 1 ? fetched[k][column] : lines[k][h][column];
                window[k][h][U::LAG * U::STEP + c] = x;
                if (h > 0) {
                    lines[k][h - 1][column] = x;
                }
            }
        }
    }
}

template <class Cfg, class Graph>
void unrolled_engine(
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    hls::stream<TileOf<Cfg> > tiles[Cfg::G]) {
    typedef Stage<Cfg> St;
    typedef Unrolled<Cfg, Graph> U;
    // What an earlier image left in the delays never reaches an output.
    static typename St::Act lines[Graph::LIVE][Cfg::KH][U::WIDE];
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=1
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=2
    static typename St::Act window[Graph::LIVE][Cfg::KH][Graph::COLUMNS];
#pragma HLS ARRAY_PARTITION variable=window type=complete dim=0
    typename St::Act fetched[Graph::LIVE][U::WIDE];
#pragma HLS ARRAY_PARTITION variable=fetched type=complete dim=0
    typename St::Acc row[Cfg::O][U::ROW_BEATS * Graph::PIXELS];
#pragma HLS ARRAY_PARTITION variable=row type=complete dim=0
    typename St::Tile tile = 0;
    Count<Cfg::STRIDE> phase = 0;
ROW:
    for (int r = 0; r < U::ROWS; ++r) {
        fetch_row<Cfg, Graph>(frame, r, fetched);
        const bool emits = r >= Cfg::KH - 1 && phase == 0;
    BEAT:
        for (int beat = 0; beat < U::BEATS; ++beat) {
            PYADMM_PIPELINE(1)
            shift_window<Cfg, Graph>(fetched, lines, beat, window);
        PIXEL:
            for (int v = 0; v < Graph::PIXELS; ++v) {
                PYADMM_UNROLL(Graph::PIXELS)
                typename St::Acc acc[Cfg::O];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
                Graph::accumulate(window, v * Cfg::STRIDE, acc);
            CHANNEL:
                for (int o = 0; o < Cfg::O; ++o) {
                    PYADMM_UNROLL(Cfg::O)
                    if (beat >= U::LAG) {
                        row[o][(beat - U::LAG) * Graph::PIXELS + v] = acc[o];
                    }
                }
            }
        }
        if (r >= Cfg::KH - 1) {
            phase = phase == Cfg::STRIDE - 1 ? 0 : int(phase) + 1;
        }
        if (emits) {
        EMIT:
            for (int o = 0; o < Cfg::O; ++o) {
                PYADMM_UNROLL(Cfg::O)
                const Slot<Cfg> slot = Graph::record(o);
                typename St::Acc acc[1][Cfg::W_OUT];
            LANE:
                for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                    PYADMM_UNROLL(Cfg::W_OUT)
                    acc[0][ow] = row[o][ow] + slot.bias;
                }
                emit_tile<Cfg>(acc, slot, tile, tiles[o]);
            }
            ++tile;
        }
    }
}

// One unrolled stage: the engine and its drain, for one image.
template <class Cfg, class Graph, class Next>
void unrolled_stage(
    const typename Stage<Cfg>::Input::Row
        input[Stage<Cfg>::Input::COPIES][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
#pragma HLS DATAFLOW
    hls::stream<TileOf<Cfg> > tiles[Cfg::G];
#pragma HLS STREAM variable=tiles depth=2
    unrolled_engine<Cfg, Graph>(input[0], tiles);
    drain_tiles<Cfg, Next>(tiles, output);
}

}  // namespace pyadmm

#endif
