// Stand-in for the vendor's hls_stream.h, for simulation with g++ only: an unbounded FIFO.
// It lies on the include path of csim alone, so the vendor's own header wins wherever its tools run.
#ifndef PYADMM_CSIM_HLS_STREAM_H
#define PYADMM_CSIM_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

template <class T>
class stream {
public:
    stream() = default;
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return items_.empty(); }
    bool full() const { return false; }
    std::size_t size() const { return items_.size(); }

    void write(const T& item) { items_.push_back(item); }

    // Reading an empty stream would hang the hardware; here it ends the simulation.
    T read() {
        if (items_.empty()) {
            std::fprintf(stderr, "csim: read from an empty stream\n");
            std::exit(3);
        }
        const T item = items_.front();
        items_.pop_front();
        return item;
    }

private:
    std::deque<T> items_;
};

}  // namespace hls

#endif
