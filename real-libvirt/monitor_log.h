// What libvirt and QEMU say to each other, from libvirt's own log of its monitors (its filter
// "2:qemu.qemu_monitor").

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "conformance/target/transcript.h"

namespace real_libvirt {

class MonitorLog {
 public:
  // The file need not be there yet.
  explicit MonitorLog(std::string path) : path_(std::move(path)) {}

  // The oldest message not yet taken: a command, a reply or an event.
  std::optional<conformance::TranscriptEntry> take();
  // The command with this id, and its reply, were the harness's own: they will not be told.
  // Of the QEMU that runs now: each one's messages are numbered from the start.
  void ignore(const std::string& id) {
    read();
    ignored_.insert(id_of_run(id));
  }
  // Forgets what was not taken, and empties the file.
  void clear();

 private:
  std::string id_of_run(const std::string& id) const {
    return id.empty() ? id : std::to_string(runs_) + "/" + id;
  }
  void read();
  void add_line(std::string_view line);

  std::string path_;
  std::uint64_t offset_ = 0;
  std::string rest_;  // of a line whose end is not written yet
  struct Message {
    conformance::TranscriptEntry entry;
    std::string id;
  };
  std::deque<Message> messages_;
  std::map<std::string, std::string> commands_;  // by id
  std::set<std::string> ignored_;                // by id_of_run()
  unsigned runs_ = 0;                            // of QEMU that have begun
};

}  // namespace real_libvirt
