// Loading a stage's weights and slot tables from the weight image, and reading them back.
#ifndef PYADMM_WEIGHTS_HPP
#define PYADMM_WEIGHTS_HPP

#include "pyadmm_stage.hpp"
#include "pyadmm_streams.hpp"

namespace pyadmm {

// One stage of the weight image, group after group: header, entries, slot records. A Source gives words
// of 32 bits (read_word): a stream, or the halves of a wider one.
template <class Cfg, class Source>
void load_stage(Source& stream, typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
                Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY], Fill<Cfg> fills[Cfg::G][1]) {
    typedef Stage<Cfg> St;
    typename St::EntryCount lengths[Cfg::SLOT_CAPACITY];
GROUP:
    for (int g = 0; g < Cfg::G; ++g) {
        fills[g][0].entries = read_word(stream);
        fills[g][0].slots = read_word(stream);
        int channels = 0, length = 0;
    ENTRY:
        for (int i = 0; i < Cfg::ENTRY_CAPACITY; ++i) {
            PYADMM_PIPELINE(1)
            const uint32_t word = read_word(stream);
            words[g][i] = typename St::Word(word);
            if (St::ENTRIES) {
                ++length;
                if (field<St::ENTRIES ? St::LAST_BIT : 0, 1>(word) && channels < Cfg::SLOT_CAPACITY) {
                    lengths[channels] = length;
                    ++channels;
                    length = 0;
                }
            }
        }
    SLOT:
        for (int i = 0; i < Cfg::SLOT_CAPACITY; ++i) {
            PYADMM_PIPELINE(3)
            Slot<Cfg> slot;
            slot.channel = read_word(stream);
            slot.bias = typename St::Acc(int32_t(read_word(stream)));
            const uint32_t scale = read_word(stream);
            slot.requant.mult = field<0, 16>(scale);
            slot.requant.shift = field<16, 6>(scale);
            slot.entries = i < channels ? lengths[i] : typename St::EntryCount(0);
            slots[g][i] = slot;
        }
    }
}

// The inverse of load_stage; `last_stage` sets TLAST on its last word.
template <class Cfg>
void read_back_stage(const typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
                     const Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY],
                     const Fill<Cfg> fills[Cfg::G][1], AxiStream& stream, bool last_stage) {
GROUP:
    for (int g = 0; g < Cfg::G; ++g) {
        write_word(stream, to_word(fills[g][0].entries), false);
        write_word(stream, to_word(fills[g][0].slots), false);
    ENTRY:
        for (int i = 0; i < Cfg::ENTRY_CAPACITY; ++i) {
            PYADMM_PIPELINE(1)
            write_word(stream, to_word(words[g][i]), false);
        }
    SLOT:
        for (int i = 0; i < Cfg::SLOT_CAPACITY; ++i) {
            PYADMM_PIPELINE(3)
            const Slot<Cfg> slot = slots[g][i];
            const bool ends = last_stage && g == Cfg::G - 1 && i == Cfg::SLOT_CAPACITY - 1;
            write_word(stream, to_word(slot.channel), false);
            write_word(stream, to_word(slot.bias), false);
            write_word(stream, to_word(slot.requant.mult) | to_word(slot.requant.shift) << 16, ends);
        }
    }
}

// The scaling of a stage without weights, in the form of a dense group of one weight: the entry is
// the multiplier of a sum's second source, the slot record holds the first one and the shift.
template <class Source>
void load_scale(Source& stream, Scale scale[1]) {
    read_word(stream);
    read_word(stream);
    scale[0].mult[1] = field<0, 16>(read_word(stream));
    read_word(stream);
    read_word(stream);
    const uint32_t first = read_word(stream);
    scale[0].mult[0] = field<0, 16>(first);
    scale[0].shift = field<16, 6>(first);
}

// The inverse of load_scale; `last_stage` sets TLAST on its last word.
inline void read_back_scale(const Scale scale[1], AxiStream& stream, bool last_stage) {
    write_word(stream, 1, false);
    write_word(stream, 1, false);
    write_word(stream, to_word(scale[0].mult[1]), false);
    write_word(stream, 0, false);
    write_word(stream, 0, false);
    write_word(stream, to_word(scale[0].mult[0]) | to_word(scale[0].shift) << 16, last_stage);
}

}  // namespace pyadmm

#endif
