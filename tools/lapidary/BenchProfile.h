// A profile for people and for tools: a line a kernel, and the events as a
// trace.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/devices/Profile.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace lapidary::cli {

/// All dispatches of a kernel in an entry point's steps of as many tokens.
struct KernelProfile {
  std::string entry, kernel;
  int64_t tokens = 0;
  uint64_t calls = 0, tiles = 0;
  double seconds = 0;
  /// Of the time that all threads had, the part that they were in the kernel.
  double busy = 0;
  /// Weights that it reads and what it reads and writes of the caches, each
  /// byte once a dispatch; what else it touches was just written and is in the
  /// processor's caches.
  uint64_t bytes = 0;
  /// Two a multiply-add; 0 for attention, whose work grows with the positions
  /// before.
  double operations = 0;
};

/// By entry point in the program's order, tokens, and then time.
std::vector<KernelProfile> summarize(const Profile &profile,
                                     const schema::Program &program,
                                     const schema::Target &target);
std::string profileTable(const std::vector<KernelProfile> &kernels);
/// A line for each entry point and number of tokens that a GPU was given;
/// nothing without one.
std::string submissionTable(const Profile &profile,
                            const schema::Target &target);
nlohmann::ordered_json profileJson(const std::vector<KernelProfile> &kernels);
/// What chrome://tracing and Perfetto read: each thread's calls, and on a line
/// of their own the dispatches.
std::string chromeTrace(const Profile &profile, const schema::Target &target);

} // namespace lapidary::cli
