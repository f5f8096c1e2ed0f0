// The cosine and the sine of an angle, with the same bits on every system: those of C libraries
// differ in the last place.
#pragma once

#include <cmath>

namespace cactus {

struct Rotation {
  float cos, sin;
};

// In doubles, with errors of at most 2^-44, which hardly ever decide how a float is rounded.
inline Rotation rotation(float angle) {
  // From there on the neighbours of a float are more than a turn away. Not a number is, too.
  if (!(std::abs(angle) < 0x1p27f)) return {std::cos(angle), std::sin(angle)};
  const double scaled = angle * 0x1.45f306dc9c883p-1;  // 2 / pi
  const int quarters = static_cast<int>(scaled + (scaled < 0 ? -0.5 : 0.5));
  // pi / 2 in parts, the first ones of 24 bits, so that their products are exact.
  double r = angle - quarters * 0x1.921fb4p0;
  r -= quarters * 0x1.4442dp-24;
  r -= quarters * 0x1.8469898cc517p-48;
  // The series up to r^14 and r^13: r is at most pi / 4.
  const double q = r * r;
  const double s[] = {1.,          -1. / 6,        1. / 120,       -1. / 5040,
                      1. / 362880, -1. / 39916800, 1. / 6227020800};
  const double c[] = {1.,         -1. / 2,       1. / 24,        -1. / 720,
                      1. / 40320, -1. / 3628800, 1. / 479001600, -1. / 87178291200};
  double sin = s[6], cos = c[7];
  for (int i = 5; i >= 0; i--) sin = sin * q + s[i];
  for (int i = 6; i >= 0; i--) cos = cos * q + c[i];
  sin *= r;
  const bool odd = quarters & 1;
  const double x = odd ? sin : cos, y = odd ? cos : sin;
  return {static_cast<float>((quarters + 1) & 2 ? -x : x),
          static_cast<float>(quarters & 2 ? -y : y)};
}

}  // namespace cactus
