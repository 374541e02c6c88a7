// Testbench of any generated accelerator: a command line of jobs, files of raw little-endian words.
//
//   load WEIGHTS            run the top in mode 1 on a weight image
//   infer IMAGES LOGITS     run it in mode 0 on uint8 images, write int32 logits
//   back WEIGHTS            run it in mode 2, write the weight image that it holds
//   expect LOGITS           compare with the logits of the last `infer`; differences fail the run
//   trace FRAMES            (g++ only) record the integers of every frame from here on
//
// Every job checks the streams' protocol: all input taken, TLAST on the last word alone.
#ifndef PYADMM_TESTBENCH_HPP
#define PYADMM_TESTBENCH_HPP

#include <stdint.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "pyadmm_streams.hpp"

namespace pyadmm {

// BITS of a word of the input stream.
template <int BITS>
struct AcceleratorOf {
    void (*top)(StreamOf<BITS>& in, AxiStream& out, unsigned mode, unsigned count, unsigned* ident,
                unsigned* cycles);
    unsigned ident;
    unsigned image_bytes;
    unsigned logits;
    unsigned weight_words;
};

typedef AcceleratorOf<32> Accelerator;

template <int BITS>
class TestbenchOf {
public:
    explicit TestbenchOf(const AcceleratorOf<BITS>& accelerator) : accelerator_(accelerator) {}

    int run(int argc, char** argv) {
        int i = 1;
        while (i < argc) {
            const char* const job = argv[i++];
            if (is(job, "load")) {
                load(next(argc, argv, i));
            } else if (is(job, "infer")) {
                const char* const images = next(argc, argv, i);
                infer(images, next(argc, argv, i));
            } else if (is(job, "back")) {
                back(next(argc, argv, i));
            } else if (is(job, "expect")) {
                expect(next(argc, argv, i));
            } else if (is(job, "trace")) {
                trace(next(argc, argv, i));
            } else {
                fail("unknown job", job);
            }
        }
        return 0;
    }

private:
    static constexpr unsigned IMAGES_PER_RUN = 64;
    static constexpr unsigned PARTS = BITS / 32;

    // Words of 32 bits from i on as one of the stream, the first lowest; none left: 0.
    static typename WordOf<BITS>::type joined(const std::vector<uint32_t>& words, std::size_t i) {
        uint64_t value = 0;
        for (unsigned part = 0; part < PARTS && i + part < words.size(); ++part) {
            value |= uint64_t(words[i + part]) << (32 * part);
        }
        return typename WordOf<BITS>::type(value);
    }

    static bool is(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

    static void fail(const char* what, const char* subject) {
        std::fprintf(stderr, "testbench: %s: %s\n", what, subject);
        std::exit(2);
    }

    static const char* next(int argc, char** argv, int& i) {
        if (i >= argc) {
            fail("a file name is missing after", argv[argc - 1]);
        }
        return argv[i++];
    }

    template <class T>
    static std::vector<T> read_file(const char* name) {
        std::FILE* const file = std::fopen(name, "rb");
        if (file == nullptr) {
            fail("cannot open", name);
        }
        std::vector<T> items;
        T item;
        while (std::fread(&item, sizeof item, 1, file) == 1) {
            items.push_back(item);
        }
        std::fclose(file);
        return items;
    }

    template <class T>
    static void write_file(const char* name, const std::vector<T>& items) {
        std::FILE* const file = std::fopen(name, "wb");
        if (file == nullptr ||
            std::fwrite(items.data(), sizeof(T), items.size(), file) != items.size() ||
            std::fclose(file) != 0) {
            fail("cannot write", name);
        }
    }

    // One run of the top. Returns the words that it gave.
    std::vector<uint32_t> run_top(const std::vector<uint32_t>& input, unsigned mode,
                                  unsigned count) {
        StreamOf<BITS> in;
        AxiStream out;
        for (std::size_t i = 0; i < input.size(); i += PARTS) {
            ap_axiu<BITS, 0, 0, 0> word;
            word.data = joined(input, i);
            word.keep = -1;
            word.strb = -1;
            word.last = i + PARTS >= input.size();
            in.write(word);
        }
        unsigned ident = 0, cycles = 0;
        accelerator_.top(in, out, mode, count, &ident, &cycles);
        if (ident != accelerator_.ident) {
            fail("ident register", "differs from the build's");
        }
        if (!in.empty()) {
            fail("input stream", "not all words were taken");
        }
        std::vector<uint32_t> output;
        while (!out.empty()) {
            const AxiWord word = out.read();
            if (bool(word.last) != out.empty()) {
                fail("output stream", "TLAST is not on the last word alone");
            }
            output.push_back(uint32_t(word.data));
        }
        return output;
    }

    void load(const char* name) {
        const std::vector<uint32_t> image = read_file<uint32_t>(name);
        if (image.size() != accelerator_.weight_words) {
            fail("weight image has another length than the accelerator's", name);
        }
        if (!run_top(image, 1, 0).empty()) {
            fail("output stream", "loading gave words");
        }
    }

    void back(const char* name) { write_file(name, run_top(std::vector<uint32_t>(), 2, 0)); }

    void infer(const char* images, const char* logits) {
        const std::vector<uint8_t> bytes = read_file<uint8_t>(images);
        if (bytes.size() % accelerator_.image_bytes != 0) {
            fail("not a whole number of images", images);
        }
        const std::size_t total = bytes.size() / accelerator_.image_bytes;
        logits_.clear();
        for (std::size_t first = 0; first < total; first += IMAGES_PER_RUN) {
            const std::size_t left = total - first;
            const unsigned count = left < IMAGES_PER_RUN ? unsigned(left) : IMAGES_PER_RUN;
            const uint8_t* const start = bytes.data() + first * accelerator_.image_bytes;
            const std::vector<uint32_t> output = run_top(packed(start, count), 0, count);
            if (output.size() != std::size_t(count) * accelerator_.logits) {
                fail("output stream", "not one word per logit");
            }
            logits_.insert(logits_.end(), output.begin(), output.end());
        }
        write_file(logits, logits_);
    }

    // Bytes to words, lowest byte first, each image padded to a whole word of the stream.
    std::vector<uint32_t> packed(const uint8_t* bytes, unsigned count) const {
        std::vector<uint32_t> words;
        for (unsigned image = 0; image < count; ++image) {
            for (unsigned i = 0; i < accelerator_.image_bytes; ++i) {
                if (i % 4 == 0) {
                    words.push_back(0);
                }
                words.back() |= uint32_t(*bytes++) << (8 * (i % 4));
            }
            words.resize((words.size() + PARTS - 1) / PARTS * PARTS);
        }
        return words;
    }

    void expect(const char* name) {
        const std::vector<uint32_t> wanted = read_file<uint32_t>(name);
        std::size_t wrong = wanted.size() == logits_.size() ? 0 : wanted.size();
        for (std::size_t i = 0; wrong == 0 && i < wanted.size(); ++i) {
            wrong += wanted[i] != logits_[i];
        }
        if (wrong != 0) {
            fail("logits differ from", name);
        }
        std::printf("testbench: all %u logits as expected\n", unsigned(wanted.size()));
    }

    static void trace(const char* name) {
#ifdef PYADMM_CSIM
        trace_file() = std::fopen(name, "wb");
        if (trace_file() == nullptr) {
            fail("cannot write", name);
        }
#else
        fail("frames are recorded by g++ builds only", name);
#endif
    }

    AcceleratorOf<BITS> accelerator_;
    std::vector<uint32_t> logits_;
};

typedef TestbenchOf<32> Testbench;

}  // namespace pyadmm

#endif
