// x-debug-query-block-graph: nodes, their users, and who needs what of whom.

#include <algorithm>
#include <array>
#include <map>
#include <ranges>

#include "sim/command/context.h"
#include "sim/job/block_job.h"

namespace sim::command {

namespace {

// QAPI: BlockPermission, in its order.
struct NamedPermission {
  std::string_view name;
  block::Permissions bit;
};
constexpr std::array kPermissions = {NamedPermission{"consistent-read", block::kConsistentRead},
                                     NamedPermission{"write", block::kWrite},
                                     NamedPermission{"write-unchanged", block::kWriteUnchanged},
                                     NamedPermission{"resize", block::kResize}};

// QAPI: XDbgBlockGraph.  Numbers are given as things are met; lists have the newest first.
class Drawing {
 public:
  explicit Drawing(bool has_graph_mod) : has_graph_mod_(has_graph_mod) {}

  void add_node(const void* what, std::string_view type, const std::string& name) {
    Json node = {{"id", number_of(what)}, {"type", type}, {"name", name}};
    nodes_.insert(nodes_.begin(), std::move(node));
  }
  void add_edge(const void* parent, const block::Edge& edge) {
    const unsigned number = number_of(parent);
    Json described = {{"parent", number},
                      {"child", number_of(edge.node().get())},
                      {"name", edge.name()},
                      {"perm", names_of(edge.needed(), false)},
                      {"shared-perm", names_of(edge.shared(), has_graph_mod_)}};
    edges_.insert(edges_.begin(), std::move(described));
  }
  Json take() { return {{"nodes", std::move(nodes_)}, {"edges", std::move(edges_)}}; }

 private:
  unsigned number_of(const void* what) {
    return numbers_.try_emplace(what, static_cast<unsigned>(numbers_.size() + 1)).first->second;
  }
  static Json names_of(block::Permissions bits, bool graph_mod) {
    Json names = Json::array();
    for (const NamedPermission& permission : kPermissions)
      if ((bits & permission.bit) != 0) names.insert(names.begin(), permission.name);
    if (graph_mod) names.insert(names.begin(), "graph-mod");
    return names;
  }

  bool has_graph_mod_;
  std::map<const void*, unsigned> numbers_;  // looked up only: their order decides nothing
  Json nodes_ = Json::array(), edges_ = Json::array();
};

// A block job that holds nodes, or will.
bool is_at_work(const std::shared_ptr<job::Job>& job) {
  return job->status() != job::Status::null && job->is_block_job();
}

Task<Result<Json>> query_block_graph(Context& context, Json /*arguments*/) {
  const auto jobs = context.jobs.all();
  const bool has_graph_mod = !context.profile.objects_are_checked_by_schema;
  if (has_graph_mod && std::ranges::any_of(jobs, is_at_work))
    co_return Error{ErrorClass::generic,
                    "understudy: x-debug-query-block-graph while there are jobs is not in this "
                    "version for 5.2, which has one more permission"};
  Drawing drawing(has_graph_mod);
  for (const block::Backend* backend : context.graph.backends) {
    const bool is_hidden =  // of a job that does not need it, or not any more
        !backend->queues_requests && backend->edge() == nullptr;
    if (is_hidden) continue;
    std::string name = backend->name();
    if (name.empty() && backend->device != nullptr) name = backend->device->label();
    drawing.add_node(backend, "block-backend", name);
    if (backend->edge() != nullptr) drawing.add_edge(backend, *backend->edge());
  }
  for (const auto& job : jobs) {
    if (!is_at_work(job)) continue;
    const auto* block_job = dynamic_cast<const job::BlockJob*>(job.get());
    drawing.add_node(job.get(), "block-job", job->id());
    for (const block::EdgePtr& edge : std::views::reverse(block_job->held()))
      drawing.add_edge(job.get(), *edge);
  }
  const auto& nodes = context.graph.all();
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    drawing.add_node(node->get(), "block-driver", (*node)->name());
    const bool is_hollow =
        (*node)->outlived_job && context.profile.concluded_stream_filter_is_hollow;
    if (is_hollow) continue;
    for (const block::EdgePtr& child : (*node)->children()) drawing.add_edge(node->get(), *child);
  }
  co_return drawing.take();
}

constexpr std::array kCommands = {
    Command{"x-debug-query-block-graph", query_block_graph},
};

}  // namespace

std::span<const Command> block_graph_commands() { return kCommands; }

}  // namespace sim::command
