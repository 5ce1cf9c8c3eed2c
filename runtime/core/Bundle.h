// A bundle file, mapped read-only and checked. The first thing that happens to
// a model at run time: everything else reads the program and the segments
// through this class and copies nothing.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/schema/bundle_generated.h"

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

namespace lapidary {

/// The file's fixed header; see runtime/schema/bundle.fbs.
inline constexpr char bundleMagic[8] = {'L', 'A', 'P', 'I', 'D', 'A', 'R', 'Y'};
inline constexpr uint32_t bundleVersion = 1;
inline constexpr uint64_t bundleHeaderBytes = 40;
inline constexpr uint64_t bundleSegmentAlignment = 4096;

/// The program of a bundle whose file has `fileBytes`, checked as far as it can
/// be without the segments; it lies in `program`.
Result<const schema::Program *> readProgram(std::span<const uint8_t> program,
                                            uint64_t fileBytes);

/// Called now and then with bytes done and bytes in all, from any thread, one
/// call at a time; false stops the work.
using ProgressCallback = std::function<bool(uint64_t done, uint64_t total)>;

/// Immutable and safe to share between threads. The file must not be changed
/// while it is open: its pages are used in place.
class Bundle {
public:
  /// Maps `path` and verifies all of it but the weights' hashes. Errors name
  /// what is wrong, where, and what was expected.
  static Result<std::shared_ptr<const Bundle>> open(const std::string &path);
  ~Bundle();
  Bundle(const Bundle &) = delete;
  Bundle &operator=(const Bundle &) = delete;

  const schema::Program &program() const { return *root; }
  /// The bytes of a segment; empty for an index that the program does not have.
  std::span<const uint8_t> segment(uint32_t index) const;
  /// Hashes every weight segment once, on all threads; later calls, from any
  /// thread, get the first one's answer. A weight that was altered is named.
  /// Sessions call it before their first step. Cancelled when `progress` stops
  /// it; a later call then begins anew.
  Status verifyWeights(const ProgressCallback &progress = {}) const;
  /// Keeps all of the file in memory, whatever else wants room, until the
  /// bundle goes; reads what is not there yet.
  Status lock() const;
  uint64_t fileBytes() const { return bytes; }
  /// XXH3-128 of the program, low bits first. The program has the hashes of all
  /// segments, so this stands for the whole bundle.
  std::array<uint64_t, 2> programHash() const;
  const std::string &path() const { return file; }

private:
  Bundle() = default;
  Status checkHeader();
  Status checkSegmentHash(uint32_t index) const;
  Status hashWeights(const ProgressCallback &progress) const;

  std::string file;
  const uint8_t *data = nullptr;
  uint64_t bytes = 0;
  const schema::Program *root = nullptr;
  mutable std::mutex verifyMutex;
  mutable std::optional<Status> verified;
};

} // namespace lapidary
