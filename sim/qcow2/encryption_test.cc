// Both ways with the real programs: they read what we encrypt and unlock, we read theirs.

#include "sim/qcow2/encryption.h"

#include <gtest/gtest.h>

#include "sim/crypto/luks_keys.h"
#include "sim/qcow2/qemu_tools.h"
#include "sim/storage/file.h"

namespace sim::qcow2 {
namespace {

constexpr std::uint64_t kArea = 0x40000;  // of a new image with 64 KiB clusters (facts of 7.2)
constexpr std::uint64_t kData = 0x250000;

// The same bytes every time.
std::function<void(MutableBytes)> steady() {
  return [state = std::uint32_t{7}](MutableBytes bytes) mutable {
    for (std::byte& byte : bytes) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<std::byte>(state >> 24);
    }
  };
}

class EncryptionTest : public testing::WithQemu {
 protected:
  // An empty image that QEMU has encrypted with "hunter2".  Making one takes seconds, most of which
  // QEMU spends to measure the machine; sometimes it fails at that.
  static const std::vector<std::byte>& made_by_qemu() {
    static const std::vector<std::byte> made = [] {
      const testing::Directory directory;
      const std::string create =
          "qemu-img create -q -f qcow2 --object secret,id=s,data=hunter2 -o encrypt.format=luks,"
          "encrypt.key-secret=s,encrypt.iter-time=20 " +
          directory / "x" + " 1M";
      for (int i = 0; i < 20 && testing::run_command(create).status != 0; ++i) {
      }
      return testing::contents(directory / "x");
    }();
    return made;
  }

  std::shared_ptr<storage::Storage> open(const std::string& name) {
    storage::RealFiles files;
    auto opened = files.open(directory_ / name, storage::Access::read_write);
    EXPECT_TRUE(opened.ok());
    return *opened;
  }
  std::shared_ptr<storage::Storage> file_of(const std::string& name, Bytes bytes) {
    must("rm -f " + name + "; touch " + name);
    auto file = open(name);
    EXPECT_TRUE(run(world_, file->write(0, bytes)).ok());
    return file;
  }
  // The qemu-io `command` on the image; its output.
  testing::Ran io(const std::string& command, const std::string& secret) {
    return testing::run_command("cd " + directory_.path() + " && qemu-io -c '" + command +
                                "' --object secret,id=s,data=" + secret +
                                " --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=x");
  }
  Result<std::shared_ptr<const crypto::SectorCipher>> unlock_with(storage::Storage& file,
                                                                  const std::string& secret) {
    auto header = run(world_, read_header(file, false));
    EXPECT_TRUE(header.ok());
    return run(world_, unlock(file, *header, secret));
  }
  Result<> amend(storage::Storage& file, AmendOptions::Key change, const std::string& secret) {
    auto header = run(world_, read_header(file, false));
    EXPECT_TRUE(header.ok());
    return run(world_, amend_key(file, *header, std::move(change), secret, steady()));
  }
  std::string refusal(storage::Storage& file, AmendOptions::Key change,
                      const std::string& secret = "hunter2") {
    const auto result = amend(file, std::move(change), secret);
    return result.ok() ? std::string() : result.error().desc;
  }
  // The cluster at kData, decrypted.
  std::vector<std::byte> data(storage::Storage& file, const crypto::SectorCipher& cipher,
                              std::uint64_t at, std::uint64_t sector) {
    std::vector<std::byte> bytes(65536);
    EXPECT_TRUE(run(world_, file.read(at, bytes)).ok());
    cipher.decrypt(sector, bytes);
    return bytes;
  }
};

TEST_F(EncryptionTest, ReadsWhatQemuEncrypts) {
  auto file = file_of("x", made_by_qemu());
  EXPECT_EQ(io("write -P 65 0 64k", "hunter2").status, 0);
  auto cipher = unlock_with(*file, "hunter2");
  ASSERT_TRUE(cipher.ok()) << cipher.error().desc;
  EXPECT_EQ(data(*file, **cipher, kData, kData / 512),
            std::vector<std::byte>(65536, std::byte{65}));
  const auto wrong = unlock_with(*file, "hunter3");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().desc, "Invalid password, cannot unlock any keyslot");
}

// QEMU unlocks an area of ours with every cipher and hash, and writes; we read that.
TEST_F(EncryptionTest, QemuUnlocksWhatWeMake) {
  const EncryptOptions cases[] = {
      {},
      {.cipher_alg = "aes-128"},
      {.cipher_alg = "aes-192"},
      {.ivgen_alg = "plain"},
      {.ivgen_alg = "essiv"},
      {.cipher_mode = "cbc", .ivgen_alg = "essiv", .ivgen_hash_alg = "sha256"},
      {.cipher_alg = "aes-128",
       .cipher_mode = "cbc",
       .ivgen_alg = "essiv",
       .ivgen_hash_alg = "md5"},
      {.cipher_mode = "ecb"},
      {.cipher_mode = "ctr"},
      {.hash_alg = "md5"},
      {.hash_alg = "sha1"},
      {.hash_alg = "sha224"},
      {.hash_alg = "sha384"},
      {.hash_alg = "sha512"},
      {.hash_alg = "ripemd160"},
  };
  for (EncryptOptions options : cases) {
    SCOPED_TRACE(options.cipher_alg + " " + options.cipher_mode + " " + options.ivgen_alg + ":" +
                 options.ivgen_hash_alg + " " + options.hash_alg);
    options.format = EncryptOptions::Format::luks;
    options.passphrase = "ours";
    options.iterations = 1000;
    options.random = steady();
    const auto area = make_luks_area(options);
    ASSERT_TRUE(area.ok()) << area.error().desc;
    auto file = file_of("x", made_by_qemu());
    ASSERT_TRUE(run(world_, file->write(kArea, *area)).ok());
    const auto wrote = io("write -P 66 0 64k", "ours");
    ASSERT_EQ(wrote.status, 0) << wrote.output;
    auto cipher = unlock_with(*file, "ours");
    ASSERT_TRUE(cipher.ok()) << cipher.error().desc;
    EXPECT_EQ(data(*file, **cipher, kData, kData / 512),
              std::vector<std::byte>(65536, std::byte{66}));
  }
}

TEST_F(EncryptionTest, LegacyAes) {
  must(
      "qemu-img create -q -f qcow2 --object secret,id=s,data=hunter2 -o encrypt.format=aes,"
      "encrypt.key-secret=s x 1M");
  for (const std::string secret : {"short", "0123456789abcdef", "0123456789abcdefghij"}) {
    EXPECT_EQ(io("write -P 67 128k 64k", secret).status, 0);
    auto file = open("x");
    auto cipher = unlock_with(*file, secret);
    ASSERT_TRUE(cipher.ok());
    // The initialisation vectors come from the guest's sectors.
    EXPECT_EQ(data(*file, **cipher, 0x50000, 256), std::vector<std::byte>(65536, std::byte{67}));
    EXPECT_EQ(refusal(*file, {.new_secret = "x"}), "Only LUKS encryption options can be amended");
  }
}

TEST_F(EncryptionTest, KeySlotsAsQemuAmendsThem) {
  auto file = file_of("x", made_by_qemu());
  EXPECT_EQ(refusal(*file, {.new_secret = "two", .iterations = 1200}), "");
  EXPECT_EQ(io("read 0 512", "two").status, 0);
  EXPECT_EQ(io("read 0 512", "hunter2").status, 0);
  EXPECT_EQ(refusal(*file, {.new_secret = "three", .keyslot = 7, .iterations = 1200}, "two"), "");
  EXPECT_EQ(io("read 0 512", "three").status, 0);
  EXPECT_EQ(refusal(*file, {.activate = false, .keyslot = 0}), "");
  EXPECT_NE(io("read 0 512", "hunter2").status, 0);
  EXPECT_EQ(refusal(*file, {.activate = false, .old_secret = "three"}, "two"), "");
  const auto info = must("qemu-img info x");
  EXPECT_NE(info.find("[1]:\n                active: true\n                iters: 1200"),
            std::string::npos)
      << info;
  EXPECT_EQ(info.find("[7]:\n                active: true"), std::string::npos) << info;
  EXPECT_EQ(io("read 0 512", "two").status, 0);
}

// Texts measured on 7.2.
TEST_F(EncryptionTest, RefusesWhatQemuRefuses) {
  auto file = file_of("x", made_by_qemu());
  using Key = AmendOptions::Key;
  const std::pair<Key, const char*> cases[] = {
      {{}, "'new-secret' is required to activate a keyslot"},
      {{.new_secret = "n", .old_secret = "hunter2"},
       "'old-secret' must not be given when activating keyslots"},
      {{.new_secret = "n", .keyslot = 8}, "Invalid keyslot 8 specified, must be between 0 and 7"},
      {{.new_secret = "n", .keyslot = -1},
       "Invalid keyslot 4294967295 specified, must be between 0 and 7"},
      {{.new_secret = "n", .keyslot = 0},
       "Refusing to overwrite active keyslot 0 - please erase it first"},
      {{.activate = false},
       "To erase keyslot(s), either explicit keyslot index or the password currently contained in "
       "them must be given"},
      {{.activate = false, .new_secret = "n"},
       "'new-secret' must not be given when erasing keyslots"},
      {{.activate = false, .keyslot = 0, .iterations = 10},
       "'iter-time' must not be given when erasing keyslots"},
      {{.activate = false, .keyslot = 0},
       "Attempt to erase the only active keyslot 0 which will erase all the data in the image "
       "irreversibly - refusing operation"},
      {{.activate = false, .keyslot = 1}, "Given keyslot 1 is already erased (inactive) "},
      {{.activate = false, .old_secret = "hunter2"},
       "All the active keyslots match the (old) password that was given and erasing them will "
       "erase all the data in the image irreversibly - refusing operation"},
      {{.activate = false, .old_secret = "bad"},
       "No keyslots match given (old) password for erase operation"},
      {{.activate = false, .old_secret = "bad", .keyslot = 0},
       "Given keyslot 0 doesn't contain the given old password for erase operation"},
  };
  for (const auto& [change, text] : cases) EXPECT_EQ(refusal(*file, change), text);
  EXPECT_EQ(refusal(*file, {.new_secret = "n"}, "bad"),
            "Invalid password, cannot unlock any keyslot");
  EXPECT_EQ(testing::contents(directory_ / "x"), made_by_qemu());
}

// Each header is given to both; ours says what QEMU says.
TEST_F(EncryptionTest, HeaderIsCheckedAsByQemu) {
  struct Patch {
    std::uint64_t at;
    std::string bytes;
  };
  const auto number = [](std::uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  };
  using namespace std::string_literals;
  const Patch cases[] = {
      {0, "X"},
      {6, "\0\2"s},
      {8, std::string(32, 'a')},
      {40, std::string(32, 'a')},
      {72, std::string(32, 'a')},
      {8, "foo\0"s},
      {8, "cast5\0"s},
      {8, "serpent\0"s},
      {40, "xts\0"s},
      {40, "-\0"s},
      {40, "foo-plain64\0"s},
      {40, "xts-foo\0\0\0\0\0"s},
      {40, "xts-essiv\0\0\0"s},
      {40, "xts-essiv:foo\0"s},
      {40, "xts-essiv:sha1\0"s},
      {40, "xts-plain64:sha1\0"s},
      {40, "xts-plain64:foo\0"s},
      {40, "ecb-null\0\0\0\0"s},
      {40, "foo-foo:foo\0"s},
      {40, "foo-foo\0\0\0\0\0"s},
      {72, "SHA256\0"s},
      {72, "\0"s},
      {104, number(7)},
      {104, number(8)},
      {104, number(4039)},
      {104, number(0xffffffff)},
      {108, number(0)},
      {108, number(32)},
      {108, number(128)},
      {108, number(0xffffffff)},
      {164, number(0)},
      {168, std::string(40, 'a')},
      {208 + 48 * 3, number(5)},
      {208 + 4, number(0)},
      {208 + 48 + 4, number(0)},
      {208 + 40, number(7)},
      {208 + 48 + 40, number(7)},
      {208 + 48 + 40, number(511)},
      {208 + 48 * 7 + 40, number(3537)},
      {208 + 44, number(3999)},
      {208, number(0xdead)},
  };
  for (const Patch& patch : cases) {
    auto file = file_of("x", made_by_qemu());
    ASSERT_TRUE(
        run(world_, file->write(kArea + patch.at, std::as_bytes(std::span(patch.bytes)))).ok());
    auto header = run(world_, read_header(*file, false));
    ASSERT_TRUE(header.ok());
    const auto luks = run(world_, read_luks(*file, *header));
    const auto info = testing::run_command("cd " + directory_.path() + " && qemu-img info x");
    const std::string ours =
        luks.ok() ? "" : "qemu-img: Could not open 'x': " + luks.error().desc + "\n";
    EXPECT_EQ(ours, info.status == 0 ? "" : info.output) << patch.at << " " << patch.bytes;
  }
}

// Without a limit this would take hours.
TEST_F(EncryptionTest, EffortIsBounded) {
  std::vector<std::byte> bytes = made_by_qemu();
  for (std::size_t slot = 0; slot < 8; ++slot) {
    store_be(MutableBytes(bytes), kArea + 208 + 48 * slot, std::uint32_t{0x00ac71f3});
    store_be(MutableBytes(bytes), kArea + 208 + 48 * slot + 4,
             slot == 0 ? std::uint32_t{1000000} : UINT32_MAX);
  }
  auto file = file_of("x", bytes);
  const auto refused = unlock_with(*file, "hunter2");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().desc,
            "Keyslot 7: 4294967295 iterations take too long to try (--lax tries them)");
}

}  // namespace
}  // namespace sim::qcow2
