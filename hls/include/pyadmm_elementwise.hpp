// Stages without weights: sums of two frames, pools, and copies of a frame for two readers.
//
// They walk the output in the order C, H, W, LANES columns at a time, and take one cycle per value of
// a window; a sum is a window of one value. Frames lie in one bank, row words in the order C, H.
#ifndef PYADMM_ELEMENTWISE_HPP
#define PYADMM_ELEMENTWISE_HPP

#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

// A frame that is read row by row.
template <int BITS, bool SIGNED, int C, int H, int W>
using RowFrame = FrameShape<Number<BITS, SIGNED>, C, H, W, 0, 1, 1>;

// Everything that follows from the numbers of a configuration `Cfg`.
template <class Cfg>
struct ElementwiseStage {
    static constexpr int H_OUT = (Cfg::H - Cfg::KERNEL) / Cfg::STRIDE + 1;
    static constexpr int W_OUT = (Cfg::W - Cfg::KERNEL) / Cfg::STRIDE + 1;
    static constexpr int CHUNKS = W_OUT / Cfg::LANES;
    static constexpr int STEPS = Cfg::C * H_OUT * CHUNKS * Cfg::KERNEL * Cfg::KERNEL;
    static_assert(Cfg::KERNEL >= 1 && Cfg::KERNEL <= Cfg::H && Cfg::KERNEL <= Cfg::W, "it fits");
    static_assert(Cfg::STRIDE >= 1 && Cfg::LANES >= 1, "there are steps");
    static_assert(W_OUT % Cfg::LANES == 0, "lanes divide a row");

    typedef RowFrame<Cfg::A_BITS, Cfg::A_SIGNED, Cfg::C, Cfg::H, Cfg::W> InputA;
    typedef RowFrame<Cfg::B_BITS, Cfg::B_SIGNED, Cfg::C, Cfg::H, Cfg::W> InputB;
    typedef RowFrame<Cfg::OUT_BITS, Cfg::OUT_SIGNED, Cfg::C, H_OUT, W_OUT> Output;
    // Products and the rounding term, which is at most 2**47.
    typedef Int<Cfg::WORK_BITS> Work;
    typedef Int<Cfg::SUM_BITS> Sum;
};

// y = clamp((total + (1 << (shift - 1))) >> shift, lo, hi)
template <class Cfg>
typename ElementwiseStage<Cfg>::Output::Act scale_down(typename ElementwiseStage<Cfg>::Work total,
                                               const UInt<6>& shift) {
#pragma HLS INLINE
    typedef typename ElementwiseStage<Cfg>::Work Work;
    typedef NumberOf<Cfg::OUT_BITS, Cfg::OUT_SIGNED> Range;
    const Work half = Work(1) << (int(shift) - 1);
    const Work y = (total + half) >> int(shift);
    const Work lo = Range::LO, hi = Range::HI;
    return typename ElementwiseStage<Cfg>::Output::Act(y < lo ? lo : y > hi ? hi : y);
}

// Collects a row, LANES columns at a time, and writes the complete row to the next frame.
template <class Cfg, class Next>
struct RowWriter {
    typedef ElementwiseStage<Cfg> St;
    Count<St::CHUNKS> chunk;
    Count<St::H_OUT> row;
    Count<Cfg::C> channel;
    RowCursor<Next> cursor;

    void first() {
#pragma HLS INLINE
        chunk = 0;
        row = 0;
        channel = 0;
        cursor.first();
    }

    // Take the next columns; returns true where they complete their row.
    bool take(const typename Next::Act fresh[Cfg::LANES], typename Next::Act collected[St::W_OUT],
              typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
#pragma HLS INLINE
        static_assert(Next::CHANNELS == Cfg::C && Next::HEIGHT == St::H_OUT &&
                          Next::WIDTH == St::W_OUT,
                      "the next stage takes what this one gives");
    SHIFT:
        for (int w = 0; w + Cfg::LANES < St::W_OUT; ++w) {
            PYADMM_UNROLL(ElementwiseStage<Cfg>::W_OUT)
            collected[w] = collected[w + Cfg::LANES];
        }
    LANE:
        for (int l = 0; l < Cfg::LANES; ++l) {
            PYADMM_UNROLL(Cfg::LANES)
            collected[St::W_OUT - Cfg::LANES + l] = fresh[l];
        }
        if (chunk != St::CHUNKS - 1) {
            ++chunk;
            return false;
        }
        chunk = 0;
        write_row<Next>(output, int(channel), cursor, collected);
        if (row != St::H_OUT - 1) {
            ++row;
            cursor.next();
        } else {
            row = 0;
            ++channel;
            cursor.first();
        }
        return true;
    }
};

// Residual sum: y = clamp((a*mult[0] + b*mult[1] + (1 << (shift - 1))) >> shift, lo, hi).
template <class Cfg, class Next>
void add_stage(const Scale scale[1],
               const typename ElementwiseStage<Cfg>::InputA::Row a[1][1][ElementwiseStage<Cfg>::InputA::DEPTH],
               const typename ElementwiseStage<Cfg>::InputB::Row b[1][1][ElementwiseStage<Cfg>::InputB::DEPTH],
               typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    typedef ElementwiseStage<Cfg> St;
    static_assert(Cfg::KERNEL == 1 && Cfg::STRIDE == 1, "a sum has no window");
    typename Next::Act collected[St::W_OUT];
#pragma HLS ARRAY_PARTITION variable=collected type=complete dim=0
    RowWriter<Cfg, Next> writer;
    writer.first();
    Count<St::InputA::DEPTH> address = 0;
    Count<Cfg::W> column = 0;
STEP:
    for (int n = 0; n < St::STEPS; ++n) {
        PYADMM_PIPELINE(1)
        const typename St::InputA::Row row_a = a[0][0][address];
        const typename St::InputB::Row row_b = b[0][0][address];
        typename Next::Act fresh[Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=fresh type=complete dim=0
    LANE:
        for (int l = 0; l < Cfg::LANES; ++l) {
            PYADMM_UNROLL(Cfg::LANES)
            const Int<Cfg::A_BITS + 1> x = row_a.col[int(column) + l];
            const Int<Cfg::B_BITS + 1> y = row_b.col[int(column) + l];
            const typename St::Work total =
                typename St::Work(multiply<Cfg::A_BITS + 1, 16>(x, scale[0].mult[0])) +
                typename St::Work(multiply<Cfg::B_BITS + 1, 16>(y, scale[0].mult[1]));
            fresh[l] = scale_down<Cfg>(total, scale[0].shift);
        }
        column = int(column) + Cfg::LANES;
        if (writer.take(fresh, collected, output)) {
            column = 0;
            ++address;
        }
    }
}

// Average pool: the sum of a window, scaled as an accumulator is.
template <class Cfg>
struct Average {
    typedef typename ElementwiseStage<Cfg>::Sum State;
    static State join(State before, typename ElementwiseStage<Cfg>::InputA::Act x) {
#pragma HLS INLINE
        return State(before + x);
    }
    static typename ElementwiseStage<Cfg>::Output::Act result(State sum, const Scale& scale) {
#pragma HLS INLINE
        return scale_down<Cfg>(multiply<Cfg::SUM_BITS, 16>(sum, scale.mult[0]), scale.shift);
    }
};

// Max-pool; it scales nothing.
template <class Cfg>
struct Maximum {
    typedef typename ElementwiseStage<Cfg>::InputA::Act State;
    static State join(State before, State x) {
#pragma HLS INLINE
        return x > before ? x : before;
    }
    static typename ElementwiseStage<Cfg>::Output::Act result(State best, const Scale&) {
#pragma HLS INLINE
        return best;
    }
};

// KERNEL x KERNEL windows at distance STRIDE, one value of LANES windows per cycle.
template <class Cfg, class Next, class Pool>
void pool_windows(const Scale& scale,
                  const typename ElementwiseStage<Cfg>::InputA::Row a[1][1][ElementwiseStage<Cfg>::InputA::DEPTH],
                  typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
#pragma HLS INLINE
    typedef ElementwiseStage<Cfg> St;
    typename Next::Act collected[St::W_OUT];
#pragma HLS ARRAY_PARTITION variable=collected type=complete dim=0
    typename Pool::State state[Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=state type=complete dim=0
    RowWriter<Cfg, Next> writer;
    writer.first();
    // The window's first row word and first column, and the place in the window.
    Count<St::InputA::DEPTH> channel_row = 0, first_row = 0;
    Count<Cfg::W + Cfg::LANES * Cfg::STRIDE> first_column = 0;
    Count<Cfg::KERNEL> kh = 0, kw = 0;
    Count<St::H_OUT> rows = 0;
STEP:
    for (int n = 0; n < St::STEPS; ++n) {
        PYADMM_PIPELINE(1)
        const bool starts = kh == 0 && kw == 0;
        const bool ends = kh == Cfg::KERNEL - 1 && kw == Cfg::KERNEL - 1;
        const typename St::InputA::Row word = a[0][0][int(first_row) + int(kh)];
        typename Next::Act fresh[Cfg::LANES];
#pragma HLS ARRAY_PARTITION variable=fresh type=complete dim=0
    LANE:
        for (int l = 0; l < Cfg::LANES; ++l) {
            PYADMM_UNROLL(Cfg::LANES)
            const typename St::InputA::Act x =
                word.col[int(first_column) + l * Cfg::STRIDE + int(kw)];
            state[l] = starts ? typename Pool::State(x) : Pool::join(state[l], x);
            fresh[l] = Pool::result(state[l], scale);
        }
        if (kw != Cfg::KERNEL - 1) {
            ++kw;
        } else {
            kw = 0;
            kh = kh == Cfg::KERNEL - 1 ? 0 : int(kh) + 1;
        }
        if (ends) {
            first_column = int(first_column) + Cfg::LANES * Cfg::STRIDE;
            if (writer.take(fresh, collected, output)) {
                first_column = 0;
                if (rows != St::H_OUT - 1) {
                    ++rows;
                    first_row = int(first_row) + Cfg::STRIDE;
                } else {
                    rows = 0;
                    channel_row = int(channel_row) + Cfg::H;
                    first_row = channel_row;
                }
            }
        }
    }
}

template <class Cfg, class Next>
void avgpool_stage(const Scale scale[1],
                   const typename ElementwiseStage<Cfg>::InputA::Row a[1][1][ElementwiseStage<Cfg>::InputA::DEPTH],
                   typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    pool_windows<Cfg, Next, Average<Cfg> >(scale[0], a, output);
}

template <class Cfg, class Next>
void maxpool_stage(const typename ElementwiseStage<Cfg>::InputA::Row a[1][1][ElementwiseStage<Cfg>::InputA::DEPTH],
                   typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    pool_windows<Cfg, Next, Maximum<Cfg> >(Scale(), a, output);
}

// Copy one frame to the frames of two readers, a row word per cycle: in a DATAFLOW region a frame has
// one writer and one reader.
template <class Input, class First, class Second>
void fork_frame(const typename Input::Row input[1][1][Input::DEPTH],
                typename First::Row first[First::COPIES][First::BANKS][First::DEPTH],
                typename Second::Row second[Second::COPIES][Second::BANKS][Second::DEPTH]) {
    RowCursor<First> to_first;
    RowCursor<Second> to_second;
    to_first.first();
    to_second.first();
    Count<Input::CHANNELS> channel = 0;
    Count<Input::HEIGHT> h = 0;
ROW:
    for (int n = 0; n < Input::DEPTH; ++n) {
        PYADMM_PIPELINE(1)
        const typename Input::Row word = input[0][0][n];
        write_row<First>(first, int(channel), to_first, word.col);
        write_row<Second>(second, int(channel), to_second, word.col);
        if (h != Input::HEIGHT - 1) {
            ++h;
            to_first.next();
            to_second.next();
        } else {
            h = 0;
            ++channel;
            to_first.first();
            to_second.first();
        }
    }
}

}  // namespace pyadmm

#endif
