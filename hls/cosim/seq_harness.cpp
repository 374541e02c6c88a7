// Drives the Verilated layer-sequential top with a model of the board's memory: one process, commands on
// standard input, answers on standard output, all numbers little-endian. A command is one byte and its arguments:
//
//   'R' u32 addr                     AXI4-Lite read                   -> u32 data
//   'W' u32 addr, u32 data           AXI4-Lite write                  -> u32 0
//   'P' u32 addr, u32 n, n bytes     put bytes into memory            -> u32 0
//   'G' u32 addr, u32 n              get bytes from memory            -> n bytes
//   'A' u64 limit                    clock until idle or limit cycles -> u64 cycle
//   'B' u32 x 6                      latency of a read in cycles, bytes per 256 cycles that reads and writes share,
//                                    share of stalled cycles / 65536, seed, first byte that answers with an error,
//                                    and the byte behind the last one -> u32 0
//   'Q'                              -> u64 cycle, u64 bytes read, u64 bytes written, u32 interrupt
//   'X' u32 seed, u32 bytes          reset; registers start at random, memory holds random bytes from address 0 on;
//                                    with 0 bytes it stays as it is -> u32 0
//   'M' u32 base, u32 bytes, u32 n, n bytes of a path
//                                    memory is that file from address base on, shared with who maps it too -> u32 0
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vseq_top.h"
#include "verilated.h"

namespace {

constexpr int RESET_CYCLES = 4;
constexpr uint64_t BUS_LIMIT = 1000;
constexpr uint32_t CONTROL = 0;
constexpr uint32_t IDLE = 1u << 2;
constexpr uint64_t POLL_CYCLES = 64;
constexpr size_t OPEN_BURSTS = 8;
constexpr int SLAVE_ERROR = 2;

void fail(const std::string& what) {
    std::fprintf(stderr, "harness: %s\n", what.c_str());
    std::exit(2);
}

struct Burst {
    uint32_t addr;
    uint32_t beats;
    uint64_t ready;
    bool failed;
};

// Signals of one read port and the bursts that it waits for.
struct ReadPort {
    CData &arvalid, &arready, &arlen, &rvalid, &rready, &rresp, &rlast;
    IData& araddr;
    QData& rdata;
    std::deque<Burst> bursts;
    bool taken;
};

// xorshift: a stall pattern must be the same on every machine.
class Random {
public:
    void seed(uint32_t seed) { state_ = (uint64_t(seed) << 32 | 0x9e3779b9u) | 1; }
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_ >> 24;
    }

private:
    uint64_t state_ = 1;
};

// Bytes from an address on: the harness's own, or those of a file that another process maps as well.
class Memory {
public:
    void own(uint32_t bytes) {
        own_.resize(bytes);
        data_ = own_.data();
        size_ = bytes;
        base_ = 0;
    }

    void map(const std::string& path, uint32_t base, uint32_t bytes) {
        const int file = open(path.c_str(), O_RDWR);
        void* found = file < 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (found == MAP_FAILED) {
            fail("cannot map " + path);
        }
        close(file);
        data_ = static_cast<uint8_t*>(found);
        size_ = bytes;
        base_ = base;
    }

    bool holds(uint32_t addr, uint64_t count) const { return addr >= base_ && addr - base_ + count <= size_; }
    uint8_t* at(uint32_t addr) { return data_ + (addr - base_); }
    uint8_t* begin() { return data_; }
    uint8_t* end() { return data_ + size_; }

private:
    std::vector<uint8_t> own_;
    uint8_t* data_ = nullptr;
    uint64_t size_ = 0;
    uint32_t base_ = 0;
};

class Bench {
public:
    Bench() { rebuild(1, 4096); }

    void rebuild(uint32_t seed, uint32_t bytes) {
        top_.reset();
        context_.reset(new VerilatedContext);
        context_->randReset(2);
        context_->randSeed(int(seed & 0x7fffffff) | 1);
        top_.reset(new Vseq_top(context_.get()));
        reads_.clear();
        reads_.push_back(ReadPort{top_->m_axi_stream_arvalid, top_->m_axi_stream_arready, top_->m_axi_stream_arlen,
                                  top_->m_axi_stream_rvalid, top_->m_axi_stream_rready, top_->m_axi_stream_rresp,
                                  top_->m_axi_stream_rlast, top_->m_axi_stream_araddr, top_->m_axi_stream_rdata,
                                  {}, false});
        reads_.push_back(ReadPort{top_->m_axi_map_arvalid, top_->m_axi_map_arready, top_->m_axi_map_arlen,
                                  top_->m_axi_map_rvalid, top_->m_axi_map_rready, top_->m_axi_map_rresp,
                                  top_->m_axi_map_rlast, top_->m_axi_map_araddr, top_->m_axi_map_rdata, {}, false});
        writes_.clear();
        answers_.clear();
        random_.seed(seed);
        if (bytes != 0) {
            memory_.own(bytes);
            for (uint8_t& byte : memory_) {
                byte = uint8_t(random_.next());
            }
        }
        cycle_ = bytes_read_ = bytes_written_ = 0;
        turn_ = 0;
        top_->ap_rst_n = 0;
        top_->s_axi_control_awvalid = 0;
        top_->s_axi_control_wvalid = 0;
        top_->s_axi_control_bready = 1;
        top_->s_axi_control_arvalid = 0;
        top_->s_axi_control_rready = 1;
        for (ReadPort& port : reads_) {
            port.rvalid = 0;
        }
        top_->m_axi_map_bvalid = 0;
        for (int i = 0; i < RESET_CYCLES; ++i) {
            clock();
        }
        top_->ap_rst_n = 1;
        clock();
        clock();
    }

    void memory_model(uint32_t latency, uint32_t rate, uint32_t stall, uint32_t seed, uint32_t bad,
                      uint32_t bad_end) {
        latency_ = latency;
        rate_ = rate;
        stall_ = stall;
        random_.seed(seed);
        bad_ = bad;
        bad_end_ = bad_end;
    }

    uint32_t read(uint32_t addr) {
        top_->s_axi_control_araddr = addr & 0x7f;
        top_->s_axi_control_arvalid = 1;
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            top_->eval();
            const bool answered = top_->s_axi_control_rvalid;
            const uint32_t data = top_->s_axi_control_rdata;
            const bool taken = top_->s_axi_control_arvalid && top_->s_axi_control_arready;
            clock();
            if (taken) {
                top_->s_axi_control_arvalid = 0;
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
        for (uint64_t i = 0; i < BUS_LIMIT; ++i) {
            top_->eval();
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
            if (answered) {
                return;
            }
        }
        fail("no answer to an AXI4-Lite write");
    }

    void until_idle(uint64_t limit) {
        const uint64_t end = cycle_ + limit;
        while (cycle_ < end && !(read(CONTROL) & IDLE)) {
            for (uint64_t i = 0; i < POLL_CYCLES; ++i) {
                clock();
            }
        }
    }

    Memory& memory() { return memory_; }
    uint64_t cycle() const { return cycle_; }
    uint64_t bytes_read() const { return bytes_read_; }
    uint64_t bytes_written() const { return bytes_written_; }
    bool interrupt() const { return top_->irq; }

private:
    bool stalled() { return stall_ != 0 && (random_.next() & 0xffff) < stall_; }

    bool bad(uint32_t addr) const {
        return !memory_.holds(addr, 8) || (addr >= bad_ && addr < bad_end_);
    }

    // A transfer costs eight bytes of the memory's rate, whichever its direction.
    bool afford() {
        if (budget_ < 8 * 256) {
            return false;
        }
        budget_ -= 8 * 256;
        return true;
    }

    // One clock cycle: the memory's side is set before the edge, transfers happen at it. What is valid stays.
    void clock() {
        budget_ += rate_;
        if (budget_ > 32 * 256) {
            budget_ = 32 * 256;
        }
        // Who is first where the rate does not do for all takes turns.
        ++turn_;
        const bool write_first = turn_ % 3 == 0;
        if (!write_first) {
            offer_reads();
        }
        if (!top_->m_axi_map_bvalid && !answers_.empty() && answers_.front().ready <= cycle_) {
            top_->m_axi_map_bvalid = 1;
            top_->m_axi_map_bresp = answers_.front().failed ? SLAVE_ERROR : 0;
        }
        for (ReadPort& port : reads_) {
            port.arready = port.bursts.size() < OPEN_BURSTS && !stalled();
        }
        top_->m_axi_map_awready = writes_.size() < OPEN_BURSTS && !stalled();
        // Ready without a transfer to come would spend the rate.
        top_->m_axi_map_wready = 0;
        top_->ap_clk = 0;
        top_->eval();
        if (top_->m_axi_map_wvalid && !writes_.empty() && !stalled() && afford()) {
            top_->m_axi_map_wready = 1;
        }
        if (write_first) {
            offer_reads();
        }
        top_->eval();
        edge();
        top_->ap_clk = 1;
        top_->eval();
        for (ReadPort& port : reads_) {
            if (port.taken) {
                port.rvalid = 0;
            }
        }
        if (answer_taken_) {
            top_->m_axi_map_bvalid = 0;
        }
        ++cycle_;
    }

    void offer_reads() {
        for (size_t i = 0; i < reads_.size(); ++i) {
            ReadPort& port = reads_[(turn_ + i) % reads_.size()];
            if (port.rvalid || port.bursts.empty() || port.bursts.front().ready > cycle_ || stalled() || !afford()) {
                continue;
            }
            const uint32_t addr = port.bursts.front().addr;
            port.rvalid = 1;
            port.rresp = bad(addr) ? SLAVE_ERROR : 0;
            uint64_t data = 0;
            for (int i = 0; i < 8 && memory_.holds(addr, 8); ++i) {
                data |= uint64_t(memory_.at(addr)[i]) << 8 * i;
            }
            port.rdata = data;
            port.rlast = port.bursts.front().beats == 1;
        }
    }

    void edge() {
        answer_taken_ = false;
        for (ReadPort& port : reads_) {
            port.taken = false;
        }
        if (!top_->ap_rst_n) {
            return;
        }
        for (ReadPort& port : reads_) {
            port.taken = port.rvalid && port.rready;
            if (port.taken) {
                bytes_read_ += 8;
                port.bursts.front().addr += 8;
                if (--port.bursts.front().beats == 0) {
                    port.bursts.pop_front();
                }
            }
            if (port.arvalid && port.arready) {
                port.bursts.push_back(burst(port.araddr, port.arlen));
            }
        }
        answer_taken_ = top_->m_axi_map_bvalid && top_->m_axi_map_bready;
        if (answer_taken_) {
            answers_.pop_front();
        }
        if (top_->m_axi_map_wvalid && top_->m_axi_map_wready) {
            store();
        }
        if (top_->m_axi_map_awvalid && top_->m_axi_map_awready) {
            writes_.push_back(burst(top_->m_axi_map_awaddr, top_->m_axi_map_awlen));
        }
    }

    Burst burst(uint32_t addr, uint32_t length) {
        const uint32_t bytes = 8 * (length + 1);
        if (addr % 8 != 0 || addr / 4096 != (addr + bytes - 1) / 4096 || length > 15) {
            fail("a burst that AXI3 forbids, at " + std::to_string(addr));
        }
        return Burst{addr, length + 1, cycle_ + latency_, false};
    }

    void store() {
        Burst& front = writes_.front();
        bytes_written_ += 8;
        front.failed = front.failed || bad(front.addr);
        for (int i = 0; i < 8 && !bad(front.addr); ++i) {
            memory_.at(front.addr)[i] = uint8_t(top_->m_axi_map_wdata >> 8 * i);
        }
        front.addr += 8;
        if (bool(top_->m_axi_map_wlast) != (front.beats == 1)) {
            fail("WLAST where no burst ends");
        }
        if (--front.beats == 0) {
            answers_.push_back(Burst{0, 0, cycle_ + latency_, front.failed});
            writes_.pop_front();
        }
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vseq_top> top_;
    Memory memory_;
    std::vector<ReadPort> reads_;
    std::deque<Burst> writes_, answers_;
    Random random_;
    uint64_t cycle_ = 0, bytes_read_ = 0, bytes_written_ = 0, turn_ = 0;
    uint32_t latency_ = 20, rate_ = 8 * 256, stall_ = 0, bad_ = 1, bad_end_ = 0, budget_ = 0;
    bool answer_taken_ = false;
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

uint8_t* range(Bench& bench, uint32_t addr, uint32_t count) {
    if (!bench.memory().holds(addr, count)) {
        fail("a command beyond the memory");
    }
    return bench.memory().at(addr);
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
            case 'P': {
                const uint32_t addr = take_number<uint32_t>();
                const uint32_t count = take_number<uint32_t>();
                if (std::fread(range(bench, addr, count), 1, count, stdin) != count) {
                    fail("the command stream ends within a command");
                }
                give(uint32_t(0));
                break;
            }
            case 'G': {
                const uint32_t addr = take_number<uint32_t>();
                const uint32_t count = take_number<uint32_t>();
                std::fwrite(range(bench, addr, count), 1, count, stdout);
                break;
            }
            case 'A':
                bench.until_idle(take_number<uint64_t>());
                give(bench.cycle());
                break;
            case 'B': {
                uint32_t values[6];
                for (uint32_t& value : values) {
                    value = take_number<uint32_t>();
                }
                bench.memory_model(values[0], values[1], values[2], values[3], values[4], values[5]);
                give(uint32_t(0));
                break;
            }
            case 'Q':
                give(bench.cycle());
                give(bench.bytes_read());
                give(bench.bytes_written());
                give(uint32_t(bench.interrupt()));
                break;
            case 'X': {
                const uint32_t seed = take_number<uint32_t>();
                bench.rebuild(seed, take_number<uint32_t>());
                give(uint32_t(0));
                break;
            }
            case 'M': {
                const uint32_t base = take_number<uint32_t>();
                const uint32_t bytes = take_number<uint32_t>();
                std::string path(take_number<uint32_t>(), 0);
                if (std::fread(&path[0], 1, path.size(), stdin) != path.size()) {
                    fail("the command stream ends within a command");
                }
                bench.memory().map(path, base, bytes);
                give(uint32_t(0));
                break;
            }
            default:
                fail("unknown command " + std::to_string(command));
        }
        std::fflush(stdout);
    }
    return 0;
}
