// Vectors of eight floats, one for each of eight images.
#pragma once
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 8;
typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef std::int32_t Integers __attribute__((vector_size(4 * LANES)));

inline Vector load(const float* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

inline void store(const Vector& vector, float* to) { std::memcpy(to, &vector, sizeof vector); }

inline float sum(const Vector& vector) {
    float total = 0;
    for (int lane = 0; lane < LANES; ++lane) total += vector[lane];
    return total;
}

}  // namespace
