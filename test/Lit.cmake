# lit and FileCheck for the tests on IR text and on the command line, and the bundles that those run. lit comes from
# LLVM's prefix, so a runtime-only build on a machine without LLVM has no lit tests.
find_program(LAPIDARY_LLVM_CONFIG NAMES llvm-config-22)
if(LAPIDARY_LLVM_CONFIG)
  execute_process(COMMAND ${LAPIDARY_LLVM_CONFIG} --bindir OUTPUT_VARIABLE LAPIDARY_LLVM_TOOLS
                  OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
find_program(LAPIDARY_LIT NAMES lit lit.py llvm-lit HINTS ${LAPIDARY_LLVM_TOOLS} /usr/lib/llvm-22/bin
             /usr/lib/llvm-22/build/utils/lit)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(bundles)
if(TARGET lapidary-compile)
  file(GLOB tiny_checkpoint CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/test/models/tiny/*)
  foreach(scheme bf16 q8_0)
    set(bundle ${PROJECT_BINARY_DIR}/test/tiny-${scheme}.lap)
    add_custom_command(
      OUTPUT ${bundle}
      COMMAND $<TARGET_FILE:lapidary-compile> ${PROJECT_SOURCE_DIR}/test/models/tiny --target cpu --quant ${scheme}
              --activations f32 -o ${bundle}
      DEPENDS lapidary-compile ${tiny_checkpoint} VERBATIM)
    list(APPEND bundles ${bundle})
  endforeach()
  file(GLOB tiny_assistant CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/test/models/tiny-assistant/*)
  set(bundle ${PROJECT_BINARY_DIR}/test/tiny-mtp.lap)
  add_custom_command(
    OUTPUT ${bundle}
    COMMAND $<TARGET_FILE:lapidary-compile> ${PROJECT_SOURCE_DIR}/test/models/tiny
            --assistant ${PROJECT_SOURCE_DIR}/test/models/tiny-assistant --activations f32 -o ${bundle}
    DEPENDS lapidary-compile ${tiny_checkpoint} ${tiny_assistant} VERBATIM)
  list(APPEND bundles ${bundle})
endif()
# Empty in a runtime-only build, which has no compiler to make them.
add_custom_target(test-bundles DEPENDS ${bundles})

configure_file(lit.site.cfg.py.in lit.site.cfg.py @ONLY)
if(LAPIDARY_LIT)
  add_custom_target(check-lit COMMAND ${LAPIDARY_LIT} -sv ${CMAKE_CURRENT_BINARY_DIR} USES_TERMINAL VERBATIM)
  add_dependencies(check-lit test-bundles)
  foreach(tool lapidary-cli lapidary-compile lapidary-quants lapidary-diff lapidary-calibrate lapidary-opt)
    if(TARGET ${tool})
      add_dependencies(check-lit ${tool})
    endif()
  endforeach()
endif()
