# cmake -DFOLDER=page -DOUT=page.cpp -P embed_page.cmake
# viewer.html with the files that it names as {{file}} in their places, as two string literals: before and after {{scene}}.
file(READ ${FOLDER}/viewer.html page)
file(GLOB parts RELATIVE ${FOLDER} ${FOLDER}/*)
foreach(part IN LISTS parts)
  file(READ ${FOLDER}/${part} content)
  string(REPLACE "{{${part}}}" "${content}" page "${page}")
endforeach()
string(FIND "${page}" "{{scene}}" cut)
string(SUBSTRING "${page}" 0 ${cut} head)
math(EXPR cut "${cut} + 9")
string(SUBSTRING "${page}" ${cut} -1 tail)
string(REGEX MATCH "{{[a-z]+[.][a-z]+}}" missing "${page}")
if(missing)
  message(FATAL_ERROR "viewer.html names ${missing}, which is not in ${FOLDER}")
endif()
file(WRITE ${OUT} "// Made by embed_page.cmake.
#include \"models/gslrm/viewer/page.h\"

namespace mfl::gslrm {

const std::string_view kViewerPageHead = R\"PAGE(${head})PAGE\";
const std::string_view kViewerPageTail = R\"PAGE(${tail})PAGE\";

}  // namespace mfl::gslrm
")
