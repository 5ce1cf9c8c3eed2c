// Machine code out of a bundle: the ELF shared object of a variant, loaded by
// the system's own linker.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>

namespace lapidary {

/// The C signature of a kernel; see `Kernel` in the schema.
using KernelFunction = void (*)(void *const *buffers, const int64_t *sizes,
                                void *scratch, int64_t tileBegin,
                                int64_t tileEnd);

/// Unloads the code when it goes.
class CodeObject {
public:
  /// `name` stands in messages: "variant avx2".
  static Result<CodeObject> load(std::span<const uint8_t> elf,
                                 const std::string &name);
  ~CodeObject();
  CodeObject(CodeObject &&other) noexcept;
  CodeObject &operator=(CodeObject &&other) noexcept;

  Result<KernelFunction> find(const char *symbol) const;

private:
  CodeObject() = default;
  void *handle = nullptr;
  /// Stays open with the code: the linker knows a file by its path, and a
  /// number used again would find the old code.
  int descriptor = -1;
  std::string name;
};

} // namespace lapidary
