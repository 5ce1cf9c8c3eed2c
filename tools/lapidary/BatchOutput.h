// The output of `lapidary batch`: a line for each line of input, in the same
// order, never half of one for longer than a restart.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <vector>

namespace lapidary::cli {

class BatchOutput {
public:
  /// Makes the file, or takes one that an earlier run has begun: whole lines
  /// stay, what a kill has left of one is cut off. An error for a file that is
  /// something else, or that another process writes.
  static Result<BatchOutput> open(const std::string &path);
  BatchOutput(BatchOutput &&other) noexcept;
  BatchOutput(const BatchOutput &) = delete;
  BatchOutput &operator=(const BatchOutput &) = delete;
  ~BatchOutput();

  /// The ids of the lines that are there.
  const std::vector<nlohmann::ordered_json> &earlier() const { return ids; }
  /// Lines that are there or written.
  uint64_t written() const { return next; }
  /// Takes line `number`, counted from 0, and writes what is complete up to the
  /// first that is missing.
  Status put(uint64_t number, const nlohmann::ordered_json &line);

private:
  BatchOutput() = default;
  Status readEarlier();

  std::string path;
  int handle = -1;
  std::vector<nlohmann::ordered_json> ids;
  uint64_t next = 0;
  /// Lines that wait for one before them.
  std::map<uint64_t, std::string> early;
};

} // namespace lapidary::cli
