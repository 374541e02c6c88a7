// The accelerator's two AXI4-Streams: images in, logits out.
#ifndef PYADMM_STREAMS_HPP
#define PYADMM_STREAMS_HPP

#include <ap_axi_sdata.h>
#include <hls_stream.h>

#include "pyadmm_frame.hpp"

namespace pyadmm {

typedef ap_axiu<32, 0, 0, 0> AxiWord;
typedef hls::stream<AxiWord> AxiStream;

inline uint32_t read_word(AxiStream& stream) {
#pragma HLS INLINE
    return uint32_t(stream.read().data);
}

inline void write_word(AxiStream& stream, uint32_t value, bool last) {
#pragma HLS INLINE
    AxiWord word;
    word.data = value;
    word.keep = -1;
    word.strb = -1;
    word.last = last;
    stream.write(word);
}

// Bytes C, H, W in row-major order, four to a word, become the first frame. A step takes as many
// bytes of a word as always share a row: gcd(W, 4).
// x = saturate((byte - offset(channel)) >> SHIFT).
template <class Input, class Shape>
void unpack_image(AxiStream& stream,
                  typename Shape::Row frame[Shape::COPIES][Shape::BANKS][Shape::DEPTH]) {
    static constexpr int BYTES = Shape::WIDTH % 4 == 0 ? 4 : Shape::WIDTH % 2 == 0 ? 2 : 1;
    static constexpr int STEPS = Shape::CHANNELS * Shape::HEIGHT * Shape::WIDTH / BYTES;
    typedef NumberOf<Input::BITS, Input::SIGNED> Range;
    typename Shape::Act row[Shape::WIDTH];
#pragma HLS ARRAY_PARTITION variable=row type=complete dim=0
    RowCursor<Shape> cursor;
    cursor.first();
    uint32_t word = 0;
    Count<4> phase = 0;
    Count<Shape::WIDTH> column = 0;
    Count<Shape::HEIGHT> h = 0;
    Count<Shape::CHANNELS> channel = 0;
STEP:
    for (int n = 0; n < STEPS; ++n) {
        PYADMM_PIPELINE(1)
        if (phase == 0) {
            word = read_word(stream);
        }
    SHIFT:
        for (int w = 0; w + BYTES < Shape::WIDTH; ++w) {
            PYADMM_UNROLL(Shape::WIDTH)
            row[w] = row[w + BYTES];
        }
    BYTE:
        for (int b = 0; b < BYTES; ++b) {
            PYADMM_UNROLL(BYTES)
            const int byte = int(word >> (8 * b)) & 0xff;
            const int x = (byte - Input::offset(int(channel))) >> Input::SHIFT;
            row[Shape::WIDTH - BYTES + b] = x < Range::LO   ? int(Range::LO)
                                            : x > Range::HI ? int(Range::HI)
                                                            : x;
        }
        word >>= 8 * (BYTES % 4);
        phase = phase == 4 / BYTES - 1 ? 0 : int(phase) + 1;
        column = int(column) + BYTES;
        if (column == Shape::WIDTH) {
            column = 0;
            write_row<Shape>(frame, int(channel), cursor, row);
            cursor.next();
            if (h != Shape::HEIGHT - 1) {
                ++h;
            } else {
                h = 0;
                ++channel;
                cursor.first();
            }
        }
    }
}

// Logits of one image, one sign-extended word each, in the order O, H, W; TLAST ends the run.
template <class Shape>
void pack_logits(const typename Shape::Row frame[Shape::COPIES][Shape::BANKS][Shape::DEPTH],
                 AxiStream& stream, unsigned image, unsigned count) {
    static_assert(Shape::BANKS == 1 && Shape::COPIES == 1 && Shape::PADDING == 0,
                  "rows of the last frame follow each other");
    static constexpr int WORDS = Shape::DEPTH * Shape::WIDTH;
    Count<Shape::DEPTH> address = 0;
    Count<Shape::WIDTH> column = 0;
WORD:
    for (int n = 0; n < WORDS; ++n) {
        PYADMM_PIPELINE(1)
        const typename Shape::Row row = frame[0][0][address];
        write_word(stream, to_word(row.col[column]), image == count - 1 && n == WORDS - 1);
        if (column == Shape::WIDTH - 1) {
            column = 0;
            ++address;
        } else {
            ++column;
        }
    }
}

}  // namespace pyadmm

#endif
