# The libraries that come from the system.  Those of `understudy` itself are targets that are shared
# libraries, or archives for a program that is linked alone (docs/decisions/static-program.md).
include(CheckCXXSourceCompiles)

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED)
find_path(ZSTD_INCLUDE zstd.h REQUIRED)
find_library(ZSTD_LIBRARY zstd REQUIRED)
find_package(LibXml2 REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(GTest REQUIRED)
# Not asked for: without it the target `libvirt` says that it is missing.
find_package(PkgConfig)
if(PkgConfig_FOUND)
  pkg_check_modules(LIBVIRT IMPORTED_TARGET libvirt libvirt-qemu)
endif()
find_path(VALIJSON_INCLUDE valijson/validator.hpp REQUIRED)
find_path(RAPIDCHECK_INCLUDE rapidcheck.h REQUIRED)
find_library(RAPIDCHECK_LIBRARY rapidcheck REQUIRED)
add_library(valijson INTERFACE)
target_include_directories(valijson SYSTEM INTERFACE ${VALIJSON_INCLUDE})
add_library(rapidcheck INTERFACE)
target_include_directories(rapidcheck SYSTEM INTERFACE ${RAPIDCHECK_INCLUDE})
target_link_libraries(rapidcheck INTERFACE ${RAPIDCHECK_LIBRARY})

# Whether a program can do without shared libraries here.  Debian has no archive of fmt 9; the file
# that it would be made of is small.
foreach(name xml2 icuuc icudata lzma zstd z crypto)
  find_library(ARCHIVE_${name} lib${name}.a)
  mark_as_advanced(ARCHIVE_${name})
  list(APPEND archives ${ARCHIVE_${name}})
endforeach()
set(CMAKE_REQUIRED_LIBRARIES ${archives} m)
set(CMAKE_REQUIRED_LINK_OPTIONS -static -Wl,--no-warnings)
check_cxx_source_compiles([[
  extern "C" void xmlCleanupParser(void);
  extern "C" unsigned ZSTD_versionNumber(void);
  extern "C" const char* zlibVersion(void);
  extern "C" const char* OpenSSL_version(int);
  int main() {
    xmlCleanupParser();
    return ZSTD_versionNumber() == 0 || zlibVersion() == nullptr || OpenSSL_version(0) == nullptr;
  }]] UNDERSTUDY_ARCHIVES_LINK)
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_LINK_OPTIONS)
set(UNDERSTUDY_STATIC OFF)
if(UNDERSTUDY_ARCHIVES_LINK AND fmt_VERSION VERSION_LESS 10 AND CMAKE_BUILD_TYPE STREQUAL "Release"
    AND NOT UNDERSTUDY_SANITIZE AND NOT UNDERSTUDY_COVERAGE)
  set(UNDERSTUDY_STATIC ON)
  add_library(fmt_archive STATIC cmake/fmt_archive.cc)
  target_include_directories(fmt_archive SYSTEM PRIVATE
    $<TARGET_PROPERTY:fmt::fmt,INTERFACE_INCLUDE_DIRECTORIES>)
endif()

# dependency(NAME SHARED… ARCHIVES ARCHIVE…): the target `NAME_library`.
function(dependency name)
  cmake_parse_arguments(ARG "" "" "SHARED;ARCHIVES" ${ARGN})
  add_library(${name}_library INTERFACE)
  set(alone $<BOOL:$<TARGET_PROPERTY:UNDERSTUDY_ALONE>>)
  foreach(library IN LISTS ARG_SHARED)
    target_link_libraries(${name}_library INTERFACE $<$<NOT:${alone}>:${library}>)
    if(TARGET ${library})
      target_include_directories(${name}_library SYSTEM INTERFACE
        $<TARGET_PROPERTY:${library},INTERFACE_INCLUDE_DIRECTORIES>)
    endif()
  endforeach()
  foreach(library IN LISTS ARG_ARCHIVES)
    target_link_libraries(${name}_library INTERFACE $<${alone}:${library}>)
  endforeach()
endfunction()
dependency(fmt SHARED fmt::fmt ARCHIVES fmt_archive)
dependency(zlib SHARED ZLIB::ZLIB ARCHIVES ${ARCHIVE_z})
dependency(zstd SHARED ${ZSTD_LIBRARY} ARCHIVES ${ARCHIVE_zstd})
target_include_directories(zstd_library SYSTEM INTERFACE ${ZSTD_INCLUDE})
dependency(crypto SHARED OpenSSL::Crypto ARCHIVES ${ARCHIVE_crypto})
dependency(xml2 SHARED LibXml2::LibXml2 ARCHIVES
  ${ARCHIVE_xml2} ${ARCHIVE_icuuc} ${ARCHIVE_icudata} ${ARCHIVE_lzma} ${ARCHIVE_z} m)

# Gives a program an allocator that suits it (docs/decisions/allocator.md), where there is one; the
# sanitizers bring their own.
find_library(ARCHIVE_jemalloc libjemalloc.a)
mark_as_advanced(ARCHIVE_jemalloc)
function(link_allocator program)
  if(ARCHIVE_jemalloc AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT UNDERSTUDY_SANITIZE)
    target_link_libraries(${program} PRIVATE ${ARCHIVE_jemalloc})
  endif()
endfunction()

# Makes a program that needs nothing but the kernel, where that can be.
function(link_alone program)
  if(UNDERSTUDY_STATIC)
    set_target_properties(${program} PROPERTIES UNDERSTUDY_ALONE ON)
    target_link_options(${program} PRIVATE -static -Wl,--no-warnings)
  endif()
endfunction()
