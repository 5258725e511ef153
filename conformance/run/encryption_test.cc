// Passphrases stay where they belong: in nothing that a run shows or leaves behind is any of them.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "conformance/domain/domain.h"
#include "conformance/run/execution.h"
#include "conformance/run/images.h"
#include "conformance/run/scenarios_for_test.h"
#include "sim/base/base64.h"

namespace conformance {
namespace {

namespace fs = std::filesystem;

const std::vector<Scenario>& chains() {
  static const std::vector<Scenario> all = testing::parse(
      testing::text_of(UNDERSTUDY_SOURCE_DIR "/scenarios/domain/encrypted-chains.json"));
  return all;
}

void expect_hidden(const std::string& text, const Scenario& scenario, const std::string& where) {
  for (const Image& image : scenario.images) {
    if (image.passphrase.empty()) continue;
    EXPECT_FALSE(text.contains(image.passphrase)) << where;
    EXPECT_FALSE(text.contains(sim::encode_base64(image.passphrase))) << where;
  }
}

// Transcripts, and every byte of the files: headers, with the backing names that jobs wrote.
TEST(Encryption, NothingOfARunShowsAPassphrase) {
  const fs::path place = fs::path(::testing::TempDir()) / "encryption_test";
  fs::remove_all(place);
  ASSERT_GE(chains().size(), 30U);
  for (const Scenario& scenario : chains()) {
    SCOPED_TRACE(scenario.id);
    auto target = testing::simulator();
    ExecutionOptions options;
    options.keep = place.string();
    const Executed executed = execute(scenario, target, options);
    EXPECT_EQ(executed.broken + executed.skipped, "");
    EXPECT_TRUE(executed.divergences.empty());
    std::size_t hidden = 0;
    for (const TranscriptEntry& entry : executed.transcript) {
      expect_hidden(to_line(entry), scenario, to_line(entry));
      if (entry.name == "object-add") hidden += to_line(entry).contains("(hidden)") ? 1 : 0;
    }
    EXPECT_GE(hidden, 1U);
  }
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(place)) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const std::string bytes = testing::text_of(entry.path().string());
    for (const Scenario& scenario : chains())
      if (scenario.id.contains("/three/pull") || scenario.id.contains("/plain-between/pull"))
        expect_hidden(bytes, scenario, entry.path().string());
  }
  EXPECT_GT(files, chains().size());
  fs::remove_all(place);
}

// A client that knows the wrong passphrase; what it says of it.
TEST(Encryption, WrongPassphraseIsRefusedAndNotShown) {
  auto target = testing::simulator();
  const Scenario& scenario = chains().front();
  const auto session = *target.open({});
  ASSERT_TRUE(make_images(scenario, *session));
  const std::string directory = session->files().directory();
  Transcript transcript;
  RecordingHypervisor hypervisor(session->hypervisor(), transcript);
  DomainDefinition definition{
      .disks = {{"vda", directory + "/top", "qcow2", passphrases_of(scenario, directory)}}};
  definition.disks[0].passphrases.at(directory + "/base") = "another one";
  const auto started = Domain::start(hypervisor, session->files(), definition);
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(std::get<DomainError>(started.error()).message,
            "unable to execute QEMU command 'blockdev-add': Invalid password, cannot unlock any "
            "keyslot");
  for (const TranscriptEntry& entry : transcript) {
    EXPECT_FALSE(to_line(entry).contains("another one"));
    EXPECT_FALSE(to_line(entry).contains(sim::encode_base64("another one")));
  }
}

// The data is encrypted in the file: a pattern that was written is not found there.
TEST(Encryption, IsOfTheData) {
  auto target = testing::simulator();
  for (const bool encrypted : {true, false}) {
    Scenario scenario = chains().front();
    if (!encrypted)
      for (Image& image : scenario.images) image.passphrase.clear();
    const auto session = *target.open({});
    ASSERT_TRUE(make_images(scenario, *session));
    const std::string path = session->files().directory() + "/base";
    std::string bytes(session->files().size(path).value(), '\0');
    ASSERT_TRUE(session->files().read(path, 0, std::as_writable_bytes(std::span(bytes))));
    EXPECT_EQ(bytes.contains(std::string(64, '\1')), !encrypted);
  }
}

}  // namespace
}  // namespace conformance
