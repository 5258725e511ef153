// Pull, rebase without COPY, and commit: their checks in libvirt's order, and what they leave.

#include <algorithm>
#include <charconv>

#include "conformance/model/merge.h"
#include "conformance/model/predictions.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

constexpr std::uint32_t kKnownCommit =
    kCommitShallow | kCommitDelete | kCommitActive | kCommitRelative | kCommitBandwidthBytes;

// "vda[2]" of a target and an index that needs no thought.
struct Indexed {
  std::string target;
  unsigned index = 0;
};
std::optional<Indexed> plainly_indexed(const std::string& name) {
  const std::size_t bracket = name.find('[');
  if (bracket == std::string::npos || bracket == 0 || !name.ends_with(']')) return std::nullopt;
  Indexed indexed{.target = name.substr(0, bracket)};
  const char* const from = name.data() + bracket + 1;
  const char* const to = name.data() + name.size() - 1;
  const auto [end, error] = std::from_chars(from, to, indexed.index);
  if (error != std::errc() || end != to || *from == '0') return std::nullopt;
  return indexed;
}

// The least stretch is a sector: below so many bytes/s it is paid for more than a minute.
Course merge_course(std::uint64_t speed, const Layer* own, const LayerChain& layers,
                    std::uint64_t size) {
  constexpr std::uint64_t kSlow = 8;
  if (speed == 0 || surely_idle(layers)) return Course::ready;
  return speed <= kSlow && surely_sleeps(own, layers, size) ? Course::held : Course::limited;
}

}  // namespace

void DomainModel::append_chain(std::vector<Link>& links, const std::string& image,
                               unsigned index) const {
  std::string name_above = "/";
  for (const std::string& file : header_chain(image)) {
    links.push_back({file, index++, name_above.starts_with('/') ? std::string() : name_above});
    name_above = files_.at(file).backing_string;
  }
}

// --- names ------------------------------------------------------------------------------------

DomainModel::Found DomainModel::find_link(const Disk& it, std::size_t from,
                                          const std::string& name) const {
  const auto missing = [&](std::string message) {
    return Found{0, refused("STORAGE", "INVALID_ARG", std::move(message))};
  };
  const std::optional<Indexed> indexed = plainly_indexed(name);
  if (!indexed && name.contains('[')) return {0, no_opinion("a strange index")};
  if (indexed && indexed->target != it.target)
    return missing(fmt::format("requested target '{}' does not match target '{}'", indexed->target,
                               it.target));
  const bool absolute = name.starts_with('/');
  if (!indexed && (name.contains("//") || name.contains("/.") || name.starts_with('.') ||
                   (!absolute && name.contains('/'))))
    return {0, no_opinion("a name that is not plain")};
  for (std::size_t i = from; i < it.links.size(); ++i) {
    const Link& link = it.links[i];
    const bool matches =
        indexed    ? link.index == indexed->index
        : absolute ? path(link.file) == name
                   : (i > 0 && link.file == name) || (!name.empty() && link.relative == name);
    if (matches) return {i, {}};
  }
  if (indexed)
    return missing(fmt::format("could not find backing store index '{}' in chain for '{}'",
                               indexed->index, it.target));
  if (from > 0)
    return missing(fmt::format("could not find image '{}' beneath '{}' in chain for '{}'", name,
                               path(it.links[from - 1].file), it.target));
  return missing(fmt::format("could not find image '{}' in chain for '{}'", name, it.target));
}

// All images are in one directory: the name of the last is the name of all.
std::optional<std::string> DomainModel::relative_name(const Disk& it, std::size_t from,
                                                      std::size_t to) const {
  for (std::size_t i = from; i <= to; ++i)
    if (it.links[i].relative.empty()) return std::nullopt;
  return it.links[to].relative;
}

bool DomainModel::used_elsewhere(const Disk& it, std::size_t first, std::size_t last) const {
  for (std::size_t i = first; i <= last && i < it.links.size(); ++i)
    for (const Disk& other : disks_) {
      if (&other == &it) continue;
      const std::string& file = it.links[i].file;
      if (std::ranges::find(other.links, file, &Link::file) != other.links.end()) return true;
      if (other.job && other.job->destination == file) return true;
    }
  return false;
}

LayerChain DomainModel::chain_between(const Disk& it, std::size_t first, std::size_t last) const {
  LayerChain chain = live_chain(it, first);
  chain.resize(last - first);
  return chain;
}

// --- pull -------------------------------------------------------------------------------------

CallPrediction DomainModel::block_pull(const std::string& disk_name, std::uint64_t bandwidth,
                                       std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~std::uint32_t{kBandwidthBytes})
    return unsupported_flags(strange, "qemuDomainBlockPull");
  return rebase(disk_name, std::nullopt, bandwidth, flags);
}

CallPrediction DomainModel::rebase(const std::string& disk_name,
                                   const std::optional<std::string>& base, std::uint64_t bandwidth,
                                   std::uint32_t flags) {
  const bool relative = (flags & kRelative) != 0;
  if (relative && !base)
    return refused("QEMU", "INVALID_ARG",
                   "flag VIR_DOMAIN_BLOCK_REBASE_RELATIVE is valid only with non-null base");
  Disk* it = find(disk_name);
  if (it == nullptr) return disk_not_found(disk_name);
  if (it->job) return busy(it->target, it->job->mirrors());
  if (!it->hidden.empty()) return no_opinion("QEMU knows more of the chain than libvirt");
  std::size_t below = it->links.size();
  std::string base_name;
  if (base) {
    const Found found = find_link(*it, 1, *base);
    if (!found.otherwise.accepted()) return found.otherwise;
    below = found.link;
    base_name = path(it->links[below].file);
    if (relative) {
      const auto kept = relative_name(*it, 1, below);
      if (!kept)
        return refused("QEMU", "OPERATION_INVALID", "can't keep relative backing relationship");
      base_name = *kept;
    }
  }
  const bool bytes = (flags & kBandwidthBytes) != 0;
  if (!bytes && bandwidth > kMostMebibytes) return too_many_mebibytes();
  const std::uint64_t speed = bytes ? bandwidth : bandwidth << 20;
  if (speed > kSignedMax) return negative_speed();
  return start_pull(*it, below, base_name, speed);
}

CallPrediction DomainModel::start_pull(Disk& it, std::size_t base, const std::string& base_name,
                                       std::uint64_t speed) {
  if (used_elsewhere(it, 0, 0)) return no_opinion("another disk uses what is written to");
  File& active = files_.at(it.links.front().file);
  Job job;
  job.kind = JobKind::pull;
  job.destination = it.links.front().file;
  job.format = active.layer.format();
  job.speed = speed;
  job.first = 1;
  job.base = base;
  job.base_name = base_name;
  const LayerChain between = chain_between(it, std::min(job.first, base), base);
  job.course = merge_course(speed, &active.layer, between, active.layer.size());
  job.finished = pulled(active.layer, between, live_chain(it, base));
  active.unchanged = false;
  it.job_id = fmt::format("pull-{}-libvirt-{}-format", it.target, it.links.front().index);
  it.pass({"created", "running"});
  CallPrediction prediction;
  prediction.course = job.course;
  it.job = std::move(job);
  it.pulled.reset();
  wake_others(it);
  return prediction;
}

// --- commit -----------------------------------------------------------------------------------

CallPrediction DomainModel::block_commit(const std::string& disk_name,
                                         const std::optional<std::string>& base,
                                         const std::optional<std::string>& top,
                                         std::uint64_t bandwidth, std::uint32_t flags) {
  if (const std::uint32_t strange = flags & ~kKnownCommit)
    return unsupported_flags(strange, "qemuDomainBlockCommit");
  const bool bytes = (flags & kCommitBandwidthBytes) != 0;
  if (!bytes && bandwidth > kMostMebibytes) return too_many_mebibytes();
  Disk* it = find(disk_name);
  if (it == nullptr) return disk_not_found(disk_name);
  if (!it->hidden.empty()) return no_opinion("QEMU knows more of the chain than libvirt");

  Job job;
  job.speed = bytes ? bandwidth : bandwidth << 20;
  if (top && *top != it->target) {
    const Found found = find_link(*it, 0, *top);
    if (!found.otherwise.accepted()) return found.otherwise;
    job.first = found.link;
  }
  job.base = job.first + 1;
  if (base) {
    const Found found = find_link(*it, job.first + 1, *base);
    if (!found.otherwise.accepted()) return found.otherwise;
    job.base = found.link;
  } else if ((flags & kCommitShallow) == 0) {
    if (job.base >= it->links.size())
      return refused("STORAGE", "INVALID_ARG",
                     fmt::format("could not find base image in chain for '{}'", it->target));
    job.base = it->links.size() - 1;
  }
  if (it->job) return busy(it->target, it->job->mirrors());
  if (const auto refusal = check_commit(*it, job.first, job.base, flags)) return *refusal;
  if (job.speed > kSignedMax) return negative_speed();
  job.removes = (flags & kCommitDelete) != 0;
  job.base_name = path(it->links[job.base].file);
  if ((flags & kCommitRelative) != 0)
    job.base_name = relative_name(*it, job.first, job.base).value_or(job.base_name);
  job.kind = job.first == 0 ? JobKind::active_commit : JobKind::commit;
  job.destination = it->links[job.base].file;
  if (const auto refusal = refuse_leased(*it, job)) return *refusal;
  return start_commit(*it, job);
}

std::optional<CallPrediction> DomainModel::check_commit(const Disk& it, std::size_t top,
                                                        std::size_t base,
                                                        std::uint32_t flags) const {
  const auto invalid = [](std::string message) {
    return refused("QEMU", "INVALID_ARG", std::move(message));
  };
  const std::string active = path(it.links.front().file);
  const std::string top_path = path(it.links[top].file);
  if (top == 0 && (flags & kCommitActive) == 0)
    return invalid(fmt::format("commit of '{}' active layer requires active flag", it.target));
  if (top != 0 && (flags & kCommitActive) != 0)
    return invalid(fmt::format("active commit requested but '{}' is not active", top_path));
  if (top + 1 == it.links.size())
    return invalid(fmt::format("top '{}' in chain for '{}' has no backing file", top_path, active));
  if ((flags & kCommitShallow) != 0 && base != top + 1)
    return invalid(fmt::format("base '{}' is not immediately below '{}' in chain for '{}'",
                               path(it.links[base].file), top_path, active));
  if (top != 0 && (flags & kCommitRelative) != 0 && !relative_name(it, top, base))
    return refused("QEMU", "OPERATION_INVALID", "can't keep relative backing relationship");
  return std::nullopt;
}

std::optional<std::string> DomainModel::strange_commit(const Disk& it, std::size_t top,
                                                       std::size_t base) const {
  if (used_elsewhere(it, top, base)) return "another disk uses what is written to";
  const LayerChain from = chain_between(it, top, base);
  const std::uint64_t least = files_.at(it.links[base].file).layer.size();
  for (const Layer* layer : from)
    if (layer->size() != from.front()->size() || layer->size() < least)
      return "the layers that go are not of one size, or shorter than the base";
  if (top == 0 &&
      !std::ranges::all_of(from, [](const Layer* it) { return allocation_is_known(*it); }))
    return "what is committed depends on where an interrupted job had come to";
  return std::nullopt;
}

CallPrediction DomainModel::start_commit(Disk& it, const Job& wanted) {
  Job job = wanted;
  if (auto why = strange_commit(it, job.first, job.base)) return no_opinion(*std::move(why));
  const LayerChain from = chain_between(it, job.first, job.base);
  File& base = files_.at(it.links[job.base].file);
  job.kind = job.first == 0 ? JobKind::active_commit : JobKind::commit;
  job.destination = it.links[job.base].file;
  job.format = base.layer.format();
  base.unchanged = false;
  it.job_id = fmt::format("commit-{}-libvirt-{}-format", it.target, it.links[job.first].index);
  it.pass({"created", "running"});
  if (job.kind == JobKind::active_commit) return start_active_commit(it, job);
  job.course = merge_course(job.speed, nullptr, from, from.front()->size());
  const LayerChain below = live_chain(it, job.base + 1);
  job.finished = committed(from, base.layer, below);
  base.layer = grown(base.layer, below, from.front()->size());
  CallPrediction prediction;
  prediction.course = job.course;
  it.job = std::move(job);
  wake_others(it);
  return prediction;
}

CallPrediction DomainModel::start_active_commit(Disk& it, const Job& job) {
  File& base = files_.at(job.destination);
  const LayerChain below = live_chain(it, job.base + 1);
  base.layer = grown(base.layer, below, files_.at(it.links.front().file).layer.size());
  it.job = job;
  it.job->run = MirrorRun({.sync = Sync::top,
                           .layers = static_cast<unsigned>(job.base),
                           .granularity = 0,
                           .header_backing = !base.backing.empty()},
                          live_chain(it), base.layer, below);
  it.job->course = course_at(job.speed, it.job->run.dirty_at_start());
  // As of a copy: from 10.0 on zeroes may be had for nothing.
  const std::uint64_t data = it.job->run.data_at_start();
  if (it.job->course != Course::ready)
    it.job->course = data == 0 ? Course::limited : course_at(job.speed, data);
  wake_others(it);
  CallPrediction prediction;
  prediction.course = it.job->course;
  return prediction;
}

// --- ends -------------------------------------------------------------------------------------

void DomainModel::on_completed(const std::string& target) {
  Disk& it = disk(target);
  CHECK(it.job && !it.job->mirrors(), "COMPLETED of a job that does not end by itself");
  const Job job = *std::exchange(it.job, std::nullopt);
  wake_others(it);
  File& written = files_.at(job.destination);
  // A pull may have come to a place before or after the guest did.
  written.layer =
      job.kind == JobKind::pull
          ? either(job.finished,
                   pulled(written.layer, chain_between(it, std::min(job.first, job.base), job.base),
                          live_chain(it, job.base)))
          : job.finished;
  it.pass({"waiting", "pending", "concluded", "null"});
  name_base(it, job);
  // libvirt knows then that nothing is beneath, even if it did not before.
  if (job.kind == JobKind::pull && job.base >= it.links.size()) it.terminated = true;
  drop_links(it, job);
  emit(it, job.kind, "COMPLETED");
}

// In the header above what goes.  A header above nothing stays, whatever it names.
void DomainModel::name_base(const Disk& it, const Job& job) {
  if (job.first >= it.links.size()) return;
  File& above = files_.at(it.links[job.first - 1].file);
  above.unchanged = false;
  const bool has_base = job.base < it.links.size();
  above.backing = has_base ? it.links[job.base].file : std::string();
  above.backing_string = job.base_name;
  above.backing_format = has_base ? name_of(files_.at(above.backing).layer.format()) : "";
}

void DomainModel::drop_links(Disk& it, const Job& job) {
  const auto at = [&](std::size_t link) {
    return it.links.begin() + static_cast<std::ptrdiff_t>(std::min(link, it.links.size()));
  };
  if (job.removes)
    for (auto link = at(job.first); link != at(job.base); ++link) files_.erase(link->file);
  it.links.erase(at(job.first), at(job.base));
}

}  // namespace conformance::model
