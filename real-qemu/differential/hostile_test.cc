// `understudy image` over hostile images: it ends by itself, in time, in little memory, and touches
// nothing that was not named; and its verdict is qemu-img's, or a stricter one that
// docs/stricter-than-qemu.md lists.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>

#include "real-qemu/differential/hostile_images.h"
#include "real-qemu/differential/shell.h"
#include "real-qemu/differential/stricter.h"
#include "real-qemu/directory.h"

namespace differential {
namespace {

namespace fs = std::filesystem;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDERSTUDY_ASAN 1
#endif
#endif
// The sanitizer's own memory comes on top of ours.
#ifdef UNDERSTUDY_ASAN
constexpr std::uint64_t kResidentKiB = 256U * 1024, kInfoKiB = 192U * 1024;
#else
constexpr std::uint64_t kResidentKiB = 256U * 1024, kInfoKiB = 64U * 1024;
#endif
constexpr std::uint64_t kFileBytes = std::uint64_t{64} << 20;

const std::string kOurs = UNDERSTUDY_PROGRAM;

// What both programs are asked, about h.qcow2.
const std::vector<std::pair<std::string, std::string>>& questions() {
  static const std::vector<std::pair<std::string, std::string>> all = {
      {"info", "info -f qcow2 h.qcow2"},
      {"check", "check -f qcow2 h.qcow2"},
      {"map", "map -f qcow2 --output=json h.qcow2"},
      {"convert", "convert -f qcow2 -O qcow2 h.qcow2 out.qcow2"},
  };
  return all;
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> all;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    all.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return all;
}

// The bases, made once for the whole program.
const fs::path& bases() {
  static const auto directory = real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
  static const fs::path path = [] {
    if (!directory) return fs::path();
    const Ran ran = run_shell(base_lines(), directory->path(), {});
    EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
    return fs::path(directory->path());
  }();
  return path;
}

class Hostile : public ::testing::TestWithParam<HostileImage> {
 protected:
  void SetUp() override {
    auto made = real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
    ASSERT_TRUE(made) << made.error();
    directory_.emplace(*std::move(made));
    const HostileImage& image = GetParam();
    // Beside it lies all that the bases name.
    for (const auto& entry : fs::directory_iterator(bases()))
      if (entry.path().extension() == ".raw" || entry.path().filename() == "base5.qcow2")
        fs::copy_file(entry.path(), here(entry.path().filename().string()));
    fs::copy_file(bases() / image.base, here("h.qcow2"));
    std::fstream file(here("h.qcow2"), std::ios::in | std::ios::out | std::ios::binary);
    for (const Patch& patch : image.patches) {
      file.seekp(static_cast<std::streamoff>(patch.offset));
      file.write(patch.bytes.data(), static_cast<std::streamsize>(patch.bytes.size()));
    }
    ASSERT_TRUE(file.good());
    file.close();
    if (image.length >= 0)
      fs::resize_file(here("h.qcow2"), static_cast<std::uintmax_t>(image.length));
    if (!image.around.empty()) ASSERT_EQ(run_shell(image.around, directory_->path(), {}).code, 0);
  }

  fs::path here(const std::string& name) const { return fs::path(directory_->path()) / name; }

  // What every file in the directory looks like, but for what the commands are to write.
  std::map<std::string, std::string> snapshot() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::directory_iterator(directory_->path())) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || entry.is_symlink()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      std::string start(std::size_t{4} << 20, '\0');  // enough for every image here
      in.read(start.data(), static_cast<std::streamsize>(start.size()));
      start.resize(static_cast<std::size_t>(in.gcount()));
      all[name] = fmt::format("{} {}", fs::file_size(entry.path()), start);
    }
    return all;
  }

  // Runs us, and demands what holds for every image.
  Ran ours(const std::string& command, std::uint64_t resident_kib, const std::string& more = {}) {
    std::vector<std::string> arguments = {kOurs, "image"};
    for (const std::string& word : words(command)) arguments.push_back(word);
    if (!more.empty()) arguments.push_back(more);
    const Ran ran = run_program(arguments, directory_->path(),
                                {.time = std::chrono::seconds(10), .file_bytes = kFileBytes});
    EXPECT_FALSE(ran.hung) << command << " hangs";
    EXPECT_EQ(ran.signal, 0) << command << ": " << ran.err;
    EXPECT_EQ(ran.err.find("Sanitizer"), std::string::npos) << command << ": " << ran.err;
    EXPECT_EQ(ran.err.find("CHECK"), std::string::npos) << command << ": " << ran.err;
    EXPECT_LE(ran.resident_kib, resident_kib) << command << " takes too much memory";
    return ran;
  }
  Ran theirs(const std::string& command) {
    std::vector<std::string> arguments = {"qemu-img"};
    for (const std::string& word : words(command)) arguments.push_back(word);
    return run_program(arguments, directory_->path(),
                       {.time = std::chrono::seconds(10), .file_bytes = kFileBytes});
  }

  std::optional<real_qemu::PrivateDirectory> directory_;
};

TEST_P(Hostile, NothingIsTouchedAndTheVerdictIsQemusOrAListedStricterOne) {
  const auto before = snapshot();
  for (const auto& [key, command] : questions()) {
    const std::uint64_t resident = key == "info" ? kInfoKiB : kResidentKiB;
    const Ran strict = ours(command, resident);
    if (strict.code != 0 && key != "check") {
      EXPECT_FALSE(fs::exists(here("out.qcow2"))) << "a refused convert leaves a file";
      EXPECT_EQ(std::ranges::count(strict.err, '\n'), 1) << key << ": " << strict.err;
    }
    fs::remove(here("out.qcow2"));
    const Ran lax = ours(command, resident, "--lax");
    fs::remove(here("out.qcow2"));
    const Ran real = theirs(command);
    fs::remove(here("out.qcow2"));
    ASSERT_EQ(snapshot(), before) << key << " has changed a file";
    if (real.hung || real.signal != 0) continue;  // no verdict; ours was given above
    EXPECT_TRUE(agrees(key, strict, real.code, false))
        << key << ": we say " << strict.code << ": " << strict.err << strict.out
        << "\nqemu-img says " << real.code << ": " << real.err << real.out;
    EXPECT_TRUE(agrees(key, lax, real.code, true))
        << key << " --lax: we say " << lax.code << ": " << lax.err << lax.out << "\nqemu-img says "
        << real.code << ": " << real.err << real.out;
  }
}

// Whoever writes to such an image gets an error or a sound image, never a crash.
TEST_P(Hostile, WritesAreRefusedOrDone) {
  const auto before = snapshot();
  std::vector<std::string> io = {kOurs, "image", "io", "-f", "qcow2"};
  for (const char* command : {"write -P 9 0 70k", "write -z 64k 64k", "discard 128k 64k",
                              "write -P 8 900k 1k", "read 0 1M", "flush"})
    io.insert(io.end(), {"-c", command});
  io.push_back("h.qcow2");
  const Ran ran = run_program(io, directory_->path(),
                              {.time = std::chrono::seconds(10), .file_bytes = kFileBytes});
  EXPECT_FALSE(ran.hung);
  EXPECT_EQ(ran.signal, 0) << ran.err;
  EXPECT_EQ(ran.err.find("Sanitizer"), std::string::npos) << ran.err;
  EXPECT_LE(ran.resident_kib, kResidentKiB);
  auto after = snapshot();
  for (const auto& [name, content] : before)
    if (name != "h.qcow2" && name != "d.raw") EXPECT_EQ(after[name], content) << name;
}

// A repair that says it is done leaves a clean image of no more than twice the size.
TEST_P(Hostile, ARepairThatEndsWellIsOne) {
  const auto before = snapshot();
  const std::uintmax_t size = fs::file_size(here("h.qcow2"));
  const Ran repaired = ours("check -q -r all -f qcow2 h.qcow2", kResidentKiB);
  auto after = snapshot();
  for (const auto& [name, content] : before)
    if (name != "h.qcow2") EXPECT_EQ(after[name], content) << name;
  EXPECT_LE(fs::file_size(here("h.qcow2")), std::max<std::uintmax_t>(2 * size, size + (1 << 20)));
  if (repaired.code != 0) return;
  const Ran again = ours("check -f qcow2 h.qcow2", kResidentKiB);
  EXPECT_EQ(again.code, 0) << again.out << again.err;
}

INSTANTIATE_TEST_SUITE_P(Images, Hostile, ::testing::ValuesIn(hostile_images()),
                         [](const auto& tested) { return tested.param.name; });

TEST(HostileRules, AreThoseOfTheDocument) {
  std::ifstream in(fs::path(UNDERSTUDY_SOURCE_DIR) / "docs/stricter-than-qemu.md");
  const std::string document{std::istreambuf_iterator<char>(in), {}};
  for (const StricterRule& rule : stricter_rules())
    EXPECT_NE(document.find(rule.row), std::string::npos) << rule.row;
}

TEST(HostileRecipes, AreAtLeast300) { EXPECT_GE(hostile_images().size(), 300U); }

}  // namespace
}  // namespace differential
