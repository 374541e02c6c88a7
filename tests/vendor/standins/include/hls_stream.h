// Stands in for the vendor's header, with just what the self-test design uses.
#pragma once
#include <queue>

namespace hls {
template <class T>
class stream {
    std::queue<T> words;

  public:
    T read() {
        T word = words.front();
        words.pop();
        return word;
    }
    void write(const T &word) { words.push(word); }
};
}  // namespace hls
