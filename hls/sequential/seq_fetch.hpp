// The groups' streams: one slot of every group per round, or a piece of one that does not fit into its ring.
#ifndef PYADMM_SEQ_FETCH_HPP
#define PYADMM_SEQ_FETCH_HPP

#include "seq_array.hpp"

namespace pyadmm {
namespace seq {

// Where a group stands in its stream. `slot_words` and `slot_entries` are what is left of the present slot.
struct Cursor {
    bool active, last;
    uint32_t address, words, slot_words, slot_entries;
    Slot slot;
};

// The cursors at the beginning of a RUN: the streams lie one behind the other.
template <class Cfg>
void open_streams(const Descriptor& descriptor, Cursor cursors[Cfg::GROUPS]) {
    uint32_t address = descriptor.word[14];
GROUP:
    for (int g = 0; g < Cfg::GROUPS; ++g) {
        const uint32_t words = descriptor.word[16 + g];
        cursors[g].active = words != 0;
        cursors[g].address = address;
        cursors[g].words = words;
        cursors[g].slot_words = 0;
        address += words * BEAT_BYTES;
    }
}

// Take `count` words of the stream; they begin at `first`.
inline Status take_words(const Memory& memory, Cursor& cursor, uint32_t count, uint32_t& first) {
#pragma HLS INLINE
    if (cursor.words < count) {
        return NO_PROGRESS;
    }
    if (!memory.holds(cursor.address, uint64_t(count) * BEAT_BYTES)) {
        return OUT_OF_RANGE;
    }
    first = memory.beat(cursor.address);
    cursor.address += count * BEAT_BYTES;
    cursor.words -= count;
    return OK;
}

inline Status take_header(const Beat* stream, const Memory& memory, Cursor& cursor) {
#pragma HLS INLINE
    uint32_t first = 0;
    const Status status = take_words(memory, cursor, 2, first);
    if (status != OK) {
        return status;
    }
    const Beat place = stream[first], scale = stream[first + 1];
    cursor.slot_entries = ((bits<0, 16>(place) - 1) & 0xffff) + 1;
    cursor.slot_words = (cursor.slot_entries + 3) / 4;
    cursor.last = bits<63, 1>(scale);
    cursor.slot.start = bits<16, 20>(place);
    cursor.slot.skip_line = bits<36, 4>(place) | bits<54, 9>(scale) << 4;
    cursor.slot.destination = bits<40, 24>(place);
    cursor.slot.bias = int32_t(bits<0, 32>(scale));
    cursor.slot.mult = bits<32, 16>(scale);
    cursor.slot.shift = bits<48, 6>(scale);
    return OK;
}

// The next slot, or piece, of every group that has one left.
template <class Cfg>
Status fetch_slots(const Beat* stream, const Memory& memory, uint32_t tiles, Cursor cursors[Cfg::GROUPS],
                   typename Array<Cfg>::Rings rings, Slot slots[Cfg::GROUPS]) {
GROUP:
    for (int g = 0; g < Cfg::GROUPS; ++g) {
        Cursor cursor = cursors[g];
        const bool begins = cursor.slot_words == 0;
        slots[g].active = cursor.active;
        if (!cursor.active) {
            continue;
        }
        if (begins) {
            const Status status = take_header(stream, memory, cursor);
            if (status != OK) {
                return status;
            }
            // The entries of several tiles are replayed from the ring.
            if (cursor.slot_words > uint32_t(Cfg::ENTRY_WORDS) && tiles > 1) {
                return NO_PROGRESS;
            }
        }
        const bool ends = cursor.slot_words <= uint32_t(Cfg::ENTRY_WORDS);
        const uint32_t words = ends ? cursor.slot_words : uint32_t(Cfg::ENTRY_WORDS);
        uint32_t first = 0;
        const Status status = take_words(memory, cursor, words, first);
        if (status != OK) {
            return status;
        }
    WORD:
        for (uint32_t i = 0; i < words; ++i) {
            PYADMM_PIPELINE(1)
            rings[g][i] = stream[first + i];
        }
        cursor.slot.active = true;
        cursor.slot.begins = begins;
        cursor.slot.ends = ends;
        cursor.slot.entries = ends ? cursor.slot_entries : 4 * words;
        cursor.slot_words -= words;
        cursor.slot_entries -= cursor.slot.entries;
        cursor.active = !(ends && cursor.last);
        slots[g] = cursor.slot;
        cursors[g] = cursor;
    }
    return OK;
}

}  // namespace seq
}  // namespace pyadmm

#endif
