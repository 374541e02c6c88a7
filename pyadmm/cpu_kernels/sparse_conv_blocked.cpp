// A padded, strided convolution by its non-zero weights, then a scale and an offset per channel and
// perhaps a ReLU, and the gradients of all of it.
//
// Maps lie in blocks of eight images, (blocks, channels, height, width, 8): a weight is one
// multiplication for a vector of all eight. A block is packed before it is read: rows outermost,
// zeros around and between its pixels, so that the few rows that meet one row of results lie
// together. A weight's tap is the place, in packed pixels, of what it meets under the first result.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int WIDE = 8;    // results in registers at a time
constexpr int CHAINS = 4;  // sums that do not wait for each other
typedef std::uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef std::uint16_t Bfloat;  // the upper half of a float

struct Layer {
    int blocks, channels, height, width, outputs, out_height, out_width, rows, columns, stride,
        padding, margin, relu, halves, threads;
    std::int64_t input() const { return std::int64_t(channels) * height * width; }
    std::int64_t area() const { return std::int64_t(out_height) * out_width; }
    std::int64_t output() const { return outputs * area(); }
    double count() const { return double(blocks) * LANES * area(); }  // of a channel's sums
};

// Where weights are, by what they are summed into: starts[i] .. starts[i + 1] are those of result
// channel i, index their places in the whole weight.
struct Places {
    const std::int32_t *starts, *taps;
    const std::int64_t* index;
};

struct Weights {
    const std::int32_t *starts, *taps;
    std::vector<float> values;
    Weights(const Places& places, int results, const float* weight)
        : starts(places.starts), taps(places.taps), values(starts[results]) {
        for (std::size_t k = 0; k < values.size(); ++k) values[k] = weight[places.index[k]];
    }
};

Vector load(const Bfloat* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (Vector)(__builtin_convertvector(halves, Bits) << 16);
}

// To the nearest, ties to even; all values are finite.
void store(const Vector& vector, Bfloat* to) {
    const Bits bits = (Bits)vector;
    const Bits nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Halves halves = __builtin_convertvector(nearest, Halves);
    std::memcpy(to, &halves, sizeof halves);
}

// One block, (height, channels, width, 8), its pixels `step` apart and `margin` from the border.
struct Packed {
    int height, channels, width, step, margin;
    std::vector<float> data;
    Packed(int height_, int channels_, int width_, int step_, int margin_)
        : height(height_), channels(channels_), width(width_), step(step_), margin(margin_),
          data(std::size_t(height) * channels * width * LANES, 0.0F) {}
    std::int64_t row_size() const { return std::int64_t(channels) * width * LANES; }
    const float* row(int y) const { return data.data() + y * row_size(); }
    const float* at(int channel, int y, int x) const {
        return row(y * step + margin) + (std::int64_t(channel) * width + margin + x * step) * LANES;
    }

    // What lies outside is not read by any weight. `pixel(channel, place)` gives the vector of one.
    template <typename Pixel>
    void fill(int rows, int columns, const Pixel& pixel) {
        const int last_row = std::min(rows, (height - margin + step - 1) / step);
        const int last_column = std::min(columns, (width - margin + step - 1) / step);
        for (int channel = 0; channel < channels; ++channel)
            for (int y = 0; y < last_row; ++y) {
                float* to = data.data() + (y * step + margin) * row_size() +
                            (std::int64_t(channel) * width + margin) * LANES;
                for (int x = 0; x < last_column; ++x)
                    store(pixel(channel, std::int64_t(y) * columns + x), to + x * step * LANES);
            }
    }
};

// Calls use(first, columns) for parts of a row that registers hold; columns is a constant.
template <typename Use>
void in_parts(int width, const Use& use) {
    int x = 0;
    for (; x + WIDE <= width; x += WIDE) use(x, std::integral_constant<int, WIDE>());
    for (; x + 2 <= width; x += 2) use(x, std::integral_constant<int, 2>());
    for (; x < width; ++x) use(x, std::integral_constant<int, 1>());
}

// All results of a block, (results, height, width, 8). A part of a row is done for all of them
// before the next, so that what they read stays in the nearest cache.
template <int STRIDE, typename Stored>
void multiply(const Packed& from, const Weights& weights, int results, int height, int width,
              Stored* to) {
    for (int y = 0; y < height; ++y)
        in_parts(width, [&](int x, auto columns) {
            const float* first = from.row(y * STRIDE) + std::int64_t(x) * STRIDE * LANES;
            for (int result = 0; result < results; ++result) {
                Vector sums[columns] = {};
                for (int k = weights.starts[result]; k < weights.starts[result + 1]; ++k) {
                    const float* at = first + std::int64_t(weights.taps[k]) * LANES;
                    const float value = weights.values[k];
                    for (int i = 0; i < columns; ++i)
                        sums[i] += load(at + i * STRIDE * LANES) * value;
                }
                Stored* row = to + ((std::int64_t(result) * height + y) * width + x) * LANES;
                for (int i = 0; i < columns; ++i) store(sums[i], row + i * LANES);
            }
        });
}

// Adds the products of each weight's inputs with the gradients of its output to its total.
template <int STRIDE>
void add_weight_gradients(const Packed& inputs, const Packed& gradient, const Layer& layer,
                          const Places& weights, Vector* totals) {
    for (int y = 0; y < layer.out_height; ++y)
        in_parts(layer.out_width, [&](int x, auto columns) {
            const float* first = inputs.row(y * STRIDE) + std::int64_t(x) * STRIDE * LANES;
            for (int output = 0; output < layer.outputs; ++output) {
                const float* arriving = gradient.at(output, y, x);
                Vector values[columns];
                for (int i = 0; i < columns; ++i) values[i] = load(arriving + i * STRIDE * LANES);
                for (int k = weights.starts[output]; k < weights.starts[output + 1]; ++k) {
                    const float* at = first + std::int64_t(weights.taps[k]) * LANES;
                    Vector sums[2] = {totals[k], Vector{}};
                    for (int i = 0; i < columns; ++i)
                        sums[i % 2] += load(at + i * STRIDE * LANES) * values[i];
                    totals[k] = sums[0] + sums[1];
                }
            }
        });
}

// Calls use(stride), a constant.
template <typename Use>
void with_stride(int stride, const Use& use) {
    switch (stride) {
        case 1: return use(std::integral_constant<int, 1>());
        case 2: return use(std::integral_constant<int, 2>());
        case 3: return use(std::integral_constant<int, 3>());
        default: return use(std::integral_constant<int, 4>());
    }
}

// Of a packed gradient: far enough for every input pixel and for every gradient.
int gradient_side(const Layer& layer, int side, int out_side) {
    return layer.margin + std::max(side + layer.padding, (out_side - 1) * layer.stride + 1);
}

// Calls work(thread, first block, last block) in every thread.
template <typename Work>
void in_threads(int threads, int blocks, const Work& work) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; ++thread)
        work(thread, int(std::int64_t(blocks) * thread / threads),
             int(std::int64_t(blocks) * (thread + 1) / threads));
}

// Adds to the moments of each channel, over a block from vector `first` of the maps on, the sum of
// value(place) and the sum of its products with other(place).
template <typename Value, typename Other>
void add_moments(const Layer& layer, std::int64_t first, const Value& value, const Other& other,
                 double* moments) {
    for (int channel = 0; channel < layer.outputs; ++channel) {
        Vector totals[CHAINS] = {}, products[CHAINS] = {};
        const std::int64_t begin = first + channel * layer.area(), end = begin + layer.area();
        const auto add = [&](std::int64_t place, int chain) {
            const Vector one = value(place);
            totals[chain] += one;
            products[chain] += one * other(place);
        };
        std::int64_t place = begin;
        for (; place + CHAINS <= end; place += CHAINS)
            for (int chain = 0; chain < CHAINS; ++chain) add(place + chain, chain);
        for (; place < end; ++place) add(place, 0);
        for (int chain = 0; chain < CHAINS; ++chain) {
            moments[channel] += sum(totals[chain]);
            moments[layer.outputs + channel] += sum(products[chain]);
        }
    }
}

std::vector<double> added_up(const std::vector<std::vector<double>>& parts) {
    std::vector<double> totals(parts[0].size(), 0.0);
    for (const std::vector<double>& part : parts)
        for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += part[i];
    return totals;
}

// The gradient before the ReLU: 0 where its result is 0.
Vector before_relu(const Vector& gradient, const Vector& result) {
    const Integers passes = result > Vector{};
    return passes ? gradient : Vector{};
}

// Calls use with a value of the type that maps are stored as.
template <typename Use>
void with_type(const Layer& layer, const Use& use) {
    if (layer.halves)
        use(Bfloat());
    else
        use(float());
}

// Maps of inputs, gradients, results and sums of products, as what they are stored as.
template <typename Stored>
struct Maps {
    const Stored *inputs, *gradients, *results, *sums;
};

template <typename Stored>
void pack_inputs(const Stored* maps, const Layer& layer, int block, Packed& packed) {
    const Stored* map = maps + block * layer.input() * LANES;
    const std::int64_t area = std::int64_t(layer.height) * layer.width;
    packed.fill(layer.height, layer.width, [&](int channel, std::int64_t place) {
        return load(map + (channel * area + place) * LANES);
    });
}

// What is known of each channel of the sums: with `normed`, mean and 1 / sqrt(variance + eps).
struct Norm {
    int normed;
    float eps;
    float *mean, *variance;
    float scale(int channel) const {
        return normed ? 1 / std::sqrt(variance[channel] + eps) : 1.0F;
    }
};

template <typename Stored>
void multiply_all(const Stored* maps, const Layer& layer, const Weights& weights, const Norm& norm,
                  Stored* sums) {
    std::vector<std::vector<double>> parts(layer.threads,
                                           std::vector<double>(2 * layer.outputs, 0.0));
    in_threads(layer.threads, layer.blocks, [&](int thread, int first, int last) {
        Packed inputs((layer.out_height - 1) * layer.stride + layer.rows, layer.channels,
                      (layer.out_width - 1) * layer.stride + layer.columns, 1, layer.padding);
        for (int block = first; block < last; ++block) {
            pack_inputs(maps, layer, block, inputs);
            Stored* result = sums + block * layer.output() * LANES;
            with_stride(layer.stride, [&](auto stride) {
                multiply<stride>(inputs, weights, layer.outputs, layer.out_height, layer.out_width,
                                 result);
            });
            const auto of_result = [&](std::int64_t place) { return load(result + place * LANES); };
            if (norm.normed) add_moments(layer, 0, of_result, of_result, parts[thread].data());
        }
    });
    if (!norm.normed) return;
    const std::vector<double> moments = added_up(parts);
    for (int channel = 0; channel < layer.outputs; ++channel) {
        const double mean = moments[channel] / layer.count();
        const double square = moments[layer.outputs + channel] / layer.count();
        norm.mean[channel] = float(mean);
        norm.variance[channel] = float(std::max(0.0, square - mean * mean));
    }
}

// results = gain * (sums - mean) * scale + offset, or 0 where that is negative and there is a ReLU.
template <typename Stored>
void scale_all(const Stored* sums, const Layer& layer, const Norm& norm, const float* gain,
               const float* offset, Stored* results) {
    in_threads(layer.threads, layer.blocks, [&](int, int first, int last) {
        for (std::int64_t map = std::int64_t(first) * layer.outputs;
             map < std::int64_t(last) * layer.outputs; ++map) {
            const int channel = int(map % layer.outputs);
            const float factor = gain[channel] * norm.scale(channel);
            const float mean = norm.normed ? norm.mean[channel] : 0.0F;
            const Vector constant = Vector{} + (offset[channel] - mean * factor);
            const std::int64_t begin = map * layer.area() * LANES;
            for (std::int64_t at = begin; at < begin + layer.area() * LANES; at += LANES) {
                const Vector value = load(sums + at) * factor + constant;
                store(layer.relu ? (value > Vector{} ? value : Vector{}) : value, results + at);
            }
        }
    });
}

// A gradient before the ReLU.
template <typename Stored>
Vector arriving_at(const Maps<Stored>& maps, const Layer& layer, std::int64_t place) {
    const Vector value = load(maps.gradients + place * LANES);
    return layer.relu ? before_relu(value, load(maps.results + place * LANES)) : value;
}

// Per channel the sum of the gradients (before the ReLU), then of gradients times sums.
template <typename Stored>
std::vector<double> moments_all(const Maps<Stored>& maps, const Layer& layer) {
    std::vector<std::vector<double>> parts(layer.threads,
                                           std::vector<double>(2 * layer.outputs, 0.0));
    in_threads(layer.threads, layer.blocks, [&](int thread, int first, int last) {
        const auto arriving = [&](std::int64_t place) { return arriving_at(maps, layer, place); };
        const auto before = [&](std::int64_t place) { return load(maps.sums + place * LANES); };
        for (int block = first; block < last; ++block)
            add_moments(layer, block * layer.output(), arriving, before, parts[thread].data());
    });
    return added_up(parts);
}

// A sum's gradient is of_gradient * gradient (before the ReLU) + of_sum * sum + constant.
struct Factors {
    std::vector<float> of_gradient, of_sum, constant;
};

// The gradients of gain and offset, and what makes those of the sums.
Factors through_norm(const std::vector<double>& moments, const Layer& layer, const Norm& norm,
                     const float* gain, float* of_gain, float* of_offset) {
    Factors factors;
    for (int channel = 0; channel < layer.outputs; ++channel) {
        const double scale = norm.scale(channel), factor = gain[channel] * scale;
        const double mean = norm.normed ? norm.mean[channel] : 0.0, total = moments[channel];
        const double product = (moments[layer.outputs + channel] - mean * total) * scale;
        const double slope = norm.normed ? -factor * scale * product / layer.count() : 0.0;
        of_offset[channel] = float(total);
        of_gain[channel] = float(product);
        factors.of_gradient.push_back(float(factor));
        factors.of_sum.push_back(float(slope));
        factors.constant.push_back(
            norm.normed ? float(-factor * total / layer.count() - slope * mean) : 0.0F);
    }
    return factors;
}

// of_inputs may be null.
template <typename Stored>
void gradients_all(const Maps<Stored>& maps, const Layer& layer, const Factors& factors,
                   const Places& places, const Weights& back, float* of_weight, Stored* of_inputs) {
    const int count = places.starts[layer.outputs];
    std::vector<std::vector<Vector>> parts(layer.threads, std::vector<Vector>(count, Vector{}));
    in_threads(layer.threads, layer.blocks, [&](int thread, int first, int last) {
        Packed inputs((layer.out_height - 1) * layer.stride + layer.rows, layer.channels,
                      (layer.out_width - 1) * layer.stride + layer.columns, 1, layer.padding);
        Packed arriving(gradient_side(layer, layer.height, layer.out_height), layer.outputs,
                        gradient_side(layer, layer.width, layer.out_width), layer.stride,
                        layer.margin);
        for (int block = first; block < last; ++block) {
            pack_inputs(maps.inputs, layer, block, inputs);
            const std::int64_t begin = block * layer.output();
            arriving.fill(layer.out_height, layer.out_width, [&](int output, std::int64_t pixel) {
                const std::int64_t place = begin + output * layer.area() + pixel;
                return arriving_at(maps, layer, place) * factors.of_gradient[output] +
                       load(maps.sums + place * LANES) * factors.of_sum[output] +
                       factors.constant[output];
            });
            with_stride(layer.stride, [&](auto stride) {
                add_weight_gradients<stride>(inputs, arriving, layer, places,
                                             parts[thread].data());
            });
            if (of_inputs != nullptr)
                multiply<1>(arriving, back, layer.channels, layer.height, layer.width,
                            of_inputs + block * layer.input() * LANES);
        }
    });
    for (int k = 0; k < count; ++k)
        for (const std::vector<Vector>& part : parts) of_weight[places.index[k]] += sum(part[k]);
}

}  // namespace

// All maps are floats, or bfloats where `halves` is set.
extern "C" {

// Results of the layer; also the sums before the norm, and with a norm their mean and variance.
void pyadmm_blocks_forward(const void* inputs, const Layer* layer, const Places* places,
                           const float* weight, const float* gain, const float* offset,
                           const Norm* norm, void* sums, void* results) {
    const Weights weights(*places, layer->outputs, weight);
    with_type(*layer, [&](auto zero) {
        typedef decltype(zero) Stored;
        Stored* products = static_cast<Stored*>(sums);
        multiply_all(static_cast<const Stored*>(inputs), *layer, weights, *norm, products);
        scale_all(products, *layer, *norm, gain, offset, static_cast<Stored*>(results));
    });
}

// Gradients; of_weight is given as zeros and stays so where there is no weight, of_inputs may be
// null. `back` are the weights by input channel.
void pyadmm_blocks_backward(const void* inputs, const void* gradients, const void* results,
                            const void* sums, const Layer* layer, const Places* places,
                            const Places* back, const float* weight, const float* gain,
                            const Norm* norm, float* of_weight, float* of_gain, float* of_offset,
                            void* of_inputs) {
    const Weights weights(*back, layer->channels, weight);
    with_type(*layer, [&](auto zero) {
        typedef decltype(zero) Stored;
        const Maps<Stored> maps = {
            static_cast<const Stored*>(inputs), static_cast<const Stored*>(gradients),
            static_cast<const Stored*>(results), static_cast<const Stored*>(sums)};
        const std::vector<double> moments = moments_all(maps, *layer);
        const Factors factors = through_norm(moments, *layer, *norm, gain, of_gain, of_offset);
        gradients_all(maps, *layer, factors, *places, weights, of_weight,
                      static_cast<Stored*>(of_inputs));
    });
}

}  // extern "C"
