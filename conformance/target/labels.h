// The port to a host's security labels: what a hypervisor may do with an image file.

#pragma once

#include <map>
#include <string>

#include "sim/base/result.h"

namespace conformance {

// Ordered: the later allows more.
enum class Label : unsigned char { none, read_only, read_write };

using LabelledFiles = std::map<std::string, Label>;  // by absolute path; none of them is `none`

class Labels {
 public:
  virtual ~Labels() = default;

  // A file may carry labels for several holders; the host remembers whose each is.  `none` gives
  // the holder's back.  Error: the system's.
  [[nodiscard]] virtual sim::Result<> set(const std::string& holder, const std::string& file,
                                          Label label) = 0;
  virtual LabelledFiles set_by(const std::string& holder) const = 0;
};

// Labels that are remembered and nothing else: of a host without a security driver, and of tests.
class RememberedLabels final : public Labels {
 public:
  [[nodiscard]] sim::Result<> set(const std::string& holder, const std::string& file,
                                  Label label) override;
  LabelledFiles set_by(const std::string& holder) const override;
  const std::map<std::string, LabelledFiles>& by_holder() const { return labels_; }

 private:
  std::map<std::string, LabelledFiles> labels_;  // by holder; none is empty
};

}  // namespace conformance
