# LLVM and MLIR 22 from the distribution, their TableGen helpers, and the one precompiled header that every file which
# includes MLIR shares (it turns 25 s a file into 1.3 s). Flags must be the same for all users of that header.
find_package(MLIR 22.1 REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
find_package(LLD 22.1 CONFIG HINTS /usr/lib/llvm-22/lib/cmake/lld)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

add_library(lapidary_mlir INTERFACE)
target_include_directories(lapidary_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
# Executables too: code compiled with -fPIE cannot read a header precompiled with -fPIC.
target_compile_options(lapidary_mlir INTERFACE -fno-rtti -fPIC)
target_compile_definitions(lapidary_mlir INTERFACE ${LLVM_DEFINITIONS_LIST})
target_link_libraries(lapidary_mlir INTERFACE MLIR LLVM-22)

add_library(lapidary_mlir_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/Mlir.cpp)
target_link_libraries(lapidary_mlir_pch PRIVATE lapidary_mlir)
target_precompile_headers(lapidary_mlir_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/Mlir.h)

# lapidary_mlir_library(NAME SOURCES... [DEPENDS ...] [LINK ...]): a static library of files that include MLIR.
function(lapidary_mlir_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC lapidary_mlir ${arg_LINK})
  target_precompile_headers(${name} REUSE_FROM lapidary_mlir_pch)
  if(arg_DEPENDS)
    add_dependencies(${name} ${arg_DEPENDS})
  endif()
endfunction()
