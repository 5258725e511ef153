// Malformed calls, to each installed release and to the checks that come from the declarations:
// the same class and the same text.

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "real-qemu/differential/malformed_calls.h"
#include "real-qemu/differential/release_for_test.h"
#include "sim/qmp/schema.h"

namespace differential {
namespace {

using sim::Json;
using sim::qmp::Compat;
using sim::qmp::Message;
using sim::qmp::Schema;

class QmpTexts : public ReleaseTest {
 protected:
  std::string ours(const Message& command, const Json& arguments, const Compat& compat) {
    const sim::Result<> done = Schema::of(profile()).check_arguments(command, arguments, compat);
    if (done) return "accepted";
    return std::string(name_of(done.error().error_class)) + ": " + done.error().desc;
  }
  std::string theirs(const Message& command, const Json& arguments) {
    const Json reply = ask(command.name, arguments);
    if (!reply.contains("error")) return "accepted";
    return reply["error"]["class"].get<std::string>() + ": " +
           reply["error"]["desc"].get<std::string>();
  }
  void compare_all(const Compat& compat, const std::vector<Json>& poor) {
    std::set<std::size_t> seen;
    std::size_t calls = 0, differences = 0;
    for (const Message& command : Schema::of(profile()).messages()) {
      // Negotiation is over, and says so before it looks at arguments.
      if (command.is_event || !command.checked || command.name == "qmp_capabilities") continue;
      make_malformed_calls(command, poor, seen, [&](const Json& arguments) {
        if (!usable() || differences > 20 || !arguments.is_object()) return;
        ++calls;
        const std::string expected = theirs(command, arguments);
        const std::string actual = ours(command, arguments, compat);
        differences += expected != actual ? 1 : 0;
        EXPECT_EQ(actual, expected)
            << command.name << ' ' << arguments.dump() << "\nleft: ours, right: QEMU's";
      });
    }
    EXPECT_GT(calls, poor.empty() ? 1'000U : 10'000U);
  }
};

TEST_P(QmpTexts, OfMalformedCallsAreQemus) { compare_all({}, poor_values()); }

TEST_P(QmpTexts, OfRefusingPoliciesAreQemus) {
  if (!has_policies()) GTEST_SKIP() << "no -compat before 6.0";
  restart({"-compat", "deprecated-input=reject,unstable-input=reject"});
  compare_all({.deprecated_input = Compat::Input::reject, .unstable_input = Compat::Input::reject},
              {});
}

INSTANTIATE_TEST_SUITE_P(Releases, QmpTexts, ::testing::ValuesIn(release_names()), name_of_release);

}  // namespace
}  // namespace differential
