// Every combination of flags, source and destination of the block-copy matrix against what real
// libvirt 9.0.0 with QEMU 7.2.22 did: measured, 384 calls, 81 ends and about 150 refusals.

#include "conformance/model/domain_model.h"

#include <array>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using ::testing::ElementsAre;
using sim::operator""_KiB;
using sim::operator""_MiB;

// The guest's disk as one digit for each 64 KiB; "?" where more than one value is legal.
std::string digits(const View& view) {
  std::string text;
  for (const ViewRun& run : view)
    text.append(run.length / 65536, run.pattern() ? static_cast<char>('0' + *run.pattern()) : '?');
  return text;
}

const std::array<std::string, 5> kSources = {"raw", "qcow2", "chain3", "chain3-raw-base",
                                             "chain3-sizes"};
const std::array<std::string, 10> kDestinations = {"absent",
                                                   "empty",
                                                   "qcow2-bare",
                                                   "qcow2-right-backing",
                                                   "qcow2-wrong-backing",
                                                   "qcow2-wrong-size",
                                                   "qcow2-old-data",
                                                   "raw",
                                                   "raw-old-data",
                                                   "raw-wrong-size"};

// The sources that were measured: 1 MiB; 1 by the base, 2 by snap1, 3 by snap2.
void add_source(DomainModel& model, const std::string& source) {
  if (!source.starts_with("chain3")) {
    model.add_image(
        {.name = "src", .format = source == "raw" ? Format::raw : Format::qcow2, .size = 1_MiB});
    model.fill("src", 0, 768_KiB, 1);
    model.add_disk("vda", "src");
    return;
  }
  const bool sizes = source == "chain3-sizes";
  model.add_image({.name = "base",
                   .format = source == "chain3-raw-base" ? Format::raw : Format::qcow2,
                   .size = sizes ? 512_KiB : 1_MiB});
  model.fill("base", 0, sizes ? 512_KiB : 768_KiB, 1);
  model.add_image({.name = "snap1", .size = sizes ? 768_KiB : 1_MiB, .backing = "base"});
  model.fill("snap1", 128_KiB, 128_KiB, 2);
  model.fill("snap1", 512_KiB, 64_KiB, 2);
  model.add_image({.name = "snap2", .size = 1_MiB, .backing = "snap1"});
  model.fill("snap2", 192_KiB, 128_KiB, 3);
  model.add_disk("vda", "snap2");
}

void add_destination(DomainModel& model, const std::string& destination) {
  ImageSpec copy{.name = "copy", .size = 1_MiB};
  if (destination == "absent") return;
  if (destination.ends_with("wrong-size")) copy.size = 512_KiB;
  if (destination == "empty") copy.size = 0;
  if (!destination.starts_with("qcow2")) copy.format = Format::raw;
  if (destination == "qcow2-right-backing") copy.backing = "snap1";
  if (destination == "qcow2-wrong-backing") {
    model.add_image({.name = "other", .size = 1_MiB});
    model.fill("other", 0, 1_MiB, 7);
    copy.backing = "other";
  }
  model.add_image(copy);
  if (destination.ends_with("old-data")) model.fill("copy", 0, 1_MiB, 8);
}

DomainModel domain(const std::string& source, const std::string& destination) {
  DomainModel model("/d");
  add_source(model, source);
  add_destination(model, destination);
  return model;
}

const FileExpectation file(const DomainModel& model, const std::string& name) {
  for (const FileExpectation& file : model.files())
    if (file.name == name) return file;
  ADD_FAILURE() << name << " is not there";
  return {.name = name, .layer = Layer(Format::raw, 0)};
}

std::string chain_text(const DomainModel& model) {
  const ChainExpectation chain = model.chain("vda");
  std::string text;
  for (const auto& link : chain.links)
    text += (text.empty() ? "" : "<") + link.format + ":" + link.path.substr(3);
  return text + (chain.terminated ? "|" : "...");
}

std::vector<std::string> events(const DomainModel& model) {
  std::vector<std::string> texts;
  for (const ExpectedEvent& event : model.events())
    texts.push_back(event.disk + " " + event.path + " " + event.type + " " + event.status);
  return texts;
}

// One row for each set of flags; one letter for each destination, in the order above:
//   X exists   M missing   S shallow copy into raw   F accepted, then fails by size
//   = copied whole into the source's format   Q into qcow2   R into raw
// and by sync=top
//   T over snap1   B without backing   W over "other"   O over its old data
//   r into raw, and its chain left open   o the same over old data
// "." was not measured: a single file has no right backing.
struct Row {
  std::uint32_t flags;
  const char* single;
  const char* chain;
};
constexpr std::array<Row, 8> kMeasured = {{
    {0, "==X.XXXXXX", "QQXXXXXXXX"},
    {kCopyRaw, "RRX.XXXXXX", "RRXXXXXXXX"},
    {kReuseExt, "MFQ.QFQRRF", "MFQQQFQRRF"},
    {kShallow, "==X.XXXXXX", "TTXXXXXXXX"},
    {kReuseExt | kCopyRaw, "MFF.FFFRRF", "MFFFFFFRRF"},
    {kShallow | kCopyRaw, "RRX.XXXXXX", "SSSSSSSSSS"},
    {kShallow | kReuseExt, "MFQ.QFQRRF", "MFBTWFOroF"},
    {kShallow | kReuseExt | kCopyRaw, "MFF.FFFRRF", "MFFFFFFroF"},
}};

void expect_refusal(const DomainModel& before, const DomainModel& model, const CallPrediction& call,
                    char outcome) {
  ASSERT_TRUE(call.refusal.has_value());
  const Refusal expected =
      outcome == 'X' ? Refusal{"QEMU", "CONFIG_UNSUPPORTED",
                               "external destination file for disk vda already exists and is not "
                               "a block device: /d/copy"}
      : outcome == 'M'
          ? Refusal{"QEMU", "SYSTEM_ERROR",
                    "missing destination file for disk vda: /d/copy: No such file or directory"}
          : Refusal{"QEMU", "CONFIG_UNSUPPORTED",
                    "shallow copy of disk 'vda' into a raw file is not possible"};
  EXPECT_EQ(call.refusal->domain, expected.domain);
  EXPECT_EQ(call.refusal->code, expected.code);
  EXPECT_EQ(call.refusal->message, expected.message);
  EXPECT_TRUE(model.events().empty());
  EXPECT_FALSE(model.has_job("vda"));
  EXPECT_EQ(model.files().size(), before.files().size());
  for (const FileExpectation& file : model.files()) EXPECT_TRUE(file.unchanged);
}

void expect_copied(DomainModel& model, const std::string& source, char outcome,
                   const std::string& guest, const std::string& destination) {
  const std::string own = source == "raw" ? "raw" : "qcow2";
  const std::string base = source == "chain3-raw-base" ? "raw" : "qcow2";
  const std::map<char, std::pair<std::string, std::string>> after = {
      {'=', {own + ":copy|", guest}},
      {'Q', {"qcow2:copy|", guest}},
      {'R', {"raw:copy|", guest}},
      {'T', {"qcow2:copy<qcow2:snap1<" + base + ":base|", guest}},
      {'B', {"qcow2:copy|", "0003300000000000"}},
      {'W', {"qcow2:copy<qcow2:other|", "7773377777777777"}},
      {'O', {"qcow2:copy|", "8883388888888888"}},
      {'r', {"raw:copy...", "0003300000000000"}},
      {'o', {"raw:copy...", "8883388888888888"}},
  };
  ASSERT_TRUE(model.has_job("vda"));
  EXPECT_TRUE(file(model, "copy").in_use);
  EXPECT_EQ(digits(model.guest_view("vda")), guest);
  model.on_ready("vda");
  ASSERT_TRUE(model.block_job_abort("vda", kPivot).accepted());
  EXPECT_EQ(chain_text(model), after.at(outcome).first);
  EXPECT_EQ(digits(model.guest_view("vda")), after.at(outcome).second);
  EXPECT_EQ(digits(model.cold_view("copy")), after.at(outcome).second);
  const std::string top = source.starts_with("chain3") ? "/d/snap2" : "/d/src";
  EXPECT_THAT(events(model),
              ElementsAre("vda " + top + " COPY READY", "vda /d/copy COPY COMPLETED"));
  const FileExpectation copy = file(model, "copy");
  EXPECT_FALSE(copy.in_use || copy.unchanged);
  EXPECT_EQ(copy.layer.size(), 1_MiB);
  EXPECT_EQ(copy.backing_string, outcome == 'T' || destination == "qcow2-right-backing" ? "/d/snap1"
                                 : destination == "qcow2-wrong-backing"                 ? "/d/other"
                                                                                        : "");
  for (const FileExpectation& file : model.files())
    if (file.name != "copy") EXPECT_TRUE(file.unchanged) << file.name;
}

TEST(Matrix, IsAsMeasured) {
  unsigned rows = 0;
  for (const std::string& source : kSources) {
    const bool single = !source.starts_with("chain3");
    const std::string guest = single                     ? "1111111111110000"
                              : source == "chain3-sizes" ? "1123311120000000"
                                                         : "1123311121110000";
    for (const Row& row : kMeasured) {
      for (std::size_t i = 0; i < kDestinations.size(); ++i) {
        const char outcome = (single ? row.single : row.chain)[i];
        if (outcome == '.') continue;
        SCOPED_TRACE(fmt::format("{} flags {} {}", source, row.flags, kDestinations[i]));
        const DomainModel before = domain(source, kDestinations[i]);
        DomainModel model = before;
        const CallPrediction call = model.block_rebase("vda", "/d/copy", 0, row.flags | kCopy);
        ASSERT_FALSE(call.unknown.has_value());
        ++rows;
        if (std::string_view("XMS").contains(outcome)) {
          expect_refusal(before, model, call, outcome);
        } else if (outcome == 'F') {
          ASSERT_TRUE(call.accepted());
          EXPECT_EQ(call.course, Course::fails);
          EXPECT_EQ(call.job_error, "Source and target image have different sizes");
          ASSERT_EQ(model.events().size(), 1U);
          EXPECT_EQ(model.events()[0].status, "FAILED");
          EXPECT_THAT(model.job_statuses("vda").at(model.job_id("vda")),
                      ElementsAre("created", "running", "aborting", "concluded", "null"));
          const CallPrediction pivot = model.block_job_abort("vda", kPivot);
          ASSERT_TRUE(pivot.refusal.has_value());
          EXPECT_EQ(pivot.refusal->message, "disk vda does not have an active block job");
          EXPECT_EQ(digits(model.guest_view("vda")), guest);
          for (const FileExpectation& file : model.files()) EXPECT_TRUE(file.unchanged);
        } else {
          ASSERT_TRUE(call.accepted());
          EXPECT_EQ(call.course, Course::ready);
          expect_copied(model, source, outcome, guest, kDestinations[i]);
        }
      }
    }
  }
  EXPECT_EQ(rows, 384U);
}

// --- ends: 9 is written at READY into the last 64 KiB, 5 after the end into those before --------

struct End {
  const char* source;
  std::uint32_t flags;
  const char* destination;
  const char* pivoted;         // the guest's disk after a pivot
  const char* copy_aborted;    // the destination's view after an abort, without the late write
  const char* source_aborted;  // the source's, with it
};
constexpr std::array<End, 9> kEnds = {{
    {"chain3", 0, "absent", "1123311121110059", "1123311121110009", "1123311121110059"},
    {"chain3", kShallow, "absent", "1123311121110059", "1123311121110009", "1123311121110059"},
    {"chain3", kCopyRaw, "absent", "1123311121110059", "1123311121110009", "1123311121110059"},
    {"chain3", kShallow | kReuseExt, "qcow2-right-backing", "1123311121110059", "1123311121110009",
     "1123311121110059"},
    {"chain3", kReuseExt, "raw-old-data", "1123311121110059", "1123311121110009",
     "1123311121110059"},
    {"chain3", kShallow | kReuseExt | kCopyRaw, "raw", "0003300000000059", "0003300000000009",
     "1123311121110059"},
    {"chain3", kShallow | kReuseExt, "qcow2-wrong-backing", "7773377777777759", "7773377777777779",
     "1123311121110059"},
    {"raw", 0, "absent", "1111111111110059", "1111111111110009", "1111111111110059"},
    {"qcow2", kShallow, "absent", "1111111111110059", "1111111111110009", "1111111111110059"},
}};

TEST(Ends, AfterReady) {
  for (const End& end : kEnds) {
    SCOPED_TRACE(fmt::format("{} {} {}", end.source, end.flags, end.destination));
    DomainModel ready = domain(end.source, end.destination);
    ASSERT_TRUE(ready.block_rebase("vda", "/d/copy", 0, end.flags | kCopy).accepted());
    ready.on_ready("vda");
    const std::string top = ready.chain("vda").links.front().path;
    ready.guest_write("vda", 960_KiB, 64_KiB, 9);

    DomainModel pivoted = ready;  // asynchronous or not, it ends the same
    ASSERT_TRUE(pivoted.block_job_abort("vda", kPivot | kAsync).accepted());
    pivoted.guest_write("vda", 896_KiB, 64_KiB, 5);
    EXPECT_EQ(digits(pivoted.guest_view("vda")), end.pivoted);
    EXPECT_EQ(digits(pivoted.cold_view("copy")), end.pivoted);
    std::string source_after = end.source_aborted;
    source_after[14] = '0';  // the late write is in the copy only
    EXPECT_EQ(digits(pivoted.cold_view(top.substr(3))), source_after);
    EXPECT_THAT(
        pivoted.job_statuses("vda").at(pivoted.job_id("vda")),
        ElementsAre("created", "running", "ready", "waiting", "pending", "concluded", "null"));

    DomainModel aborted = ready;
    ASSERT_TRUE(aborted.block_job_abort("vda", 0).accepted());
    aborted.guest_write("vda", 896_KiB, 64_KiB, 5);
    EXPECT_EQ(digits(aborted.guest_view("vda")), end.source_aborted);
    EXPECT_EQ(digits(aborted.cold_view("copy")), end.copy_aborted);
    EXPECT_THAT(events(aborted),
                ElementsAre("vda " + top + " COPY READY", "vda " + top + " COPY CANCELED"));
    EXPECT_EQ(aborted.job_statuses("vda").at(aborted.job_id("vda")).back(), "null");
    EXPECT_FALSE(aborted.has_job("vda"));
  }
}

TEST(Ends, BeforeReady) {  // measured: the held job has copied everything, which is one legal end
  for (const End& end : kEnds) {
    SCOPED_TRACE(fmt::format("{} {} {}", end.source, end.flags, end.destination));
    DomainModel model = domain(end.source, end.destination);
    const CallPrediction call =
        model.block_rebase("vda", "/d/copy", 1, end.flags | kCopy | kBandwidthBytes);
    EXPECT_EQ(call.course, Course::held);
    for (const std::uint32_t flags : {std::uint32_t{kPivot}, kPivot | kAsync}) {
      const CallPrediction pivot = model.block_job_abort("vda", flags);
      ASSERT_TRUE(pivot.refusal.has_value());
      EXPECT_EQ(pivot.refusal->code, "BLOCK_COPY_ACTIVE");
      EXPECT_EQ(pivot.refusal->message,
                "block job 'copy-vda-libvirt-1-format' not ready for pivot yet");
    }
    EXPECT_TRUE(model.has_job("vda"));
    EXPECT_TRUE(model.events().empty());
    const std::string top = model.chain("vda").links.front().path;
    ASSERT_TRUE(model.block_job_abort("vda", kAsync).accepted());
    EXPECT_THAT(events(model), ElementsAre("vda " + top + " COPY CANCELED"));
    EXPECT_THAT(model.job_statuses("vda").at(model.job_id("vda")),
                ElementsAre("created", "running", "aborting", "concluded", "null"));
    std::string measured = end.copy_aborted;
    measured[15] = end.flags & kShallow && measured[14] == '7' ? '7' : '0';
    const View copy = model.cold_view("copy");
    for (const ViewRun& run : copy)
      for (std::uint64_t at = run.offset; at < run.offset + run.length; at += 64_KiB)
        EXPECT_TRUE(run.values.test(static_cast<std::size_t>(measured[at / 64_KiB] - '0'))) << at;
    EXPECT_EQ(file(model, "copy").layer.size(), 1_MiB);
  }
}

TEST(Ends, AHigherSpeedWakesAHeldJob) {  // measured: 1 to 2 bytes/s; the same or less does not
  DomainModel model = domain("chain3", "absent");
  ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 10, kCopy | kBandwidthBytes).accepted());
  EXPECT_EQ(model.course("vda"), Course::held);
  EXPECT_EQ(model.block_job_set_speed("vda", 10, 1).course, Course::held);
  EXPECT_EQ(model.block_job_set_speed("vda", 1, 1).course, Course::held);
  EXPECT_EQ(model.block_job_set_speed("vda", 2, 1).course, Course::ready);
}

TEST(Ends, WithNothingToCopyNoSpeedHoldsIt) {  // measured on QEMU 7.2
  DomainModel model("/d");
  model.add_image({.name = "base", .size = 1_MiB});
  model.add_image({.name = "top", .size = 1_MiB, .backing = "base"});
  model.add_disk("vda", "top");
  EXPECT_EQ(model.block_rebase("vda", "/d/copy", 1, kCopy | kShallow | kBandwidthBytes).course,
            Course::ready);
}

TEST(Ends, ADestinationThatUnmapsGetsItsZeroesForNothing) {  // measured on QEMU 7.2
  DomainModel model("/d");
  model.add_image({.name = "src", .size = 1_MiB});
  model.add_disk("vda", "src", true);
  DomainModel kept = model;
  const std::uint32_t flags = kCopy | kBandwidthBytes;
  EXPECT_EQ(model.block_rebase("vda", "/d/copy", 1, flags).course, Course::limited);
  kept.guest_write("vda", 0, 4096, 1);
  EXPECT_EQ(kept.block_rebase("vda", "/d/copy", 1, flags).course, Course::held);
}

// --- refusals ------------------------------------------------------------------------------------

struct Call {
  std::uint32_t flags;
  const char* disk;
  const char* base;  // nullptr is NULL
  std::uint64_t bandwidth;
  const char* error;  // "DOMAIN/CODE: message"; "ok"
};
constexpr std::uint64_t kLongMax = 9223372036854775807;
constexpr std::uint64_t kUnsignedLongMax = 18446744073709551615U;

std::string text(const CallPrediction& call) {
  if (call.unknown) return "unknown: " + *call.unknown;
  if (!call.refusal) return "ok";
  return call.refusal->domain + "/" + call.refusal->code + ": " + call.refusal->message;
}

constexpr const char* kOverflow = "QEMU/OVERFLOW: bandwidth must be less than 8796093022207";
constexpr const char* kNeedsCopyJob = "DOMAIN/INVALID_ARG: use of flags requires a copy job";
constexpr const char* kNullBase =
    "DOMAIN/INVALID_ARG: base in virDomainBlockRebase must not be NULL";
constexpr const char* kRelativeTarget =
    "QEMU/INVALID_ARG: absolute path must be used as block copy target";
constexpr const char* kRelativeBacking =
    "QEMU/ARGUMENT_UNSUPPORTED: Relative backing during copy not supported yet";
constexpr const char* kTooManyBytes =
    "QEMU/INVALID_ARG: bandwidth must be less than '9223372036854775807' bytes/s (8796093022207 "
    "MiB/s)";
constexpr const char* kMissing =
    "QEMU/SYSTEM_ERROR: missing destination file for disk vda: /d/copy: No such file or directory";
constexpr const char* kShallowRaw =
    "QEMU/CONFIG_UNSUPPORTED: shallow copy of disk 'vda' into a raw file is not possible";
constexpr const char* kLocked =
    "QEMU/INTERNAL_ERROR: unable to execute QEMU command 'blockdev-add': Failed to get \"write\" "
    "lock";
constexpr const char* kActive = "QEMU/BLOCK_COPY_ACTIVE: disk 'vda' already in active block job";

constexpr Call kRefused[] = {
    {0x8, "vdz", "/d/copy", 0, "QEMU/INVALID_ARG: disk 'vdz' not found in domain"},
    {0x8, "", "/d/copy", 0, "QEMU/INVALID_ARG: disk '' not found in domain"},
    {0x8, "vda[1]", "/d/copy", 0, "QEMU/INVALID_ARG: disk 'vda[1]' not found in domain"},
    {0x8, "/d/snap1", "/d/copy", 0, "QEMU/INVALID_ARG: disk '/d/snap1' not found in domain"},
    {0x1, "vda", "/d/copy", 0, kNeedsCopyJob},
    {0x2, "vda", nullptr, 0, kNeedsCopyJob},
    {0x7, "vda", "/d/copy", 0, kNeedsCopyJob},
    {0x20, "vda", "/d/copy", 0, kNeedsCopyJob},
    {0x401, "vda", "/d/copy", 0, kNeedsCopyJob},
    {0x8, "vda", nullptr, 0, kNullBase},
    {0x408, "vda", nullptr, 0, kNullBase},
    {0x8, "vda", nullptr, kUnsignedLongMax, kNullBase},
    {0x8, "vda", "", 0, kRelativeTarget},
    {0xa, "vda", "copy", 0, kRelativeTarget},
    {0x8, "vda", "./copy", 0, kRelativeTarget},
    {0x8, "vdz", "copy", 0, kRelativeTarget},
    {0x88, "vda", "/d/copy", 0,
     "QEMU/INVALID_ARG: unsupported flags (0x80) in function qemuDomainBlockRebase"},
    {0x80, "vda", "/d/copy", 0,
     "QEMU/INVALID_ARG: unsupported flags (0x80) in function qemuDomainBlockRebase"},
    {0xffffffff, "vda", "/d/copy", 0,
     "QEMU/INVALID_ARG: unsupported flags (0xffffff80) in function qemuDomainBlockRebase"},
    {0x408, "vdz", "copy", 0,
     "QEMU/INVALID_ARG: unsupported flags (0x400) in function qemuDomainBlockRebase"},
    {0x18, "vda", "copy", 0, kRelativeBacking},
    {0x18, "vdz", "/d/copy", 0, kRelativeBacking},
    {0x8, "vda", "/d/copy", 8796093022208, kOverflow},
    {0x8, "vdz", "copy", kUnsignedLongMax, kOverflow},
    {0x48, "vda", "/d/copy", kLongMax + 1, kTooManyBytes},
    {0x48, "vda", "/d/copy", kUnsignedLongMax, kTooManyBytes},
    {0xd, "vda", "/d/copy", 0, kShallowRaw},
    {0xa, "vda", "/d/copy", 0, kMissing},
    {0x28, "vda", "/d/copy", 0, kMissing},
    {0xf, "vda", "/d/copy", 0, kMissing},
    {0x8, "vda", "/d/nodir/copy", 0,
     "QEMU/SYSTEM_ERROR: failed to create copy target: No such file or directory"},
    {0xa, "vda", "/d/nodir/copy", 0,
     "QEMU/SYSTEM_ERROR: missing destination file for disk vda: /d/nodir/copy: No such file or "
     "directory"},
    {0xd, "vda", "/d/nodir/copy", 0, kShallowRaw},
    {0x8, "vda", "/d/snap2", 0,
     "QEMU/CONFIG_UNSUPPORTED: external destination file for disk vda already exists and is not a "
     "block device: /d/snap2"},
    {0xa, "vda", "/d/snap2", 0, kLocked},
    {0xb, "vda", "/d/snap2", 0, kLocked},
    {0xb, "vda", "/d/snap1", 0, kLocked},
    {0xa, "vda", "/d/base", 0, kLocked},
    {0xd, "vda", "/d/full", 0, kShallowRaw},
    {0x8, "vda", "/d/full", kUnsignedLongMax, kOverflow},
    {0x2a, "vda", "/d/full", 0,
     "QEMU/INVALID_ARG: blockdev flag requested for disk vda, but file '/d/full' is not a block "
     "device"},
    {0x8, "vda", "/d/copy", 8796093022207, "ok"},
    {0x48, "vda", "/d/copy", kLongMax, "ok"},
    {0x8, "/d/snap2", "/d/copy", 0, "ok"},
    {0xa, "vda", "/d/full", 0, "ok"},  // 1000 bytes of junk: accepted, and then fails
};

TEST(Refusals, AreWordedAndOrderedAsMeasured) {
  for (const Call& call : kRefused) {
    DomainModel model = domain("chain3", "absent");
    model.add_image({.name = "full", .format = Format::raw, .size = 1000});
    const std::optional<std::string> base =
        call.base == nullptr ? std::nullopt : std::optional<std::string>(call.base);
    EXPECT_EQ(text(model.block_rebase(call.disk, base, call.bandwidth, call.flags)), call.error)
        << fmt::format("{} {} {:#x} {}", call.disk, base.value_or("NULL"), call.flags,
                       call.bandwidth);
  }
}

TEST(Refusals, WhileACopyExists) {
  for (const bool ready : {false, true}) {
    DomainModel model = domain("chain3", "absent");
    model.add_image({.name = "full", .format = Format::raw, .size = 1000});
    ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy).accepted());
    if (ready) model.on_ready("vda");
    for (const char* base : {"/d/copy2", "/d/copy", "/d/full", "/d/nodir/x"})
      EXPECT_EQ(text(model.block_rebase("vda", base, 0, kCopy)), kActive);
    EXPECT_EQ(text(model.block_rebase("vda", "/d/copy2", 0, kCopy | kShallow | kCopyRaw)), kActive);
    EXPECT_EQ(text(model.block_rebase("vda", "rel", 0, kCopy)), kRelativeTarget);
    EXPECT_EQ(text(model.block_rebase("vda", "/d/copy2", kUnsignedLongMax, kCopy)), kOverflow);
    EXPECT_EQ(text(model.block_rebase("vda", "/d/copy2", 0, kCopy | kRelative)), kRelativeBacking);
  }
}

TEST(Refusals, OfAbortAndSetSpeed) {
  constexpr const char* kNoJob = "QEMU/INVALID_ARG: disk vda does not have an active block job";
  DomainModel model = domain("chain3", "absent");
  for (const std::uint32_t flags : {0U, 1U, 2U, 3U})
    EXPECT_EQ(text(model.block_job_abort("vda", flags)), kNoJob);
  EXPECT_EQ(text(model.block_job_abort("/d/snap2", 0)), kNoJob);
  EXPECT_EQ(text(model.block_job_abort("vdz", 4)),
            "QEMU/INVALID_ARG: unsupported flags (0x4) in function qemuDomainBlockJobAbort");
  EXPECT_EQ(text(model.block_job_abort("vda[1]", 0)),
            "QEMU/INVALID_ARG: disk 'vda[1]' not found in domain");
  EXPECT_EQ(text(model.block_job_set_speed("vda", 5, 0)), kNoJob);
  EXPECT_EQ(text(model.block_job_set_speed("vda", kUnsignedLongMax, 0)), kOverflow);
  EXPECT_EQ(text(model.block_job_set_speed("vda", 5, 4)),
            "QEMU/INVALID_ARG: unsupported flags (0x4) in function qemuDomainBlockJobSetSpeed");
  EXPECT_EQ(text(model.block_job_set_speed("vdz", 5, 0)),
            "QEMU/INVALID_ARG: disk 'vdz' not found in domain");
  ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy).accepted());
  model.on_ready("vda");
  EXPECT_EQ(text(model.block_job_set_speed("vda", kLongMax + 1, 1)),
            "NONE/INTERNAL_ERROR: argument key 'speed' must not be negative");
  EXPECT_EQ(text(model.block_job_set_speed("vda", kLongMax, 1)), "ok");
  EXPECT_EQ(text(model.block_job_set_speed("vda", 8796093022207, 0)), "ok");
}

// --- one copy after another ----------------------------------------------------------------------

TEST(Again, AfterAnAbortTheDestinationIsInTheWayUnlessReused) {  // measured
  DomainModel model = domain("chain3", "absent");
  ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy).accepted());
  ASSERT_TRUE(model.block_job_abort("vda", kAsync).accepted());
  EXPECT_EQ(model.block_rebase("vda", "/d/copy", 0, kCopy).refusal->code, "CONFIG_UNSUPPORTED");
  ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy | kReuseExt).accepted());
  model.on_ready("vda");
  ASSERT_TRUE(model.block_job_abort("vda", kPivot).accepted());
  EXPECT_EQ(digits(model.guest_view("vda")), "1123311121110000");  // whatever the abort had left
  EXPECT_EQ(chain_text(model), "qcow2:copy|");
  // The old chain is let go, and the new node's number is in the next job's name.
  ASSERT_TRUE(model.block_rebase("vda", "/d/snap2", 0, kCopy | kReuseExt).accepted());
  EXPECT_EQ(model.job_id("vda"), "copy-vda-libvirt-5-format");
}

TEST(Unknown, IsSaidSo) {
  DomainModel model = domain("chain3", "qcow2-bare");
  EXPECT_TRUE(model.block_rebase("vda", "/d/./base", 0, 0).unknown);
  EXPECT_TRUE(model.block_rebase("vda", "/elsewhere/x", 0, kCopy).unknown);
  EXPECT_TRUE(model.block_rebase("vda", "/d/../x", 0, kCopy).unknown);
  model.add_image({.name = "loop", .size = 1_MiB, .backing = "snap2"});
  EXPECT_TRUE(model.block_rebase("vda", "/d/loop", 0, kCopy | kShallow | kReuseExt).unknown);
  EXPECT_TRUE(model.events().empty());
}

}  // namespace
}  // namespace conformance::model
