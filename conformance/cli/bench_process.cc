#include "conformance/cli/bench_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

namespace cli {

namespace {

double milliseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

// In the child: never returns.
[[noreturn]] void become(const std::vector<char*>& arguments, const char* directory) {
  const int nowhere = ::open("/dev/null", O_RDWR);
  if (nowhere >= 0) {
    ::dup2(nowhere, STDIN_FILENO);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  if (::chdir(directory) == 0) ::execvp(arguments.front(), arguments.data());
  _exit(127);
}

template <class Of>
double median(const std::vector<Pair>& pairs, Of of) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(of(pair));
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

Cost cost_of(const std::vector<std::string>& command, const std::string& directory) {
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) become(arguments, directory.c_str());
  int status = 0;
  rusage usage{};
  if (child < 0 || ::wait4(child, &status, 0, &usage) != child) return {};
  return {.ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0,
          .milliseconds = milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime),
          .peak_mib = static_cast<double>(usage.ru_maxrss) / 1024};
}

Pair compete(const Contest& contest, const std::string& directory, int rounds) {
  const auto run = [&](const std::vector<std::string>& command) {
    if (!contest.before.empty()) (void)cost_of({"sh", "-c", contest.before}, directory);
    return cost_of(command, directory);
  };
  std::vector<Pair> pairs;
  bool well = true;
  for (int i = 0; i < rounds; ++i) {
    Pair pair{.ours = run(contest.ours), .theirs = run(contest.theirs)};
    pair.ratio = pair.ours.milliseconds / std::max(pair.theirs.milliseconds, 0.1);
    well = well && pair.ours.ended_well && pair.theirs.ended_well;
    pairs.push_back(pair);
  }
  Pair result;
  result.ours.ended_well = well;
  result.ours.milliseconds = median(pairs, [](const Pair& p) { return p.ours.milliseconds; });
  result.theirs.milliseconds = median(pairs, [](const Pair& p) { return p.theirs.milliseconds; });
  result.ours.peak_mib = median(pairs, [](const Pair& p) { return p.ours.peak_mib; });
  result.theirs.peak_mib = median(pairs, [](const Pair& p) { return p.theirs.peak_mib; });
  result.ratio = median(pairs, [](const Pair& p) { return p.ratio; });
  return result;
}

}  // namespace cli
