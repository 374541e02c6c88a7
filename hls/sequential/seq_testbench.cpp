// Testbench of the layer-sequential array in C++.
//
// With arguments it runs jobs on files of raw bytes, as the vendor's csim and cosim want it:
//
//   put ADDRESS FILE             the file into memory
//   run BASE STATUS              run the program at BASE; another status fails
//   expect ADDRESS FILE          memory must hold what the file says: a mask and a byte for every byte
//
// Without arguments it serves the commands of hls/cosim/seq_harness.cpp on standard input, one byte and its
// arguments, little-endian: R, W, P, G, A and X. It has no clock (A and Q give 0) and no model of the memory (B).
#include <stdint.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#ifdef PYADMM_CSIM
#include <sys/mman.h>
#endif

#include "seq_config.hpp"
#include "seq_top.hpp"

namespace {

void fail(const char* what, const char* subject) {
    std::fprintf(stderr, "testbench: %s: %s\n", what, subject);
    std::exit(2);
}

// The board's memory. With g++ every address behind a 32-bit base exists, whatever a bad program asks for; pages
// that nobody touches cost nothing. Elsewhere there are SEQ_MEMORY_BEATS transfers.
class Memory {
public:
    Memory() {
#ifdef PYADMM_CSIM
        size_ = uint64_t(1) << 33;
        void* const found =
            mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED) {
            fail("memory", "8 GiB of address space are not to be had");
        }
        beats_ = static_cast<uint64_t*>(found);
#else
        own_.resize(SEQ_MEMORY_BEATS);
        size_ = uint64_t(SEQ_MEMORY_BEATS) * 8;
        beats_ = own_.data();
#endif
    }

    uint64_t* beats() { return beats_; }

    uint8_t* at(uint32_t address, uint32_t count) {
        if (uint64_t(address) + count > size_) {
            fail("memory", "an access beyond its end");
        }
        return reinterpret_cast<uint8_t*>(beats_) + address;
    }

private:
    Memory(const Memory&);
    Memory& operator=(const Memory&);

    uint64_t size_;
    uint64_t* beats_;
#ifndef PYADMM_CSIM
    std::vector<uint64_t> own_;
#endif
};

struct Registers {
    unsigned base, status, ident, build, cycles, runs;
};

void run(Memory& memory, Registers& registers) {
    seq_top(memory.beats(), memory.beats(), registers.base, &registers.status, &registers.ident, &registers.build,
            &registers.cycles, &registers.runs);
    if (registers.ident != SEQ_IDENT) {
        fail("ident register", "differs from the build's");
    }
}

// ---------------------------------------------------------------- jobs on files

std::vector<uint8_t> read_file(const char* name) {
    std::FILE* const file = std::fopen(name, "rb");
    if (file == nullptr) {
        fail("cannot open", name);
    }
    std::vector<uint8_t> bytes;
    int byte;
    while ((byte = std::fgetc(file)) != EOF) {
        bytes.push_back(uint8_t(byte));
    }
    std::fclose(file);
    return bytes;
}

uint32_t number(const char* text) { return uint32_t(std::strtoul(text, nullptr, 0)); }

void expect(Memory& memory, const char* address, const char* name) {
    const std::vector<uint8_t> wanted = read_file(name);
    const std::size_t count = wanted.size() / 2;
    const uint8_t* const found = memory.at(number(address), uint32_t(count));
    for (std::size_t i = 0; i < count; ++i) {
        if ((found[i] & wanted[2 * i]) != wanted[2 * i + 1]) {
            fail("memory differs from", name);
        }
    }
    std::printf("testbench: %u bytes as expected\n", unsigned(count));
}

int run_jobs(int count, char** arguments) {
    Memory memory;
    Registers registers = Registers();
    for (int i = 1; i < count; i += 3) {
        const char* const job = arguments[i];
        if (i + 2 >= count) {
            fail("two arguments must follow", job);
        }
        const char *const first = arguments[i + 1], *const second = arguments[i + 2];
        if (std::strcmp(job, "put") == 0) {
            const std::vector<uint8_t> bytes = read_file(second);
            std::memcpy(memory.at(number(first), uint32_t(bytes.size())), bytes.data(), bytes.size());
        } else if (std::strcmp(job, "run") == 0) {
            registers.base = number(first);
            run(memory, registers);
            if (registers.status != number(second)) {
                fail("another status than", second);
            }
        } else if (std::strcmp(job, "expect") == 0) {
            expect(memory, first, second);
        } else {
            fail("unknown job", job);
        }
    }
    return 0;
}

// ---------------------------------------------------------------- commands on standard input

const uint32_t AP_CTRL = 0x00, DONE_AND_IDLE = 0x6;

void take(void* data, std::size_t size) {
    if (size != 0 && std::fread(data, 1, size, stdin) != size) {
        std::exit(0);  // the other side has gone
    }
}

uint32_t take_word() {
    uint32_t word = 0;
    take(&word, sizeof word);
    return word;
}

void give(const void* data, std::size_t size) {
    if (std::fwrite(data, 1, size, stdout) != size || std::fflush(stdout) != 0) {
        std::exit(0);
    }
}

void give_word(uint32_t word) { give(&word, sizeof word); }

uint32_t read_register(const Registers& registers, uint32_t address) {
    switch (address) {
        case AP_CTRL: return DONE_AND_IDLE;
        case 0x10: return registers.base;
        case 0x18: return registers.status;
        case 0x20: return registers.ident;
        case 0x28: return registers.build;
        case 0x30: return registers.cycles;
        case 0x38: return registers.runs;
        default: return 0;
    }
}

void write_register(Memory& memory, Registers& registers, uint32_t address, uint32_t data) {
    if (address == 0x10) {
        registers.base = data;
    } else if (address == AP_CTRL && (data & 1) != 0) {
        run(memory, registers);
    }
}

// New noise in the first `bytes` of memory.
void fill(Memory& memory, uint32_t seed, uint32_t bytes) {
    uint64_t state = (uint64_t(seed) << 32 | 0x9e3779b9u) | 1;
    uint8_t* const at = memory.at(0, bytes);
    for (uint32_t i = 0; i < bytes; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        at[i] = uint8_t(state >> 24);
    }
}

int serve() {
    Memory memory;
    Registers registers = Registers();
    // What does not depend on a program can be read before the first one.
    run(memory, registers);
    registers.status = 0;
    for (int command = std::getchar(); command != EOF; command = std::getchar()) {
        const uint32_t first = command == 'Q' ? 0 : take_word();
        if (command == 'R') {
            give_word(read_register(registers, first));
        } else if (command == 'W') {
            write_register(memory, registers, first, take_word());
            give_word(0);
        } else if (command == 'P') {
            const uint32_t count = take_word();
            take(memory.at(first, count), count);
            give_word(0);
        } else if (command == 'G') {
            const uint32_t count = take_word();
            give(memory.at(first, count), count);
        } else if (command == 'A') {
            take_word();  // the upper half of the limit
            const uint64_t cycle = 0;
            give(&cycle, sizeof cycle);
        } else if (command == 'Q') {
            const uint32_t nothing[7] = {0, 0, 0, 0, 0, 0, 0};
            give(nothing, sizeof nothing);
        } else if (command == 'X') {
            fill(memory, first, take_word());
            give_word(0);
        } else {
            fail("unknown command", "on standard input");
        }
    }
    return 0;
}

}  // namespace

int main(int count, char** arguments) { return count > 1 ? run_jobs(count, arguments) : serve(); }
