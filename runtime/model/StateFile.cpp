// A sequence's state as a file:
//   bytes 0..7    magic "LAPSTATE"
//   bytes 8..11   format version, uint32 little endian
//   bytes 12..15  reserved, 0
//   bytes 16..31  Bundle::programHash of the bundle, which stands for its
//                 weights and for how its caches are laid out
//   bytes 32..39  tokens, uint64
//   bytes 40..47  soft tokens, uint64
//   bytes 48..63  XXH3-128 of the file with these bytes as 0, low bits first
// then the tokens (int32), the soft tokens (position, key; three uint64 each),
// and of every cache of the program in order the blocks of 16 rows that the
// next token needs (see usedRows). All sizes follow from the header and the
// bundle, so they are checked before anything is read.
#include "runtime/core/ReplacingFile.h"
#include "runtime/core/Text.h"
#include "runtime/model/CacheRows.h"
#include "runtime/model/Engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
// The state of a stream is laid out in the header only for those who ask.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace lapidary {

namespace {

constexpr char stateMagic[8] = {'L', 'A', 'P', 'S', 'T', 'A', 'T', 'E'};
constexpr uint32_t stateVersion = 1;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t reserved;
  uint64_t bundle[2];
  uint64_t tokens;
  uint64_t softTokens;
  uint64_t hash[2];
};
static_assert(sizeof(Header) == 64);

struct StoredSoftToken {
  uint64_t position, low, high;
};
static_assert(sizeof(StoredSoftToken) == 24);

template <typename T> std::span<const uint8_t> bytesOf(std::span<const T> all) {
  return {reinterpret_cast<const uint8_t *>(all.data()), all.size_bytes()};
}

/// XXH3-128 as a stream; the state is 64-byte aligned and large.
class Hasher {
public:
  Hasher() {
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
  }
  void add(std::span<const uint8_t> bytes) {
    XXH3_128bits_update(&state, bytes.data(), bytes.size());
  }
  XXH128_hash_t get() const { return XXH3_128bits_digest(&state); }

private:
  XXH3_state_t state;
};

/// The size that a state file must have; nothing when 64 bits cannot count it.
std::optional<uint64_t> stateBytes(const schema::Program &program,
                                   const Header &header,
                                   const DeviceOptions &options) {
  // The counts are below 2^31: checked before.
  uint64_t bytes = sizeof(Header) + header.tokens * sizeof(int32_t) +
                   header.softTokens * sizeof(StoredSoftToken);
  for (const schema::Cache *cache : *program.caches()) {
    CacheRows rows =
        usedRows(*cache, static_cast<int64_t>(header.tokens), options);
    if (__builtin_add_overflow(bytes, rows.bytes(), &bytes))
      return std::nullopt;
  }
  return bytes;
}

} // namespace

/// Reads a file from front to back and hashes what it read.
class StateReader {
public:
  explicit StateReader(const std::string &path) : path(path) {}
  ~StateReader() {
    if (descriptor >= 0)
      close(descriptor);
  }
  StateReader(const StateReader &) = delete;
  StateReader &operator=(const StateReader &) = delete;

  Status openFile() {
    descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat information;
    if (descriptor < 0 && errno == ENOENT)
      return notFound("there is no state file '" + path + "'");
    if (descriptor < 0 || fstat(descriptor, &information) != 0)
      return ioError("cannot read '" + path + "': " + std::strerror(errno));
    if (!S_ISREG(information.st_mode))
      return invalidArgument("'" + path + "' is no regular file");
    bytes = static_cast<uint64_t>(information.st_size);
    return {};
  }
  Status read(std::span<uint8_t> out) {
    for (size_t done = 0; done < out.size();) {
      ssize_t count = ::read(descriptor, out.data() + done, out.size() - done);
      if (count < 0 && errno == EINTR)
        continue;
      if (count < 0)
        return ioError("cannot read '" + path + "': " + std::strerror(errno));
      if (count == 0)
        return damaged("it ends too early");
      done += static_cast<size_t>(count);
    }
    return {};
  }
  Status readHashed(std::span<uint8_t> out) {
    LAPIDARY_TRY(read(out));
    hasher.add(out);
    return {};
  }
  Status damaged(const std::string &what) const {
    return invalidData(concat("state file '", path, "' is damaged: ", what,
                              "; remove it to start anew"));
  }

  std::string path;
  uint64_t bytes = 0;
  Hasher hasher;

private:
  int descriptor = -1;
};

Status Sequence::save(const std::string &path) const {
  const Bundle &bundle = engine.bundle();
  const DeviceOptions options = engine.memoryPlan().deviceOptions();
  Header header = {};
  std::memcpy(header.magic, stateMagic, sizeof(stateMagic));
  header.version = stateVersion;
  std::memcpy(header.bundle, bundle.programHash().data(),
              sizeof(header.bundle));
  header.tokens = static_cast<uint64_t>(past.size());
  header.softTokens = past.softTokens().size();

  ReplacingFile file = LAPIDARY_TRY(ReplacingFile::create(path));
  Hasher hasher;
  auto write = [&](std::span<const uint8_t> bytes) {
    hasher.add(bytes);
    return file.write(bytes);
  };
  try {
    LAPIDARY_TRY(write(bytesOf(std::span<const Header>(&header, 1))));
    LAPIDARY_TRY(write(bytesOf(past.tokens())));
    std::vector<StoredSoftToken> soft;
    for (const SequenceHistory::SoftToken &token : past.softTokens())
      soft.push_back({static_cast<uint64_t>(token.position), token.key.low,
                      token.key.high});
    LAPIDARY_TRY(write(bytesOf(std::span<const StoredSoftToken>(soft))));
    std::vector<uint8_t> block;
    for (uint32_t index = 0; index < bundle.program().caches()->size();
         ++index) {
      CacheRows rows = usedRows(*bundle.program().caches()->Get(index),
                                past.size(), options);
      block.resize(rows.blockBytes);
      for (int64_t at = rows.first; at < rows.end; ++at) {
        LAPIDARY_TRY(
            caches->read(index, at % rows.capacity * cacheBlock, block));
        LAPIDARY_TRY(write(block));
      }
    }
  } catch (const std::bad_alloc &) {
    return outOfMemory("no memory to write a state");
  }
  XXH128_hash_t hash = hasher.get();
  header.hash[0] = hash.low64;
  header.hash[1] = hash.high64;
  LAPIDARY_TRY(file.rewriteStart(bytesOf(std::span<const Header>(&header, 1))));
  return file.commit();
}

Status Sequence::load(const std::string &path) {
  reset();
  Status status;
  try {
    StateReader reader(path);
    status = read(reader);
  } catch (const std::bad_alloc &) {
    status = outOfMemory("no memory to read a state");
  }
  if (!status.ok())
    reset();
  return status;
}

Status Sequence::read(StateReader &reader) {
  const Bundle &bundle = engine.bundle();
  const schema::Program &program = bundle.program();
  const DeviceOptions options = engine.memoryPlan().deviceOptions();
  LAPIDARY_TRY(reader.openFile());
  Header header;
  if (reader.bytes < sizeof(header))
    return reader.damaged(concat("it has ", reader.bytes, " bytes, too few"));
  LAPIDARY_TRY(
      reader.read({reinterpret_cast<uint8_t *>(&header), sizeof(header)}));
  if (std::memcmp(header.magic, stateMagic, sizeof(stateMagic)) != 0)
    return invalidData("'" + reader.path + "' is no state file of Lapidary");
  if (header.version != stateVersion || header.reserved != 0)
    return unsupported(concat("state file '", reader.path, "' is of version ",
                              header.version, ", but this runtime reads ",
                              stateVersion));
  if (std::memcmp(header.bundle, bundle.programHash().data(),
                  sizeof(header.bundle)) != 0)
    return invalidArgument("state file '" + reader.path +
                           "' is of another bundle than '" + bundle.path() +
                           "'");
  if (header.tokens > static_cast<uint64_t>(engine.memoryPlan().context))
    return invalidArgument(
        concat("state file '", reader.path, "' has ", header.tokens,
               " tokens, but the context has ", engine.memoryPlan().context));
  if (header.softTokens > header.tokens)
    return reader.damaged(concat("it has ", header.softTokens,
                                 " soft tokens of ", header.tokens));
  std::optional<uint64_t> expected = stateBytes(program, header, options);
  if (reader.bytes != expected)
    return reader.damaged(concat("it has ", reader.bytes, " bytes, expected ",
                                 expected.value_or(UINT64_MAX)));
  const uint64_t hash[2] = {header.hash[0], header.hash[1]};
  header.hash[0] = header.hash[1] = 0;
  reader.hasher.add({reinterpret_cast<uint8_t *>(&header), sizeof(header)});

  std::vector<int32_t> tokens(header.tokens);
  LAPIDARY_TRY(reader.readHashed({reinterpret_cast<uint8_t *>(tokens.data()),
                                  tokens.size() * sizeof(int32_t)}));
  std::vector<StoredSoftToken> soft(header.softTokens);
  LAPIDARY_TRY(reader.readHashed({reinterpret_cast<uint8_t *>(soft.data()),
                                  soft.size() * sizeof(StoredSoftToken)}));
  for (size_t index = 0, next = 0; index < tokens.size(); ++index) {
    if (tokens[index] < 0 || tokens[index] >= program.model()->vocabulary())
      return reader.damaged(
          concat("token ", index, " of it is ", tokens[index]));
    if (next == soft.size() || soft[next].position != index) {
      past.append(tokens[index]);
      continue;
    }
    if (!engine.isSoft(tokens[index]))
      return reader.damaged(concat("token ", index, " of it is ", tokens[index],
                                   ", which takes no media"));
    past.append(tokens[index], {soft[next].low, soft[next].high});
    ++next;
  }
  if (past.softTokens().size() != soft.size())
    return reader.damaged("its soft tokens are out of order");

  std::vector<uint8_t> block;
  for (uint32_t index = 0; index < program.caches()->size(); ++index) {
    const schema::Cache &cache = *program.caches()->Get(index);
    CacheRows rows = usedRows(cache, past.size(), options);
    block.resize(rows.blockBytes);
    for (int64_t at = rows.first; at < rows.end; ++at) {
      LAPIDARY_TRY(reader.readHashed(block));
      LAPIDARY_TRY(
          caches->write(index, at % rows.capacity * cacheBlock, block));
    }
    // Rows before the window may be another branch's.
    if (cache.kind() == schema::CacheKind::Ring &&
        past.size() >= cache.window())
      oldest = past.size();
  }
  XXH128_hash_t found = reader.hasher.get();
  if (found.low64 != hash[0] || found.high64 != hash[1])
    return reader.damaged("its bytes are not those that were written");
  return {};
}

} // namespace lapidary
