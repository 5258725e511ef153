#include <fstream>

#include "sim/base/text.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class Check : public BesideQemu {
 protected:
  void overwrite(const std::string& name, std::uint64_t at, const std::string& bytes) {
    std::fstream file(directory_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file << bytes;
  }
  // Both programs on copies of one image: what they print, what they complain about, exit codes.
  void expect_as_qemu(const std::string& options, const std::string& image) {
    SCOPED_TRACE(options + " " + image);
    must("cp " + image + " x 2> /dev/null || true");
    const Said mine = tool("check " + options + " x");
    must("cp " + image + " x 2> /dev/null || true");
    const auto theirs = qcow2::testing::run_command(
        "cd " + directory_.path() + " && (qemu-img check " + options + " x > out 2> err)");
    const auto text = [this](const char* name) {
      const auto bytes = qcow2::testing::contents(directory_ / name);
      return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    EXPECT_EQ(mine.code, theirs.status);
    EXPECT_EQ(mine.out.empty(), text("out").empty());
    if (mine.out.starts_with("{")) {
      EXPECT_EQ(Json::parse(mine.out, nullptr, false), Json::parse(text("out"), nullptr, false));
    } else {
      EXPECT_EQ(mine.out, text("out"));
    }
    std::string complaints = mine.err;
    const std::string own = "understudy image";
    for (std::size_t at = 0; (at = complaints.find(own, at)) != std::string::npos;)
      complaints.replace(at, own.size(), "qemu-img");
    EXPECT_EQ(complaints, text("err"));
  }
};

TEST_F(Check, SaysWhatQemuSays) {
  must("qemu-img create -q -f qcow2 clean 4M && qemu-io -f qcow2 -c 'write 0 192k' clean");
  must("qemu-io -f qcow2 -c 'write -c 1M 64k' -c 'write 2M 64k' clean");
  must("cp clean leak");
  overwrite("leak", 0x2000b, "\3");
  must("cp clean low && qemu-img snapshot -c s low");
  overwrite("low", 0x2000b, "\1");
  must("cp clean reserved");
  overwrite("reserved", 0x40007, "\2");
  must("cp clean zero");
  overwrite("zero", 0x2000b, std::string(1, '\0'));
  must("cp clean unaligned");
  overwrite("unaligned", 0x10006, "\2");
  must("truncate -s 1M raw");
  must("qemu-img create -q -f qcow2 empty 0");
  for (const char* image :
       {"clean", "leak", "low", "reserved", "zero", "unaligned", "raw", "empty", "missing"})
    for (const char* options : {"", "--output=json", "-q"}) expect_as_qemu(options, image);
  for (const char* image : {"clean", "leak", "low", "reserved", "zero", "raw"})
    for (const char* options : {"-r leaks", "-r all", "-r all --output=json", "-q -r all"})
      expect_as_qemu(options, image);
}

TEST_F(Check, WarnsOfBitmapsThatAreOutOfDate) {
  must("qemu-img create -q -f qcow2 old 1M && qemu-img bitmap --add old b");
  overwrite("old", 95, std::string(1, '\0'));  // autoclear features
  for (const char* command : {"snapshot -l old", "info old", "snapshot -c s old", "info old"}) {
    must("cp old theirs");
    const std::string theirs =
        must("(qemu-img " + replace_all(command, "old", "theirs") + " 2>&1 > /dev/null)");
    const std::string ours = tool(command).err;
    EXPECT_EQ(ours, theirs.empty() ? "" : "understudy image" + theirs.substr(8) + "\n");
  }
}

TEST_F(Check, RefusesWhatQemuRefuses) {
  must("qemu-img create -q -f qcow2 base 1M && qemu-img create -q -f qcow2 -b base -F qcow2 top");
  must("rm base");
  must("qemu-img create -q -f qcow2 -o data_file=data external 1M && rm data");
  for (const char* image : {"top", "external"}) expect_as_qemu("", image);
  for (const char* options : {"-T what", "--output=xml", "-f what", "-r all -U"})
    expect_as_qemu(options, "external");
  EXPECT_EQ(tool("check").code, 1);
  EXPECT_EQ(tool("check -r what external").code, 1);
  EXPECT_EQ(tool("check -T unsafe a b").code, 1);
}

}  // namespace
}  // namespace sim::tool::testing
