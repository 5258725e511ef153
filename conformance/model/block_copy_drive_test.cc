// Copies by drive-mirror against what four releases of QEMU did: each cell of
// conformance/domain/testdata/qemu_drive_mirror.json that libvirt's checks let through.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "conformance/model/domain_model.h"
#include "sim/base/bytes.h"
#include "sim/base/json.h"

namespace conformance::model {
namespace {

using sim::Json;
using sim::operator""_KiB;
using sim::operator""_MiB;

struct Cell {
  std::string source, sync, destination, mode, format, end;
};

Cell cell_of(const std::string& text) {
  Cell cell;
  std::istringstream words(text);
  for (std::string* word :
       {&cell.source, &cell.sync, &cell.destination, &cell.mode, &cell.format, &cell.end})
    std::getline(words, *word, '/');
  return cell;
}

DomainModel model_of(const Cell& cell) {
  DomainModel model("/d");
  const bool is_chain = cell.source.starts_with("chain");
  if (!is_chain) {
    model.add_image({.name = "src",
                     .format = cell.source == "raw" ? Format::raw : Format::qcow2,
                     .size = 1_MiB});
    model.fill("src", 0, 640_KiB, 1);
    model.fill_zeroes("src", 320_KiB, 64_KiB);
  } else {
    model.add_image({.name = "base",
                     .format = cell.source == "chain" ? Format::qcow2 : Format::raw,
                     .size = 1_MiB});
    model.fill("base", 0, 640_KiB, 1);
    model.add_image({.name = "snap1", .size = 1_MiB, .backing = "base"});
    model.fill("snap1", 128_KiB, 128_KiB, 2);
    model.add_image({.name = "snap2", .size = 1_MiB, .backing = "snap1"});
    model.fill("snap2", 192_KiB, 128_KiB, 3);
    model.fill("snap2", 520_KiB, 12_KiB, 3);
    model.fill_zeroes("snap2", 576_KiB, 64_KiB);
  }
  if (cell.destination == "qcow2-other") {
    model.add_image({.name = "other", .size = 1_MiB});
    model.fill("other", 0, 1_MiB, 7);
  }
  const std::string beneath = cell.destination == "qcow2-backed"  ? "snap1"
                              : cell.destination == "qcow2-other" ? "other"
                                                                  : "";
  if (cell.destination.starts_with("qcow2"))
    model.add_image({.name = "copy", .size = 1_MiB, .backing = beneath, .host_length = 192_KiB});
  if (cell.destination == "raw" || cell.destination == "empty")
    model.add_image({.name = "copy",
                     .format = Format::raw,
                     .size = cell.destination == "raw" ? std::uint64_t{1_MiB} : 0});
  model.add_disk("vda", is_chain ? "snap2" : "src");
  model.use_drive_recipe();
  return model;
}

// libvirt would not come to this, or says another format.
bool is_out_of_reach(const Cell& cell) {
  const bool exists = cell.mode == "existing";
  if (exists && cell.destination == "absent") return true;
  if (!exists && cell.format == "raw" && cell.sync == "top") return true;
  if (cell.format == "raw") return false;
  return exists ? !cell.destination.starts_with("qcow2") : cell.source == "raw";
}

void check_end(DomainModel& model, const Cell& cell, const Json& measured) {
  model.on_ready("vda");
  model.guest_write("vda", 100_KiB, 96_KiB, 9);
  const View disk = model.guest_view("vda");
  EXPECT_TRUE(model.block_job_abort("vda", cell.end == "complete" ? kPivot : 0).accepted());
  const ChainExpectation chain = model.chain("vda");
  EXPECT_EQ(chain.links.size(), measured["disk"].size());
  EXPECT_TRUE(chain.terminated);
  EXPECT_EQ(chain.links.front().path == "/d/copy", measured["disk"][0] == "copy");
  EXPECT_EQ(model.cold_view("copy") == disk, measured["reads-as-disk"].get<bool>());
  for (const FileExpectation& file : model.files()) {
    if (file.name != "copy") continue;
    const std::string names = measured["copy-names"];
    EXPECT_EQ(file.backing_string, names.empty() ? names : "/d/" + names);
    if (measured.contains("cluster"))
      EXPECT_EQ(file.layer.cluster_size(), measured["cluster"].get<std::uint64_t>());
  }
}

TEST(DriveMirror, EndsAsMeasured) {
  std::ifstream file(UNDERSTUDY_SOURCE_DIR "/conformance/domain/testdata/qemu_drive_mirror.json");
  const Json table = Json::parse(file);
  unsigned reached = 0;
  for (const Json& measured : table["results"])
    for (const Json& text : measured["cells"]) {
      SCOPED_TRACE(text);
      const Cell cell = cell_of(text);
      if (is_out_of_reach(cell)) continue;
      ++reached;
      DomainModel model = model_of(cell);
      const std::uint32_t flags = kCopy | (cell.sync == "top" ? kShallow : 0U) |
                                  (cell.mode == "existing" ? kReuseExt : 0U) |
                                  (cell.format == "raw" ? kCopyRaw : 0U);
      const CallPrediction prediction = model.block_rebase("vda", "/d/copy", 0, flags);
      ASSERT_TRUE(prediction.accepted());
      EXPECT_EQ(prediction.course == Course::fails, measured.contains("fails"));
      if (measured.contains("fails"))
        EXPECT_EQ(prediction.job_error, measured["fails"].get<std::string>());
      else
        check_end(model, cell, measured);
    }
  EXPECT_GT(reached, 80U);
}

// libvirt asks the source for its cluster, QEMU does not.
TEST(DriveMirror, ANewCopyHasQemusDefaultCluster) {
  for (const bool by_drive : {false, true}) {
    DomainModel model("/d");
    model.add_image({.name = "src", .size = 1_MiB, .cluster_size = 4096});
    model.add_disk("vda", "src");
    if (by_drive) model.use_drive_recipe();
    ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy).accepted());
    model.on_ready("vda");
    ASSERT_TRUE(model.block_job_abort("vda", 0).accepted());
    for (const FileExpectation& file : model.files())
      if (file.name == "copy") EXPECT_EQ(file.layer.cluster_size(), by_drive ? 65536U : 4096U);
    EXPECT_EQ(model.job_id("vda"), by_drive ? "drive-virtio-disk0" : "copy-vda-libvirt-1-format");
  }
}

}  // namespace
}  // namespace conformance::model
