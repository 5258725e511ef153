#include "real-libvirt/client/requests.h"

#include <string>
#include <string_view>

#include "real-libvirt/client/connection.h"

namespace real_libvirt {
namespace {

using sim::Json;

Json to_json(const NamedError& error) {
  return {{"domain", error.domain}, {"code", error.code}, {"message", error.message}};
}

Json to_json(const LiveDisk& disk) {
  Json links = Json::array();
  for (const conformance::ChainLink& link : disk.chain.links)
    links.push_back({{"path", link.path}, {"format", link.format}});
  Json mirror;
  if (disk.mirror)
    mirror = {{"path", disk.mirror->path},
              {"format", disk.mirror->format},
              {"job", disk.mirror->job},
              {"ready", disk.mirror->ready}};
  return {{"alias", disk.alias},
          {"terminated", disk.chain.terminated},
          {"links", std::move(links)},
          {"mirror", std::move(mirror)}};
}

std::string text(const Json& arguments, const char* name) { return arguments.value(name, ""); }

std::optional<std::string> text_or_null(const Json& arguments, const char* name) {
  if (!arguments.contains(name) || arguments[name].is_null()) return std::nullopt;
  return text(arguments, name);
}

Json answer(const Answer<void>& result) {
  if (!result) return {{"error", to_json(result.error())}};
  return {{"return", Json::object()}};
}

class Service {
 public:
  Service(Channel& channel, std::string root) : channel_(channel), root_(std::move(root)) {}

  void run() {
    channel_.send({{"QMP", {{"libvirt", Connection::version()}}}});
    while (const auto request = channel_.next_request()) {
      const std::string name = text(*request, "execute");
      Json reply = perform(name, request->value("arguments", Json::object()));
      if (connection_ != nullptr) connection_->settle();
      reply["id"] = request->value("id", Json());
      channel_.send(reply);
      if (name == "quit") break;
    }
    if (connection_ != nullptr) connection_->destroy(pid_file_);
  }

 private:
  Json perform(std::string_view name, const Json& arguments) {
    if (name == "qmp_capabilities" || name == "quit") return answer({});
    if (name == "open") return open();
    if (connection_ == nullptr) return refusal("no connection is open");
    if (name == "settle") return answer({});
    if (name == "destroy") {
      connection_->destroy(pid_file_);
      started_ = false;
      return answer({});
    }
    if (name == "start") return start(arguments);
    if (!started_) return refusal("no domain was started");
    if (name == "monitor") return monitor(arguments);
    if (name == "disk") {
      const auto disk = connection_->disk(text(arguments, "disk"));
      return disk ? Json{{"return", to_json(*disk)}} : Json{{"error", to_json(disk.error())}};
    }
    return call(name, arguments);
  }

  static Json refusal(const std::string& message) {
    return {{"error", to_json({"NONE", "INTERNAL_ERROR", message})}};
  }

  Json open() {
    auto connection = Connection::open(root_, [this](const char* event, Json data) {
      channel_.send({{"event", event}, {"data", std::move(data)}});
    });
    if (!connection) return {{"error", to_json(connection.error())}};
    connection_ = *connection;
    return answer({});
  }

  Json start(const Json& arguments) {
    DomainXml xml{.name = text(arguments, "domain"),
                  .emulator = text(arguments, "emulator"),
                  .console = text(arguments, "console"),
                  .disks = {}};
    for (const Json& disk : arguments.value("disks", Json::array()))
      xml.disks.push_back({text(disk, "target"), text(disk, "path"), text(disk, "format")});
    pid_file_ = text(arguments, "pid-file");
    const auto started = connection_->start(xml, arguments.value("persistent", false));
    started_ = started.has_value();
    return answer(started);
  }

  Json monitor(const Json& arguments) {
    const auto reply = connection_->monitor_command(text(arguments, "command"));
    if (!reply) return {{"error", to_json(reply.error())}};
    Json parsed = Json::parse(*reply, nullptr, false);
    if (parsed.is_discarded()) return refusal("QEMU's reply is no JSON");
    return {{"return", std::move(parsed)}};
  }

  Json snapshots() {
    const auto told = connection_->snapshots();
    if (!told) return {{"error", to_json(told.error())}};
    Json list = Json::array();
    for (const conformance::SnapshotInfo& one : *told)
      list.push_back({{"name", one.name}, {"parent", one.parent}, {"current", one.current}});
    return {{"return", {{"snapshots", std::move(list)}}}};
  }

  Json call(std::string_view name, const Json& arguments) {
    const std::string disk = text(arguments, "disk");
    const auto bandwidth = arguments.value("bandwidth", std::uint64_t{0});
    const auto flags = arguments.value("flags", std::uint32_t{0});
    const auto base = text_or_null(arguments, "base");
    if (name == "blockRebase") return answer(connection_->rebase(disk, base, bandwidth, flags));
    if (name == "blockCopy")
      return answer(connection_->copy(disk, text(arguments, "destination"),
                                      {.bandwidth = bandwidth,
                                       .granularity = arguments.value("granularity", 0U),
                                       .buf_size = arguments.value("buf-size", std::uint64_t{0})},
                                      flags));
    if (name == "blockPull") return answer(connection_->pull(disk, bandwidth, flags));
    if (name == "blockCommit")
      return answer(
          connection_->commit(disk, base, text_or_null(arguments, "top"), bandwidth, flags));
    if (name == "snapshotCreateXML") {
      const auto made = connection_->create_snapshot(text(arguments, "xml"), flags);
      return made ? Json{{"return", {{"name", *made}}}} : Json{{"error", to_json(made.error())}};
    }
    if (name == "snapshotDelete")
      return answer(connection_->delete_snapshot(text(arguments, "name"), flags));
    if (name == "snapshotRevert")
      return answer(connection_->revert_to_snapshot(text(arguments, "name"), flags));
    if (name == "snapshots") return snapshots();
    if (name == "blockJobAbort") return answer(connection_->abort(disk, flags));
    if (name == "blockJobSetSpeed") return answer(connection_->set_speed(disk, bandwidth, flags));
    return refusal("no such request: " + std::string(name));
  }

  Channel& channel_;
  std::string root_;
  Connection* connection_ = nullptr;
  std::string pid_file_;
  bool started_ = false;
};

}  // namespace

void serve(Channel& channel, const std::string& root) { Service(channel, root).run(); }

}  // namespace real_libvirt
