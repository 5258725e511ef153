// `understudy image …`: the tool, in the surroundings of this process.

#include <sys/random.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include "conformance/cli/commands.h"
#include "sim/base/check.h"
#include "sim/storage/file.h"
#include "sim/storage/unfinished.h"
#include "sim/tool/tool.h"

namespace cli {

static void fill_with_random(sim::MutableBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    CHECK(got > 0, "the system has no random numbers");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

static void write_to(std::FILE* stream, std::string_view text) {
  (void)std::fwrite(text.data(), 1, text.size(), stream);
}

static std::optional<std::string> next_line() {
  (void)std::fflush(stdout);  // a prompt may stand there
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

static std::int64_t utc_offset(std::uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm local = {};
  return ::localtime_r(&time, &local) != nullptr ? local.tm_gmtoff : 0;
}

// Who is told to end leaves nothing half-written.
static void end_by(int signal) {
  sim::storage::remove_unfinished();
  (void)std::signal(signal, SIG_DFL);
  (void)std::raise(signal);
}

int image_command(const std::vector<std::string>& arguments) {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) (void)std::signal(signal, end_by);
  (void)std::signal(SIGUSR1, SIG_IGN);  // qemu-img's request for progress
  sim::storage::RealFiles files;
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  if (error) return fail({kHarnessFailed, "the working directory is gone"});
  const sim::tool::Surroundings surroundings = {
      .files = files,
      .working_directory = here,
      .out = [](std::string_view text) { write_to(stdout, text); },
      .err =
          [](std::string_view text) {
            (void)std::fflush(stdout);
            write_to(stderr, text);
          },
      .now_ns =
          [] {
            return static_cast<std::uint64_t>(
                std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch())
                    .count());
          },
      .random = fill_with_random,
      .read_line = next_line,
      .utc_offset = utc_offset,
  };
  const int code = sim::tool::run_tool(surroundings, arguments);
  if (std::fflush(stdout) != 0 && code == 0) return 1;  // the output was lost
  return code;
}

}  // namespace cli
