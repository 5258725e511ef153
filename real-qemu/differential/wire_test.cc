// What installed releases and our monitor say to streams of bytes: broken JSON, broken requests,
// negotiation, ids, out-of-band.  The streams are in wire_streams.json, a character for each byte;
// answers are compared byte for byte.

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "real-qemu/child.h"
#include "real-qemu/descriptor.h"
#include "real-qemu/differential/release_for_test.h"
#include "sim/qmp/monitor.h"

namespace differential {
namespace {

using real_qemu::Descriptor;
using sim::Json;

constexpr const char* kDataFile = UNDERSTUDY_SOURCE_DIR "/real-qemu/differential/wire_streams.json";
constexpr std::string_view kNegotiation = "{\"execute\": \"qmp_capabilities\"}\n";
constexpr std::string_view kLast = "{\"execute\": \"query-name\", \"id\": \"the last\"}\n";

struct Stream {
  std::string name, bytes;
  bool negotiated = true;
  bool any_order = false;  // out of band: what overtakes what is a race
};

// Code points below 256 to bytes.
std::string bytes_of(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0xC2) byte = static_cast<unsigned char>(byte << 6 | (text[++i] & 0x3F));
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

std::vector<Stream> streams() {
  std::ifstream file(kDataFile);
  std::vector<Stream> all;
  for (const Json& row : Json::parse(file)) {
    std::string text;
    if (row["stream"].is_string()) {
      text = row["stream"].get<std::string>();
    } else {
      for (const Json& part : row["stream"])
        for (int i = 0; i < part[1]; ++i) text += part[0].get<std::string>();
    }
    all.push_back({row["name"], bytes_of(text), row.value("negotiated", true),
                   row.value("any_order", false)});
  }
  return all;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.emplace_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return lines;
}

class Wire : public ReleaseProgramTest {
 protected:
  // All that QEMU says to one client, up to and with the answer to the last request; without the
  // greeting.
  std::string theirs(const Stream& stream) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const Descriptor nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    const Descriptor ours(ends[0]);
    Descriptor other(ends[1]);
    auto child = real_qemu::Child::start(
        {.program = program(),
         .arguments = {"-machine", "none", "-nodefaults", "-display", "none", "-S", "-chardev",
                       fmt::format("socket,id=m,fd={}", other.get()), "-qmp", "chardev:m"},
         .directory = "/",
         .output = nowhere.get(),
         .errors = nowhere.get(),
         .inherited = other.get()});
    if (!child) {
      ADD_FAILURE() << child.error();
      return {};
    }
    other.close();
    std::string said;
    if (!receive_until(ours, said, "{\"QMP\": ")) return said;
    const auto send = [&](std::string_view bytes) {
      EXPECT_EQ(::send(ours.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(bytes.size()));
    };
    if (stream.negotiated) {
      send(kNegotiation);
      if (!receive_until(ours, said, "{\"return\": {}}")) return said;
    }
    said.clear();
    send(stream.bytes);
    send(kLast);
    receive_until(ours, said, "\"the last\"");
    return said;
  }

  // Until whole lines are there and one has `text`; what was asked may be in pieces.
  static bool receive_until(const Descriptor& socket, std::string& said, std::string_view text) {
    constexpr int kLimitMs = 20'000;
    while (!said.contains(text) || !said.ends_with('\n')) {
      pollfd ready = {.fd = socket.get(), .events = POLLIN, .revents = 0};
      std::array<char, 4096> buffer{};
      const ssize_t got = ::poll(&ready, 1, kLimitMs) > 0
                              ? ::recv(socket.get(), buffer.data(), buffer.size(), 0)
                              : 0;
      if (got <= 0) {
        ADD_FAILURE() << "no more is said, without " << text;
        return false;
      }
      said.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return true;
  }

  std::string ours(const Stream& stream) const {
    const sim::Profile& profile = *sim::find_profile(GetParam());
    const auto execute = [&](Json request) -> std::optional<Json> {
      const Json arguments = request.value("arguments", Json::object());
      if (request["execute"] == "query-name" && arguments.empty())
        return sim::qmp::make_reply(request, Json::object());
      auto checked =
          sim::qmp::Schema::of(profile).check_arguments(std::string(request["execute"]), arguments);
      if (!checked) return sim::qmp::make_reply(request, std::move(checked).error());
      return sim::qmp::make_reply(request, Json("understudy: accepted"));
    };
    sim::qmp::Monitor monitor(profile, {.greeting = Json::object()}, execute);
    monitor.connect();
    if (stream.negotiated) monitor.feed(kNegotiation);
    while (monitor.step()) {
    }
    (void)monitor.take_output();
    monitor.feed(stream.bytes);
    monitor.feed(kLast);
    while (monitor.step()) {
    }
    return monitor.take_output();
  }
};

TEST_P(Wire, StreamsAreAnsweredAlike) {
  int count = 0;
  for (const Stream& stream : streams()) {
    auto actual = lines_of(ours(stream)), expected = lines_of(theirs(stream));
    if (stream.any_order) {
      std::ranges::sort(actual);
      std::ranges::sort(expected);
    }
    EXPECT_EQ(actual, expected) << stream.name << "; left: ours, right: QEMU's";
    ++count;
  }
  EXPECT_GT(count, 150);
}

INSTANTIATE_TEST_SUITE_P(Releases, Wire, ::testing::ValuesIn(release_names()), name_of_release);

}  // namespace
}  // namespace differential
