#include "conformance/property/case.h"

#include <rapidcheck.h>

#include "conformance/property/block_copy_case.h"
#include "conformance/property/domain_case.h"
#include "conformance/property/qmp_case.h"

namespace conformance::property {

rc::Gen<PlannedScenario> cases_of(std::string_view property) {
  if (property == "qmp")
    return rc::gen::map(qmp_cases(), [](const QmpCase& drawn) { return to_scenario(drawn); });
  if (property == "domain")
    return rc::gen::map(domain_cases(), [](const DomainCase& drawn) { return to_scenario(drawn); });
  return rc::gen::map(block_copy_cases(), [](const BlockCopyCase& drawn) {
    return to_scenario(drawn, "explore/block-copy");
  });
}

}  // namespace conformance::property
