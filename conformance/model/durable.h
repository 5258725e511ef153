// What may be found on a disk after the power was cut: at each place what it held at the last
// flush, or what it held at some moment since.

#pragma once

#include <utility>

#include "conformance/model/layer.h"

namespace conformance::model {

class Durable {
 public:
  explicit Durable(View now) : may_(std::move(now)) {}
  void changed(const View& now) { may_ = either(may_, now); }
  void flushed(View now) { may_ = std::move(now); }
  const View& may() const { return may_; }

 private:
  View may_;
};

}  // namespace conformance::model
