#include "conformance/run/watched_leases.h"

#include <fmt/format.h>

#include <map>

namespace conformance {

WatchedLeases::WatchedLeases(const std::vector<OtherLease>& others, Hypervisor& hypervisor,
                             const Files& files)
    : directory_(files.directory()), order_(hypervisor, labels_, files, &locks_) {
  std::map<std::string, Leases> held;
  for (const OtherLease& lease : others)
    held[lease.holder].emplace(directory_ + "/" + lease.file, lease.mode);
  // What others hold among themselves is theirs to know.
  for (const auto& [holder, leases] : held)
    static_cast<void>(locks_.hold(holder, leases).has_value());
}

std::vector<Divergence> WatchedLeases::compare(const std::string& disk,
                                               const model::DomainModel& model) {
  std::vector<Divergence> found;
  const auto diverge = [&](std::string requirement, std::string expected, std::string actual) {
    found.push_back({DivergenceClass::chain, std::move(requirement), std::move(expected),
                     std::move(actual), "disk " + disk});
  };
  std::string wanted, held;
  for (const auto& [file, is_written] : model.leases(disk))
    wanted += file + (is_written ? ":exclusive " : ":shared ");
  const std::string holder = "domain/" + disk;
  const std::size_t prefix = directory_.size() + 1;
  for (const auto& [file, mode] : locks_.held_by(holder))
    held += file.substr(prefix) + (mode == LeaseMode::exclusive ? ":exclusive " : ":shared ");
  if (held != wanted)
    diverge("the disk holds leases of what its chain and its job use", wanted, held);
  // Files that are only going to be removed are read: what is labelled is the same, how is not.
  std::string files, labelled_files;
  for (const auto& [file, is_written] : model.leases(disk)) files += file + " ";
  for (const auto& [file, label] : labels_.set_by(holder))
    labelled_files += file.substr(prefix) + " ";
  if (labelled_files != files)
    diverge("the files that a chain and its job use are labelled", files, labelled_files);
  for (; told_ < order_.complaints().size(); ++told_)
    diverge("labels come before what needs them, and go after it", "that order",
            order_.complaints()[told_]);
  return found;
}

}  // namespace conformance
