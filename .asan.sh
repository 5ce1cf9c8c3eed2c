set -e
mkdir -p /tmp/v/asan; cd /work/main
F="-std=c++20 -O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -I. -Iruntime/include -isystem build -DLAPIDARY_VERSION=\"0.1.0\" -DLAPIDARY_TEST_KERNELS=\"/work/main/build/test/TestKernels.so\" -DLAPIDARY_TEST_SHADERS=\"/work/main/build/test\" -DLAPIDARY_TEST_DIR=\"/work/main/test\" -DLAPIDARY_BIN_DIR=\"/work/main/build/bin\""
ls runtime/core/*.cpp runtime/devices/*.cpp runtime/devices/*/*.cpp runtime/model/*.cpp frontends/formats/TokenizerTable.cpp test/runtime/devices/vulkan/*.cpp test/runtime/devices/*.cpp | xargs -P2 -I{} sh -c 'o=/tmp/v/asan/$(echo {} | tr / _).o; ccache clang++-22 '"$(printf '%q ' $F)"' -c {} -o $o'
clang++-22 -fsanitize=address,undefined /tmp/v/asan/*.o -lgmock -lgtest -lgtest_main -lxxhash -lpthread -ldl -o /tmp/v/asan/tests
