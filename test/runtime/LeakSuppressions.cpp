// What the leak sanitizer does not hold against us: libraries of others.
// libsndfile forgets the decoder's state when the headers of an Ogg file are
// cut, a few kilobytes a file; Vulkan's drivers and layers keep some bytes of
// each device. Nothing of it is ours to free.
extern "C" const char *__lsan_default_suppressions();
const char *__lsan_default_suppressions() {
  return "leak:vorbis_info_init\n"
         "leak:libvulkan\n"
         "leak:libVkLayer\n"
         "leak:libLLVM\n";
}
