// Csim only: records the integers of every frame, for comparison with the golden model.
#ifndef PYADMM_TRACE_HPP
#define PYADMM_TRACE_HPP

#include <stdint.h>

#include <cstdio>
#include <cstdlib>

#define PYADMM_TRACE(shape, frame) pyadmm::trace_frame<shape>(frame)

namespace pyadmm {

// Where frames are written to; null while nothing is recorded.
inline std::FILE*& trace_file() {
    static std::FILE* file = nullptr;
    return file;
}

// Append the frame as int32, C, H, W in row-major order. All copies must hold the same.
template <class Shape>
void trace_frame(const typename Shape::Row frame[Shape::COPIES][Shape::BANKS][Shape::DEPTH]) {
    if (trace_file() == nullptr) {
        return;
    }
    for (int c = 0; c < Shape::CHANNELS; ++c) {
        for (int h = 0; h < Shape::HEIGHT; ++h) {
            const int padded = h + Shape::PADDING;
            const int bank = padded % Shape::BANKS;
            const int address = c * Shape::BANK_HEIGHT + padded / Shape::BANKS;
            for (int w = 0; w < Shape::WIDTH; ++w) {
                const int32_t value = int32_t(frame[0][bank][address].col[w]);
                for (int copy = 1; copy < Shape::COPIES; ++copy) {
                    if (int32_t(frame[copy][bank][address].col[w]) != value) {
                        std::fprintf(stderr, "csim: copies of a frame differ\n");
                        std::exit(3);
                    }
                }
                std::fwrite(&value, sizeof value, 1, trace_file());
            }
        }
    }
}

}  // namespace pyadmm

#endif
