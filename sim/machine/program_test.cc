// The built program, as a child process, spoken to as clients do.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "sim/base/json.h"
#include "sim/machine/descriptor.h"

namespace sim::machine {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kLimitMs = 20'000;

// One end of a connection, read by lines.
class Client {
 public:
  Client(int input, int output) : input_(input), output_(output) {}

  void send(std::string_view bytes) const {
    ASSERT_EQ(::write(output_, bytes.data(), bytes.size()), ssize_t(bytes.size()));
  }
  // The next line as JSON; null at the end.
  Json line() {
    while (!said_.contains('\n')) {
      pollfd ready = {.fd = input_, .events = POLLIN, .revents = 0};
      std::array<char, 4096> buffer{};
      const ssize_t got =
          ::poll(&ready, 1, kLimitMs) > 0 ? ::read(input_, buffer.data(), buffer.size()) : -1;
      if (got <= 0) return nullptr;
      said_.append(buffer.data(), std::size_t(got));
    }
    const std::size_t end = said_.find('\n');
    const std::string text = said_.substr(0, end + 1);
    said_.erase(0, end + 1);
    EXPECT_TRUE(text.ends_with("\r\n")) << text;
    return Json::parse(text);
  }
  Json ask(std::string_view request) {
    send(request);
    return line();
  }
  void negotiate() {
    EXPECT_TRUE(line().contains("QMP"));
    EXPECT_EQ(ask(R"({"execute":"qmp_capabilities"})"), Json::parse(R"({"return":{}})"));
  }

 private:
  int input_, output_;
  std::string said_;
};

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("understudy-program." + std::to_string(::getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override {
    if (pid_ > 0) (void)::kill(pid_, SIGKILL);
    if (pid_ > 0) (void)exit_code();
    fs::remove_all(directory_);
  }

  // Starts it with pipes as standard input and output; standard error goes to a file.
  void start(std::vector<std::string> arguments, int inherited = -1) {
    std::array<int, 2> in{}, out{};
    ASSERT_EQ(::pipe2(in.data(), O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
    input_ = Descriptor(in[1]);
    output_ = Descriptor(out[0]);
    const Descriptor their_input(in[0]), their_output(out[1]);
    arguments.insert(arguments.begin(), {UNDERSTUDY_QEMU_PROGRAM, "-M", "none", "-nodefaults",
                                         "-display", "none", "-S"});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, their_input.get(), 0);
    posix_spawn_file_actions_adddup2(&actions, their_output.get(), 1);
    posix_spawn_file_actions_addopen(&actions, 2, file("errors").c_str(),
                                     O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (inherited >= 0) posix_spawn_file_actions_adddup2(&actions, inherited, inherited);
    ASSERT_EQ(
        ::posix_spawn(&pid_, UNDERSTUDY_QEMU_PROGRAM, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  Client stdio() const { return {output_.get(), input_.get()}; }

  int exit_code() {
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, true);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string errors() const {
    std::ifstream in(file("errors"));
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::string refused(std::vector<std::string> arguments) {
    start(std::move(arguments));
    EXPECT_EQ(exit_code(), 1);
    return errors();
  }
  std::string file(const std::string& name) const { return directory_ / name; }

  Descriptor connect(const std::string& path) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    for (int i = 0; i < kLimitMs / 10; ++i) {
      Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return socket;
      (void)::poll(nullptr, 0, 10);
    }
    ADD_FAILURE() << "nobody listens at " << path;
    return {};
  }

  fs::path directory_;
  pid_t pid_ = -1;
  Descriptor input_, output_;
};

TEST_F(ProgramTest, SpeaksOverStandardInputAndOutput) {
  start({"-qmp", "stdio"});
  Client client = stdio();
  client.negotiate();
  EXPECT_EQ(client.ask(R"({'execute':'query-version','id':7})")["id"], 7);
  EXPECT_EQ(client.ask("foo\n")["error"]["desc"], "JSON parse error, invalid keyword 'foo'");
  client.send(R"({"execute":"quit"})");
  const Json event = client.line();
  EXPECT_EQ(event["event"], "SHUTDOWN");
  EXPECT_GT(event["timestamp"]["seconds"], 1'500'000'000) << "the wall's time";
  EXPECT_EQ(client.line(), Json::parse(R"({"return":{}})"));
  EXPECT_EQ(client.line(), nullptr);
  EXPECT_EQ(exit_code(), 0);
  EXPECT_EQ(errors(), "");
}

TEST_F(ProgramTest, AnswersAllThatWasSentBeforeTheEndOfInput) {
  start({"-qmp", "stdio"});
  stdio().send(R"({"execute":"qmp_capabilities"}{"execute":"query-status"}{"execute":"quit"})");
  input_.close();
  Client client = stdio();
  EXPECT_TRUE(client.line().contains("QMP"));
  EXPECT_TRUE(client.line().contains("return"));
  EXPECT_TRUE(client.line()["return"].contains("status"));
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(ProgramTest, ClientsOfAUnixSocketComeAndGo) {
  const std::string path = file("qmp");
  start({"-qmp", "unix:" + path + ",server=on,wait=off"});
  {
    const Descriptor first = connect(path);
    Client(first.get(), first.get()).negotiate();
    Client(first.get(), first.get()).send(R"({"execute":"query-qmp-schema"})");
  }  // and does not read the answer
  const Descriptor second = connect(path);
  Client client(second.get(), second.get());
  EXPECT_TRUE(client.line().contains("QMP"));
  EXPECT_EQ(client.ask(R"({"execute":"query-status"})")["error"]["class"], "CommandNotFound")
      << "every client negotiates";
  (void)client.ask(R"({"execute":"qmp_capabilities"})");
  ::kill(pid_, SIGTERM);
  const Json event = client.line();
  EXPECT_EQ(event["event"], "SHUTDOWN");
  EXPECT_EQ(event["data"]["reason"], "host-signal");
  EXPECT_EQ(exit_code(), 0);
  EXPECT_THAT(errors(), HasSubstr("terminating on signal 15 from pid "));
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(ProgramTest, OlderFormsAreTakenWithAWarning) {
  const std::string path = file("qmp");
  start({"-qmp", "unix:" + path + ",server,nowait"});
  const Descriptor socket = connect(path);
  Client client(socket.get(), socket.get());
  client.negotiate();
  client.send(R"({"execute":"quit"})");
  EXPECT_EQ(exit_code(), 0);
  EXPECT_THAT(errors(), HasSubstr("warning: short-form boolean option 'nowait' deprecated\n"
                                  "Please use wait=off instead\n"));
}

TEST_F(ProgramTest, SeveralMonitorsHearEvents) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Descriptor ours(ends[0]);
  Descriptor theirs(ends[1]);
  start({"-mon", "chardev=m,mode=control", "-chardev",
         "socket,id=m,fd=" + std::to_string(theirs.get()), "-qmp", "stdio"},
        theirs.get());
  theirs.close();
  Client first(ours.get(), ours.get()), second = stdio();
  first.negotiate();
  second.negotiate();
  first.send(R"({"execute":"quit"})");
  EXPECT_EQ(first.line()["event"], "SHUTDOWN");
  EXPECT_EQ(first.line(), Json::parse(R"({"return":{}})"));
  EXPECT_EQ(second.line()["event"], "SHUTDOWN");
  EXPECT_EQ(second.line(), nullptr) << "the reply is for who asked";
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(ProgramTest, AVirtualClockBeginsAtZeroAndIsTraced) {
  start({"-qmp", "stdio", "-understudy", "clock=virtual,seed=3,trace=" + file("trace")});
  Client client = stdio();
  client.negotiate();
  EXPECT_EQ(client.ask(R"({"execute":"quit"})")["timestamp"]["seconds"], 0);
  EXPECT_EQ(exit_code(), 0);
  std::ifstream trace(file("trace"));
  std::string line;
  while (std::getline(trace, line) && !line.contains('<')) {
  }
  EXPECT_EQ(line, R"(compat_monitor0 < {"execute":"qmp_capabilities"})");
}

TEST_F(ProgramTest, ImagesAreRealFiles) {
  std::ofstream(file("disk.raw")) << std::string(65536, 'x');
  start({"-qmp", "stdio", "-blockdev",
         "driver=raw,node-name=disk,file.driver=file,file.filename=" + file("disk.raw")});
  Client client = stdio();
  client.negotiate();
  const Json nodes = client.ask(R"({"execute":"query-named-block-nodes"})")["return"];
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0]["image"]["virtual-size"], 65536);
}

// As the release does (facts, difference 3), and nothing is said of it on the monitor.
TEST_F(ProgramTest, ItEndsWhereItsReleaseCrashes) {
  std::ofstream(file("disk.raw")) << std::string(65536, 'x');
  start({"-understudy", "profile=5.2", "-qmp", "stdio", "-blockdev",
         "driver=file,node-name=disk,filename=" + file("disk.raw")});
  Client client = stdio();
  client.negotiate();
  EXPECT_EQ(client.ask(R"({"execute":"blockdev-snapshot",)"
                       R"("arguments":{"node":"disk","overlay":"disk"}})"),
            nullptr);
  EXPECT_EQ(exit_code(), 139);
  EXPECT_NE(errors().find("QEMU 5.2 crashes here: blockdev-snapshot of a node onto itself"),
            std::string::npos)
      << errors();
}

// A mirror of 2 MiB with a limit that holds it for about four seconds: the milliseconds until it is
// ready, or -1 if it is not after half a second.
int time_of_slow_mirror(Client& client) {
  using Clock = std::chrono::steady_clock;
  const auto begun = Clock::now();
  client.send(R"({"execute":"blockdev-mirror","arguments":{"job-id":"m","device":"disk",)"
              R"("target":"copy","sync":"full","speed":524288}})");
  bool asked = false;
  for (;;) {
    const Json line = client.line();
    if (line.is_null()) return -2;
    if (line.value("event", "") == "BLOCK_JOB_READY") break;
    if (line.value("id", 0) == 1) return -1;
    if (line.contains("return") && !std::exchange(asked, true)) {
      (void)::poll(nullptr, 0, 500);
      client.send(R"({"execute":"query-block-jobs","id":1})");
    }
  }
  return static_cast<int>((Clock::now() - begun) / std::chrono::milliseconds(1));
}

TEST_F(ProgramTest, SpeedLimitsHoldByTheWallsClockOnly) {
  for (const std::string clock : {"wall", "virtual"}) {
    for (const char* name : {"disk", "copy"})
      std::ofstream(file(name)) << std::string(2 << 20, name[0]);
    const auto node = [this](const std::string& name) {
      return "driver=raw,node-name=" + name + ",file.driver=file,file.filename=" + file(name);
    };
    start({"-qmp", "stdio", "-understudy", "clock=" + clock, "-blockdev", node("disk"), "-blockdev",
           node("copy")});
    Client client = stdio();
    client.negotiate();
    const int time = time_of_slow_mirror(client);
    if (clock == "wall")
      EXPECT_EQ(time, -1);
    else
      EXPECT_GE(time, 0);
    client.send(R"({"execute":"quit"})");
    EXPECT_EQ(exit_code(), 0) << errors();
  }
}

TEST_F(ProgramTest, ADaemonLeavesItsPidUntilItsEnd) {
  const std::string path = file("qmp");
  start({"-qmp", "unix:" + path + ",server=on,wait=off", "-daemonize", "-pidfile", file("pid")});
  EXPECT_EQ(exit_code(), 0) << "it listens by now";
  const Descriptor socket = connect(path);
  Client client(socket.get(), socket.get());
  client.negotiate();
  pid_t daemon = 0;
  std::ifstream(file("pid")) >> daemon;
  EXPECT_GT(daemon, 1);
  client.send(R"({"execute":"quit"})");
  while (client.line() != nullptr) {
  }
  for (int i = 0; i < 500 && fs::exists(file("pid")); ++i) (void)::poll(nullptr, 0, 10);
  EXPECT_FALSE(fs::exists(file("pid")));
}

TEST_F(ProgramTest, RefusalsAreQemus) {
  EXPECT_EQ(refused({"-foo"}), "qemu-system-x86_64: -foo: invalid option\n");
  EXPECT_EQ(refused({"-blockdev", "driver=raw,9=x"}),
            "qemu-system-x86_64: -blockdev driver=raw,9=x: Invalid parameter '9'\n");
  EXPECT_EQ(refused({"-incoming", "defer"}),
            "qemu-system-x86_64: understudy: -incoming is not in this version\n");
  EXPECT_EQ(refused({"-understudy", "profile=1.0"}),
            "qemu-system-x86_64: -understudy: 'profile' does not accept '1.0', but a release: 5.2, "
            "7.2, 10.0, 11.1\n");
}

}  // namespace
}  // namespace sim::machine
