// Images made by make_images against those that the real qemu-img and qemu-io make of the same
// description: byte for byte.

#include "conformance/run/images.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/run/scenarios_for_test.h"
#include "sim/storage/file.h"
#include "sim/storage/memory.h"

namespace conformance {
namespace {

namespace fs = std::filesystem;
using inspect::run;

class Images : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run("qemu-img --version").status, 0) << "install the package qemu-utils";
    ASSERT_EQ(run("qemu-io --version").status, 0) << "install the package qemu-utils";
  }

  // Headers hold absolute paths, so both sets are made in the same place, one after the other.
  void make_both(const Scenario& scenario) {
    const std::string place = directory_ / "images";
    for (const char* kept : {"images", "ours", "qemu"}) fs::remove_all(directory_ / kept);
    fs::create_directory(place);
    sim::storage::RealFiles files(sim::storage::Flush::unsafe);
    const auto made = make_images(scenario, files, place);
    ASSERT_TRUE(made) << made.error().desc;
    fs::rename(place, directory_ / "ours");
    fs::create_directory(place);
    for (const Image& image : scenario.images) make_with_qemu(scenario, image, place);
    fs::copy(place, directory_ / "qemu");
  }

  static const Image& named(const Scenario& scenario, const std::string& name) {
    return *std::ranges::find(scenario.images, name, &Image::name);
  }
  static std::string format_of(const Image& image) {
    return image.format == Image::Format::raw ? "raw" : "qcow2";
  }

  static void make_with_qemu(const Scenario& scenario, const Image& image,
                             const std::string& place) {
    const std::string path = place + "/" + image.file;
    std::string create = "qemu-img create -q -f " + format_of(image);
    if (image.format == Image::Format::qcow2)
      create += fmt::format(" -o cluster_size={}", image.cluster_size);
    if (!image.backing.empty()) {
      const Image& backing = named(scenario, image.backing);
      create += fmt::format(" -b {}/{} -F {}", place, backing.file, format_of(backing));
    }
    ASSERT_EQ(run(fmt::format("{} {} {}", create, path, image.size)).status, 0) << create;
    if (image.writes.empty()) return;
    std::string io = "qemu-io -d unmap -f " + format_of(image);
    for (const Write& write : image.writes) {
      const std::string verb = write.kind == Write::Kind::data
                                   ? fmt::format("write -P {}", write.pattern)
                               : write.kind == Write::Kind::zero ? std::string("write -z")
                                                                 : std::string("discard");
      io += fmt::format(" -c '{} {} {}'", verb, write.offset, write.length);
    }
    const inspect::Ran ran = run(io + " " + path);
    ASSERT_EQ(ran.status, 0) << io;
    ASSERT_EQ(ran.output.find("failed"), std::string::npos) << io << "\n" << ran.output;
  }

  static std::string bytes_of(const std::string& path) { return testing::text_of(path); }

  // Compares what make_both() left, file by file.
  void expect_same(const Scenario& scenario) {
    for (const Image& image : scenario.images) {
      SCOPED_TRACE(scenario.id + ": " + image.file);
      const std::string ours = bytes_of(directory_ / "ours/" + image.file);
      const std::string theirs = bytes_of(directory_ / "qemu/" + image.file);
      EXPECT_EQ(ours.size(), theirs.size());
      const auto differs = std::ranges::mismatch(ours, theirs).in1;
      EXPECT_EQ(differs - ours.begin(), static_cast<std::ptrdiff_t>(ours.size()))
          << "is where the first differing byte is";
      if (image.format == Image::Format::qcow2)
        EXPECT_EQ(run("qemu-img check -q -f qcow2 " + (directory_ / "ours/" + image.file)).status,
                  0);
      EXPECT_EQ(
          run(fmt::format("qemu-img compare -q -f {0} -F {0} {1} {2}", format_of(image),
                          directory_ / "ours/" + image.file, directory_ / "qemu/" + image.file))
              .status,
          0);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "ours"), {}),
              static_cast<std::ptrdiff_t>(scenario.images.size()));
  }

  inspect::TestDirectory directory_;
};

Scenario described(const std::string& id, const std::string& images) {
  const auto scenarios = testing::parse(
      R"({"title": "t", "because": "b", "disks": [], "steps": [], "images": )" + images + "}", id);
  return scenarios.empty() ? Scenario{} : scenarios.front();
}

TEST_F(Images, AreByteForByteWhatQemuMakes) {
  for (const Scenario& scenario : {
           described("empty ones", R"({
             "r0": {"format": "raw", "size": 0}, "r": {"format": "raw", "size": "1M"},
             "q0": {"format": "qcow2", "size": 0}, "q": {"format": "qcow2", "size": "1M"},
             "odd": {"format": "qcow2", "size": 1000448},
             "named": {"format": "qcow2", "size": "64k", "file": "other.img"}})"),
           described("writes into raw", R"({
             "r": {"format": "raw", "size": "1M", "writes": [
               {"write": 1, "at": 0, "length": "640k"}, {"write": 2, "at": 700416, "length": 512},
               {"zero": true, "at": "320k", "length": "64k"},
               {"discard": true, "at": "128k", "length": "64k"}]}})"),
           described("writes into qcow2", R"({
             "q": {"format": "qcow2", "size": "4M", "writes": [
               {"write": 1, "at": "2M", "length": "200k"}, {"write": 2, "at": 512, "length": 512},
               {"write": 3, "at": "100k", "length": "100k"},
               {"zero": true, "at": "2M", "length": "64k"}, {"zero": true, "at": 512, "length": 512},
               {"zero": true, "at": "3M", "length": "128k"}, {"write": 4, "at": "3M", "length": "4k"},
               {"write": 0, "at": "1M", "length": "64k"}]}})"),
           described("discards", R"({
             "q": {"format": "qcow2", "size": "1M", "writes": [
               {"write": 1, "at": 0, "length": "512k"}, {"discard": true, "at": "64k", "length": "128k"},
               {"discard": true, "at": "300k", "length": "100k"},
               {"write": 2, "at": "64k", "length": "64k"}]}})"),
           described("small and large clusters", R"({
             "tiny": {"format": "qcow2", "size": "1M", "cluster_size": 512, "writes": [
               {"write": 1, "at": 0, "length": "200k"}, {"zero": true, "at": "40k", "length": "1k"}]},
             "small": {"format": "qcow2", "size": "1M", "cluster_size": "4k", "writes": [
               {"write": 1, "at": "10k", "length": "30k"}]},
             "large": {"format": "qcow2", "size": "4M", "cluster_size": "2M", "writes": [
               {"write": 1, "at": "2M", "length": "64k"}]}})"),
           described("a chain", R"({
             "base": {"format": "raw", "size": "512k", "writes": [{"write": 1, "at": 0, "length": "512k"}]},
             "mid": {"format": "qcow2", "size": "768k", "backing": "base", "writes": [
               {"write": 2, "at": "100k", "length": "8k"}, {"zero": true, "at": "192k", "length": "64k"},
               {"zero": true, "at": "260k", "length": "4k"}, {"write": 2, "at": "510k", "length": "4k"}]},
             "top": {"format": "qcow2", "size": "1M", "backing": "mid", "cluster_size": "4k", "writes": [
               {"write": 3, "at": "765k", "length": "5k"}, {"write": 3, "at": 512, "length": 512},
               {"discard": true, "at": 0, "length": "64k"},
               {"zero": true, "at": "900k", "length": "64k"}]}})"),
       }) {
    ASSERT_NO_FATAL_FAILURE(make_both(scenario));
    expect_same(scenario);
  }
}

TEST_F(Images, OfTheShippedScenariosAreByteForByteWhatQemuMakes) {
  std::set<std::string> done;  // many scenarios share their images
  for (const Scenario& scenario : testing::matrix()) {
    std::string key;
    for (const Image& image : scenario.images)
      key += fmt::format("{} {} {} {} {};", image.file, format_of(image), image.size, image.backing,
                         image.writes.size());
    if (!done.insert(key).second || done.size() % 5 != 1) continue;
    ASSERT_NO_FATAL_FAILURE(make_both(scenario));
    expect_same(scenario);
  }
  EXPECT_GE(done.size(), 40U);
}

TEST_F(Images, InMemoryAreTheSameAsOnDisk) {
  const Scenario& scenario = testing::matrix().back();
  ASSERT_FALSE(scenario.images.empty());
  sim::storage::MemoryFiles memory;
  ASSERT_TRUE(make_images(scenario, memory, directory_ / "images"));
  ASSERT_NO_FATAL_FAILURE(make_both(scenario));
  for (const Image& image : scenario.images) {
    const auto file = memory.find((directory_ / "images/") + image.file);
    ASSERT_NE(file, nullptr) << image.file;
    std::vector<std::byte> bytes(file->size());
    file->read_now(0, bytes);
    EXPECT_TRUE(bytes_of(directory_ / "qemu/" + image.file) ==
                std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()))
        << image.file;
  }
}

TEST_F(Images, WhatCannotBeMadeIsAnError) {
  Scenario scenario = described("s", R"({"q": {"format": "qcow2", "size": "64k"}})");
  sim::storage::RealFiles files(sim::storage::Flush::unsafe);
  const auto made = make_images(scenario, files, directory_ / "missing");
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().desc.find("No such file or directory"), std::string::npos);
}

}  // namespace
}  // namespace conformance
