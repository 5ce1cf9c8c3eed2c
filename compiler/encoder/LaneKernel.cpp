// Vectors of the compiler's own kind: a 64-byte vector is one register with
// AVX-512, two with AVX2, four with SSE2 or NEON.
#include "compiler/encoder/LaneKernel.h"

#include <cmath>

using namespace lapidary;

#define LAPIDARY_INLINE inline __attribute__((always_inline))

namespace {

using Vector = float __attribute__((vector_size(64)));
using Mask = int32_t __attribute__((vector_size(64)));

/// A vector by value would have a calling convention that depends on the
/// instruction set; all of these are inlined.
struct Lanes {
  Vector v;

  static LAPIDARY_INLINE Lanes load(const float *from) {
    return {*reinterpret_cast<const Vector *>(from)};
  }
  static LAPIDARY_INLINE Lanes all(float value) { return {value - Vector{}}; }
  LAPIDARY_INLINE void store(float *to) const {
    *reinterpret_cast<Vector *>(to) = v;
  }
  LAPIDARY_INLINE Lanes operator+(Lanes b) const { return {v + b.v}; }
  LAPIDARY_INLINE Lanes operator-(Lanes b) const { return {v - b.v}; }
  LAPIDARY_INLINE Lanes operator*(Lanes b) const { return {v * b.v}; }
  LAPIDARY_INLINE Lanes &operator+=(Lanes b) {
    v += b.v;
    return *this;
  }
  LAPIDARY_INLINE Lanes clamp(Lanes low, Lanes high) const {
    Vector upper = v < low.v ? low.v : v;
    return {upper < high.v ? upper : high.v};
  }
  /// To an integer, ties to even, for magnitudes below 2^22.
  LAPIDARY_INLINE Lanes round() const {
    Vector shift = 12582912.0f - Vector{};
    return {(v + shift) - shift};
  }
};

/// The level nearest to t, of all integers of a range.
struct UniformLevels {
  Lanes low, high;
  LAPIDARY_INLINE explicit UniformLevels(const CodeLevels &levels)
      : low(Lanes::all(levels.lowest)), high(Lanes::all(levels.highest)) {}
  LAPIDARY_INLINE Lanes nearest(Lanes t) const {
    return t.clamp(low, high).round();
  }
};

struct SmallTable {
  const CodeLevels &levels;
  LAPIDARY_INLINE explicit SmallTable(const CodeLevels &levels)
      : levels(levels) {}
  LAPIDARY_INLINE Lanes nearest(Lanes t) const {
    Vector level = Lanes::all(levels.values[0]).v;
    for (int i = 0; i + 1 < levels.count; ++i) {
      Vector threshold = Lanes::all(levels.thresholds[i]).v;
      level = t.v > threshold ? Lanes::all(levels.values[i + 1]).v : level;
    }
    return {level};
  }
};

/// Only the magnitude is looked up.
struct SymmetricTable {
  const CodeLevels &levels;
  LAPIDARY_INLINE explicit SymmetricTable(const CodeLevels &levels)
      : levels(levels) {}
  LAPIDARY_INLINE Lanes nearest(Lanes t) const {
    Mask bits = reinterpret_cast<Mask>(t.v);
    Mask sign = bits & INT32_MIN;
    Vector magnitude = reinterpret_cast<Vector>(bits & INT32_MAX);
    Vector level = Lanes::all(levels.values[levels.count / 2]).v;
    for (int i = levels.count / 2; i + 1 < levels.count; ++i) {
      Vector threshold = Lanes::all(levels.thresholds[i]).v;
      level =
          magnitude > threshold ? Lanes::all(levels.values[i + 1]).v : level;
    }
    return {reinterpret_cast<Vector>(reinterpret_cast<Mask>(level) | sign)};
  }
};

LAPIDARY_INLINE int search(const CodeLevels &levels, float t) {
  // Thresholds beyond the last are infinite, so the table is as good as full.
  int number = 0;
  for (int half = CodeLevels::maximum / 2; half > 0; half /= 2)
    number += levels.thresholds[number + half - 1] < t ? half : 0;
  return number;
}

struct LargeTable {
  const CodeLevels &levels;
  LAPIDARY_INLINE explicit LargeTable(const CodeLevels &levels)
      : levels(levels) {}
  LAPIDARY_INLINE Lanes nearest(Lanes t) const {
    alignas(64) float in[laneCount], out[laneCount];
    t.store(in);
    for (int i = 0; i < laneCount; ++i)
      out[i] = levels.values[search(levels, in[i])];
    return load(out);
  }
  static LAPIDARY_INLINE Lanes load(const float *from) {
    return Lanes::load(from);
  }
};

/// The error that is left after a fit to the levels of the sums.
LAPIDARY_INLINE Vector fit(Vector rr, Vector rq, Vector qq) {
  Vector tiny = Lanes::all(1e-30f).v;
  return rr - rq * rq / (qq > tiny ? qq : tiny);
}

/// With an offset; where the best one is out of bounds, the slope alone moves.
LAPIDARY_INLINE Vector fitLine(const LaneColumns &columns, Vector offset,
                               Vector rr, Vector rq, Vector qq, Vector r,
                               Vector q) {
  Vector weight = Lanes::all(columns.weight).v;
  Vector determinant = qq * weight - q * q;
  Vector limit = 1e-4f * (qq * weight) + 1e-30f;
  Vector inverse = 1.0f / (determinant > limit ? determinant : limit);
  Vector slopeStep = (rq * weight - r * q) * inverse;
  Vector offsetStep = (r * qq - rq * q) * inverse;
  Vector error = rr - rq * slopeStep - r * offsetStep;
  Vector moved = offset + offsetStep;
  Vector slopeOnly = fit(rr, rq, qq);
  Mask within = (moved >= Lanes::all(columns.lowestOffset).v) &
                (moved <= Lanes::all(columns.highestOffset).v) &
                (determinant > limit);
  return within ? error : slopeOnly;
}

/// What the dispatched functions take.
struct Evaluation {
  const CodeLevels &levels;
  const LaneColumns &columns;
  std::span<const LaneCandidates> candidates;
  LaneSums *sums;
};

/// A slope too small to divide by counts as zero; inputs are about 1.
LAPIDARY_INLINE float invert(float slope) {
  return std::fabs(slope) > 1e-30f ? 1.0f / slope : 0.0f;
}

} // namespace

template <typename Levels, bool offsets>
static LAPIDARY_INLINE void evaluate(const Evaluation &work) {
  Levels levels(work.levels);
  for (size_t c = 0; c < work.candidates.size(); ++c) {
    const LaneCandidates &candidate = work.candidates[c];
    LaneSums &sums = work.sums[c];
    Lanes slope = Lanes::load(candidate.slope);
    Lanes zero = Lanes::all(0.0f);
    Lanes offset = offsets ? Lanes::load(candidate.offset) : zero;
    alignas(64) float inverses[laneCount];
    for (int i = 0; i < laneCount; ++i)
      inverses[i] = invert(candidate.slope[i]);
    Lanes inverse = Lanes::load(inverses);
    Lanes rr = zero, rq = zero, qq = zero, r = zero, q = zero;
    for (size_t i = 0; i < work.columns.x.size(); ++i) {
      Lanes x = Lanes::all(work.columns.x[i]),
            w = Lanes::all(work.columns.w[i]);
      Lanes from = offsets ? x - offset : x;
      Lanes level = levels.nearest(from * inverse);
      Lanes rest = from - slope * level;
      Lanes weightedRest = w * rest, weightedLevel = w * level;
      rr += weightedRest * rest;
      rq += weightedRest * level;
      qq += weightedLevel * level;
      if constexpr (offsets) {
        r += weightedRest;
        q += weightedLevel;
      }
    }
    rr.store(sums.rr);
    rq.store(sums.rq);
    qq.store(sums.qq);
    r.store(sums.r);
    q.store(sums.q);
    Vector fitted =
        offsets ? fitLine(work.columns, offset.v, rr.v, rq.v, qq.v, r.v, q.v)
                : fit(rr.v, rq.v, qq.v);
    Lanes{fitted}.store(sums.fitted);
  }
}

template <bool offsets>
static LAPIDARY_INLINE void evaluateKind(const Evaluation &work) {
  if (work.levels.uniform)
    evaluate<UniformLevels, offsets>(work);
  else if (work.levels.isLargeTable())
    evaluate<LargeTable, offsets>(work);
  else if (work.levels.symmetric)
    evaluate<SymmetricTable, offsets>(work);
  else
    evaluate<SmallTable, offsets>(work);
}

static LAPIDARY_INLINE void evaluateAny(const Evaluation &work, bool offsets) {
  if (offsets)
    evaluateKind<true>(work);
  else
    evaluateKind<false>(work);
}

/// What the dispatched test takes.
namespace {
struct LatticeTest {
  const CodeLevels &levels;
  std::span<const float> x, tolerance;
  const LaneCandidates &candidates;
  bool *fits;
};
} // namespace

template <typename Levels>
static LAPIDARY_INLINE void test(const LatticeTest &work) {
  Levels levels(work.levels);
  Lanes slope = Lanes::load(work.candidates.slope);
  Lanes offset = Lanes::load(work.candidates.offset);
  alignas(64) float inverses[laneCount];
  for (int i = 0; i < laneCount; ++i)
    inverses[i] = invert(work.candidates.slope[i]);
  Lanes inverse = Lanes::load(inverses);
  Mask failed{};
  for (size_t i = 0; i < work.x.size(); ++i) {
    Lanes from = Lanes::all(work.x[i]) - offset;
    Lanes rest = from - slope * levels.nearest(from * inverse);
    Vector tolerance = Lanes::all(work.tolerance[i]).v;
    failed |= (rest.v > tolerance) | (rest.v < -tolerance);
    // Values that are on no lattice are found out soon.
    if (i % 8 == 7) {
      int any = 0;
      for (int lane = 0; lane < laneCount; ++lane)
        any += failed[lane] == 0;
      if (!any)
        break;
    }
  }
  for (int lane = 0; lane < laneCount; ++lane)
    work.fits[lane] = failed[lane] == 0;
}

static LAPIDARY_INLINE void testAny(const LatticeTest &work) {
  if (work.levels.uniform)
    test<UniformLevels>(work);
  else if (work.levels.isLargeTable())
    test<LargeTable>(work);
  else
    test<SmallTable>(work);
}

static LAPIDARY_INLINE void choose(const CodeLevels &levels,
                                   std::span<const float> x, float slope,
                                   float offset, uint8_t *numbers) {
  float inverse = invert(slope);
  size_t count = x.size();
  if (levels.uniform) {
    for (size_t i = 0; i < count; ++i) {
      float t = (x[i] - offset) * inverse;
      t = t < levels.lowest ? levels.lowest : t;
      t = t < levels.highest ? t : levels.highest;
      float level = (t + 12582912.0f) - 12582912.0f;
      numbers[i] =
          static_cast<uint8_t>(static_cast<int32_t>(level - levels.lowest));
    }
  } else if (levels.count <= CodeLevels::small) {
    for (size_t i = 0; i < count; ++i) {
      float t = (x[i] - offset) * inverse;
      int32_t number = 0;
      for (int k = 0; k < CodeLevels::small - 1; ++k)
        number += t > levels.thresholds[k];
      numbers[i] = static_cast<uint8_t>(number);
    }
  } else {
    for (size_t i = 0; i < count; ++i)
      numbers[i] =
          static_cast<uint8_t>(search(levels, (x[i] - offset) * inverse));
  }
}

// The same bodies, once for each instruction set.
#if defined(__x86_64__)
#define LAPIDARY_TARGET(features) __attribute__((target(features)))

LAPIDARY_TARGET("avx512f,avx512dq,avx512bw,avx512vl")
static void evaluateAvx512(const Evaluation &work, bool offsets) {
  evaluateAny(work, offsets);
}
LAPIDARY_TARGET("avx2")
static void evaluateAvx2(const Evaluation &work, bool offsets) {
  evaluateAny(work, offsets);
}
LAPIDARY_TARGET("avx512f,avx512dq,avx512bw,avx512vl")
static void testAvx512(const LatticeTest &work) { testAny(work); }
LAPIDARY_TARGET("avx2")
static void testAvx2(const LatticeTest &work) { testAny(work); }
LAPIDARY_TARGET("avx2")
static void chooseAvx2(const CodeLevels &levels, std::span<const float> x,
                       float slope, float offset, uint8_t *numbers) {
  choose(levels, x, slope, offset, numbers);
}

static int detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2"))
    return 0;
  return __builtin_cpu_supports("avx512f") &&
                 __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl")
             ? 2
             : 1;
}
#endif

void lapidary::evaluateLanes(const CodeLevels &levels, bool offsets,
                             const LaneColumns &columns,
                             std::span<const LaneCandidates> candidates,
                             LaneSums *sums) {
  Evaluation work = {levels, columns, candidates, sums};
#if defined(__x86_64__)
  static const int features = detect();
  if (features == 2)
    return evaluateAvx512(work, offsets);
  if (features == 1)
    return evaluateAvx2(work, offsets);
#endif
  evaluateAny(work, offsets);
}

void lapidary::testLanes(const CodeLevels &levels, std::span<const float> x,
                         std::span<const float> tolerance,
                         const LaneCandidates &candidates, bool *fits) {
  LatticeTest work = {levels, x, tolerance, candidates, fits};
#if defined(__x86_64__)
  static const int features = detect();
  if (features == 2)
    return testAvx512(work);
  if (features == 1)
    return testAvx2(work);
#endif
  testAny(work);
}

void lapidary::chooseLevels(const CodeLevels &levels, std::span<const float> x,
                            float slope, float offset, uint8_t *numbers) {
#if defined(__x86_64__)
  static const int features = detect();
  if (features)
    return chooseAvx2(levels, x, slope, offset, numbers);
#endif
  choose(levels, x, slope, offset, numbers);
}
