// Encrypted images that real qemu-img made and real qemu-io filled.

#include "conformance/inspect/luks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/inspect/inspector.h"

namespace conformance::inspect {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kPassphrase = "correct horse";

// An image of 1 MiB with 0x07 from 100k on, 30k long, in clusters of 4k.
std::string make_image(const TestDirectory& dir, const std::string& options) {
  const std::string path = dir / "luks";
  const std::string secret = fmt::format("--object secret,id=s,data='{}'", kPassphrase);
  EXPECT_EQ(run(fmt::format("qemu-img create -q -f qcow2 {} -o cluster_size=4k,encrypt.format=luks,"
                            "encrypt.key-secret=s,encrypt.iter-time=10{} {} 1M",
                            secret, options, path))
                .status,
            0);
  EXPECT_EQ(run(fmt::format("qemu-io {} -c 'write -P 7 100k 30k' --image-opts "
                            "driver=qcow2,encrypt.key-secret=s,file.filename={}",
                            secret, path))
                .status,
            0);
  return path;
}

TEST(Luks, ReadsWhatQemuWrote) {
  // Each takes qemu-img seconds, in which it measures how fast the machine is.
  for (const char* options : {"", ",encrypt.cipher-alg=aes-128,encrypt.hash-alg=sha1"}) {
    SCOPED_TRACE(options);
    const TestDirectory dir;
    const std::string path = make_image(dir, options);
    Inspector inspector(dir, {{path, kPassphrase}});
    const auto layer = inspector.layer(path, "qcow2");
    ASSERT_TRUE(layer.ok()) << layer.error().desc;
    EXPECT_TRUE((*layer)->report.encrypted);
    // The clusters that hold the LUKS area are counted.
    EXPECT_TRUE((*layer)->report.check.clean());
    const auto view = inspector.view(path, "qcow2");
    ASSERT_TRUE(view.ok()) << view.error().desc;
    for (const std::uint64_t at : {102400U, 110000U, 133119U})
      EXPECT_EQ(byte_at(*view, at).value, 7);
    for (const std::uint64_t at : {0U, 102399U, 133120U, 1048575U})
      EXPECT_EQ(byte_at(*view, at).value, 0) << at;
  }
}

TEST(Luks, RefusesWithoutNamingThePassphrase) {
  const TestDirectory dir;
  const std::string path = make_image(dir, "");
  const auto wrong = Inspector(dir, {{path, "wrong donkey"}}).layer(path, "qcow2");
  ASSERT_FALSE(wrong.ok());
  EXPECT_THAT(wrong.error().desc, HasSubstr("its passphrase is not the one that is known"));
  EXPECT_THAT(wrong.error().desc, Not(HasSubstr("donkey")));
  const auto unknown = Inspector(dir).layer(path, "qcow2");
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().desc, HasSubstr("no passphrase for it is known"));
}

// Iterations that would take hours, a cipher that is not read here.
TEST(Luks, RefusesHostileHeaders) {
  TestDirectory dir;
  const std::string path = make_image(dir, "");
  const auto header = run(fmt::format("grep -abo LUKS {} | head -1 | cut -d: -f1", path));
  const std::uint64_t area = std::stoull(header.output);
  for (const auto& [place, what] : {std::pair{164, "too many"}, std::pair{8, "not supported"}}) {
    std::array<std::byte, 4> before{};
    ASSERT_TRUE(dir.read(path, area + static_cast<std::uint64_t>(place), before).ok());
    const std::array ones{std::byte{0x7f}, std::byte{0x7f}, std::byte{0x7f}, std::byte{0x7f}};
    ASSERT_TRUE(dir.write(path, area + static_cast<std::uint64_t>(place), ones).ok());
    const auto layer = Inspector(dir, {{path, kPassphrase}}).layer(path, "qcow2");
    ASSERT_FALSE(layer.ok());
    EXPECT_THAT(layer.error().desc, HasSubstr(what));
    ASSERT_TRUE(dir.write(path, area + static_cast<std::uint64_t>(place), before).ok());
  }
}

}  // namespace
}  // namespace conformance::inspect
