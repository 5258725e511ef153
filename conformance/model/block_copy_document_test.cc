// virDomainBlockCopy as the model sees it.  What is expected was measured on libvirt 9.0.0 with
// QEMU 7.2.22 (conformance/domain/testdata/libvirt_9_0_block_copy_xml.json), or is the format's
// rule.

#include <gtest/gtest.h>

#include "conformance/model/domain_model.h"
#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using sim::operator""_KiB;
using sim::operator""_MiB;

// base <- snap1 <- snap2, and beside it what a copy may lie on; 1 by base, 2 by snap1, 3 by snap2.
DomainModel chain3() {
  DomainModel model("/d");
  model.add_image({.name = "base", .size = 1_MiB});
  model.fill("base", 0, 768_KiB, 1);
  model.add_image({.name = "snap1", .size = 1_MiB, .backing = "base"});
  model.fill("snap1", 128_KiB, 128_KiB, 2);
  model.add_image({.name = "snap2", .size = 1_MiB, .backing = "snap1"});
  model.fill("snap2", 192_KiB, 128_KiB, 3);
  model.add_image({.name = "other", .size = 1_MiB});
  model.fill("other", 0, 1_MiB, 7);
  model.add_image({.name = "pre", .size = 1_MiB, .backing = "snap1"});
  model.add_image({.name = "raw", .format = Format::raw, .size = 1_MiB});
  model.add_disk("vda", "snap2");
  return model;
}

constexpr const char* kDisk = "1*128k 2*64k 3*128k 1*448k 0*256k";

CopyDestination to(const std::string& file, std::vector<CopyDestination::Layer> backing = {},
                   bool terminated = false) {
  return {.path = "/d/" + file,
          .format = file == "raw" ? Format::raw : Format::qcow2,
          .backing = std::move(backing),
          .terminated = terminated};
}

// The chain after a copy and its pivot: "copy snap1 base|", "…" for an open end.
std::string chain_after(DomainModel& model, const CopyDestination& destination,
                        std::uint32_t flags) {
  if (!model.block_copy("vda", destination, {}, flags).accepted()) return "refused";
  model.on_ready("vda");
  if (!model.block_job_abort("vda", kPivot).accepted()) return "no pivot";
  std::string text;
  const ChainExpectation chain = model.chain("vda");
  for (const auto& link : chain.links) text += (text.empty() ? "" : " ") + link.path.substr(3);
  return text + (chain.terminated ? "|" : "...");
}

std::string code_of(const CallPrediction& prediction) {
  return prediction.refusal ? prediction.refusal->message : prediction.unknown.value_or("accepted");
}

const CopyDestination::Layer kSnap1{"/d/snap1"}, kBase{"/d/base"}, kOther{"/d/other"};

TEST(BlockCopyByDocument, ANewShallowCopyLiesOnWhatTheDocumentNames) {
  DomainModel plain = chain3(), ended = chain3(), open = chain3(), wrong = chain3();
  EXPECT_EQ(chain_after(plain, to("copy"), kCopyShallow), "copy snap1 base|");
  EXPECT_EQ(chain_after(ended, to("copy", {}, true), kCopyShallow), "copy snap1 base|");
  EXPECT_EQ(chain_after(open, to("copy", {kSnap1}), kCopyShallow), "copy snap1...");
  EXPECT_EQ(chain_after(wrong, to("copy", {kOther}, true), kCopyShallow), "copy other|");
  for (const DomainModel* right : {&plain, &ended, &open})
    EXPECT_EQ(text(right->guest_view("vda")), kDisk);
  EXPECT_EQ(text(wrong.guest_view("vda")), "7*192k 3*128k 7*704k");
  for (const FileExpectation& file : wrong.files())
    if (file.name == "copy") EXPECT_EQ(file.backing_string, "/d/other");
}

TEST(BlockCopyByDocument, AReusedShallowCopyBelievesTheDocumentNotTheHeader) {
  constexpr std::uint32_t kFlags = kCopyShallow | kCopyReuseExt;
  DomainModel header = chain3(), ended = chain3(), open = chain3(), wrong = chain3();
  EXPECT_EQ(chain_after(header, to("pre"), kFlags), "pre snap1 base|");
  EXPECT_EQ(chain_after(ended, to("pre", {}, true), kFlags), "pre|");
  EXPECT_EQ(chain_after(open, to("pre", {kSnap1}), kFlags), "pre snap1...");
  EXPECT_EQ(chain_after(wrong, to("pre", {kOther}, true), kFlags), "pre other|");
  EXPECT_EQ(text(header.guest_view("vda")), kDisk);
  EXPECT_EQ(text(ended.guest_view("vda")), "0*192k 3*128k 0*704k");
  EXPECT_EQ(text(open.guest_view("vda")), kDisk);
  EXPECT_EQ(text(wrong.guest_view("vda")), "7*192k 3*128k 7*704k");
  EXPECT_EQ(text(wrong.cold_view("pre")), kDisk);  // the header still names snap1
  EXPECT_TRUE(open.block_pull("vda", 0, 0).unknown);
}

TEST(BlockCopyByDocument, ARawFileHasNothingBeneath) {
  constexpr std::uint32_t kFlags = kCopyShallow | kCopyReuseExt;
  DomainModel open = chain3(), ended = chain3(), given = chain3();
  EXPECT_EQ(chain_after(open, to("raw"), kFlags), "raw...");
  EXPECT_EQ(chain_after(ended, to("raw", {}, true), kFlags), "raw|");
  EXPECT_EQ(chain_after(given, to("raw", {kSnap1, kBase}, true), kFlags), "no pivot");
  EXPECT_TRUE(given.has_job("vda"));
  EXPECT_TRUE(given.block_job_abort("vda", 0).accepted());
}

TEST(BlockCopyByDocument, AFullCopyCannotHaveBackingFiles) {
  DomainModel model = chain3();
  const std::string refusal =
      "backingStore of mirror without VIR_DOMAIN_BLOCK_COPY_SHALLOW doesn't make sense";
  EXPECT_EQ(code_of(model.block_copy("vda", to("copy", {kSnap1}), {}, 0)), refusal);
  EXPECT_EQ(code_of(model.block_copy("vda", to("nosuch", {kSnap1}), {}, kCopyReuseExt)), refusal);
  EXPECT_EQ(chain_after(model, to("copy", {}, true), 0), "copy|");
}

TEST(BlockCopyByDocument, ChecksAreInLibvirtsOrder) {
  DomainModel model = chain3();
  const CopyParameters odd{.bandwidth = ~0ULL, .granularity = 3};
  const CopyParameters fast{.bandwidth = ~0ULL};
  const CopyDestination relative{.path = "copy"};
  EXPECT_EQ(code_of(model.block_copy("vdz", relative, odd, 16)),
            "unsupported flags (0x10) in function qemuDomainBlockCopy");
  EXPECT_EQ(code_of(model.block_copy("vdz", relative, odd, 0)), "granularity must be power of 2");
  EXPECT_EQ(code_of(model.block_copy("vdz", relative, fast, 0)),
            "absolute path must be used as block copy target");
  EXPECT_TRUE(code_of(model.block_copy("vdz", to("copy"), fast, 0)).contains("bandwidth"));
  EXPECT_EQ(code_of(model.block_copy("vdz", to("pre"), {}, 0)), "disk 'vdz' not found in domain");
}

TEST(BlockCopyByDocument, WhatQemuRefusesLeavesNoFile) {
  DomainModel model = chain3();
  for (const std::uint32_t granularity : {256U, 128U << 20, 1U << 31})
    EXPECT_TRUE(code_of(model.block_copy("vda", to("copy"), {.granularity = granularity}, 0))
                    .contains("'blockdev-mirror': Parameter 'granularity' expects"));
  for (const FileExpectation& file : model.files()) EXPECT_NE(file.name, "copy");
  EXPECT_EQ(code_of(model.block_copy("vda", {.path = "/d/raw", .format = Format::qcow2}, {},
                                     kCopyReuseExt)),
            "unable to execute QEMU command 'blockdev-add': Image is not in qcow2 format");
}

TEST(BlockCopyByDocument, OnlyATransientJobCopiesInAPersistentDomain) {
  DomainModel model = chain3();
  model.set_persistent();
  EXPECT_EQ(code_of(model.block_rebase("vda", "/d/copy", 0, kCopy)), "domain is not transient");
  EXPECT_EQ(code_of(model.block_copy("vda", to("copy"), {}, 0)), "domain is not transient");
  EXPECT_EQ(chain_after(model, to("copy"), kCopyTransientJob), "copy|");
}

// A raw file with the contents of what lies beneath is the one that a shallow copy may reuse.
TEST(BlockCopyByDocument, ARawCopyOfTheBackingFileShowsTheSameDisk) {
  DomainModel model("/d");
  model.add_image({.name = "base", .format = Format::raw, .size = 1_MiB});
  model.add_image({.name = "raw", .format = Format::raw, .size = 1_MiB});
  for (const char* file : {"base", "raw"}) model.fill(file, 0, 768_KiB, 1);
  model.add_image({.name = "top", .size = 1_MiB, .backing = "base"});
  model.fill("top", 192_KiB, 128_KiB, 3);
  model.add_disk("vda", "top");
  const View before = model.guest_view("vda");
  EXPECT_EQ(chain_after(model, to("raw"), kCopyShallow | kCopyReuseExt), "raw...");
  EXPECT_EQ(model.guest_view("vda"), before);
}

// 4 KiB of an Absent cluster: the job carries its granule over; a guest's write that goes to both
// sides leaves zeroes around it, but not where the header names the backing file to come.
TEST(BlockCopyByDocument, ASynchronousWriteTouchesItsOwnRangeOnly) {
  for (const bool synchronous : {false, true}) {
    for (const char* file : {"bare", "pre"}) {
      DomainModel model = chain3();
      model.add_image({.name = "bare", .size = 1_MiB});
      const std::uint32_t mode = synchronous ? std::uint32_t{kCopySynchronousWrites} : 0;
      ASSERT_TRUE(
          model.block_copy("vda", to(file, {kSnap1}), {}, kCopyShallow | kCopyReuseExt | mode)
              .accepted());
      model.on_ready("vda");
      model.guest_write("vda", 4_KiB, 4_KiB, 9);
      ASSERT_TRUE(model.block_job_abort("vda", kPivot).accepted());
      const bool is_alone = synchronous && std::string_view(file) == "bare";
      EXPECT_EQ(text(model.guest_view("vda")).substr(0, 14),
                is_alone ? "0*4k 9*4k 0*56" : "1*4k 9*4k 1*12");
    }
  }
}

}  // namespace
}  // namespace conformance::model
