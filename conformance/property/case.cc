#include "conformance/property/case.h"

#include <rapidcheck.h>

#include <algorithm>

#include "conformance/property/block_copy_case.h"
#include "conformance/property/domain_case.h"
#include "conformance/property/pull_case.h"
#include "conformance/property/qmp_case.h"

namespace conformance::property {

void repair(std::vector<Image>& images) {
  for (Image& image : images) {
    std::erase_if(image.writes, [&](Write& write) {
      if (write.offset >= image.size) return true;
      write.length = std::min(write.length, image.size - write.offset);
      return write.length == 0;
    });
    const bool there = std::ranges::count(images, image.backing, &Image::name) != 0;
    if (!there || image.format == Image::Format::raw) image.backing.clear();
    if (!image.backing_name.empty()) image.backing_name = image.backing;
  }
}

rc::Gen<PlannedScenario> cases_of(std::string_view property) {
  if (property == "qmp")
    return rc::gen::map(qmp_cases(), [](const QmpCase& drawn) { return to_scenario(drawn); });
  if (property == "domain")
    return rc::gen::map(domain_cases(), [](const DomainCase& drawn) { return to_scenario(drawn); });
  if (property == "pull")
    return rc::gen::map(pull_cases(), [](const PullCase& drawn) {
      return to_scenario(drawn, PullForm::increments).planned;
    });
  return rc::gen::map(block_copy_cases(), [](const BlockCopyCase& drawn) {
    return to_scenario(drawn, "explore/block-copy");
  });
}

}  // namespace conformance::property
