# Run at every build: writes build_info.h, and touches it only when the commit changed.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=* WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT commit)
  set(commit unknown)
endif()
set(content "#define MFL_BUILD_VERSION \"${VERSION}\"\n#define MFL_BUILD_COMMIT \"${commit}\"\n#define MFL_BUILD_COMPILER \"${COMPILER}\"\n")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT "${before}" STREQUAL "${content}")
  file(WRITE ${OUT} "${content}")
endif()
