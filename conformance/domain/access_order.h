// Watches that labels and leases come before what needs them, and go after it: libvirt labels a
// file before QEMU opens it, and takes no label away from what QEMU still has open.
//
// Stands between one domain and its hypervisor and labels, and follows the nodes and jobs by what
// is sent and answered.  The hypervisor's file nodes are found by their name, format nodes by
// theirs.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"
#include "conformance/target/labels.h"
#include "conformance/target/leases.h"

namespace conformance {

class AccessOrder final : public Hypervisor, public Labels {
 public:
  // `locks` null: leases are not looked at.  `holders`: those of the domain begin with this.
  AccessOrder(Hypervisor& hypervisor, Labels& labels, const Files& files,
              const LockManager* locks = nullptr, std::string holders = "domain/")
      : hypervisor_(hypervisor),
        labels_(labels),
        files_(files),
        locks_(locks),
        holders_(std::move(holders)) {}

  // The hypervisor was started anew: it has nothing open.
  void restarted() {
    nodes_.clear();
    jobs_.clear();
  }
  // What was done too early or too late, one sentence each.
  const std::vector<std::string>& complaints() const { return complaints_; }

  Outcome<Json> execute(std::string_view command, const Json& arguments) override;
  Outcome<std::optional<Event>> poll_event() override { return hypervisor_.poll_event(); }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override {
    return hypervisor_.next_event(limit);
  }

  sim::Result<> set(const std::string& holder, const std::string& file, Label label) override;
  LabelledFiles set_by(const std::string& holder) const override { return labels_.set_by(holder); }

 private:
  struct Node {
    std::string file;     // path
    std::string storage;  // of a format node: the node with the file's bytes
    std::string backing;  // of a format node
    Label needs = Label::read_only;
    bool is_qemus = false;  // QEMU opened it by itself, and removes it
  };
  // A commit or a drive-mirror, until it is dismissed.
  struct Job {
    std::string target;  // nodes
    std::string above;   // a commit's top's overlay; empty if it has none
    bool is_drive_mirror = false;
    bool is_completing = false;
    bool has_pivoted = false;
  };

  // What a command needs before it is sent.
  void before(const std::string& command, const Json& arguments);
  // What has changed, now that QEMU has done it.
  void after(const std::string& command, const Json& arguments, const Json& answer);
  void add_node(const Json& arguments);
  // What query-named-block-nodes says of the nodes that QEMU opens by itself.
  void see_nodes(const Json& nodes);
  // What query-blockstats says of how nodes lie on one another.
  void see_chains(const Json& devices);
  void remove_node(const std::string& name);
  void dismiss(const std::string& job);
  std::string overlay_of(const std::string& node) const;
  std::string file_of(const std::string& node) const;
  // The most that QEMU has open of this file.
  Label needed(const std::string& file) const;
  Label label_of(const std::string& file) const;
  void require(const std::string& file, Label label, const std::string& what);

  Hypervisor& hypervisor_;
  Labels& labels_;
  const Files& files_;
  const LockManager* locks_;
  std::string holders_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, Job> jobs_;           // by id
  std::map<std::string, LabelledFiles> set_;  // by holder
  std::vector<std::string> complaints_;
};

}  // namespace conformance
