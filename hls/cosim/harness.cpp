// Drives the Verilated top (docs/rtl.md): one process, commands on standard input, answers on
// standard output, all numbers little-endian. A command is one byte and its arguments:
//
//   'R' u32 addr                  AXI4-Lite read            -> u32 data
//   'W' u32 addr, u32 data        AXI4-Lite write           -> u32 0
//   'S' u32 last, u32 n, n words  offer n input words of 32 bits, PYADMM_IN_WORDS to a word of the
//                                 stream; TLAST on the last one if last != 0 -> u32 0
//   'G' u32 limit                 take output words up to limit, none beyond a TLAST
//                                 -> u32 n, u32 last, n words, n u64 cycles
//   'A' u64 n                     n clock cycles            -> u64 cycle
//   'U' u32 n, u64 limit          clock until n output words wait, at most limit cycles -> u64 cycle
//   'T' u32 seed, u32 in, u32 out stall the streams in/65536 and out/65536 of the time -> u32 0
//   'Q'                           -> u64 cycle, u32 offered, u32 waiting, u32 interrupt, u64 first,
//                                    u32 stages, stages x u64 busy cycles
//   'X' u32 seed                  reset; registers without a reset start at random   -> u32 0
//
// `first` is the cycle in which the first input word since the last 'Q' or 'X' was taken. Without
// activity on the streams or the bus the clock stands still: only R, W, A and U advance it.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vpyadmm_top.h"
#include "Vpyadmm_top___024root.h"
#include "verilated.h"

#ifndef PYADMM_STAGES
#error "define PYADMM_STAGES, the number of stages of the design"
#endif
#ifndef PYADMM_IN_WORDS
#error "define PYADMM_IN_WORDS, the 32-bit words in a word of the input stream"
#endif

namespace {

constexpr int RESET_CYCLES = 4;
constexpr uint64_t BUS_LIMIT = 1000;
constexpr uint64_t NEVER = ~uint64_t(0);

void fail(const std::string& what) {
    std::fprintf(stderr, "harness: %s\n", what.c_str());
    std::exit(2);
}

struct Word {
    uint64_t data;
    uint64_t cycle;
    bool last;
};

// xorshift: a stall pattern must be the same on every machine.
class Stall {
public:
    void set(uint32_t seed, uint32_t share) {
        state_ = (uint64_t(seed) << 32 | 0x9e3779b9u) | 1;
        share_ = share;
    }
    bool now() {
        if (share_ == 0) {
            return false;
        }
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return (state_ >> 40 & 0xffff) < share_;
    }

private:
    uint64_t state_ = 1;
    uint32_t share_ = 0;
};

class Bench {
public:
    Bench() : context_(new VerilatedContext) { rebuild(1); }

    // A new model: registers without a reset hold random values until they are written.
    void rebuild(uint32_t seed) {
        top_.reset();
        context_.reset(new VerilatedContext);
        context_->randReset(2);
        context_->randSeed(int(seed & 0x7fffffff) | 1);
        top_.reset(new Vpyadmm_top(context_.get()));
        offered_.clear();
        waiting_.clear();
        first_ = NEVER;
        cycle_ = 0;
        for (uint64_t& busy : busy_) {
            busy = 0;
        }
        top_->ap_rst_n = 0;
        top_->in_stream_tvalid = 0;
        top_->out_stream_tready = 0;
        top_->in_stream_tkeep = (1u << (4 * PYADMM_IN_WORDS)) - 1;
        top_->s_axi_control_awvalid = 0;
        top_->s_axi_control_wvalid = 0;
        top_->s_axi_control_bready = 1;
        top_->s_axi_control_arvalid = 0;
        top_->s_axi_control_rready = 1;
        for (int i = 0; i < RESET_CYCLES; ++i) {
            clock();
        }
        top_->ap_rst_n = 1;
        clock();
    }

    uint32_t read(uint32_t addr) {
        top_->s_axi_control_araddr = addr & 0x7f;
        top_->s_axi_control_arvalid = 1;
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            const bool answered = top_->s_axi_control_rvalid;
            const uint32_t data = top_->s_axi_control_rdata;
            const bool taken = top_->s_axi_control_arvalid && top_->s_axi_control_arready;
            clock();
            if (taken) {
                top_->s_axi_control_arvalid = 0;
                top_->eval();
            }
            if (answered) {
                return data;
            }
        }
        fail("no answer to an AXI4-Lite read");
        return 0;
    }

    void write(uint32_t addr, uint32_t data) {
        top_->s_axi_control_awaddr = addr & 0x7f;
        top_->s_axi_control_awvalid = 1;
        top_->s_axi_control_wdata = data;
        top_->s_axi_control_wstrb = 0xf;
        top_->s_axi_control_wvalid = 1;
        top_->eval();
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            const bool answered = top_->s_axi_control_bvalid;
            const bool address = top_->s_axi_control_awvalid && top_->s_axi_control_awready;
            const bool value = top_->s_axi_control_wvalid && top_->s_axi_control_wready;
            clock();
            if (address) {
                top_->s_axi_control_awvalid = 0;
            }
            if (value) {
                top_->s_axi_control_wvalid = 0;
            }
            top_->eval();
            if (answered) {
                return;
            }
        }
        fail("no answer to an AXI4-Lite write");
    }

    void offer(uint64_t word, bool last) { offered_.push_back(Word{word, 0, last}); }

    void advance(uint64_t cycles) {
        for (uint64_t i = 0; i < cycles; ++i) {
            clock();
        }
    }

    void until(size_t words, uint64_t limit) {
        for (uint64_t i = 0; i < limit && waiting_.size() < words; ++i) {
            clock();
        }
    }

    void stall(uint32_t seed, uint32_t in, uint32_t out) {
        in_stall_.set(seed, in);
        out_stall_.set(seed ^ 0x5bd1e995u, out);
    }

    std::vector<Word> take(size_t limit) {
        std::vector<Word> taken;
        while (!waiting_.empty() && taken.size() < limit && (taken.empty() || !taken.back().last)) {
            taken.push_back(waiting_.front());
            waiting_.pop_front();
        }
        return taken;
    }

    uint64_t cycle() const { return cycle_; }
    size_t offered() const { return offered_.size(); }
    size_t waiting() const { return waiting_.size(); }
    bool interrupt() const { return top_->__SYM__interrupt; }
    uint64_t busy(int stage) const { return busy_[stage]; }
    uint64_t first() {
        const uint64_t result = first_;
        first_ = NEVER;
        return result;
    }

private:
    // One clock cycle: the streams' sides are set before the edge, transfers happen at it. A word
    // that was offered with tvalid stays until it is taken.
    void clock() {
        if (!top_->in_stream_tvalid && !offered_.empty() && !in_stall_.now()) {
            top_->in_stream_tvalid = 1;
            top_->in_stream_tdata = offered_.front().data;
            top_->in_stream_tlast = offered_.front().last;
        }
        top_->out_stream_tready = !out_stall_.now();
        top_->ap_clk = 0;
        top_->eval();
        const bool taken = top_->in_stream_tvalid && top_->in_stream_tready;
        // Nobody receives during a reset, at whose begin registers hold random values.
        if (top_->ap_rst_n && top_->out_stream_tvalid && top_->out_stream_tready) {
            waiting_.push_back(Word{top_->out_stream_tdata, cycle_, bool(top_->out_stream_tlast)});
        }
        const uint64_t running = top_->rootp->pyadmm_top__DOT__stage_busy;
        for (int stage = 0; stage < PYADMM_STAGES; ++stage) {
            busy_[stage] += running >> stage & 1;
        }
        if (taken && first_ == NEVER) {
            first_ = cycle_;
        }
        top_->ap_clk = 1;
        top_->eval();
        if (taken) {
            offered_.pop_front();
            top_->in_stream_tvalid = 0;
        }
        ++cycle_;
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vpyadmm_top> top_;
    std::deque<Word> offered_, waiting_;
    Stall in_stall_, out_stall_;
    uint64_t cycle_ = 0, first_ = NEVER;
    uint64_t busy_[PYADMM_STAGES] = {};
};

// Standard input and output in blocks; the end of the input ends the program.
template <class T>
T take_number() {
    T value;
    if (std::fread(&value, sizeof value, 1, stdin) != 1) {
        fail("the command stream ends within a command");
    }
    return value;
}

template <class T>
void give(T value) {
    std::fwrite(&value, sizeof value, 1, stdout);
}

}  // namespace

int main() {
    Bench bench;
    for (int command = std::getchar(); command != EOF; command = std::getchar()) {
        switch (command) {
            case 'R':
                give(bench.read(take_number<uint32_t>()));
                break;
            case 'W': {
                const uint32_t addr = take_number<uint32_t>();
                bench.write(addr, take_number<uint32_t>());
                give(uint32_t(0));
                break;
            }
            case 'S': {
                const bool last = take_number<uint32_t>() != 0;
                const uint32_t count = take_number<uint32_t>();
                for (uint32_t i = 0; i < count; i += PYADMM_IN_WORDS) {
                    uint64_t word = take_number<uint32_t>();
                    if (PYADMM_IN_WORDS > 1 && i + 1 < count) {
                        word |= uint64_t(take_number<uint32_t>()) << 32;
                    }
                    bench.offer(word, last && i + PYADMM_IN_WORDS >= count);
                }
                give(uint32_t(0));
                break;
            }
            case 'G': {
                const std::vector<Word> words = bench.take(take_number<uint32_t>());
                give(uint32_t(words.size()));
                give(uint32_t(!words.empty() && words.back().last));
                for (const Word& word : words) {
                    give(uint32_t(word.data));
                }
                for (const Word& word : words) {
                    give(word.cycle);
                }
                break;
            }
            case 'A':
                bench.advance(take_number<uint64_t>());
                give(bench.cycle());
                break;
            case 'U': {
                const uint32_t words = take_number<uint32_t>();
                bench.until(words, take_number<uint64_t>());
                give(bench.cycle());
                break;
            }
            case 'T': {
                const uint32_t seed = take_number<uint32_t>();
                const uint32_t in = take_number<uint32_t>();
                bench.stall(seed, in, take_number<uint32_t>());
                give(uint32_t(0));
                break;
            }
            case 'Q':
                give(bench.cycle());
                give(uint32_t(bench.offered()));
                give(uint32_t(bench.waiting()));
                give(uint32_t(bench.interrupt()));
                give(bench.first());
                give(uint32_t(PYADMM_STAGES));
                for (int stage = 0; stage < PYADMM_STAGES; ++stage) {
                    give(bench.busy(stage));
                }
                break;
            case 'X':
                bench.rebuild(take_number<uint32_t>());
                give(uint32_t(0));
                break;
            default:
                fail("unknown command " + std::to_string(command));
        }
        std::fflush(stdout);
    }
    return 0;
}
