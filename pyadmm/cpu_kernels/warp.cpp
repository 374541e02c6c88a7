// Byte images shifted by whole pixels, then seen through linear maps about their centre.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int FRAME = 1;  // of zeros around an image: what lies further out is zero as well

struct Size {
    int count, channels, height, width, pixels;
};

// One channel in its frame, moved: as many rows and columns up and left as shift says.
void place(const std::uint8_t* image, const Size& size, int down, int right, float* framed) {
    const int pitch = size.width + 2 * FRAME;
    std::fill(framed, framed + pitch * (size.height + 2 * FRAME), 0.0F);
    for (int row = std::max(0, down); row < std::min(size.height, size.height + down); ++row)
        for (int column = std::max(0, right); column < std::min(size.width, size.width + right);
             ++column)
            framed[(row - down + FRAME) * pitch + column - right + FRAME] =
                image[row * size.width + column];
}

void look(const float* framed, const Size& size, const float* map, std::uint8_t* seen) {
    const int pitch = size.width + 2 * FRAME;
    const float middle_x = (size.width - 1) * 0.5F, middle_y = (size.height - 1) * 0.5F;
    const float last_x = size.width + 2 * FRAME - 1.001F, last_y = size.height + 2 * FRAME - 1.001F;
    const float aspect = float(size.height) / size.width;
    for (int row = 0; row < size.height; ++row)
        for (int column = 0; column < size.width; ++column) {
            const float x = column - middle_x, y = row - middle_y;
            const float at_x = map[0] * x + map[1] * y / aspect + middle_x + FRAME;
            const float at_y = map[2] * x * aspect + map[3] * y + middle_y + FRAME;
            const float inside_x = std::min(std::max(at_x, 0.0F), last_x);
            const float inside_y = std::min(std::max(at_y, 0.0F), last_y);
            const int left = int(inside_x), top = int(inside_y);
            const float part_x = inside_x - left, part_y = inside_y - top;
            const float* corner = framed + top * pitch + left;
            const float above = corner[0] + part_x * (corner[1] - corner[0]);
            const float below = corner[pitch] + part_x * (corner[pitch + 1] - corner[pitch]);
            seen[row * size.width + column] =
                std::uint8_t(std::nearbyint(above + part_y * (below - above)));
        }
}

}  // namespace

extern "C" void pyadmm_move_images(const std::uint8_t* pool, const std::int64_t* rows,
                                   const std::int64_t* shifts, const float* maps,
                                   const Size* given, std::uint8_t* moved) {
    const Size& size = *given;
    const int span = 2 * size.pixels + 1, area = size.height * size.width;
    std::vector<float> framed((size.height + 2 * FRAME) * (size.width + 2 * FRAME));
    for (int image = 0; image < size.count; ++image) {
        const int down = int(shifts[image] / span) - size.pixels;
        const int right = int(shifts[image] % span) - size.pixels;
        for (int channel = 0; channel < size.channels; ++channel) {
            const std::int64_t from = (rows[image] * size.channels + channel) * area;
            const std::int64_t to = (std::int64_t(image) * size.channels + channel) * area;
            place(pool + from, size, down, right, framed.data());
            look(framed.data(), size, maps + 4 * image, moved + to);
        }
    }
}
