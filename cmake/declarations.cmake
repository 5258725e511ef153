# Run by the build: writes OUTPUT, a .cc that holds the texts of sim/qmp/declarations (FILES, divided
# by commas), so that no program looks for them when it runs.
string(REPLACE "," ";" FILES "${FILES}")
set(code "// Written by cmake/declarations.cmake.\n\n#include \"sim/qmp/syntax.h\"\n\n")
string(APPEND code "namespace sim::qmp::syntax {\n\nstatic constexpr Text kTexts[] = {\n")
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  string(APPEND code "    {\"${name}\", R\"qapi(${text})qapi\"},\n")
endforeach()
string(APPEND code "};\n\nstd::span<const Text> declarations() { return kTexts; }\n\n}\n")
file(WRITE ${OUTPUT} "${code}")
