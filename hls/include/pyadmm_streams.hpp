// The accelerator's two AXI4-Streams: images in, logits out. The input has words of 32 or 64 bits.
#ifndef PYADMM_STREAMS_HPP
#define PYADMM_STREAMS_HPP

#include <ap_axi_sdata.h>
#include <hls_stream.h>

#include "pyadmm_frame.hpp"

namespace pyadmm {

template <int BITS>
using StreamOf = hls::stream<ap_axiu<BITS, 0, 0, 0>>;
typedef ap_axiu<32, 0, 0, 0> AxiWord;
typedef StreamOf<32> AxiStream;

// The integer that holds a word of the stream.
template <int BITS>
struct WordOf;
template <>
struct WordOf<32> {
    typedef uint32_t type;
};
template <>
struct WordOf<64> {
    typedef uint64_t type;
};

inline uint32_t read_word(AxiStream& stream) {
#pragma HLS INLINE
    return uint32_t(stream.read().data);
}

// A weight image on a stream of 64 bits: two words in each, the lower half first.
class WordHalves {
public:
    explicit WordHalves(StreamOf<64>& stream) : stream_(stream), upper_(0), held_(false) {}

    uint32_t next() {
#pragma HLS INLINE
        held_ = !held_;
        if (!held_) {
            return upper_;
        }
        const uint64_t word = uint64_t(stream_.read().data);
        upper_ = uint32_t(word >> 32);
        return uint32_t(word);
    }

private:
    StreamOf<64>& stream_;
    uint32_t upper_;
    bool held_;
};

inline uint32_t read_word(WordHalves& halves) {
#pragma HLS INLINE
    return halves.next();
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

// Pixels C, H, W in row-major order, lowest bits of a word first, become the first frame. A pixel is a
// byte, and x = saturate((byte - offset(channel)) >> SHIFT), or where PACKED the integer x itself in the
// low bits of PIXEL_BITS. A step takes STEP pixels: the largest power of two that a word and a row hold;
// where STEP does not divide the row, a step may end one row and begin the next.
template <class Input>
typename Input::Act convert_pixel(uint32_t pixel, int channel) {
#pragma HLS INLINE
    typedef NumberOf<Input::BITS, Input::SIGNED> Range;
    if (Input::PACKED) {
        const int x = int(pixel & ((1u << Input::BITS) - 1));
        return Input::SIGNED && (x >> (Input::BITS - 1)) != 0 ? x - (1 << Input::BITS) : x;
    }
    const int x = (int(pixel) - Input::offset(channel)) >> Input::SHIFT;
    return x < Range::LO ? int(Range::LO) : x > Range::HI ? int(Range::HI) : x;
}

template <class Input, class Shape, int BITS>
void unpack_image(StreamOf<BITS>& stream,
                  typename Shape::Row frame[Shape::COPIES][Shape::BANKS][Shape::DEPTH]) {
    static constexpr int STEP = Input::STEP;
    static constexpr int PARTS = BITS / Input::PIXEL_BITS / STEP;
    typedef typename WordOf<BITS>::type Word;
    static constexpr int STEPS = ceil_div(Shape::CHANNELS * Shape::HEIGHT * Shape::WIDTH, STEP);
    static_assert(STEP <= Shape::WIDTH, "a step ends at most one row");
    // The newest pixels lie at the end; a row ends up to STEP - 1 pixels before it.
    static constexpr int HELD = Shape::WIDTH + STEP - 1;
    typename Shape::Act held[HELD];
#pragma HLS ARRAY_PARTITION variable=held type=complete dim=0
    RowCursor<Shape> cursor;
    cursor.first();
    Word word = 0;
    Count<PARTS> part = 0;
    Count<Shape::WIDTH + STEP> column = 0;
    Count<Shape::HEIGHT> h = 0;
    Count<Shape::CHANNELS> channel = 0;
STEP:
    for (int n = 0; n < STEPS; ++n) {
        PYADMM_PIPELINE(1)
        if (part == 0) {
            word = Word(stream.read().data);
        }
        const bool map_ends = h == Shape::HEIGHT - 1;
        const bool more = channel != Shape::CHANNELS - 1;
    SHIFT:
        for (int w = 0; w + STEP < HELD; ++w) {
            PYADMM_UNROLL(Shape::WIDTH)
            held[w] = held[w + STEP];
        }
    PIXEL:
        for (int i = 0; i < STEP; ++i) {
            PYADMM_UNROLL(STEP)
            // Pixels behind the end of a channel belong to the next channel.
            const bool after = map_ends && more && int(column) + i >= Shape::WIDTH;
            const uint32_t pixel =
                uint32_t(word >> (Input::PIXEL_BITS * i)) & ((1u << Input::PIXEL_BITS) - 1);
            held[HELD - STEP + i] = convert_pixel<Input>(pixel, int(channel) + (after ? 1 : 0));
        }
        if (PARTS > 1) {
            word >>= (Input::PIXEL_BITS * STEP) % BITS;
        }
        part = part == PARTS - 1 ? 0 : int(part) + 1;
        column = int(column) + STEP;
        if (column >= Shape::WIDTH) {
            const int beyond = int(column) - Shape::WIDTH;
            typename Shape::Act row[Shape::WIDTH];
#pragma HLS ARRAY_PARTITION variable=row type=complete dim=0
        PHASE:
            for (int phase = 0; phase < STEP; ++phase) {
                PYADMM_UNROLL(STEP)
                if (phase == beyond) {
                ALIGN:
                    for (int w = 0; w < Shape::WIDTH; ++w) {
                        PYADMM_UNROLL(Shape::WIDTH)
                        row[w] = held[STEP - 1 - phase + w];
                    }
                }
            }
            column = beyond;
            write_row<Shape>(frame, int(channel), cursor, row);
            cursor.next();
            if (!map_ends) {
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
