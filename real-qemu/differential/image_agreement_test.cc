// `understudy image` and the installed qemu-img, over images of every kind: both make the same
// image from the same commands, and say the same of it, whoever made it.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "real-qemu/differential/image_recipes.h"
#include "real-qemu/differential/shell.h"
#include "real-qemu/directory.h"
#include "sim/base/json.h"

namespace differential {
namespace {

namespace fs = std::filesystem;
using sim::Json;

// One of the two programs, or another release of the real one.
struct Tool {
  std::string name;
  std::string image;  // shell words for qemu-img
  std::string io;     // for qemu-io
};

const Tool& ours() {
  static const Tool tool = {"understudy image", UNDERSTUDY_PROGRAM " image",
                            UNDERSTUDY_PROGRAM " image io"};
  return tool;
}
const Tool& theirs() {
  static const Tool tool = {"qemu-img", "qemu-img", "qemu-io"};
  return tool;
}

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What one program says of one image.
struct Answer {
  int code = 0;
  std::string out, err;
  Json json() const { return Json::parse(out, nullptr, false); }
};
struct Observation {
  std::map<std::string, Answer> answers;  // by question
  fs::path content;                       // the disk as a raw file, if it was asked for
};

const std::vector<std::pair<std::string, std::string>>& questions() {
  static const std::vector<std::pair<std::string, std::string>> all = {
      {"info", "info --output=json"},
      {"check", "check --output=json"},
      {"map", "map --output=json"},
      {"measure", "measure --output=json -O qcow2"},
      {"chain", "info --backing-chain --output=json"},
      {"info text", "info"},
      {"map text", "map"},
  };
  return all;
}

// Asks everything in one shell, to save processes.
Observation observe(const Tool& tool, const ImageRecipe& recipe, const fs::path& directory,
                    const std::string& tag) {
  Observation seen;
  const std::string named = recipe.access.empty() ? recipe.image : recipe.access;
  std::vector<std::string> lines = {"set +e"};
  std::size_t number = 0;
  for (const auto& [key, command] : questions()) {
    lines.push_back(fmt::format("$IMG {} {} >{}.{}.out 2>{}.{}.err; echo $? >{}.{}.code", command,
                                named, tag, number, tag, number, tag, number));
    ++number;
  }
  if (recipe.has_content) {
    seen.content = directory / (tag + ".raw");
    lines.push_back(fmt::format("$IMG convert {} -O raw {} {}.raw 2>{}.convert",
                                recipe.access.empty() ? "-f qcow2" : "", named, tag, tag));
  }
  run_shell(lines, directory, {{"IMG", tool.image}});
  number = 0;
  for (const auto& [key, command] : questions()) {
    Answer& answer = seen.answers[key];
    const std::string base = fmt::format("{}.{}", tag, number++);
    answer.out = contents(directory / (base + ".out"));
    answer.err = contents(directory / (base + ".err"));
    const std::string code = contents(directory / (base + ".code"));
    answer.code = code.empty() ? -1 : std::stoi(code);
    for (const char* end : {".out", ".err", ".code"}) fs::remove(directory / (base + end));
  }
  return seen;
}

void expect_same_answers(const Observation& we, const Observation& they, const std::string& whose) {
  for (const auto& [key, answer] : they.answers) {
    const Answer& mine = we.answers.at(key);
    EXPECT_EQ(mine.code, answer.code) << key << " of " << whose << "\nours: " << mine.out
                                      << mine.err << "\nQEMU's: " << answer.out << answer.err;
    if (key.find("text") != std::string::npos) {
      EXPECT_EQ(mine.out, answer.out) << key << " of " << whose;
      continue;
    }
    if (answer.json().is_discarded()) continue;  // both said why not
    EXPECT_EQ(mine.json(), answer.json())
        << key << " of " << whose << "\ndifferences: " << Json::diff(mine.json(), answer.json());
  }
}

void expect_same_content(const Observation& left, const Observation& right,
                         const std::string& what) {
  ASSERT_TRUE(fs::exists(left.content)) << what;
  ASSERT_TRUE(fs::exists(right.content)) << what;
  const Ran compared = run_program({"cmp", left.content.string(), right.content.string()}, "/");
  EXPECT_EQ(compared.code, 0) << what << ": " << compared.out << compared.err;
}

class ImageAgreement : public ::testing::TestWithParam<ImageRecipe> {
 protected:
  void SetUp() override {
    auto made = real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
    ASSERT_TRUE(made) << made.error();
    directory_.emplace(*std::move(made));
    ASSERT_EQ(run_program({"qemu-img", "--version"}, "/").code, 0)
        << "qemu-img is needed: ./dev setup installs it";
  }

  fs::path place(const std::string& name) const { return fs::path(directory_->path()) / name; }

  // Makes the recipe's files in a directory of their own.
  bool make(const Tool& tool, const fs::path& directory) {
    fs::create_directory(directory);
    const Ran ran = run_shell(GetParam().lines, directory, {{"IMG", tool.image}, {"IO", tool.io}});
    EXPECT_EQ(ran.code, 0) << tool.name << " cannot make it: " << ran.out << ran.err
                           << fmt::format("{}", fmt::join(GetParam().lines, "\n"));
    return ran.code == 0;
  }

  // True if both directories hold the same files with the same bytes.
  static bool same_files(const fs::path& left, const fs::path& right, std::string& difference) {
    const Ran ran = run_program({"diff", "-rq", left.string(), right.string()}, "/");
    difference = ran.out + ran.err;
    return ran.code == 0;
  }

  std::optional<real_qemu::PrivateDirectory> directory_;
};

TEST_P(ImageAgreement, BothMakeItAndSayTheSameOfIt) {
  const ImageRecipe& recipe = GetParam();
  const fs::path made_by_them = place("theirs"), made_by_us = place("ours");
  ASSERT_TRUE(make(theirs(), made_by_them));
  ASSERT_TRUE(make(ours(), made_by_us));
  std::string difference;
  const bool same = same_files(made_by_us, made_by_them, difference);
  if (recipe.same_bytes)
    EXPECT_TRUE(same) << difference << fmt::format("{}", fmt::join(recipe.lines, "\n"));

  const Observation they_of_theirs = observe(theirs(), recipe, made_by_them, "they");
  const Observation we_of_theirs = observe(ours(), recipe, made_by_them, "we");
  expect_same_answers(we_of_theirs, they_of_theirs, "QEMU's image");
  if (recipe.has_content)
    expect_same_content(we_of_theirs, they_of_theirs, "the content of QEMU's image");
  if (same) return;
  const Observation they_of_ours = observe(theirs(), recipe, made_by_us, "they");
  const Observation we_of_ours = observe(ours(), recipe, made_by_us, "we");
  expect_same_answers(we_of_ours, they_of_ours, "our image");
  EXPECT_EQ(they_of_ours.answers.at("check").code, 0) << they_of_ours.answers.at("check").out;
  if (!recipe.has_content) return;
  expect_same_content(we_of_ours, they_of_ours, "the content of our image");
  expect_same_content(they_of_ours, they_of_theirs, "the content of our image and QEMU's");
}

INSTANTIATE_TEST_SUITE_P(Recipes, ImageAgreement, ::testing::ValuesIn(image_recipes()),
                         [](const auto& tested) { return tested.param.name; });

TEST(ImageRecipes, AreAtLeast300) { EXPECT_GE(image_recipes().size(), 300U); }

}  // namespace
}  // namespace differential
