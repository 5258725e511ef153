#include "real-libvirt/monitor_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "real-qemu/descriptor.h"

namespace real_libvirt {

using conformance::TranscriptEntry;
using sim::Json;
using Kind = TranscriptEntry::Kind;

std::optional<TranscriptEntry> MonitorLog::take() {
  while (true) {
    if (messages_.empty()) read();
    if (messages_.empty()) return std::nullopt;
    Message message = std::move(messages_.front());
    messages_.pop_front();
    if (message.id.empty() || !ignored_.contains(message.id)) return std::move(message.entry);
  }
}

void MonitorLog::clear() {
  messages_.clear();
  commands_.clear();
  ignored_.clear();
  rest_.clear();
  offset_ = 0;  // libvirt appends
  if (::truncate(path_.c_str(), 0) != 0 && errno != ENOENT) read(), messages_.clear();
}

void MonitorLog::read() {
  const real_qemu::Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t got =
        ::pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset_));
    if (got <= 0) break;
    offset_ += static_cast<std::uint64_t>(got);
    rest_.append(buffer.data(), static_cast<std::size_t>(got));
  }
  std::size_t from = 0;
  for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', from)) {
    add_line(std::string_view(rest_).substr(from, end - from));
    from = end + 1;
  }
  rest_.erase(0, from);
}

// "… QEMU_MONITOR_SEND_MSG: mon=0x… msg={…}", "… QEMU_MONITOR_RECV_REPLY: mon=0x… reply={…}",
// "… QEMU_MONITOR_RECV_EVENT: mon=0x… event={…}"; the first ends in CR.
void MonitorLog::add_line(std::string_view line) {
  struct Mark {
    std::string_view what, before;
    Kind kind;
  };
  constexpr std::array kMarks = {Mark{"QEMU_MONITOR_SEND_MSG: ", " msg=", Kind::command},
                                 Mark{"QEMU_MONITOR_RECV_REPLY: ", " reply=", Kind::reply},
                                 Mark{"QEMU_MONITOR_RECV_EVENT: ", " event=", Kind::event}};
  for (const Mark& mark : kMarks) {
    const std::size_t what = line.find(mark.what);
    if (what == line.npos) continue;
    const std::size_t from = line.find(mark.before, what);
    if (from == line.npos) return;
    Json content = Json::parse(line.substr(from + mark.before.size()), nullptr, false);
    if (content.is_discarded() || !content.is_object()) return;
    Message message;
    message.entry.kind = mark.kind;
    if (content.value("execute", "") == "qmp_capabilities") ++runs_;
    message.id = id_of_run(content.value("id", ""));
    content.erase("id");
    if (mark.kind == Kind::command) {
      message.entry.name = content.value("execute", "");
      message.entry.content =
          conformance::without_secrets(message.entry.name, content.value("arguments", Json()));
      commands_[message.id] = message.entry.name;
    } else if (mark.kind == Kind::reply) {
      message.entry.name = commands_[message.id];
      message.entry.content = std::move(content);
    } else {
      message.entry.name = content.value("event", "");
      message.entry.content = content.value("data", Json::object());
    }
    messages_.push_back(std::move(message));
    return;
  }
}

}  // namespace real_libvirt
