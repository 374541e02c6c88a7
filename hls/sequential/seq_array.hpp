// The layer-sequential array: its parameters, what follows from them, and the words of a program
// (docs/kernels.md, "The layer-sequential array"). The RTL twin is hls/rtl/seq_*.sv.
#ifndef PYADMM_SEQ_ARRAY_HPP
#define PYADMM_SEQ_ARRAY_HPP

#include <hls_stream.h>

#include "pyadmm_types.hpp"

namespace pyadmm {
namespace seq {

// One transfer on a memory port.
typedef uint64_t Beat;

static constexpr uint32_t MAGIC = 0x51534450u;
static constexpr uint32_t VERSION = 3;
static constexpr uint32_t TAG = 0x5ac3u;
static constexpr uint32_t HEADER_BYTES = 128, HEADER_BEATS = 8;
static constexpr int DESCRIPTOR_BYTES = 128, DESCRIPTOR_BEATS = 16;
static constexpr int BEAT_BYTES = 8;

// Values of the status register. C++ sees no error answers of a memory port, so 3 and 4 are the RTL's.
enum Status {
    OK = 0,
    BAD_HEADER = 1,
    BAD_DESCRIPTOR = 2,
    READ_ERROR = 3,
    WRITE_ERROR = 4,
    NO_PROGRESS = 5,
    OUT_OF_RANGE = 6
};

constexpr bool is_power_of_two(int number) { return number >= 16 && (number & (number - 1)) == 0; }

// Everything that follows from the numbers of an array `Cfg`.
template <class Cfg>
struct Array {
    static_assert(Cfg::GROUPS >= 1 && Cfg::GROUPS <= 8, "a descriptor has room for 8 groups");
    static_assert(Cfg::LANES == 32 || Cfg::LANES == 64, "a mask is one transfer");
    static_assert(Cfg::ACC_BITS >= 20 && Cfg::ACC_BITS <= 32, "biases have 32 bits");
    static_assert((Cfg::DRAIN == 4 || Cfg::DRAIN == 8 || Cfg::DRAIN == 16) && Cfg::LANES <= 8 * Cfg::DRAIN,
                  "the drain takes an eighth of the lanes or more");
    static_assert(is_power_of_two(Cfg::LINES) && is_power_of_two(Cfg::ENTRY_WORDS) && is_power_of_two(Cfg::MASKS) &&
                      is_power_of_two(Cfg::LISTS) && is_power_of_two(Cfg::TILES),
                  "addresses wrap at powers of two");

    static constexpr uint32_t BUILD =
        VERSION | uint32_t(Cfg::GROUPS) << 8 | uint32_t(Cfg::LANES) << 16;
    static constexpr int TAPS = 256;
    static constexpr int LANE_BITS = index_width(Cfg::LANES);
    static constexpr uint32_t BUFFER_MASK = uint32_t(Cfg::LINES) * Cfg::LANES - 1;
    static constexpr int LINE_BEATS = Cfg::LANES / BEAT_BYTES;
    // Lanes that the drain takes per step, and bytes of one transfer of the store.
    static constexpr int SLICE = 16;
    // Cycles that DRAIN lanes of multipliers and shifters take for a slice.
    static constexpr int SLICE_CYCLES = SLICE / Cfg::DRAIN;
    static constexpr int SLICES = Cfg::LANES / SLICE;
    static constexpr int DEPTH = Cfg::TILES * SLICES;
    // Two groups read one copy of the buffer and of the tables: a memory has two ports.
    static constexpr int COPIES = (Cfg::GROUPS + 1) / 2;

    typedef Int<Cfg::ACC_BITS> Acc;

    // SLICE bytes of a channel.
    struct Slice {
        uint8_t byte[SLICE];
    };
    typedef uint8_t Buffer[COPIES][Cfg::LINES][Cfg::LANES];
    typedef Beat Masks[COPIES][Cfg::MASKS];
    typedef uint32_t Taps[COPIES][TAPS];
    typedef Beat List[Cfg::LISTS];
    typedef Beat Rings[Cfg::GROUPS][Cfg::ENTRY_WORDS];
    typedef Slice Channels[Cfg::GROUPS][DEPTH];
};

// `width` bits of a transfer from bit `lsb` on.
template <int LSB, int WIDTH>
inline uint32_t bits(Beat beat) {
    static_assert(LSB >= 0 && WIDTH >= 1 && WIDTH <= 32 && LSB + WIDTH <= 64, "a field of 64 bits");
    return uint32_t(beat >> LSB) & uint32_t((Beat(1) << WIDTH) - 1);
}

// The program's part of memory. Addresses are bytes behind `base`; they wrap at 32 bits.
struct Memory {
    uint32_t base;
    uint32_t bytes;

    bool holds(uint32_t address, uint64_t size) const {
#pragma HLS INLINE
        return address + size <= bytes;
    }
    // Index of the transfer at `address`.
    uint32_t beat(uint32_t address) const {
#pragma HLS INLINE
        return uint32_t(base + address) / BEAT_BYTES;
    }
};

// A descriptor: 32 words.
struct Descriptor {
    uint32_t word[2 * DESCRIPTOR_BEATS];
};

// The words of a RUN that the array, the drain and the store need.
struct Run {
    uint32_t base, plane, tiles, taps, tap_bits;
    bool maximum, to_buffer, listed, wide, sum, skip_signed;
    uint32_t last_slices;
    int32_t low, high;
    uint32_t stored, piece_stride, destination, mask_base, tap_base, list_base;
    uint32_t mult0, mult1, sum_shift;
    int32_t sum_low, sum_high;
};

inline Run run_of(const Descriptor& descriptor) {
#pragma HLS INLINE
    const uint32_t* const word = descriptor.word;
    Run run;
    run.base = word[1];
    run.plane = word[2];
    // As counters of the hardware's width take it: 0 is the largest number and one more.
    run.tiles = ((word[3] - 1) & 0xff) + 1;
    run.taps = field<0, 8>(word[4]);
    run.tap_bits = field<8, 3>(word[4]);
    run.maximum = field<0, 1>(word[5]);
    run.to_buffer = field<1, 1>(word[5]);
    run.listed = field<2, 1>(word[5]);
    run.wide = field<3, 1>(word[5]);
    run.sum = field<4, 1>(word[5]);
    run.skip_signed = field<5, 1>(word[5]);
    run.last_slices = field<8, 4>(word[5]);
    run.low = int32_t(word[6]);
    run.high = int32_t(word[7]);
    run.stored = ((word[8] - 1) & 0xffff) + 1;
    run.piece_stride = word[9];
    run.destination = word[10];
    run.mask_base = word[11];
    run.tap_base = word[12];
    run.list_base = word[13];
    run.mult0 = field<0, 16>(word[24]);
    run.mult1 = field<16, 16>(word[24]);
    run.sum_shift = field<0, 6>(word[25]);
    run.sum_low = int32_t(word[26]);
    run.sum_high = int32_t(word[27]);
    return run;
}

// One output channel of one group in one round: its header, and which of its entries lie in the ring. A slot
// that does not fit into a ring comes in several pieces.
struct Slot {
    bool active, begins, ends;
    uint32_t entries;
    uint32_t start, skip_line, destination;
    int32_t bias;
    uint32_t mult, shift;
};

// The V accumulators of one tile, and what a sum adds to them.
template <class Cfg>
struct Tile {
    typename Array<Cfg>::Acc acc[Cfg::LANES];
    uint8_t skip[Cfg::LANES];
    uint32_t number;
};

}  // namespace seq
}  // namespace pyadmm

#endif
