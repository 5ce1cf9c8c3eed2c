// Bicubic resizing with antialiasing of 8-bit pictures.
#pragma once

#include "runtime/media/Image.h"

namespace lapidary {

/// The picture at another size, bit for bit what the reference's resize
/// (torchvision: bicubic, antialias, 8-bit pixels) makes: Keys' kernel with
/// a = -0.5, widened by the scale when shrinking; first the rows, rounded to
/// 8 bits, then the columns; weights as 16-bit integers. The picture must be
/// whole (rgb.size() == width * height * 3, within the limits of Image.h) and
/// the new sides in 1..maxImageSide.
Image resizeBicubic(const Image &image, int32_t width, int32_t height);

} // namespace lapidary
