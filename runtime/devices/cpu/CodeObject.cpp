// The code goes through a file without a name, because the system's linker
// loads files only; where the system has no such files or forbids to execute
// them, through a temporary one. Debuggers and profilers know only files that
// have a name: LAPIDARY_CODE names a folder for one that stays.
#include "runtime/devices/cpu/CodeObject.h"

#include "runtime/core/Text.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace lapidary {
namespace {

#if defined(__x86_64__)
constexpr uint16_t machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t machine = EM_AARCH64;
#elif defined(__riscv)
constexpr uint16_t machine = EM_RISCV;
#else
#error "unknown machine: name its ELF number here"
#endif

/// The linker trusts its file and would fault on one that ends early.
Status checkElf(std::span<const uint8_t> elf, const std::string &name) {
  Elf64_Ehdr header;
  if (elf.size() < sizeof(header))
    return invalidData(concat("the code of ", name, " has ", elf.size(),
                              " bytes, too few for an ELF file"));
  std::memcpy(&header, elf.data(), sizeof(header));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_type != ET_DYN)
    return invalidData(
        concat("the code of ", name, " is not a 64-bit ELF shared object"));
  if (header.e_machine != machine)
    return unsupported(concat("the code of ", name, " is for ELF machine ",
                              header.e_machine, ", this machine is ", machine));
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > elf.size() ||
      header.e_phnum * sizeof(Elf64_Phdr) > elf.size() - header.e_phoff)
    return invalidData(
        concat("the code of ", name, " ends inside its program headers"));
  for (uint16_t index = 0; index < header.e_phnum; ++index) {
    Elf64_Phdr segment;
    std::memcpy(&segment, elf.data() + header.e_phoff + index * sizeof(segment),
                sizeof(segment));
    if (segment.p_offset > elf.size() ||
        segment.p_filesz > elf.size() - segment.p_offset)
      return invalidData(concat("the code of ", name, " has ", elf.size(),
                                " bytes, but its program header ", index,
                                " needs ", segment.p_filesz, " from byte ",
                                segment.p_offset));
  }
  return {};
}

bool writeAll(int descriptor, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

void *open(const std::string &path, std::string &error) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    if (const char *message = dlerror())
      error = message;
  return handle;
}

/// Through a file of its own, `prefix` and six letters and ".so".
Result<void *> openFile(const std::string &prefix, std::span<const uint8_t> elf,
                        const std::string &name, bool keep) {
  std::string path = prefix + "XXXXXX.so", error;
  int descriptor = mkostemps(path.data(), 3, O_CLOEXEC);
  if (descriptor < 0)
    return ioError(concat("cannot load the code of ", name,
                          ": cannot make the file ", path, ": ",
                          std::strerror(errno)));
  void *handle = nullptr;
  if (writeAll(descriptor, elf))
    handle = open(path, error);
  else
    error = concat("cannot write ", path, ": ", std::strerror(errno));
  close(descriptor);
  if (!keep || !handle)
    unlink(path.c_str());
  if (!handle)
    return unsupported(concat("cannot load the code of ", name, ": ", error));
  return handle;
}

} // namespace

Result<CodeObject> CodeObject::load(std::span<const uint8_t> elf,
                                    const std::string &name) {
  LAPIDARY_TRY(checkElf(elf, name));
  CodeObject object;
  object.name = name;
  std::string error;
  if (const char *kept = std::getenv("LAPIDARY_CODE"); kept && *kept) {
    object.handle =
        LAPIDARY_TRY(openFile(concat(kept, "/lapidary-"), elf, name, true));
    return object;
  }
  object.descriptor = memfd_create("lapidary-code", MFD_CLOEXEC);
  if (object.descriptor >= 0 && writeAll(object.descriptor, elf))
    object.handle = open(concat("/proc/self/fd/", object.descriptor), error);
  if (!object.handle) {
    const char *folder = std::getenv("TMPDIR");
    Result<void *> handle =
        openFile(concat(folder && *folder ? folder : "/tmp", "/lapidary-"), elf,
                 name, false);
    if (!handle.ok() && !error.empty())
      return Status(
          handle.status().getCode(),
          concat(handle.status().message(), "; nor from memory: ", error));
    object.handle = LAPIDARY_TRY(std::move(handle));
  }
  return object;
}

CodeObject::~CodeObject() {
  if (handle)
    dlclose(handle);
  if (descriptor >= 0)
    close(descriptor);
}

CodeObject::CodeObject(CodeObject &&other) noexcept
    : handle(std::exchange(other.handle, nullptr)),
      descriptor(std::exchange(other.descriptor, -1)),
      name(std::move(other.name)) {}

CodeObject &CodeObject::operator=(CodeObject &&other) noexcept {
  std::swap(handle, other.handle);
  std::swap(descriptor, other.descriptor);
  std::swap(name, other.name);
  return *this;
}

Result<KernelFunction> CodeObject::find(const char *symbol) const {
  void *address = dlsym(handle, symbol);
  if (!address)
    return invalidData(concat("the code of ", name, " has no kernel \"", symbol,
                              "\", which the program names"));
  return reinterpret_cast<KernelFunction>(address);
}

} // namespace lapidary
