// Drives a Verilated system (hls/system) as the processor and its memory would: one process, commands on
// standard input, answers on standard output, all numbers little-endian. A command is one byte and its
// arguments:
//
//   'R' u32 addr, u32 n                 read burst of n <= 16 words      -> u32 response, n words
//   'W' u32 addr, u32 n, n words        write burst                      -> u32 response
//   'P' u32 addr, u32 n, n bytes        put bytes into memory            -> u32 0
//   'K' u32 addr, u32 n                 bytes of memory, 0 where none is -> n bytes
//   'F' u32 addr, u32 response          answer of the page at addr: 0 = memory, 2 = slave error,
//                                       3 = decode error (as every page that is not memory)  -> u32 0
//   'T' u32 seed, u32 share, u32 latency
//                                       every handshake waits share/65536 of the time, the memory
//                                       answers after latency cycles     -> u32 0
//   'S' u32 keep, u32 n, n words        offer n words of one packet to the receive stream, TKEEP of
//                                       the last one; keep 0: no TLAST   -> u32 0
//   'G' u32 limit                       words that the send stream gave, none beyond a TLAST
//                                       -> u32 n, u32 last, u32 keep of the last one, n words
//   'A' u64 n                           n clock cycles                   -> u64 cycle
//   'Q'                                 -> u64 cycle, u32 interrupts, u32 offered,
//                                          u64 beats read, u64 beats written, u64 bursts
//   'X' u32 seed                        reset; registers without a reset start at random   -> u32 0
//
// S and G need a top with streams (-DPYADMM_STREAMS); -DPYADMM_SECOND_PORT is for a top with hp1, a memory port that
// only reads. The clock runs during R, W and A only. What breaks
// the AXI protocol ends the program with a message.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include PYADMM_HEADER
#include "verilated.h"

namespace {

constexpr int RESET_CYCLES = 4;
constexpr uint64_t BUS_LIMIT = 100000;
constexpr uint32_t PAGE = 4096;
constexpr size_t MOST_BURSTS = 8;
constexpr uint32_t DECODE_ERROR = 3;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "harness: %s\n", what.c_str());
    std::exit(2);
}

void require(bool holds, const char* rule) {
    if (!holds) {
        fail(std::string("AXI protocol: ") + rule);
    }
}

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

class Memory {
public:
    void put(uint32_t addr, uint8_t value) { page(addr)[addr % PAGE] = value; }
    uint8_t get(uint32_t addr) const {
        const auto found = pages_.find(addr / PAGE);
        return found == pages_.end() ? 0 : found->second[addr % PAGE];
    }
    void answer(uint32_t addr, uint32_t response) {
        page(addr);
        response_[addr / PAGE] = response;
    }
    uint32_t response(uint32_t addr) const {
        const auto found = response_.find(addr / PAGE);
        return found == response_.end() ? DECODE_ERROR : found->second;
    }
    uint64_t beat(uint32_t addr) const {
        uint64_t value = 0;
        for (int i = 7; i >= 0; --i) {
            value = value << 8 | get(addr + i);
        }
        return value;
    }
    void clear() {
        pages_.clear();
        response_.clear();
    }

private:
    std::vector<uint8_t>& page(uint32_t addr) {
        std::vector<uint8_t>& bytes = pages_[addr / PAGE];
        bytes.resize(PAGE);
        response_.emplace(addr / PAGE, 0);
        return bytes;
    }
    std::map<uint32_t, std::vector<uint8_t>> pages_;
    std::map<uint32_t, uint32_t> response_;
};

struct Burst {
    uint32_t addr;
    uint32_t beats;
    uint64_t ready;
};
struct WriteBeat {
    uint64_t data;
    uint8_t strobe;
    bool last;
};
struct Word {
    uint32_t data;
    uint8_t keep;
    bool last;
};

// A channel whose valid side must hold still until it is taken.
class Held {
public:
    void check(bool valid, uint64_t payload, bool ready, const char* rule) {
        require(!open_ || (valid && payload == payload_), rule);
        open_ = valid && !ready;
        payload_ = payload;
    }
    void clear() { open_ = false; }

private:
    bool open_ = false;
    uint64_t payload_ = 0;
};

// Signals of a port's read side, and the bursts that wait for their beats.
struct ReadPort {
    CData &arvalid, &arready, &arlen, &rvalid, &rready, &rresp;
    IData& araddr;
    QData& rdata;
    std::deque<Burst> bursts;
    Held held;
    bool taken;
};

class Bench {
public:
    Bench() { rebuild(1); }

    void rebuild(uint32_t seed) {
        top_.reset();
        context_.reset(new VerilatedContext);
        context_->randReset(2);
        context_->randSeed(int(seed & 0x7fffffff) | 1);
        top_.reset(new PYADMM_TOP(context_.get()));
        memory_.clear();
        reads_.clear();
        reads_.push_back(ReadPort{top_->hp_arvalid, top_->hp_arready, top_->hp_arlen, top_->hp_rvalid, top_->hp_rready,
                                  top_->hp_rresp, top_->hp_araddr, top_->hp_rdata, {}, {}, false});
#ifdef PYADMM_SECOND_PORT
        reads_.push_back(ReadPort{top_->hp1_arvalid, top_->hp1_arready, top_->hp1_arlen, top_->hp1_rvalid,
                                  top_->hp1_rready, top_->hp1_rresp, top_->hp1_araddr, top_->hp1_rdata, {}, {}, false});
#endif
        writes_.clear();
        beats_.clear();
        answers_.clear();
        offered_.clear();
        given_.clear();
        for (Held* held : {&aw_, &w_}) {
            held->clear();
        }
        cycle_ = beats_read_ = beats_written_ = bursts_ = 0;
        top_->resetn = 0;
        top_->gp_awvalid = top_->gp_wvalid = top_->gp_bready = 0;
        top_->gp_arvalid = top_->gp_rready = 0;
        top_->gp_awburst = top_->gp_arburst = 1;
        top_->gp_wstrb = 0xf;
        for (ReadPort& port : reads_) {
            port.rvalid = 0;
        }
        top_->hp_bvalid = 0;
#ifdef PYADMM_STREAMS
        top_->s2mm_valid = 0;
#endif
        in_reset_ = true;
        for (int i = 0; i < RESET_CYCLES; ++i) {
            clock();
        }
        top_->resetn = 1;
        clock();
        in_reset_ = false;
    }

    uint32_t read(uint32_t addr, uint32_t count, std::vector<uint32_t>& words) {
        uint32_t response = 0;
        id_ = (id_ * 5 + 3) & 0xfff;
        top_->gp_arid = id_;
        top_->gp_araddr = addr;
        top_->gp_arlen = count - 1;
        top_->gp_arvalid = 1;
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            top_->gp_rready = !stall_.now();
            settle();
            const bool asked = top_->gp_arvalid && top_->gp_arready;
            const bool taken = top_->gp_rvalid && top_->gp_rready;
            if (taken) {
                require(top_->gp_rid == id_, "RID must be the read's");
                words.push_back(top_->gp_rdata);
                response |= top_->gp_rresp;
                require(top_->gp_rlast == (words.size() == count), "RLAST must be at the end");
            }
            clock();
            if (asked) {
                top_->gp_arvalid = 0;
            }
            if (words.size() == count) {
                top_->gp_rready = 0;
                return response;
            }
        }
        fail("no answer to a register read");
    }

    uint32_t write(uint32_t addr, const std::vector<uint32_t>& words) {
        id_ = (id_ * 5 + 3) & 0xfff;
        top_->gp_awid = id_;
        top_->gp_awaddr = addr;
        top_->gp_awlen = words.size() - 1;
        top_->gp_awvalid = 1;
        size_t sent = 0;
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            if (!top_->gp_wvalid && sent < words.size() && !stall_.now()) {
                top_->gp_wvalid = 1;
                top_->gp_wdata = words[sent];
            }
            top_->gp_bready = !stall_.now();
            settle();
            const bool asked = top_->gp_awvalid && top_->gp_awready;
            const bool taken = top_->gp_wvalid && top_->gp_wready;
            const bool answered = top_->gp_bvalid && top_->gp_bready;
            const uint32_t response = top_->gp_bresp;
            require(!answered || top_->gp_bid == id_, "BID must be the write's");
            clock();
            if (asked) {
                top_->gp_awvalid = 0;
            }
            if (taken) {
                top_->gp_wvalid = 0;
                ++sent;
            }
            if (answered) {
                require(sent == words.size(), "a response must come after the last word");
                top_->gp_bready = 0;
                return response;
            }
        }
        fail("no answer to a register write");
    }

    void stall(uint32_t seed, uint32_t share, uint32_t latency) {
        stall_.set(seed, share);
        latency_ = latency;
    }

    void offer(const Word& word) { offered_.push_back(word); }

    std::vector<Word> take(size_t limit) {
        std::vector<Word> taken;
        while (!given_.empty() && taken.size() < limit && (taken.empty() || !taken.back().last)) {
            taken.push_back(given_.front());
            given_.pop_front();
        }
        return taken;
    }

    void advance(uint64_t cycles) {
        for (uint64_t i = 0; i < cycles; ++i) {
            clock();
        }
    }

    Memory& memory() { return memory_; }
    uint64_t cycle() const { return cycle_; }
    uint64_t beats_read() const { return beats_read_; }
    uint64_t beats_written() const { return beats_written_; }
    uint64_t bursts() const { return bursts_; }
    uint32_t offered() const { return offered_.size(); }
    uint32_t interrupts() const { return top_->irq; }

private:
    void settle() {
        top_->clk = 0;
        top_->eval();
    }

    // Both sides of every channel are set before the edge, transfers happen at it.
    void clock() {
        for (ReadPort& port : reads_) {
            port.arready = !stall_.now() && port.bursts.size() < MOST_BURSTS;
        }
        top_->hp_awready = !stall_.now() && writes_.size() < MOST_BURSTS;
        top_->hp_wready = !stall_.now();
        for (ReadPort& port : reads_) {
            if (!port.rvalid && !port.bursts.empty() && port.bursts.front().ready <= cycle_ && !stall_.now()) {
                port.rvalid = 1;
                port.rdata = memory_.beat(port.bursts.front().addr);
                port.rresp = memory_.response(port.bursts.front().addr);
            }
        }
        if (!top_->hp_bvalid && !answers_.empty() && answers_.front().ready <= cycle_ && !stall_.now()) {
            top_->hp_bvalid = 1;
            top_->hp_bresp = memory_.response(answers_.front().addr);
        }
        offer_stream();
        settle();
        for (ReadPort& port : reads_) {
            port.taken = port.rvalid && port.rready;
        }
        const bool b_taken = top_->hp_bvalid && top_->hp_bready;
        if (!in_reset_) {
            take_addresses();
            take_beats();
            take_stream();
        }
        const bool s_taken = stream_taken();
        top_->clk = 1;
        top_->eval();
        for (ReadPort& port : reads_) {
            if (!port.taken) {
                continue;
            }
            port.rvalid = 0;
            ++beats_read_;
            Burst& burst = port.bursts.front();
            burst.addr += 8;
            if (--burst.beats == 0) {
                port.bursts.pop_front();
            }
        }
        if (b_taken) {
            top_->hp_bvalid = 0;
            answers_.pop_front();
        }
        drop_stream(s_taken);
        ++cycle_;
    }

    static void check_burst(uint32_t addr, uint32_t beats) {
        require(addr % 8 == 0, "a burst begins at a whole beat");
        require(addr / PAGE == (addr + 8 * beats - 1) / PAGE, "no burst crosses 4 KiB");
    }

    void take_addresses() {
        for (ReadPort& port : reads_) {
            port.held.check(port.arvalid, uint64_t(port.araddr) << 4 | port.arlen, port.arready,
                            "AR holds until it is taken");
            if (port.arvalid && port.arready) {
                const Burst burst{port.araddr, uint32_t(port.arlen) + 1, cycle_ + latency_};
                check_burst(burst.addr, burst.beats);
                port.bursts.push_back(burst);
                ++bursts_;
            }
        }
        aw_.check(top_->hp_awvalid, uint64_t(top_->hp_awaddr) << 4 | top_->hp_awlen,
                  top_->hp_awready, "AW holds until it is taken");
        if (top_->hp_awvalid && top_->hp_awready) {
            const Burst burst{top_->hp_awaddr, uint32_t(top_->hp_awlen) + 1, 0};
            check_burst(burst.addr, burst.beats);
            writes_.push_back(burst);
            ++bursts_;
        }
    }

    void take_beats() {
        w_.check(top_->hp_wvalid,
                 top_->hp_wdata ^ uint64_t(top_->hp_wstrb) << 32 ^ uint64_t(top_->hp_wlast) << 63,
                 top_->hp_wready, "W holds until it is taken");
        if (top_->hp_wvalid && top_->hp_wready) {
            beats_.push_back(WriteBeat{top_->hp_wdata, uint8_t(top_->hp_wstrb), bool(top_->hp_wlast)});
            ++beats_written_;
        }
        while (!writes_.empty() && beats_.size() >= writes_.front().beats) {
            store(writes_.front());
            writes_.pop_front();
        }
    }

    void store(const Burst& burst) {
        for (uint32_t i = 0; i < burst.beats; ++i) {
            const WriteBeat beat = beats_.front();
            beats_.pop_front();
            require(beat.last == (i + 1 == burst.beats), "WLAST must be at the end");
            for (int byte = 0; byte < 8; ++byte) {
                const uint32_t addr = burst.addr + 8 * i + byte;
                if ((beat.strobe >> byte & 1) && memory_.response(addr) == 0) {
                    memory_.put(addr, beat.data >> (8 * byte));
                }
            }
        }
        answers_.push_back(Burst{burst.addr, 1, cycle_ + latency_});
    }

#ifdef PYADMM_STREAMS
    void offer_stream() {
        if (!top_->s2mm_valid && !offered_.empty() && !stall_.now()) {
            top_->s2mm_valid = 1;
            top_->s2mm_data = offered_.front().data;
            top_->s2mm_keep = offered_.front().keep;
            top_->s2mm_last = offered_.front().last;
        }
        top_->mm2s_ready = open_ && !stall_.now();
    }
    void take_stream() {
        if (top_->mm2s_valid && top_->mm2s_ready) {
            given_.push_back(Word{top_->mm2s_data, uint8_t(top_->mm2s_keep), bool(top_->mm2s_last)});
        }
    }
    bool stream_taken() const { return top_->s2mm_valid && top_->s2mm_ready; }
    void drop_stream(bool taken) {
        if (taken) {
            offered_.pop_front();
            top_->s2mm_valid = 0;
        }
    }
#else
    void offer_stream() {}
    void take_stream() {}
    bool stream_taken() const { return false; }
    void drop_stream(bool) {}
#endif

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<PYADMM_TOP> top_;
    Memory memory_;
    std::vector<ReadPort> reads_;
    std::deque<Burst> writes_, answers_;
    std::deque<WriteBeat> beats_;
    std::deque<Word> offered_, given_;
    Held aw_, w_;
    Stall stall_;
    bool open_ = true, in_reset_ = true;
    uint32_t id_ = 0, latency_ = 0;
    uint64_t cycle_ = 0, beats_read_ = 0, beats_written_ = 0, bursts_ = 0;
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

std::vector<uint32_t> take_words(uint32_t count) {
    std::vector<uint32_t> words(count);
    for (uint32_t& word : words) {
        word = take_number<uint32_t>();
    }
    return words;
}

void answer(Bench& bench, int command) {
    switch (command) {
        case 'R': {
            const uint32_t addr = take_number<uint32_t>();
            std::vector<uint32_t> words;
            give(bench.read(addr, take_number<uint32_t>(), words));
            for (const uint32_t word : words) {
                give(word);
            }
            break;
        }
        case 'W': {
            const uint32_t addr = take_number<uint32_t>();
            give(bench.write(addr, take_words(take_number<uint32_t>())));
            break;
        }
        case 'P': {
            const uint32_t addr = take_number<uint32_t>();
            const uint32_t count = take_number<uint32_t>();
            for (uint32_t i = 0; i < count; ++i) {
                bench.memory().put(addr + i, take_number<uint8_t>());
            }
            give(uint32_t(0));
            break;
        }
        case 'K': {
            const uint32_t addr = take_number<uint32_t>();
            const uint32_t count = take_number<uint32_t>();
            for (uint32_t i = 0; i < count; ++i) {
                give(bench.memory().get(addr + i));
            }
            break;
        }
        case 'F': {
            const uint32_t addr = take_number<uint32_t>();
            bench.memory().answer(addr, take_number<uint32_t>());
            give(uint32_t(0));
            break;
        }
        case 'T': {
            const uint32_t seed = take_number<uint32_t>();
            const uint32_t share = take_number<uint32_t>();
            bench.stall(seed, share, take_number<uint32_t>());
            give(uint32_t(0));
            break;
        }
        case 'S': {
            const uint32_t keep = take_number<uint32_t>();
            const std::vector<uint32_t> words = take_words(take_number<uint32_t>());
            for (size_t i = 0; i < words.size(); ++i) {
                const bool last = keep != 0 && i + 1 == words.size();
                bench.offer(Word{words[i], uint8_t(last ? keep : 0xf), last});
            }
            give(uint32_t(0));
            break;
        }
        case 'G': {
            const std::vector<Word> words = bench.take(take_number<uint32_t>());
            give(uint32_t(words.size()));
            give(uint32_t(!words.empty() && words.back().last));
            give(uint32_t(words.empty() ? 0 : words.back().keep));
            for (const Word& word : words) {
                give(word.data);
            }
            break;
        }
        case 'A':
            bench.advance(take_number<uint64_t>());
            give(bench.cycle());
            break;
        case 'Q':
            give(bench.cycle());
            give(bench.interrupts());
            give(bench.offered());
            give(bench.beats_read());
            give(bench.beats_written());
            give(bench.bursts());
            break;
        case 'X':
            bench.rebuild(take_number<uint32_t>());
            give(uint32_t(0));
            break;
        default:
            fail("unknown command " + std::to_string(command));
    }
}

}  // namespace

int main() {
    Bench bench;
    for (int command = std::getchar(); command != EOF; command = std::getchar()) {
        answer(bench, command);
        std::fflush(stdout);
    }
    return 0;
}
