// Simulated annealing of a quadratic form over integers.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace {

struct Schedule {
    std::int64_t variables, sweeps;
    double hot, cold;
    std::uint64_t seed;
};

// Uniform in 0 ... 1, in the same way with every standard library.
double uniform(std::mt19937_64& random) {
    return double(random() >> 11) * 0x1p-53;
}

// One step up or down; over 0 where it is no choice, nowhere (`from`) where the range ends.
int next(int from, int direction, int limit, bool zero) {
    int to = from + direction;
    if (to == 0 && !zero) to += direction;
    return std::abs(to) > limit ? from : to;
}

}  // namespace

// Minimises slope . d + d . curvature . d / 2 over d = step * (codes - codes at first).
// `slope` and `codes` are changed: to the slope at the end, and to the best codes found.
extern "C" double pyadmm_anneal(const double* curvature, double* slope, const double* step,
                                const std::int32_t* limit, const std::uint8_t* zero,
                                std::int32_t* codes, const Schedule* given) {
    const Schedule& schedule = *given;
    const std::int64_t count = schedule.variables;
    std::mt19937_64 random(schedule.seed);
    std::vector<std::int32_t> best(codes, codes + count);
    double energy = 0, least = 0;
    for (std::int64_t sweep = 0; sweep < schedule.sweeps; ++sweep) {
        const double done = double(sweep) / double(schedule.sweeps);
        const double fall = schedule.hot > 0 ? schedule.cold / schedule.hot : 0;
        const double heat = schedule.hot * std::pow(fall, done);
        for (std::int64_t move = 0; move < count; ++move) {
            const std::uint64_t drawn = random();
            const std::int64_t place = std::int64_t((drawn >> 1) % std::uint64_t(count));
            const int to = next(codes[place], drawn & 1 ? 1 : -1, limit[place], zero[place] != 0);
            if (to == codes[place]) continue;
            const double* row = curvature + place * count;
            const double way = step[place] * (to - codes[place]);
            const double change = way * (slope[place] + row[place] * way / 2);
            if (change > 0 && uniform(random) >= std::exp(-change / heat)) continue;
            codes[place] = to;
            energy += change;
            for (std::int64_t other = 0; other < count; ++other) slope[other] += row[other] * way;
        }
        if (energy < least) {
            least = energy;
            best.assign(codes, codes + count);
        }
    }
    for (std::int64_t place = 0; place < count; ++place) codes[place] = best[std::size_t(place)];
    return least;
}
