// A convolution by its non-zero weights, then a 2 x 2 max-pool, and the gradients of both.
//
// Maps lie as (channels, height, width, images): eight images fill a vector, and a weight is one
// multiplication for all of them. A weight's tap is the place, in pixels of the whole input, of what
// it meets under the first output pixel; starts[o] .. starts[o + 1] are the weights of output o.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace {

constexpr int CORNERS = 4;  // pixels under one pooled pixel
constexpr int TOGETHER = 4;  // weights whose gradients are summed in one pass

struct Shape {
    int images, channels, height, width, outputs, out_height, out_width;
    std::int64_t pixels() const { return std::int64_t(channels) * height * width; }
    int pooled_height() const { return out_height / 2; }
    int pooled_width() const { return out_width / 2; }
    std::int64_t pooled(int output, int row, int column) const {
        return ((std::int64_t(output) * pooled_height() + row) * pooled_width() + column) * images;
    }
};

// The pixels of LANES images next to each other, so that they stay in the cache.
void pack(const float* maps, const Shape& shape, int first, float* block) {
    for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel)
        std::memcpy(block + pixel * LANES, maps + pixel * shape.images + first, sizeof(Vector));
}

// COLUMNS pooled pixels: the largest of each one's four sums, and which it was.
template <int COLUMNS>
void pool(const float* block, int width, const std::int32_t* taps, const float* weights, int count,
          float bias, float* largest, std::uint8_t* winner, std::int64_t stride) {
    Vector sums[2][2 * COLUMNS];
    for (auto& row : sums)
        for (auto& each : row) each = Vector{} + bias;
    for (int k = 0; k < count; ++k) {
        const float* from = block + std::int64_t(taps[k]) * LANES;
        for (int row = 0; row < 2; ++row)
            for (int column = 0; column < 2 * COLUMNS; ++column)
                sums[row][column] += load(from + (row * width + column) * LANES) * weights[k];
    }
    for (int column = 0; column < COLUMNS; ++column) {
        Vector best = sums[0][2 * column];
        Integers place = {};
        for (int corner = 1; corner < CORNERS; ++corner) {
            const Vector& other = sums[corner / 2][2 * column + corner % 2];
            const Integers larger = other > best;
            best = larger ? other : best;
            place = larger ? Integers{} + corner : place;
        }
        store(best, largest + column * stride);
        for (int lane = 0; lane < LANES; ++lane)
            winner[column * stride + lane] = static_cast<std::uint8_t>(place[lane]);
    }
}

// The gradient of a whole output map, unpooled; returns its sum, the gradient of the bias.
Vector unpool(const float* gradient, const std::uint8_t* winner, const Shape& shape, int output,
              int first, float* map) {
    Vector total = {};
    for (int row = 0; row < shape.pooled_height(); ++row)
        for (int column = 0; column < shape.pooled_width(); ++column) {
            const std::int64_t at = shape.pooled(output, row, column) + first;
            const Vector value = load(gradient + at);
            Integers place;
            for (int lane = 0; lane < LANES; ++lane) place[lane] = winner[at + lane];
            total += value;
            for (int corner = 0; corner < CORNERS; ++corner) {
                const int pixel =
                    (2 * row + corner / 2) * shape.out_width + 2 * column + corner % 2;
                store(place == Integers{} + corner ? value : Vector{}, map + pixel * LANES);
            }
        }
    return total;
}

void add_weight_gradients(const float* block, const float* map, const Shape& shape,
                          const std::int32_t* taps, int count, Vector* totals) {
    for (int k = 0; k < count; k += TOGETHER) {
        const int some = std::min(TOGETHER, count - k);
        const float* from[TOGETHER];
        for (int j = 0; j < TOGETHER; ++j)
            from[j] = block + std::int64_t(taps[k + std::min(j, some - 1)]) * LANES;
        Vector sums[TOGETHER][2] = {};
        for (int row = 0; row < shape.out_height; ++row)
            for (int column = 0; column < shape.out_width; ++column) {
                const Vector value = load(map + (row * shape.out_width + column) * LANES);
                const int place = (row * shape.width + column) * LANES;
                for (int j = 0; j < TOGETHER; ++j) sums[j][column % 2] += load(from[j] + place) * value;
            }
        for (int j = 0; j < some; ++j) totals[k + j] += sums[j][0] + sums[j][1];
    }
}

void add_input_gradients(float* block, const float* map, const Shape& shape,
                         const std::int32_t* taps, const float* weights, int count) {
    for (int k = 0; k < count; ++k) {
        float* to = block + std::int64_t(taps[k]) * LANES;
        for (int row = 0; row < shape.out_height; ++row)
            for (int column = 0; column < shape.out_width; ++column) {
                float* pixel = to + (row * shape.width + column) * LANES;
                const float* value = map + (row * shape.out_width + column) * LANES;
                store(load(pixel) + load(value) * weights[k], pixel);
            }
    }
}

}  // namespace

extern "C" {

void pyadmm_conv_pool(const float* maps, const Shape* given, const std::int32_t* starts,
                      const std::int32_t* taps, const float* weights, const float* bias,
                      float* largest, std::uint8_t* winner) {
    const Shape& shape = *given;
    std::vector<float> block(shape.pixels() * LANES);
    for (int first = 0; first < shape.images; first += LANES) {
        pack(maps, shape, first, block.data());
        for (int output = 0; output < shape.outputs; ++output) {
            const int begin = starts[output], count = starts[output + 1] - begin;
            for (int row = 0; row < shape.pooled_height(); ++row)
                for (int column = 0; column < shape.pooled_width(); column += 2) {
                    const int pixel = 2 * (row * shape.width + column);
                    const std::int64_t at = shape.pooled(output, row, column) + first;
                    const bool two = column + 1 < shape.pooled_width();
                    (two ? pool<2> : pool<1>)(block.data() + pixel * LANES, shape.width,
                                              taps + begin, weights + begin, count, bias[output],
                                              largest + at, winner + at, shape.images);
                }
        }
    }
}

// input_gradient may be null.
void pyadmm_conv_pool_gradients(const float* maps, const float* gradient,
                                const std::uint8_t* winner, const Shape* given,
                                const std::int32_t* starts, const std::int32_t* taps,
                                const float* weights, float* weight_gradient,
                                float* bias_gradient, float* input_gradient) {
    const Shape& shape = *given;
    std::vector<float> block(shape.pixels() * LANES), back(shape.pixels() * LANES);
    std::vector<float> map(std::size_t(shape.out_height) * shape.out_width * LANES);
    std::vector<Vector> totals(starts[shape.outputs], Vector{}), biases(shape.outputs, Vector{});
    for (int first = 0; first < shape.images; first += LANES) {
        pack(maps, shape, first, block.data());
        std::fill(back.begin(), back.end(), 0.0F);
        for (int output = 0; output < shape.outputs; ++output) {
            const int begin = starts[output], count = starts[output + 1] - begin;
            biases[output] += unpool(gradient, winner, shape, output, first, map.data());
            add_weight_gradients(block.data(), map.data(), shape, taps + begin, count,
                                 totals.data() + begin);
            if (input_gradient != nullptr)
                add_input_gradients(back.data(), map.data(), shape, taps + begin, weights + begin,
                                    count);
        }
        if (input_gradient != nullptr)
            for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel)
                std::memcpy(input_gradient + pixel * shape.images + first,
                            back.data() + pixel * LANES, sizeof(Vector));
    }
    std::transform(totals.begin(), totals.end(), weight_gradient, sum);
    std::transform(biases.begin(), biases.end(), bias_gradient, sum);
}

}  // extern "C"
