// Integer types of the kernels.
//
// Int<N> and UInt<N> are ap_int<N> and ap_uint<N> wherever hardware is made of them, and in csim
// when PYADMM_EXACT_WIDTHS is defined. Without it, csim uses the smallest native integer with at
// least N bits, which is several times faster and gives the same results as long as no value leaves
// its N bits; the tests run both. Note that ap_int is not initialised to zero, not even by `= {}`.
#ifndef PYADMM_TYPES_HPP
#define PYADMM_TYPES_HPP

#include <ap_int.h>
#include <stdint.h>

#include "pyadmm_pragmas.hpp"

namespace pyadmm {

#if defined(__SYNTHESIS__) || defined(PYADMM_EXACT_WIDTHS)

template <int N>
using Int = ap_int<N>;
template <int N>
using UInt = ap_uint<N>;

// a * b in full, by a multiplier that is no wider than its operands.
template <int A, int B>
inline Int<A + B> multiply(const Int<A>& a, const UInt<B>& b) {
    return a * b;
}

#else

template <int CLASS>
struct Native;
template <>
struct Native<0> {
    typedef int8_t signed_type;
    typedef uint8_t unsigned_type;
};
template <>
struct Native<1> {
    typedef int16_t signed_type;
    typedef uint16_t unsigned_type;
};
template <>
struct Native<2> {
    typedef int32_t signed_type;
    typedef uint32_t unsigned_type;
};
template <>
struct Native<3> {
    typedef int64_t signed_type;
    typedef uint64_t unsigned_type;
};

constexpr int native_class(int bits) {
    return bits <= 8 ? 0 : bits <= 16 ? 1 : bits <= 32 ? 2 : 3;
}

template <int N>
using Int = typename Native<native_class(N)>::signed_type;
template <int N>
using UInt = typename Native<native_class(N)>::unsigned_type;

template <int A, int B>
inline Int<A + B> multiply(Int<A> a, UInt<B> b) {
    return Int<A + B>(int64_t(a) * int64_t(b));
}

#endif

template <int N, bool SIGNED>
struct NumberOf {
    typedef UInt<N> type;
    static constexpr int64_t LO = 0;
    static constexpr int64_t HI = (int64_t(1) << N) - 1;
};
template <int N>
struct NumberOf<N, true> {
    typedef Int<N> type;
    static constexpr int64_t LO = -(int64_t(1) << (N - 1));
    static constexpr int64_t HI = (int64_t(1) << (N - 1)) - 1;
};

// Two's complement where SIGNED, plain binary otherwise.
template <int N, bool SIGNED>
using Number = typename NumberOf<N, SIGNED>::type;

// clog2(count): bits that index `count` things, 0 for one.
constexpr int index_width(int64_t count) {
    return count <= 1 ? 0 : 1 + index_width((count + 1) / 2);
}

// Bits of an unsigned number that holds 0 ... `largest`; at least 1.
constexpr int bits_of(int64_t largest) {
    return largest <= 1 ? 1 : 1 + bits_of(largest / 2);
}

// A counter or index from 0 to LARGEST, both included.
template <int64_t LARGEST>
using Count = UInt<bits_of(LARGEST)>;

constexpr int ceil_div(int numerator, int denominator) {
    return (numerator + denominator - 1) / denominator;
}

constexpr int larger_of(int a, int b) { return a > b ? a : b; }

// `width` bits of `word` from bit `lsb` on; 0 for an empty field.
template <int LSB, int WIDTH>
inline uint32_t field(uint32_t word) {
    static_assert(LSB >= 0 && WIDTH >= 0 && LSB + WIDTH <= 32, "a field lies within 32 bits");
    return WIDTH == 0 ? 0u : (word >> (LSB % 32)) & ((uint32_t(1) << (WIDTH % 32)) - 1u);
}

// Any number of at most 32 bits as a word of the streams, sign-extended where it is signed.
template <class T>
inline uint32_t to_word(const T& value) {
    return uint32_t(int64_t(value));
}

}  // namespace pyadmm

#endif
