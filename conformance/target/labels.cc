#include "conformance/target/labels.h"

namespace conformance {

sim::Result<> RememberedLabels::set(const std::string& holder, const std::string& file,
                                    Label label) {
  LabelledFiles& files = labels_[holder];
  if (label == Label::none)
    files.erase(file);
  else
    files[file] = label;
  if (files.empty()) labels_.erase(holder);
  return sim::ok();
}

LabelledFiles RememberedLabels::set_by(const std::string& holder) const {
  const auto found = labels_.find(holder);
  return found == labels_.end() ? LabelledFiles() : found->second;
}

}  // namespace conformance
