// Chains as libvirt 9.0 reads them: each expectation was measured by starting a domain, and by
// SHALLOW|REUSE_EXT onto the image.

#include "conformance/domain/chain.h"

#include "conformance/domain/fake_target.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::MapFiles;
using testing::outcome_of;

const std::string kTop = kDirectory + "/top";

// "path:format" from the top down, ending in "|" where the chain is known to end.
std::string spelled(const DomainResult<std::unique_ptr<Source>>& chain) {
  if (!chain) return outcome_of(chain).dump();
  std::string text;
  for (const Source* source = chain->get(); source != nullptr; source = source->beneath.get()) {
    text += source->path + ":" + source->format + " ";
    if (source->backing == Backing::terminated) text += "|";
  }
  return text;
}
Json storage_error(const std::string& code, const std::string& message) {
  return {{"domain", "STORAGE"}, {"code", code}, {"message", message}};
}

TEST(Chain, IsReadFromHeaders) {
  MapFiles files;
  testing::make_source(files, "chain3-raw-base");
  EXPECT_EQ(spelled(read_chain(files, "/images/snap2", "qcow2")),
            "/images/snap2:qcow2 /images/snap1:qcow2 /images/base:raw |");
}

TEST(Chain, OfARawDiskEndsThere) {
  MapFiles files;
  files.qcow2("top", "/images/base");
  EXPECT_EQ(spelled(read_chain(files, kTop, "raw")), "/images/top:raw |");
}

TEST(Chain, OfVersion2Images) {
  MapFiles files;
  files.raw("base");
  files.qcow2("top", "/images/base", "raw", 2);
  EXPECT_EQ(spelled(read_chain(files, kTop, "qcow2")), "/images/top:qcow2 /images/base:raw |");
}

TEST(Chain, RelativeNamesAreTakenFromTheImagesDirectoryAsTheyAre) {
  MapFiles files;
  files.qcow2("top", "./base");
  files.files["/images/./base"] = files.files[kTop].substr(0, 0);
  EXPECT_EQ(spelled(read_chain(files, kTop, "qcow2")), "/images/top:qcow2 /images/./base:qcow2 |");
  testing::make_source(files, "chain3", true);
  EXPECT_EQ(spelled(read_chain(files, "/images/snap2", "qcow2")),
            "/images/snap2:qcow2 /images/snap1:qcow2 /images/base:qcow2 |");
}

TEST(Chain, AFormatThatIsNotToldIsProbedIfNothingLiesBeneath) {
  MapFiles files;
  files.raw("base");
  files.qcow2("top", "/images/base", "");
  EXPECT_EQ(spelled(read_chain(files, kTop, "qcow2")), "/images/top:qcow2 /images/base:raw |");
  files.qcow2("base");
  EXPECT_EQ(spelled(read_chain(files, kTop, "qcow2")), "/images/top:qcow2 /images/base:qcow2 |");
}

TEST(Chain, AFormatThatIsNotToldIsRefusedInTheMiddle) {
  MapFiles files;
  files.qcow2("base");
  files.qcow2("mid", "/images/base");
  files.qcow2("top", "mid", "");
  EXPECT_EQ(outcome_of(read_chain(files, kTop, "qcow2")),
            storage_error("OPERATION_INVALID",
                          "format of backing image 'mid' of image '/images/top' was not specified "
                          "in the image metadata (See "
                          "https://libvirt.org/kbase/backing_chains.html for troubleshooting)"));
}

TEST(Chain, AMissingFileIsNamedWithTheOneThatNamesIt) {
  MapFiles files;
  EXPECT_EQ(outcome_of(read_chain(files, kTop, "qcow2")),
            storage_error("SYSTEM_ERROR",
                          "Cannot access storage file '/images/top' (as uid:0, "
                          "gid:0): No such file or directory"));
  files.qcow2("top", "base", "");
  EXPECT_EQ(outcome_of(read_chain(files, kTop, "qcow2")),
            storage_error("SYSTEM_ERROR",
                          "Cannot access backing file '/images/base' of storage "
                          "file '/images/top' (as uid:0, gid:0): No such file or "
                          "directory"));
}

TEST(Chain, ALoopIsRefused) {
  MapFiles files;
  files.qcow2("top", "/images/top");
  EXPECT_EQ(outcome_of(read_chain(files, kTop, "qcow2")),
            storage_error("INTERNAL_ERROR",
                          "backing store for /images/top is self-referential or "
                          "too deeply nested"));
}

// libvirt starts QEMU with it, and QEMU says "Image is not in qcow2 format".
TEST(Chain, WhatIsNoQcow2IsLeftToQemu) {
  MapFiles files;
  files.raw("top");
  EXPECT_EQ(spelled(read_chain(files, kTop, "qcow2")), "/images/top:qcow2 |");
}

TEST(Chain, NonsenseInAHeaderIsLeftToQemu) {
  MapFiles files;
  files.qcow2("top", "/images/base");
  for (const std::size_t field : {8, 16, 100}) {
    MapFiles broken = files;
    broken.files[kTop].replace(field, 4, "\xff\xff\xff\xff");
    broken.qcow2("base");
    EXPECT_TRUE(read_chain(broken, kTop, "qcow2").has_value()) << field;
  }
}

TEST(Probe, KnowsQcow2AndCallsTheRestRaw) {
  MapFiles files;
  files.qcow2("a");
  files.raw("b");
  files.raw("c", 0);
  EXPECT_EQ(*probe_format(files, "/images/a"), "qcow2");
  EXPECT_EQ(*probe_format(files, "/images/b"), "raw");
  EXPECT_EQ(*probe_format(files, "/images/c"), "raw");
}

}  // namespace
}  // namespace conformance
