/* EmulatedKernel OBJECT: calls @kernel of a shared object on operands that come
   through standard input, and writes them to standard output, call after call
   (EmulatedKernel.h is the other end). Built for aarch64 and run by qemu. Each
   operand ends at a page that must not be touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void Kernel(void *const *, const int64_t *, void *, int64_t, int64_t);

enum { Tokens, Past, Chunk, Tiles, Parts, Scratch, Count, SizeCount };
enum { MaxBuffers = 64 };

/* Memory whose end is guarded; what is mapped begins at `base`. */
typedef struct {
  char *base, *first;
  int64_t size, mapped;
} Memory;

static int map(Memory *memory, int64_t size) {
  int64_t page = sysconf(_SC_PAGESIZE);
  int64_t bytes = (size + page - 1) / page * page;
  memory->size = size;
  memory->mapped = bytes + page;
  memory->base = mmap(NULL, memory->mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory->base == MAP_FAILED)
    return 0;
  memory->first = memory->base + bytes - size;
  return mprotect(memory->base + bytes, page, PROT_NONE) == 0;
}

static void unmap(Memory *memory) { munmap(memory->base, memory->mapped); }

static int get(void *bytes, int64_t size) {
  for (ssize_t count; size > 0; size -= count) {
    count = read(STDIN_FILENO, bytes, size);
    if (count <= 0)
      return 0;
    bytes = (char *)bytes + count;
  }
  return 1;
}

static int put(const void *bytes, int64_t size) {
  for (ssize_t count; size > 0; size -= count) {
    count = write(STDOUT_FILENO, bytes, size);
    if (count <= 0)
      return 0;
    bytes = (const char *)bytes + count;
  }
  return 1;
}

static int fail(const char *what) {
  fprintf(stderr, "EmulatedKernel: %s\n", what);
  return 1;
}

int main(int argc, char **argv) {
  void *object = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  Kernel *kernel = object ? (Kernel *)dlsym(object, "kernel") : NULL;
  if (!kernel)
    return fail(dlerror());
  int64_t sizes[SizeCount], bytes[MaxBuffers];
  while (get(sizes, sizeof(sizes))) {
    Memory operands[MaxBuffers], scratch;
    void *buffers[MaxBuffers];
    int64_t count = sizes[Count], parts = sizes[Parts];
    if (count > MaxBuffers || !get(bytes, count * sizeof(*bytes)))
      return fail("cannot read the sizes of operands");
    for (int64_t i = 0; i < count; ++i) {
      if (!map(&operands[i], bytes[i]) || !get(operands[i].first, bytes[i]))
        return fail("cannot read an operand");
      buffers[i] = operands[i].first;
    }
    for (int64_t part = 0; part < parts; ++part) {
      if (!map(&scratch, sizes[Scratch]))
        return fail("no memory");
      /* NaNs: what was not written must not be read. */
      memset(scratch.first, 0xff, scratch.size);
      kernel(buffers, sizes, scratch.first, sizes[Tiles] * part / parts,
             sizes[Tiles] * (part + 1) / parts);
      unmap(&scratch);
    }
    for (int64_t i = 0; i < count; ++i) {
      if (!put(operands[i].first, bytes[i]))
        return fail("cannot write an operand");
      unmap(&operands[i]);
    }
  }
  return 0;
}
