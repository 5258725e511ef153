#include "conformance/domain/access_order.h"

#include <algorithm>

#include "conformance/domain/reply.h"

namespace conformance {

namespace {

std::string_view to_text(Label label) {
  constexpr std::string_view kTexts[] = {"no label", "a label to read", "a label to write"};
  return kTexts[std::to_underlying(label)];
}

}  // namespace

Outcome<Json> AccessOrder::execute(std::string_view command, const Json& arguments) {
  const std::string name(command);
  before(name, arguments);
  auto reply = hypervisor_.execute(command, arguments);
  if (reply && reply->contains("return")) after(name, arguments, (*reply)["return"]);
  return reply;
}

void AccessOrder::before(const std::string& command, const Json& arguments) {
  if (command == "blockdev-add") {
    const std::string path = reply::text(arguments, "filename");
    if (!path.empty()) return require(path, Label::read_only, command);
    const bool reads = reply::flag(arguments, "read-only");
    require(file_of(reply::text(arguments, "file")), reads ? Label::read_only : Label::read_write,
            command);
  } else if (command == "blockdev-create") {
    const Json& options = reply::member(arguments, "options");
    const std::string path = reply::text(options, "filename");
    require(path.empty() ? file_of(reply::text(options, "file")) : path, Label::read_write,
            command);
  } else if (command == "block-commit") {
    require(file_of(reply::text(arguments, "base-node")), Label::read_write, command);
    const std::string above = overlay_of(reply::text(arguments, "top-node"));
    if (!above.empty()) require(file_of(above), Label::read_write, command);
  } else if (command == "block-stream") {
    require(file_of(reply::text(arguments, "device")), Label::read_write, command);
  } else if (command == "blockdev-mirror") {
    require(file_of(reply::text(arguments, "target")), Label::read_write, command);
  } else if (command == "drive-mirror") {
    require(reply::text(arguments, "target"), Label::read_write, command);
  }
}

void AccessOrder::after(const std::string& command, const Json& arguments, const Json& answer) {
  if (command == "blockdev-add") return add_node(arguments);
  if (command == "blockdev-del") return remove_node(reply::text(arguments, "node-name"));
  if (command == "job-dismiss") return dismiss(reply::text(arguments, "id"));
  if (command == "query-named-block-nodes") return see_nodes(answer);
  if (command == "query-blockstats") return see_chains(answer);
  if (command == "drive-mirror") {
    const std::string node = reply::text(arguments, "node-name");
    nodes_[node] = {.file = reply::text(arguments, "target"),
                    .storage = {},
                    .backing = {},
                    .needs = Label::read_write,
                    .is_qemus = true};
    jobs_[reply::text(arguments, "job-id")] = {
        .target = node, .above = {}, .is_drive_mirror = true};
  } else if (command == "block-commit") {
    jobs_[reply::text(arguments, "job-id")] = {
        .target = reply::text(arguments, "base-node"),
        .above = overlay_of(reply::text(arguments, "top-node")),
        .is_drive_mirror = false};
  } else if (command == "job-complete" || command == "block-job-complete") {
    const char* name = command == "job-complete" ? "id" : "device";
    if (const auto job = jobs_.find(reply::text(arguments, name)); job != jobs_.end())
      job->second.is_completing = true;
  } else if (command == "query-jobs") {
    for (const Json& job : answer)
      if (const auto found = jobs_.find(reply::text(job, "id")); found != jobs_.end())
        found->second.has_pivoted = found->second.is_completing &&
                                    reply::is(job, "status", "concluded") &&
                                    reply::text(job, "error").empty();
  } else if (command == "transaction") {
    for (const Json& action : reply::member(arguments, "actions")) {
      const Json& data = reply::member(action, "data");
      if (!reply::is(action, "type", "blockdev-snapshot")) continue;
      nodes_[reply::text(data, "overlay")].backing = reply::text(data, "node");
      // Nodes that QEMU opened by itself for the same file follow.
      for (auto& [name, node] : nodes_)
        if (node.file == file_of(reply::text(data, "node"))) node.needs = Label::read_only;
    }
  }
}

void AccessOrder::add_node(const Json& arguments) {
  Node node;
  node.file = reply::text(arguments, "filename");
  if (node.file.empty()) {
    node.storage = reply::text(arguments, "file");
    node.file = file_of(node.storage);
    node.backing = reply::text(arguments, "backing");
    if (!reply::flag(arguments, "read-only")) node.needs = Label::read_write;
  }
  nodes_[reply::text(arguments, "node-name")] = node;
}

void AccessOrder::see_nodes(const Json& nodes) {
  std::map<std::string, const Json*> there;
  for (const Json& node : nodes) there[reply::text(node, "node-name")] = &node;
  std::erase_if(nodes_,
                [&](const auto& it) { return it.second.is_qemus && !there.contains(it.first); });
  for (const auto& [name, node] : there) {
    const std::string driver = reply::text(*node, "drv");
    if (!name.starts_with('#') || nodes_.contains(name)) continue;
    if (driver != "file" && driver != "raw" && driver != "qcow2") continue;  // a job's filter
    const std::string file = reply::text(*node, "file");
    const Label needs = reply::flag(*node, "ro") ? Label::read_only : Label::read_write;
    require(file, needs, "QEMU");
    nodes_[name] = {.file = file, .storage = {}, .backing = {}, .needs = needs, .is_qemus = true};
  }
}

void AccessOrder::see_chains(const Json& devices) {
  for (const Json& device : devices)
    for (const Json* node = &device; node->contains("backing"); node = &(*node)["backing"])
      if (const auto found = nodes_.find(reply::text(*node, "node-name")); found != nodes_.end())
        found->second.backing = reply::text((*node)["backing"], "node-name");
}

// Nobody can remove a node that others still lie on: a job has put what lies beneath in its place.
void AccessOrder::remove_node(const std::string& name) {
  const std::string beneath = nodes_[name].backing;
  for (auto& [other, node] : nodes_)
    if (node.backing == name) node.backing = beneath;
  nodes_.erase(name);
}

// The base of an active commit is what the guest writes to after the pivot.
void AccessOrder::dismiss(const std::string& job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return;
  if (found->second.has_pivoted)
    nodes_[found->second.target].needs = Label::read_write;
  else if (found->second.is_drive_mirror)
    std::erase_if(nodes_, [file = file_of(found->second.target)](const auto& it) {
      return it.second.is_qemus && it.second.file == file;
    });
  jobs_.erase(found);
}

std::string AccessOrder::overlay_of(const std::string& node) const {
  if (node.empty()) return {};
  const auto found =
      std::ranges::find_if(nodes_, [&](const auto& it) { return it.second.backing == node; });
  return found == nodes_.end() ? std::string() : found->first;
}

std::string AccessOrder::file_of(const std::string& node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? "unknown node " + node : found->second.file;
}

Label AccessOrder::needed(const std::string& file) const {
  Label most = Label::none;
  for (const auto& [name, node] : nodes_)
    if (node.file == file) most = std::max(most, node.needs);
  for (const auto& [id, job] : jobs_)
    if (file_of(job.target) == file || file_of(job.above) == file) most = Label::read_write;
  return most;
}

Label AccessOrder::label_of(const std::string& file) const {
  Label most = Label::none;
  for (const auto& [holder, files] : set_)
    if (const auto found = files.find(file); found != files.end())
      most = std::max(most, found->second);
  return most;
}

void AccessOrder::require(const std::string& file, Label label, const std::string& what) {
  if (label_of(file) < label)
    complaints_.push_back(what + " needs " + std::string(to_text(label)) + ", and " + file +
                          " has " + std::string(to_text(label_of(file))));
  if (locks_ == nullptr) return;
  const LeaseMode wanted = label == Label::read_write ? LeaseMode::exclusive : LeaseMode::shared;
  for (const auto& [holder, leases] : locks_->by_holder()) {
    const auto found = leases.find(file);
    if (holder.starts_with(holders_) && found != leases.end() && found->second >= wanted) return;
  }
  complaints_.push_back(what + " without a lease of " + file);
}

sim::Result<> AccessOrder::set(const std::string& holder, const std::string& file, Label label) {
  if (!files_.size(file)) complaints_.push_back("a label for " + file + ", which is not there");
  auto done = labels_.set(holder, file, label);
  if (!done) return done;
  const Label before = label_of(file);
  set_[holder][file] = label;
  if (label_of(file) < before && label_of(file) < needed(file))
    complaints_.push_back(file + " has only " + std::string(to_text(label_of(file))) +
                          " while QEMU needs " + std::string(to_text(needed(file))));
  return done;
}

}  // namespace conformance
