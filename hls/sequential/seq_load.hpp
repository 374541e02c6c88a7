// LOAD: rows of memory into the activation buffer or into a table.
#ifndef PYADMM_SEQ_LOAD_HPP
#define PYADMM_SEQ_LOAD_HPP

#include "seq_array.hpp"

namespace pyadmm {
namespace seq {

// BEAT_BYTES bytes into every copy of the buffer.
template <class Cfg>
void put_beat(typename Array<Cfg>::Buffer buffer, uint32_t line, uint32_t place, Beat beat) {
#pragma HLS INLINE
COPY:
    for (int c = 0; c < Array<Cfg>::COPIES; ++c) {
        PYADMM_UNROLL(Array<Cfg>::COPIES)
    LANE:
        for (int b = 0; b < Cfg::LANES; ++b) {
            PYADMM_UNROLL(Cfg::LANES)
            if (uint32_t(b) / BEAT_BYTES == place) {
                buffer[c][line & (Cfg::LINES - 1)][b] = uint8_t(beat >> (8 * (b % BEAT_BYTES)));
            }
        }
    }
}

// One word into every copy of the table that `target` names.
template <class Cfg>
void put_word(typename Array<Cfg>::Masks masks, typename Array<Cfg>::Taps taps,
              typename Array<Cfg>::List list, uint32_t target, uint32_t index, Beat word) {
#pragma HLS INLINE
    typedef Array<Cfg> Arr;
COPY:
    for (int c = 0; c < Arr::COPIES; ++c) {
        PYADMM_UNROLL(Array<Cfg>::COPIES)
        if (target == 1) {
            masks[c][index & (Cfg::MASKS - 1)] = word;
        } else if (target == 2) {
            taps[c][index & (Arr::TAPS - 1)] = bits<0, 25>(word);
        }
    }
    if (target == 3) {
        list[index & (Cfg::LISTS - 1)] = word;
    }
}

// Rows begin `step` lines apart in the buffer; words of a table lie one behind the other.
template <class Cfg>
Status load(const Beat* map, const Memory& memory, const Descriptor& descriptor,
            typename Array<Cfg>::Buffer buffer, typename Array<Cfg>::Masks masks,
            typename Array<Cfg>::Taps taps, typename Array<Cfg>::List list) {
    const uint32_t rows = descriptor.word[2], beats = descriptor.word[3];
    const uint32_t stride = descriptor.word[4], target = field<0, 2>(descriptor.word[5]);
    const uint32_t step = field<0, 16>(descriptor.word[7]);
    uint32_t source = descriptor.word[1], index = field<0, 16>(descriptor.word[6]), row_index = index;
    if (beats == 0) {
        return OK;
    }
ROW:
    for (uint32_t row = 0; row < rows; ++row) {
        if (!memory.holds(source, uint64_t(beats) * BEAT_BYTES)) {
            return OUT_OF_RANGE;
        }
        const Beat* const from = map + memory.beat(source);
        uint32_t place = 0;
    BEAT:
        for (uint32_t i = 0; i < beats; ++i) {
            PYADMM_PIPELINE(1)
            const Beat beat = from[i];
            if (target == 0) {
                put_beat<Cfg>(buffer, index, place, beat);
            } else {
                put_word<Cfg>(masks, taps, list, target, index, beat);
            }
            const bool line_ends = place == Array<Cfg>::LINE_BEATS - 1 || i == beats - 1;
            place = line_ends ? 0 : place + 1;
            index += target != 0 || line_ends ? 1 : 0;
        }
        source += stride;
        row_index += step;
        index = target == 0 ? row_index : index;
    }
    return OK;
}

}  // namespace seq
}  // namespace pyadmm

#endif
