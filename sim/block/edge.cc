#include "sim/block/edge.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/node.h"

namespace sim::block {

Edge::Edge(Node* parent, User* user, std::string name, Roles roles, Permission permission)
    : parent_(parent),
      user_(user),
      name_(std::move(name)),
      roles_(roles),
      permission_(permission) {}

Edge::~Edge() { point_at(nullptr); }

std::string Edge::describe_owner() const {
  return parent_ != nullptr ? fmt::format("node '{}'", parent_->name()) : user_->describe();
}

void Edge::begin_quiet() {
  if (quiet_) return;
  quiet_ = true;
  if (user_ != nullptr)
    user_->drained_begin();
  else
    parent_->begin_quiet();
}

void Edge::end_quiet() {
  if (!quiet_) return;
  quiet_ = false;
  if (user_ != nullptr)
    user_->drained_end();
  else
    parent_->end_quiet();
}

// A drained node keeps its owner quiet, whichever of the two comes or goes.
void Edge::point_at(NodePtr node) {
  if (node && node->is_quiesced()) begin_quiet();
  if (node_) std::erase(node_->parents_, this);
  node_ = std::move(node);
  if (node_) node_->parents_.insert(node_->parents_.begin(), this);
  if (!node_ || !node_->is_quiesced()) end_quiet();
}

}  // namespace sim::block
