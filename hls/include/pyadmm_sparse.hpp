// Sparse engine: every group replays the entries of its output channels, one entry per cycle.
//
// With V > 1 lanes this is the pixel-parallel kernel of convolutions (the index is decoded once for
// V multipliers), with V = 1 the row-parallel kernel of linear layers. A group is two processes: the
// walk announces (slot, tile) jobs ahead of time, so that the replay's pipeline never waits for a
// slot record or for an entry's `last` flag to know where to read next.
#ifndef PYADMM_SPARSE_HPP
#define PYADMM_SPARSE_HPP

#include <hls_stream.h>

#include "pyadmm_drain.hpp"
#include "pyadmm_frame.hpp"
#include "pyadmm_stage.hpp"

namespace pyadmm {

// One replay of an output channel's entries.
template <class Cfg>
struct Job {
    Slot<Cfg> slot;
    typename Stage<Cfg>::EntryCount first;
    typename Stage<Cfg>::Tile tile;
};

template <class Cfg>
using Steps = Count<Stage<Cfg>::MAX_STEPS>;

// Fields of a sparse entry.
template <class Cfg>
struct Entry {
    typename Stage<Cfg>::Weight weight;  // 0 for a filler
    typename Stage<Cfg>::KernelColumn kw;
    typename Stage<Cfg>::KernelRow kh;
    typename Stage<Cfg>::InChannel advance;

    explicit Entry(uint32_t word) {
#pragma HLS INLINE
        typedef Stage<Cfg> St;
        const int magnitude = int(field<0, Cfg::WEIGHT_BITS - 1>(word)) + 1;
        const bool negative = field<Cfg::WEIGHT_BITS - 1, 1>(word) != 0;
        const bool mac = field<St::MAC_BIT, 1>(word) != 0;
        weight = !mac ? 0 : negative ? -magnitude : magnitude;
        kw = field<St::KW_LSB, St::KW_BITS>(word);
        kh = field<St::KH_LSB, St::KH_BITS>(word);
        advance = field<St::DC_LSB, Cfg::INDEX_BITS>(word);
    }
};

// Jobs of one group, channel-major: every slot T times; before them, the steps they take in all.
template <class Cfg>
void walk_slots(const Slot<Cfg> slots[Cfg::SLOT_CAPACITY], const Fill<Cfg> fill[1],
                hls::stream<Steps<Cfg> >& steps, hls::stream<Job<Cfg> >& jobs) {
    typedef Stage<Cfg> St;
    steps.write(int(fill[0].entries) * St::TILES);
    Job<Cfg> job;
    job.first = 0;
    typename St::SlotCount s = 0;
    typename St::Tile t = 0;
    const Count<St::MAX_JOBS> total = int(fill[0].slots) * St::TILES;
JOB:
    for (Count<St::MAX_JOBS> n = 0; n < total; ++n) {
        PYADMM_PIPELINE(1)
#pragma HLS LOOP_TRIPCOUNT max=St::MAX_JOBS
        job.slot = slots[s];
        job.tile = t;
        jobs.write(job);
        if (t == St::TILES - 1) {
            t = 0;
            ++s;
            job.first = int(job.first) + int(job.slot.entries);
        } else {
            ++t;
        }
    }
}

// Replay the entries that the jobs name and emit a tile at the end of each job.
template <class Cfg>
void replay_entries(
    const typename Stage<Cfg>::Word words[Cfg::ENTRY_CAPACITY],
    const typename Stage<Cfg>::Input::Row frame[Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    hls::stream<Steps<Cfg> >& steps, hls::stream<Job<Cfg> >& jobs, hls::stream<TileOf<Cfg> >& tiles) {
    typedef Stage<Cfg> St;
    typename St::Acc acc[Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=0
    Job<Cfg> job;
    typename St::EntryCount address = 0;
    typename St::EntryCount left = 0;
    typename St::InChannel c = 0;
    const Steps<Cfg> total = steps.read();
STEP:
    for (Steps<Cfg> n = 0; n < total; ++n) {
        PYADMM_PIPELINE(1)
#pragma HLS LOOP_TRIPCOUNT max=St::MAX_STEPS
        const bool starts = left == 0;
        if (starts) {
            job = jobs.read();
            address = job.first;
            left = job.slot.entries;
            c = 0;
        }
        const Entry<Cfg> entry(to_word(words[address]));
        c = int(c) + int(entry.advance);

        typename St::Act x[Cfg::R][Cfg::W_OUT];
#pragma HLS ARRAY_PARTITION variable=x type=complete dim=0
        read_window<Cfg>(frame, c, job.tile, entry.kh, entry.kw, x);
    ROW:
        for (int r = 0; r < Cfg::R; ++r) {
            PYADMM_UNROLL(Cfg::R)
        LANE:
            for (int ow = 0; ow < Cfg::W_OUT; ++ow) {
                PYADMM_UNROLL(Cfg::W_OUT)
                const typename St::Acc before = starts ? job.slot.bias : acc[r][ow];
                acc[r][ow] = before + entry.weight * x[r][ow];
            }
        }

        ++address;
        --left;
        if (left == 0) {
            emit_tile<Cfg>(acc, job.slot, job.tile, tiles);
        }
    }
}

// One sparse stage: G groups and their drain, for one image.
template <class Cfg, class Next>
void sparse_stage(
    const typename Stage<Cfg>::Word words[Cfg::G][Cfg::ENTRY_CAPACITY],
    const Slot<Cfg> slots[Cfg::G][Cfg::SLOT_CAPACITY], const Fill<Cfg> fills[Cfg::G][1],
    const typename Stage<Cfg>::Input::Row
        input[Stage<Cfg>::Input::COPIES][Stage<Cfg>::BANKS][Stage<Cfg>::Input::DEPTH],
    typename Next::Row output[Next::COPIES][Next::BANKS][Next::DEPTH]) {
    static_assert(Cfg::SPARSE, "a dense configuration belongs to dense_stage");
    static_assert(Cfg::C == 1 || Cfg::INDEX_BITS > 0, "channels can be reached");
    static_assert(Stage<Cfg>::Input::COPIES == Cfg::G, "every group has its own read port");
#pragma HLS DATAFLOW
    hls::stream<Steps<Cfg> > steps[Cfg::G];
#pragma HLS STREAM variable=steps depth=2
    hls::stream<Job<Cfg> > jobs[Cfg::G];
#pragma HLS STREAM variable=jobs depth=4
    hls::stream<TileOf<Cfg> > tiles[Cfg::G];
#pragma HLS STREAM variable=tiles depth=2
GROUP:
    for (int g = 0; g < Cfg::G; ++g) {
        PYADMM_UNROLL(Cfg::G)
        walk_slots<Cfg>(slots[g], fills[g], steps[g], jobs[g]);
        replay_entries<Cfg>(words[g], input[g], steps[g], jobs[g], tiles[g]);
    }
    drain_tiles<Cfg, Next>(tiles, output);
}

}  // namespace pyadmm

#endif
