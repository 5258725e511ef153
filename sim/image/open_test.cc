#include "sim/image/open.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/image/layers.h"
#include "sim/qcow2/create.h"
#include "sim/storage/memory.h"

namespace sim::image {
namespace {

class Open : public ::testing::Test {
 protected:
  void image(const std::string& path, const std::string& backing = {},
             const std::string& format = "qcow2", std::uint64_t size = 1_MiB) {
    auto file = files_.create(path);
    ASSERT_TRUE(file.ok());
    const auto made =
        run(world_, qcow2::create(*file, {.size = size,
                                          .backing_file = backing,
                                          .backing_format = backing.empty() ? "" : format}));
    ASSERT_TRUE(made.ok()) << made.error().desc;
  }
  void raw(const std::string& path, std::uint64_t size) {
    auto file = files_.create(path);
    ASSERT_TRUE(run(world_, (*file)->truncate(size)).ok());
  }
  Result<std::unique_ptr<Layer>> open(OpenRequest request, Policy policy = {}) {
    context_.policy = policy;
    return run(world_, open_chain(context_, std::move(request)));
  }
  // The error's text; "" if it can be opened.
  std::string refused(const std::string& name, Policy policy = {}) {
    const auto opened = open({.filename = name}, policy);
    return opened ? std::string() : opened.error().desc;
  }
  void write(Layer& layer, std::uint64_t at, std::uint64_t length, int value) {
    const std::vector<std::byte> bytes(length, std::byte(value));
    ASSERT_TRUE(run(world_, layer.write(at, bytes)).ok());
  }
  std::vector<std::byte> read(Layer& layer, std::uint64_t at, std::uint64_t length) {
    std::vector<std::byte> bytes(length, std::byte{0xee});
    EXPECT_TRUE(run(world_, layer.read(at, bytes)).ok());
    return bytes;
  }

  World world_{1};
  storage::MemoryFiles files_;
  Context context_{world_, files_, "/d", {}, {}};
};

TEST_F(Open, FormatsAreRecognisedOrNamed) {
  image("/d/a.qcow2");
  raw("/d/a.raw", 1000);
  EXPECT_STREQ((*open({.filename = "a.qcow2"}))->format(), "qcow2");
  EXPECT_STREQ((*open({.filename = "./x/../a.qcow2"}))->format(), "qcow2");
  EXPECT_STREQ((*open({.filename = "a.qcow2", .format = "raw"}))->format(), "raw");
  EXPECT_EQ((*open({.filename = "a.raw"}))->size(), 1024U);
  EXPECT_EQ(open({.filename = "a.raw", .format = "qcow2"}).error().desc,
            "Could not open 'a.raw': Image is not in qcow2 format");
  EXPECT_EQ(open({.filename = "a.raw", .format = "what"}).error().desc,
            "Could not open 'a.raw': Unknown driver 'what'");
  EXPECT_EQ(refused("nbd:a"), "Could not open 'nbd:a': Unknown protocol 'nbd'");
  EXPECT_EQ(refused("nope"),
            "Could not open 'nope': Could not open 'nope': No such file or directory");
  auto vmdk = files_.create("/d/v");
  ASSERT_TRUE(run(world_, (*vmdk)->write(0, std::as_bytes(std::span("KDMV", 4)))).ok());
  EXPECT_NE(refused("v").find("has the format vmdk, which is not in this version"),
            std::string::npos);
}

TEST_F(Open, OptionsOfQemus) {
  image("/d/base");
  image("/d/a", "nope");
  const auto opened = open({.filename = "driver=qcow2,file.driver=file,file.filename=a,"
                                        "backing.driver=qcow2,backing.file.filename=base",
                            .image_opts = true});
  ASSERT_TRUE(opened.ok()) << opened.error().desc;
  EXPECT_EQ((*opened)->backing()->path(), "/d/base");
  EXPECT_EQ((*open({.filename = R"(json:{"driver":"qcow2","file.filename":"a","backing":null})"}))
                ->backing(),
            nullptr);
  EXPECT_EQ(
      open({.filename = "driver=qcow2,file.filename=a,foo=1", .image_opts = true}).error().desc,
      "Could not open 'driver=qcow2,file.filename=a,foo=1': Block format 'qcow2' does not "
      "support the option 'foo'");
}

TEST_F(Open, NamesInsideImagesStayBeneathTheirDirectory) {
  image("/d/sub/base");
  image("/e");
  image("/d/in", "sub/base");
  image("/d/absolute", "/d/sub/base");
  image("/d/round", "sub/../../d/sub/base");
  image("/d/out", "../e");
  image("/d/protocol", "nbd:localhost");
  image("/d/json", R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"/e"}})");
  for (const char* name : {"in", "absolute", "round"}) EXPECT_EQ(refused(name), "");
  EXPECT_EQ(refused("out"),
            "Could not open 'out': Could not open backing file: the image refers to '/e', which is "
            "outside of its directory '/d'; --allow-outside allows it");
  EXPECT_EQ(refused("out", {.allow_outside = true}), "");
  for (const char* name : {"protocol", "json"})
    EXPECT_NE(refused(name, {.allow_outside = true}).find("only names of files are followed"),
              std::string::npos);
  EXPECT_EQ(refused("json", {.allow_outside = true, .lax = true}), "");
  EXPECT_EQ(open({.filename = "out", .with_backing = false}).ok(), true);
}

TEST_F(Open, ADataFileStaysBeneathTheDirectoryToo) {
  for (const char* path : {"/d/data", "/e"}) raw(path, 0);
  const auto with_data = [&](const std::string& path, const std::string& name,
                             const std::string& real) {
    auto file = files_.create(path);
    auto data = files_.open(real, storage::Access::read_write);
    ASSERT_TRUE(file.ok() && data.ok());
    ASSERT_TRUE(run(world_, qcow2::create(*file, {.size = 1_MiB, .data_file = name}, *data)).ok());
  };
  with_data("/d/in", "data", "/d/data");
  with_data("/d/out", "/e", "/e");
  with_data("/d/itself", "itself", "/d/data");
  EXPECT_EQ(refused("in"), "");
  EXPECT_EQ((*open({.filename = "in"}))->data_file()->size(), 1_MiB);
  EXPECT_NE(refused("out").find("outside of its directory '/d'"), std::string::npos);
  EXPECT_EQ(refused("out", {.allow_outside = true}), "");
  EXPECT_NE(refused("itself").find("loop"), std::string::npos);
  // Who names the file may name any.
  EXPECT_TRUE(open({.filename = "driver=qcow2,file.filename=out,data-file.driver=file,"
                                "data-file.filename=/e",
                    .image_opts = true})
                  .ok());
  EXPECT_TRUE(open({.filename = "out", .metadata_only = true}).ok());
}

TEST_F(Open, ABackingFormatThatIsNotRecordedIsNotGuessed) {
  image("/d/base");
  image("/d/a", "base", "");
  EXPECT_NE(refused("a").find("--probe lets it be recognised"), std::string::npos);
  const auto opened = open({.filename = "a"}, {.probe = true});
  ASSERT_TRUE(opened.ok());
  EXPECT_STREQ((*opened)->backing()->format(), "qcow2");
}

TEST_F(Open, LoopsAndLongChainsAreFound) {
  image("/d/self", "self");
  image("/d/a", "./b");
  image("/d/b", "/d/a");
  for (const char* name : {"self", "a"})
    EXPECT_NE(refused(name).find("the backing files make a loop"), std::string::npos);
  image("/d/1");
  for (int i = 2; i <= 201; ++i) image(fmt::format("/d/{}", i), fmt::format("{}", i - 1));
  EXPECT_EQ(refused("200"), "");
  EXPECT_NE(refused("201").find("more than 200 layers"), std::string::npos);
}

TEST_F(Open, AChainReadsAsTheGuestSeesIt) {
  raw("/d/base", 100_KiB);
  image("/d/mid", "base", "raw");
  image("/d/top", "mid");
  {
    auto base = open({.filename = "base", .writable = true});
    write(**base, 0, 100_KiB, 1);
    auto mid = open({.filename = "mid", .writable = true});
    write(**mid, 70_KiB, 1_KiB, 2);
    ASSERT_TRUE(run(world_, (*mid)->close()).ok());
    auto top = open({.filename = "top", .writable = true});
    write(**top, 512_KiB, 64_KiB, 3);
    ASSERT_TRUE(run(world_, (*top)->write_zeroes(0, 64_KiB, true)).ok());
    ASSERT_TRUE(run(world_, (*top)->close()).ok());
  }
  auto top = open({.filename = "top"});
  std::vector<std::byte> expected(1_MiB);
  std::ranges::fill(std::span(expected).subspan(64_KiB, 36_KiB), std::byte{1});
  std::ranges::fill(std::span(expected).subspan(70_KiB, 1_KiB), std::byte{2});
  std::ranges::fill(std::span(expected).subspan(512_KiB, 64_KiB), std::byte{3});
  EXPECT_TRUE(read(**top, 0, 1_MiB) == expected);
  struct Row {
    std::uint64_t at, length;
    std::uint32_t depth;
    bool allocated, zero;
  };
  const Row rows[] = {{0, 64_KiB, 0, true, true},
                      {64_KiB, 64_KiB, 1, true, false},
                      {128_KiB, 384_KiB, 1, false, true},  // base is shorter
                      {512_KiB, 64_KiB, 0, true, false},
                      {576_KiB, 448_KiB, 1, false, true}};
  for (const Row& row : rows) {
    const auto found = run(world_, status_of_chain(**top, row.at, 1_MiB - row.at));
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->status.length, row.length) << row.at;
    EXPECT_EQ(found->depth, row.depth) << row.at;
    EXPECT_EQ(found->status.allocated, row.allocated) << row.at;
    EXPECT_EQ(found->status.zero, row.zero) << row.at;
  }
}

TEST_F(Open, ReadingChangesNothing) {
  image("/d/a");
  auto layer = open({.filename = "a"});
  const std::byte byte{1};
  EXPECT_EQ(run(world_, (*layer)->write(0, {&byte, 1})).error().number, EBADF);
}

}  // namespace
}  // namespace sim::image
