// Writing row words to a frame, and reading the windows of a tile from it.
#ifndef PYADMM_FRAME_HPP
#define PYADMM_FRAME_HPP

#include "pyadmm_stage.hpp"

namespace pyadmm {

// Where the next row of a channel goes: bank and line count up together, without a division.
template <class Shape>
struct RowCursor {
    Count<Shape::BANKS> bank;
    Count<Shape::BANK_HEIGHT> line;

    void first() {
#pragma HLS INLINE
        bank = Shape::PADDING % Shape::BANKS;
        line = Shape::PADDING / Shape::BANKS;
    }

    void next() {
#pragma HLS INLINE
        const bool wraps = bank == Shape::BANKS - 1;
        bank = wraps ? 0 : int(bank) + 1;
        line = wraps ? int(line) + 1 : int(line);
    }
};

// Write one row word of `channel` to every copy of the frame.
template <class Shape>
void write_row(typename Shape::Row frame[Shape::COPIES][Shape::BANKS][Shape::DEPTH], int channel,
               const RowCursor<Shape>& cursor, const typename Shape::Act row[Shape::WIDTH]) {
#pragma HLS INLINE
    const int address = channel * Shape::BANK_HEIGHT + int(cursor.line);
    typename Shape::Row word;
PACK:
    for (int w = 0; w < Shape::WIDTH; ++w) {
        PYADMM_UNROLL(Shape::WIDTH)
        word.col[w] = row[w];
    }
COPY:
    for (int copy = 0; copy < Shape::COPIES; ++copy) {
        PYADMM_UNROLL(Shape::COPIES)
        frame[copy][cursor.bank][address] = word;
    }
}

// Operands of a tile's lanes: x[r][ow] = input(c, row (t*R + r)*S + kh, column ow*S + kw), padding
// included. One read per bank; a row's bank is found by rotating by kh, a column by a KW-way
// multiplexer. Every division below has a constant or is a sum of comparisons.
template <class Cfg>
void read_window(
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Stage<Cfg>::InChannel c, typename Stage<Cfg>::Tile t,
    typename Stage<Cfg>::KernelRow kh, typename Stage<Cfg>::KernelColumn kw,
    typename Stage<Cfg>::Act x[Cfg::R][Cfg::W_OUT]) {
#pragma HLS INLINE
    typedef Stage<Cfg> St;
    typedef typename St::Input Shape;
    const int channel_base = int(c) * Shape::BANK_HEIGHT;
    const int kernel_row = int(kh);

    typename St::Act fetched[St::BANKS][Cfg::W];
#pragma HLS ARRAY_PARTITION variable=fetched type=complete dim=0
BANK:
    for (int bank = 0; bank < St::BANKS; ++bank) {
        PYADMM_UNROLL(St::BANKS)
        // The rows kh ... kh + BANKS - 1 of the tile: exactly one of them lies in this bank.
        int line = int(t);
        if (St::BANKS == 1) {
            line += kernel_row;
        } else {
        LATER_LINE:
            for (int turn = 0; turn * St::BANKS < Cfg::KH; ++turn) {
                PYADMM_UNROLL(Cfg::KH)
                line += kernel_row > bank + turn * St::BANKS ? 1 : 0;
            }
        }
        const int padded = line * St::BANKS + bank;
        const bool stored = padded >= Cfg::PADDING && padded < Cfg::H + Cfg::PADDING;
        typename Shape::Row word;
        if (stored) {
            word = frame[bank][channel_base + line];
        }
    UNPACK:
        for (int w = 0; w < Cfg::W; ++w) {
            PYADMM_UNROLL(Cfg::W)
            fetched[bank][w] = stored ? word.col[w] : typename St::Act(0);
        }
    }

    int rotation = kernel_row;
TURN:
    for (int turn = 1; turn * St::BANKS < Cfg::KH; ++turn) {
        PYADMM_UNROLL(Cfg::KH)
        rotation -= kernel_row >= turn * St::BANKS ? St::BANKS : 0;
    }
ROW:
    for (int r = 0; r < Cfg::R; ++r) {
        PYADMM_UNROLL(Cfg::R)
        const int place = rotation + r * Cfg::STRIDE;
        const int bank = place >= St::BANKS ? place - St::BANKS : place;
        typename St::Act wide[St::WIDE];
#pragma HLS ARRAY_PARTITION variable=wide type=complete dim=1
    MIDDLE:
        for (int w = 0; w < Cfg::W; ++w) {
            PYADMM_UNROLL(Cfg::W)
            wide[w + Cfg::PADDING] = fetched[bank][w];
        }
    EDGE:
        for (int w = 0; w < Cfg::PADDING; ++w) {
            PYADMM_UNROLL(Stage<Cfg>::WIDE)
            wide[w] = 0;
            wide[w + Cfg::PADDING + Cfg::W] = 0;
        }
    COLUMN:
        for (int k = 0; k < Cfg::KW; ++k) {
            PYADMM_UNROLL(Cfg::KW)
            if (int(kw) == k) {
            LANE:
                for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                    PYADMM_UNROLL(Cfg::W_OUT)
                    x[r][ow] = wide[ow * Cfg::STRIDE + k];
                }
            }
        }
    }
}

}  // namespace pyadmm

#endif
