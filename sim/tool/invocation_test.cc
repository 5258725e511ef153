#include "sim/tool/invocation.h"

#include <gtest/gtest.h>

#include "sim/base/size.h"
#include "sim/storage/memory.h"

namespace sim::tool {
namespace {

// What getopt_long makes of the same arguments (measured with qemu-img 7.2).
class Arguments : public ::testing::Test {
 protected:
  static constexpr Option kOptions[] = {{'f', "format", true},  {'q', "", false},
                                        {'\0', "output", true}, {'\0', "output-format", true},
                                        {'o', "", true},        {'u', "unsafe", false}};

  std::optional<int> parse(std::vector<std::string> arguments) {
    said_.clear();
    invocation_.emplace(surroundings_, world_, "info", std::move(arguments));
    return invocation_->parse({std::begin(kOptions), std::end(kOptions)});
  }
  Invocation& given() { return *invocation_; }

  std::string said_;
  storage::MemoryFiles files_;
  Surroundings surroundings_{.files = files_,
                             .working_directory = "/d",
                             .out = [this](std::string_view text) { said_ += text; },
                             .err = [this](std::string_view text) { said_ += text; },
                             .now_ns = [] { return std::uint64_t{0}; },
                             .random = [](MutableBytes) {}};
  World world_{1};
  std::optional<Invocation> invocation_;
};

TEST_F(Arguments, OptionsAndNamesMayBeMixed) {
  ASSERT_EQ(parse({"a", "-qf", "raw", "-", "-ox=1", "--unsafe", "--", "-q"}), std::nullopt);
  EXPECT_TRUE(given().quiet());
  EXPECT_EQ(given().value("format"), "raw");
  EXPECT_EQ(given().value("f"), "raw");
  EXPECT_EQ(given().values("o"), std::vector<std::string>{"x=1"});
  EXPECT_TRUE(given().has("u"));
  EXPECT_EQ(given().names(), (std::vector<std::string>{"a", "-", "-q"}));
}

TEST_F(Arguments, LongNamesMayBeAbbreviated) {
  ASSERT_EQ(parse({"--form=raw", "--output", "json", "--uns"}), std::nullopt);
  EXPECT_EQ(given().value("format"), "raw");
  EXPECT_EQ(given().value("output"), "json");
  EXPECT_TRUE(given().has("unsafe"));
  EXPECT_EQ(parse({"--out", "json"}), 1);
  EXPECT_EQ(said_,
            "understudy image: unrecognized option '--out'\n"
            "Try 'understudy image --help' for more information\n");
}

TEST_F(Arguments, WhatIsWrongIsSaidInQemusWords) {
  EXPECT_EQ(parse({"-Z"}), 1);
  EXPECT_TRUE(said_.starts_with("understudy image: unrecognized option '-Z'\n")) << said_;
  EXPECT_EQ(parse({"-f"}), 1);
  EXPECT_TRUE(said_.starts_with("understudy image: missing argument for option '-f'\n")) << said_;
  EXPECT_EQ(parse({"--unsafe=1"}), 1);
  EXPECT_TRUE(said_.starts_with("understudy image: unrecognized option '--unsafe=1'\n")) << said_;
  EXPECT_EQ(parse({"--help"}), 0);
  EXPECT_EQ(parse({"-f", "raw", "--image-opts", "x"}), 1);
  EXPECT_EQ(said_, "understudy image: --image-opts and --format are mutually exclusive\n");
}

TEST_F(Arguments, PolicyComesFromThreeOptions) {
  ASSERT_EQ(parse({"--probe"}), std::nullopt);
  EXPECT_TRUE(given().context().policy.probe && !given().context().policy.lax);
  ASSERT_EQ(parse({"--lax"}), std::nullopt);
  EXPECT_TRUE(given().context().policy.allow_outside && given().context().policy.probe);
}

TEST_F(Arguments, SecretsAreTakenFromDataAndFiles) {
  auto file = files_.create("/d/key");
  ASSERT_TRUE(run(world_, (*file)->write(0, std::as_bytes(std::span("c2VjcmV0\n", 9)))).ok());
  ASSERT_EQ(
      parse({"--object", "secret,id=a,data=x,,y", "--object", "secret,id=b,file=key,format=base64",
             "--object", R"({"qom-type":"secret","id":"c","data":"z"})"}),
      std::nullopt)
      << said_;
  EXPECT_EQ(given().context().secrets,
            (std::map<std::string, std::string>{{"a", "x,y"}, {"b", "secret"}, {"c", "z"}}));
}

TEST_F(Arguments, SecretsAreRefusedInQemusWords) {
  const auto refused = [&](const char* object) {
    EXPECT_EQ(parse({"--object", object}), 1) << object;
    return said_.substr(std::string("understudy image: ").size());
  };
  EXPECT_EQ(refused("foo,id=s"), "Parameter 'qom-type' does not accept value 'foo'\n");
  EXPECT_EQ(refused("secret,data=s"), "Parameter 'id' is missing\n");
  EXPECT_EQ(refused("secret,id=s"), "Either 'file' or 'data' must be provided\n");
  EXPECT_EQ(refused("secret,id=s,data=x,foo=bar"), "Parameter 'foo' is unexpected\n");
  EXPECT_EQ(refused("secret,id=s,file=nope"), "Unable to read nope: No such file or directory\n");
  EXPECT_EQ(refused("secret,id=s,data=a=b=,format=base64"), "Base64 data is not valid\n");
}

TEST(KeyValues, AreReadAsQemuDoes) {
  const auto pairs = parse_key_values("a=b,c=d,,e,f,nog", "first");
  ASSERT_TRUE(pairs.ok());
  EXPECT_EQ(*pairs, (std::vector<std::pair<std::string, std::string>>{
                        {"a", "b"}, {"c", "d,e"}, {"f", "on"}, {"g", "off"}}));
  EXPECT_EQ(parse_key_values("secret,id=s", "type")->front().second, "secret");
  EXPECT_EQ(*parse_image_opts("driver=qcow2,file.driver=file,file.filename=a,,b"),
            (Json{{"driver", "qcow2"}, {"file", {{"driver", "file"}, {"filename", "a,b"}}}}));
  EXPECT_FALSE(parse_image_opts("a=1,a.b=2").ok());
}

TEST(Numbers, AreReadAsQemuDoes) {
  EXPECT_EQ(*parse_qemu_size("1.5G"), 1610612736U);
  EXPECT_EQ(*parse_qemu_size("1.k"), 1024U);
  EXPECT_EQ(*parse_qemu_size("0x10"), 16U);
  EXPECT_EQ(*parse_qemu_size("7e"), 7ULL << 60);
  EXPECT_EQ(*parse_qemu_size("0.0005k"), 1U);  // half a byte and more is one
  for (const char* bad : {"", "k", "1.5", "1.5B", "1x", "-1", "1kk", "0x1.8k"})
    EXPECT_EQ(parse_qemu_size(bad).error().number, EINVAL) << bad;
  for (const char* large : {"16E", "18446744073709551616"})
    EXPECT_EQ(parse_qemu_size(large).error().number, ERANGE) << large;
  EXPECT_EQ(parse_number("max length", "8E").error().desc,
            "Invalid max length specified. Must be between 0 and 9223372036854775807.");
}

}  // namespace
}  // namespace sim::tool
