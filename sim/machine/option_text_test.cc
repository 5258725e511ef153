// Texts as measured on QEMU 5.2 to 11.1, where they are alike.

#include "sim/machine/option_text.h"

#include <gtest/gtest.h>

#include "sim/qmp/keyval.h"

namespace sim::machine {
namespace {

std::string keyval(std::string_view text, std::string_view implied = "driver") {
  const auto read = read_keyval(text, implied);
  return read ? read->dump() : read.error().desc;
}

TEST(Keyval, MakesATree) {
  EXPECT_EQ(keyval("raw,file.driver=file,file.filename=a,,b"),
            R"({"driver":"raw","file":{"driver":"file","filename":"a,b"}})");
  EXPECT_EQ(keyval("a=1,a=2,b="), R"({"a":"2","b":""})");
  EXPECT_EQ(keyval("x.1.y=b,x.0.y=a"), R"({"x":[{"y":"a"},{"y":"b"}]})");
  EXPECT_EQ(keyval(""), "{}");
}

TEST(Keyval, TellsMistakes) {
  EXPECT_EQ(keyval("=x"), "Invalid parameter ''");
  for (const char* key : {"a.", "a..b", ".a", "9"})
    EXPECT_EQ(keyval(std::string(key) + "=x"), "Invalid parameter '" + std::string(key) + "'");
  EXPECT_EQ(keyval("raw,b"), "Expected '=' after parameter 'b'");
  EXPECT_EQ(keyval("x", ""), "Expected '=' after parameter 'x'");
  EXPECT_EQ(keyval("file=x,file.driver=y"), "Parameters 'file.*' used inconsistently");
  EXPECT_EQ(keyval("file.driver=y,file=x"), "Parameters 'file.*' used inconsistently");
  EXPECT_EQ(keyval("a.0=x,a.b=y"), "Parameters 'a.*' used inconsistently");
  EXPECT_EQ(keyval("a.0=x,a.2=y"), "Parameter 'a.1' missing");
  EXPECT_EQ(keyval("raw,help"), "Help is not available for this option");
  const std::string longest(127, 'a');
  EXPECT_EQ(keyval(longest + "=x"), "{\"" + longest + "\":\"x\"}");
  EXPECT_EQ(keyval(longest + "a=x"), "Parameter '" + longest + "a' is too long");
}

std::string typed(std::string_view text) {
  const auto& schema = qmp::Schema::of(*find_profile("7.2"));
  auto read = read_keyval(text, "driver");
  if (!read) return read.error().desc;
  const auto typed = qmp::typed_keyval(schema, "BlockdevOptions", *std::move(read));
  return typed ? typed->dump() : typed.error().desc;
}

TEST(Keyval, TypesComeFromTheDeclarations) {
  EXPECT_EQ(typed("null-co,size=4096,read-only=on,cache.direct=off"),
            R"({"cache":{"direct":false},"driver":"null-co","read-only":true,"size":4096})");
  EXPECT_EQ(typed("qcow2,file=12,backing=,overlap-check=none"),
            R"({"backing":"","driver":"qcow2","file":"12","overlap-check":"none"})");
  EXPECT_EQ(typed("null-co,size=1M"), "Parameter 'size' expects integer");
  EXPECT_EQ(typed("null-co,size="), "Parameter 'size' expects integer");
  EXPECT_EQ(typed("null-co,read-only=maybe"), "Parameter 'read-only' expects 'on' or 'off'");
}

TEST(OptionList, ShortFormsAreOnOrOff) {
  const auto list = OptionList::read("socket,id=m,path=a,,b,server,nowait", "backend");
  EXPECT_EQ(list.to_json().dump(),
            R"({"backend":"socket","id":"m","path":"a,b","server":"on","wait":"off"})");
  ASSERT_EQ(list.short_forms.size(), 2U);
  EXPECT_EQ(list.short_forms[1].second, "wait=off");
  EXPECT_FALSE(*list.flag("wait", true));
  EXPECT_EQ(OptionList::read("x=maybe", "").flag("x", true).error().desc,
            "Parameter 'x' expects 'on' or 'off'");
  EXPECT_EQ(list.check_names({"id"}).error().desc, "Invalid parameter 'backend'");
  EXPECT_FALSE(OptionList::read("id=1", "").check_id());
}

}  // namespace
}  // namespace sim::machine
