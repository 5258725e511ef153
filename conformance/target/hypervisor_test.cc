#include "conformance/target/hypervisor.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "conformance/target/transcript.h"

namespace conformance {
namespace {

// Answers with what it was given, and remembers what it was asked.
class Scripted final : public Hypervisor {
 public:
  explicit Scripted(std::deque<Outcome<Json>> replies) : replies_(std::move(replies)) {}
  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    asked.emplace_back(std::string(command), arguments);
    auto reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
  }
  Outcome<std::optional<Event>> poll_event() override {
    if (events.empty()) return std::nullopt;
    Event event = std::move(events.front());
    events.pop_front();
    return event;
  }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds) override {
    return std::unexpected(TargetFailure{.kind = TargetFailure::Kind::hang, .detail = "no answer"});
  }

  std::vector<std::pair<std::string, Json>> asked;
  std::deque<Event> events;

 private:
  std::deque<Outcome<Json>> replies_;
};

constexpr const char* kDevice = "/machine/peripheral/virtio-disk0/virtio-backend";

// What QEMU 7.2.22's qemu-io printed for these commands.
Json printed(const char* text) { return {{"return", text}}; }

std::string failure_text(const std::variant<GuestFailure, TargetFailure>& failure) {
  const auto* text = std::get_if<GuestFailure>(&failure);
  return text == nullptr ? "a failure of the target" : text->text;
}

TEST(Guest, IsNotToldOfImagesThatWereMadeBefore) {
  Scripted qemu({printed("Formatting '/d/copy', fmt=qcow2 cluster_size=65536 extended_l2=off "
                         "compression_type=zlib size=786432 lazy_refcounts=off "
                         "refcount_bits=16\n"),
                 printed("Formatting '/d/copy', fmt=raw size=1048576\nflush failed\n")});
  Guest guest(qemu, kDevice);
  EXPECT_TRUE(guest.flush());
  const auto failed = guest.flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failure_text(failed.error()), "flush failed");
}

TEST(Guest, WritesThroughTheDevice) {
  Scripted qemu(
      {printed("wrote 65536/65536 bytes at offset 131072\n"
               "64 KiB, 1 ops; 00.00 sec (166.241 MiB/sec and 2659.8504 ops/sec)\n")});
  Guest guest(qemu, kDevice);
  EXPECT_TRUE(guest.write(131072, 65536, 9));
  ASSERT_EQ(qemu.asked.size(), 1U);
  EXPECT_EQ(qemu.asked[0].first, "human-monitor-command");
  EXPECT_EQ(qemu.asked[0].second["command-line"],
            "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "
            "\"write -P 9 131072 65536\"");
}

TEST(Guest, AFailedWriteCarriesItsText) {
  Scripted qemu({printed("write failed: Input/output error\n"), printed(""),
                 printed("Block node is read-only\r\n")});
  Guest guest(qemu, kDevice);
  auto failed = guest.write(2097152, 65536, 9);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failure_text(failed.error()), "write failed: Input/output error");
  EXPECT_FALSE(guest.write(0, 512, 1)) << "silence is no success";
  auto refused = guest.write(0, 512, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(failure_text(refused.error()), "Block node is read-only");
}

TEST(Guest, ZeroesDiscardsAndFlushes) {
  Scripted qemu({printed("wrote 65536/65536 bytes at offset 0\n"
                         "64 KiB, 1 ops; 00.00 sec (5.104 GiB/sec and 83626.0244 ops/sec)\n"),
                 printed("discard 65536/65536 bytes at offset 0\n"
                         "64 KiB, 1 ops; 00.00 sec (4.613 GiB/sec and 75585.7899 ops/sec)\n"),
                 printed(""), printed("discard failed: Operation not supported\n")});
  Guest guest(qemu, kDevice);
  EXPECT_TRUE(guest.write_zeroes(0, 65536));
  EXPECT_TRUE(guest.discard(0, 65536));
  EXPECT_TRUE(guest.flush());
  EXPECT_FALSE(guest.discard(0, 65536));
}

TEST(Guest, ReadsTellAPatternFromAnother) {
  const char* mismatch =
      "Pattern verification failed at offset 0, 65536 bytes\n"
      "read 65536/65536 bytes at offset 0\n"
      "64 KiB, 1 ops; 00.00 sec (1.114 GiB/sec and 18257.8372 ops/sec)\n";
  Scripted qemu({printed(mismatch),
                 printed("read 65536/65536 bytes at offset 0\n"
                         "64 KiB, 1 ops; 00.00 sec (1.114 GiB/sec and 18257.8372 ops/sec)\n"),
                 printed("read failed: Input/output error\n")});
  Guest guest(qemu, kDevice);
  auto differs = guest.reads_as(0, 65536, 8);
  ASSERT_TRUE(differs);
  EXPECT_FALSE(*differs);
  auto same = guest.reads_as(0, 65536, 9);
  ASSERT_TRUE(same);
  EXPECT_TRUE(*same);
  EXPECT_FALSE(guest.reads_as(0, 65536, 9));
}

TEST(Guest, PassesFailuresOn) {
  Scripted qemu({std::unexpected(TargetFailure{.kind = TargetFailure::Kind::crash, .detail = "x"}),
                 Json{{"error", {{"class", "GenericError"}, {"desc", "not now"}}}}});
  Guest guest(qemu, kDevice);
  auto crashed = guest.flush();
  ASSERT_FALSE(crashed);
  EXPECT_TRUE(std::holds_alternative<TargetFailure>(crashed.error()));
  auto refused = guest.flush();
  ASSERT_FALSE(refused);
  EXPECT_EQ(failure_text(refused.error()), "not now");
}

TEST(Transcript, RecordsWhatPasses) {
  Scripted qemu({Json{{"return", Json::object()}},
                 std::unexpected(TargetFailure{.kind = TargetFailure::Kind::crash,
                                               .detail = "was ended by signal 11"})});
  qemu.events.push_back({.name = "STOP", .data = Json::object()});
  Transcript transcript;
  RecordingHypervisor recording(qemu, transcript);
  EXPECT_TRUE(recording.execute("blockdev-del", {{"node-name", "a"}}));
  EXPECT_FALSE(recording.execute("quit", nullptr));
  EXPECT_TRUE(recording.poll_event());
  EXPECT_TRUE(recording.poll_event()) << "and nothing is recorded for no event";
  EXPECT_FALSE(recording.next_event(std::chrono::milliseconds(1)));
  std::vector<std::string> lines;
  for (const auto& entry : transcript) lines.push_back(to_line(entry));
  EXPECT_EQ(lines, (std::vector<std::string>{
                       R"(-> blockdev-del {"node-name":"a"})", R"(<- {"return":{}})", "-> quit",
                       ".. crash: was ended by signal 11", "!! STOP {}", ".. hang: no answer"}));
}

TEST(Transcript, WritesCallsLikeCalls) {
  using Kind = TranscriptEntry::Kind;
  EXPECT_EQ(
      to_line(
          {.kind = Kind::call, .name = "blockRebase", .content = Json::array({"vda", nullptr, 0})}),
      R"(## blockRebase("vda", null, 0))");
  EXPECT_EQ(to_line({.kind = Kind::call, .name = "chain", .content = nullptr}), "## chain()");
  EXPECT_EQ(to_line({.kind = Kind::result, .name = {}, .content = "ok"}), R"(== "ok")");
  EXPECT_EQ(to_line({.kind = Kind::note, .name = {}, .content = "step 3"}), ".. step 3");
}

// Of all that passes through, the data of secrets is not written down; it is sent as it is.
TEST(Recording, HidesSecrets) {
  Scripted hypervisor({Json(), Json(), Json(), Json()});
  Transcript transcript;
  RecordingHypervisor recording(hypervisor, transcript);
  const std::array<std::pair<const char*, Json>, 4> commands = {{
      {"object-add", {{"qom-type", "secret"}, {"id", "s"}, {"data", "sesame"}}},
      {"object-add",
       {{"qom-type", "secret"}, {"id", "s"}, {"props", {{"data", "sesame"}, {"format", "raw"}}}}},
      {"human-monitor-command", {{"command-line", "object_add secret,id=s,data=sesame"}}},
      {"human-monitor-command", {{"command-line", "info jobs"}}},
  }};
  for (const auto& [command, arguments] : commands)
    EXPECT_TRUE(recording.execute(command, arguments).has_value());
  std::string text;
  for (const TranscriptEntry& entry : transcript) text += to_line(entry) + "\n";
  EXPECT_FALSE(text.contains("sesame")) << text;
  EXPECT_TRUE(text.contains(R"_("data":"(hidden)","id":"s")_")) << text;
  EXPECT_TRUE(text.contains("info jobs"));
  for (std::size_t i = 0; i < commands.size(); ++i)
    EXPECT_EQ(hypervisor.asked[i].second, commands[i].second);
}

}  // namespace
}  // namespace conformance
