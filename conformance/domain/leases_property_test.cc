// Three domains over shared backing files and one lock manager: whatever they are asked in whatever
// order, nobody writes to or removes what another uses, and each holds exactly what its chain and
// its job need.

#include <rapidcheck.h>

#include <algorithm>
#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"
#include "conformance/domain/watch_for_test.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;

std::string path(const std::string& file) { return kDirectory + "/" + file; }

// One of the domains, as the test knows it: its leases are derived from what it was asked.
struct Guest {
  Guest(testing::MapFiles& files, Labels& labels, LockManager& locks, const std::string& given)
      : name(given), order(hypervisor, labels, files, &locks, given + "/") {
    DomainDefinition definition{.disks = {{"vda", path(given), "qcow2"}}};
    definition.name = given;
    definition.locks = &locks;
    definition.labels = &order;
    domain = *Domain::start(order, files, definition);
  }
  std::vector<std::string> chain() const {
    std::vector<std::string> paths;
    for (const ChainLink& link : domain->chain("vda")->links) paths.push_back(link.path);
    return paths;
  }
  // Without the job's.
  Leases of_chain() const {
    Leases leases;
    for (const std::string& file : chain())
      leases.emplace(file, leases.empty() ? LeaseMode::exclusive : LeaseMode::shared);
    return leases;
  }
  Leases expected() const {
    Leases leases = of_chain();
    for (const std::string& file : written) leases[file] = LeaseMode::exclusive;
    return leases;
  }

  std::string name;
  testing::ObligingHypervisor hypervisor;
  AccessOrder order;
  std::unique_ptr<Domain> domain;
  std::vector<std::string> written;  // or removed, by the job that it has
};

// One of ten things, and numbers from which its details are drawn.
struct Act {
  unsigned guest, what, first, second, flags;
};

class World {
 public:
  World() {
    files_.qcow2("base");
    files_.qcow2("low", path("base"));
    files_.qcow2("mid", path("low"));
    files_.qcow2("a", path("mid"));
    files_.qcow2("b", path("mid"));
    files_.qcow2("c", path("base"));
    files_.qcow2("spare");
    for (const char* name : {"a", "b", "c"})
      guests_.push_back(std::make_unique<Guest>(files_, labels_, locks_, name));
  }

  void perform(const Act& act) {
    Guest& guest = *guests_[act.guest % 3];
    const auto files = files_.files;
    const Leases leases = locks_.held_by(guest.name + "/vda");
    guest.hypervisor.sent.clear();
    std::vector<std::string> written;
    const DomainResult<void> answer = call(guest, act, written);
    if (answer && !written.empty()) {
      ++jobs_;
      guest.written = written;
      for (const auto& other : guests_)
        if (other != guests_[act.guest % 3])
          for (const std::string& file : written) RC_ASSERT(!other->expected().contains(file));
    }
    if (!answer && outcome_of(answer)["code"] == "RESOURCE_BUSY") {
      ++refused_;
      RC_ASSERT(guest.hypervisor.sent.empty());
      RC_ASSERT(files == files_.files);
      RC_ASSERT(leases == locks_.held_by(guest.name + "/vda"));
      RC_ASSERT(is_in_the_way(guest, written, outcome_of(answer)["message"]));
    }
    check();
  }
  unsigned refused() const { return refused_; }
  unsigned jobs() const { return jobs_; }  // that write to more than the active image

 private:
  // `written`: what the job writes to or is to remove, besides the active image.
  DomainResult<void> call(Guest& guest, const Act& act, std::vector<std::string>& written) {
    const std::vector<std::string> chain = guest.chain();
    Domain& domain = *guest.domain;
    const bool removes = act.flags % 2 != 0;
    switch (act.what % 8) {
      case 0:
        return domain.block_pull("vda", 0, 0);
      case 1:
        return domain.block_rebase("vda", chain[act.first % chain.size()], 0, 0);
      case 2:
      case 3: {  // from `top` into what is `depth` beneath it
        const std::size_t top = act.what % 8 == 2 ? 0 : act.first % chain.size();
        const std::size_t base = top + 1 + act.second % 2;
        if (base >= chain.size()) return {};
        written.push_back(chain[base]);
        if (top > 0) written.push_back(chain[top - 1]);
        for (std::size_t i = top; removes && i < base; ++i) written.push_back(chain[i]);
        return domain.block_commit("vda", chain[base], chain[top], 0,
                                   (top == 0 ? kCommitActive : 0U) | (removes ? kCommitDelete : 0));
      }
      case 4:
        written.push_back(path("copy" + std::to_string(act.first % 2)));
        return domain.block_rebase("vda", written[0], 0,
                                   kRebaseCopy | (removes ? kRebaseShallow : 0));
      case 5:
        written.push_back(path(act.first % 2 == 0 ? "spare" : "low"));
        return domain.block_rebase("vda", written[0], 0, kRebaseCopy | kRebaseReuseExt);
      case 6:
        guest.hypervisor.held = act.first % 2 != 0;
        return ended(guest, domain.block_job_abort("vda", removes ? kAbortPivot : 0U));
      default:
        return ended(guest, {});
    }
  }
  // Takes what has been told; a job that has ended holds nothing any more.
  static DomainResult<void> ended(Guest& guest, DomainResult<void> answer) {
    while (true) {
      const auto event = guest.domain->next_event(1ms);
      if (!event || !*event) return answer;
      if ((*event)->status != "READY") guest.written.clear();
    }
  }
  // The file that the text names is one that is wanted, and another's.
  bool is_in_the_way(const Guest& guest, const std::vector<std::string>& written,
                     const std::string& text) const {
    for (const auto& other : guests_)
      for (const auto& [file, mode] : other->expected())
        if (other->name != guest.name && std::ranges::find(written, file) != written.end() &&
            text.contains("'" + file + "'"))
          return true;
    return false;
  }
  void check() const {
    for (const auto& guest : guests_) {
      RC_ASSERT(locks_.held_by(guest->name + "/vda") == guest->expected());
      RC_ASSERT(guest->order.complaints() == std::vector<std::string>());
      LabelledFiles labels = labels_.set_by(guest->name + "/vda");
      RC_ASSERT(labels.size() == guest->expected().size());
      for (const auto& [file, mode] : guest->expected()) {
        RC_ASSERT(labels.contains(file));
        if (mode == LeaseMode::shared) RC_ASSERT(labels[file] == Label::read_only);
      }
      for (const auto& other : guests_)
        if (other != guest)
          for (const auto& [file, mode] : guest->expected())
            RC_ASSERT(mode == LeaseMode::shared || !other->expected().contains(file));
    }
  }

  testing::MapFiles files_;
  RememberedLabels labels_;
  LockManager locks_;
  std::vector<std::unique_ptr<Guest>> guests_;
  unsigned refused_ = 0;
  unsigned jobs_ = 0;
};

TEST(Leases, AreWhatChainsAndJobsNeed) {
  unsigned refused = 0, jobs = 0;
  const bool good = rc::check("leases and labels are what chains and jobs need", [&] {
    World world;
    const auto acts = *rc::gen::container<std::vector<std::vector<unsigned>>>(
        rc::gen::container<std::vector<unsigned>>(5, rc::gen::inRange(0U, 64U)));
    for (const std::vector<unsigned>& act : acts)
      world.perform({act[0], act[1], act[2], act[3], act[4]});
    refused += world.refused();
    jobs += world.jobs();
  });
  EXPECT_TRUE(good);
  // What is drawn is worth the while.
  EXPECT_GE(refused, 100U);
  EXPECT_GE(jobs, 100U);
}

}  // namespace
}  // namespace conformance
