// What `qemu-io -d` prints, as QEMU 7.2 was seen to print it.  A speed is not printed here: virtual
// time does not pass during a request.

#include "sim/command/hmp/qemu_io.h"

#include <gtest/gtest.h>

#include "sim/driver/open.h"
#include "sim/storage/memory.h"

namespace sim::command::hmp {
namespace {

class QemuIo : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.create("/raw"));
    files_.find("/raw")->truncate_now(1_MiB);
    const auto node = sim::run(
        world_, driver::open_node(
                    graph_,
                    {{"driver", "raw"},
                     {"node-name", "n"},
                     {"discard", "unmap"},
                     {"file", {{"driver", "file"}, {"filename", "/raw"}, {"discard", "unmap"}}}},
                    true));
    ASSERT_TRUE(node);
    ASSERT_TRUE(backend_.insert(*node));
  }
  std::string io(const std::string& verb) {
    std::string output;
    const auto once = [](block::Backend& backend, std::string line, std::string& out) -> Task<int> {
      (void)co_await run_qemu_io(backend, std::move(line), out);
      co_return 0;
    };
    sim::run(world_, once(backend_, verb, output));
    return output;
  }
  // Without the measured speed in parentheses.
  std::string told(const std::string& verb) {
    const std::string output = io(verb);
    const std::size_t speed = output.find(" (");
    return speed == std::string::npos ? output : output.substr(0, speed);
  }

  storage::MemoryFiles files_;
  World world_{1};
  block::Graph graph_{world_, files_, *find_profile("7.2")};
  block::Backend backend_{graph_, "", {block::kConsistentRead | block::kWrite}};
};

TEST_F(QemuIo, ReportsWhatItDid) {
  EXPECT_EQ(told("write -P 9 128k 64k"),
            "wrote 65536/65536 bytes at offset 131072\n64 KiB, 1 ops; 00.00 sec");
  EXPECT_EQ(told("read -P 9 128k 64k"),
            "read 65536/65536 bytes at offset 131072\n64 KiB, 1 ops; 00.00 sec");
  EXPECT_EQ(told("write -P 5 10 100"),
            "wrote 100/100 bytes at offset 10\n100 bytes, 1 ops; 00.00 sec");
  EXPECT_EQ(told("read 1048575 1"), "read 1/1 bytes at offset 1048575\n1 bytes, 1 ops; 00.00 sec");
  EXPECT_EQ(told("read 0 0"), "read 0/0 bytes at offset 0\n0 bytes, 1 ops; 00.00 sec");
  EXPECT_EQ(told("discard 128k 64k"),
            "discard 65536/65536 bytes at offset 131072\n64 KiB, 1 ops; 00.00 sec");
  EXPECT_EQ(told("read 0 1M"), "read 1048576/1048576 bytes at offset 0\n1 MiB, 1 ops; 00.00 sec");
}

TEST_F(QemuIo, SaysWhereAPatternIsNot) {
  io("write -P 9 128k 64k");
  EXPECT_EQ(told("read -P 8 128k 64k"),
            "Pattern verification failed at offset 131072, 65536 bytes\n"
            "read 65536/65536 bytes at offset 131072\n64 KiB, 1 ops; 00.00 sec");
  EXPECT_EQ(io("read -q -P 8 128k 64k"),
            "Pattern verification failed at offset 131072, 65536 bytes\n");
  EXPECT_EQ(io("read -q -P 9 128k 64k"), "");
  EXPECT_EQ(io("read -q -P 0x9 128k 64k"), "");
  EXPECT_EQ(io("read -q -P 9 127k 2k"),
            "Pattern verification failed at offset 130048, 2048 bytes\n");
}

TEST_F(QemuIo, ZeroesAndDiscards) {
  io("write -P 9 0 1M");
  EXPECT_EQ(told("write -z -u 128k 64k"),
            "wrote 65536/65536 bytes at offset 131072\n64 KiB, 1 ops; 00.00 sec");
  EXPECT_EQ(io("read -q -P 0 128k 64k"), "");
  EXPECT_EQ(io("discard -q 256k 64k"), "");
  EXPECT_EQ(io("read -q -P 0 256k 64k"), "");
  EXPECT_EQ(io("read -q -P 9 320k 64k"), "");
  EXPECT_EQ(io("flush"), "");
}

// Of a raw file everything is its own; beyond the end there is nothing (measured, 5.2 to 11.1).
TEST_F(QemuIo, CountsWhatIsAllocated) {
  EXPECT_EQ(io("alloc 0 1M"), "1048576/1048576 bytes allocated at offset 0 bytes\n");
  EXPECT_EQ(io("alloc 64k 512"), "512/512 bytes allocated at offset 64 KiB\n");
  EXPECT_EQ(io("alloc 1023k 4k"), "1024/1024 bytes allocated at offset 1023 KiB\n");
  EXPECT_EQ(io("alloc 1M 4k"), "0/0 bytes allocated at offset 1 MiB\n");
  EXPECT_EQ(backend_.permission().needed, block::kConsistentRead | block::kWrite);
}

TEST_F(QemuIo, FailsBeyondTheEnd) {
  EXPECT_EQ(io("write -P 9 1M 64k"), "write failed: Input/output error\n");
  EXPECT_EQ(io("write -P 9 960k 128k"), "write failed: Input/output error\n");
  EXPECT_EQ(io("read 1M 512"), "read failed: Input/output error\n");
}

TEST_F(QemuIo, RefusesWhatItDoesNotUnderstand) {
  EXPECT_EQ(io("write -P 300 0 64k"), "300 is not a valid pattern byte\n");
  EXPECT_EQ(io("write -P abc 0 64k"), "abc is not a valid pattern byte\n");
  EXPECT_EQ(io("write -P 1 x 64k"),
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n");
  EXPECT_EQ(io("write -P 1 0 y"),
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- y\n");
  EXPECT_EQ(io("write 0"), "bad argument count 1 to write, expected at least 2 arguments\n");
  EXPECT_EQ(io("write -P 1 0 3G"), "length cannot exceed 2147483136 without -n, given 3G\n");
  EXPECT_EQ(io("write -P 1 -5 64k"),
            "write [-bcCfnquz] [-P pattern | -s source_file] off len -- writes a number of bytes "
            "at a specified offset\n");
  EXPECT_EQ(io("read 0 512 7"),
            "read [-abCqv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a "
            "specified offset\n");
  EXPECT_EQ(io("read -v 0 512"), "understudy: qemu-io's option -v is not in this version\n");
  EXPECT_EQ(io("nonsense"), "command \"nonsense\" not found\n");
}

TEST(SplitWords, KeepsQuotedWordsTogether) {
  EXPECT_EQ(split_words("qemu-io -d x \"read 0 512\""),
            (std::vector<std::string>{"qemu-io", "-d", "x", "read 0 512"}));
  EXPECT_EQ(split_words("  a  b "), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(split_words("").empty());
}

}  // namespace
}  // namespace sim::command::hmp
