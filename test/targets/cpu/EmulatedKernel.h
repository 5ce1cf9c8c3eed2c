// Kernels of aarch64 on other machines: EmulatedKernel.c, a program for
// aarch64, runs them under qemu, with operands that go through a socket.
#pragma once

#include "targets/cpu/Variants.h"
#include "test/targets/cpu/GuardedVector.h"

#include <array>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace mlir::lap::cpu {

/// Whether the build found what it takes.
inline bool canEmulate() { return !StringRef(LAPIDARY_TEST_EMULATED).empty(); }

/// A process with the kernel of a shared object.
class EmulatedKernel {
public:
  /// Tokens, past, chunk, tiles, parts, bytes of scratch.
  using Sizes = std::array<int64_t, 6>;

  EmulatedKernel(const CpuVariant &variant, std::string object) {
    // What has what the variant needs and not what the next better has: an
    // instruction that the variant must not use stops the test.
    std::string processor = variant.blocking.mixedSigns    ? "max"
                            : variant.blocking.dotProducts ? "neoverse-n1"
                                                           : "cortex-a72";
    std::string words[] = {LAPIDARY_TEST_EMULATOR,
                           "-cpu",
                           processor,
                           "-L",
                           LAPIDARY_TEST_SYSROOT,
                           LAPIDARY_TEST_EMULATED,
                           std::move(object)};
    std::vector<char *> arguments;
    for (std::string &word : words)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (posix_spawn(&process, arguments[0], &actions, nullptr, arguments.data(),
                    environ) != 0)
      process = 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    channel = ends[0];
  }
  ~EmulatedKernel() {
    close(channel);
    if (process)
      waitpid(process, nullptr, 0);
  }
  EmulatedKernel(const EmulatedKernel &) = delete;

  /// Calls it `parts` times, like CompiledKernel::run. Buffers are
  /// GuardedVectors, whose ends are guarded there as well.
  void run(const std::vector<void *> &buffers, const Sizes &sizes) {
    std::vector<int64_t> header(sizes.begin(), sizes.end());
    header.push_back(static_cast<int64_t>(buffers.size()));
    for (void *buffer : buffers)
      header.push_back(countGuardedBytes(buffer));
    ASSERT_GE(*llvm::min_element(header), 0)
        << "a buffer that is no GuardedVector";
    bool whole = process && transfer(send, header.data(),
                                     header.size() * sizeof(header[0]));
    for (void *buffer : buffers)
      whole = whole && transfer(send, buffer, countGuardedBytes(buffer));
    for (void *buffer : buffers)
      whole = whole && transfer(recv, buffer, countGuardedBytes(buffer));
    ASSERT_TRUE(whole) << "the emulated kernel ended before its call did";
  }

private:
  template <typename Call>
  bool transfer(Call call, void *bytes, int64_t size) const {
    for (int64_t done = 0; done < size;) {
      ssize_t count = call(channel, static_cast<char *>(bytes) + done,
                           size - done, MSG_NOSIGNAL);
      if (count <= 0)
        return false;
      done += count;
    }
    return true;
  }

  int channel = -1;
  pid_t process = 0;
};

} // namespace mlir::lap::cpu
