#include "reports/junit.h"

#include <fmt/format.h>
#include <libxml/tree.h>

#include <memory>

#include "reports/failure.h"
#include "reports/file.h"
#include "reports/text.h"
#include "sim/base/check.h"

namespace reports {
namespace {

using conformance::RunResult;
using conformance::ScenarioResult;
using conformance::Verdict;

const xmlChar* xml(const std::string& text) {
  return reinterpret_cast<const xmlChar*>(text.c_str());
}

// An element of a document, which owns it.
class Element {
 public:
  explicit Element(xmlNodePtr node) : node_(node) { CHECK(node != nullptr, "out of memory"); }

  Element child(const std::string& name) {
    return Element(xmlAddChild(node_, xmlNewDocNode(node_->doc, nullptr, xml(name), nullptr)));
  }
  Element& set(const std::string& name, const std::string& value) {
    xmlNewProp(node_, xml(name), xml(xml_text(value)));
    return *this;
  }
  Element& set(const std::string& name, std::uint64_t value) {
    return set(name, std::to_string(value));
  }
  Element& set_seconds(double seconds) { return set("time", fmt::format("{:.3f}", seconds)); }
  Element& text(const std::string& content) {
    xmlAddChild(node_, xmlNewDocText(node_->doc, xml(xml_text(content))));
    return *this;
  }

 private:
  xmlNodePtr node_;
};

struct Counts {
  std::uint64_t tests = 0;
  std::uint64_t failures = 0;
  std::uint64_t errors = 0;
  std::uint64_t skipped = 0;
  double seconds = 0;

  void add(const ScenarioResult& result) {
    ++tests;
    failures += result.verdict == Verdict::diverges;
    errors += result.verdict == Verdict::broken;
    skipped += result.verdict == Verdict::skipped;
    seconds += result.seconds;
  }
  void write(Element& element) const {
    element.set("tests", tests).set("failures", failures).set("errors", errors);
    element.set("skipped", skipped).set_seconds(seconds);
  }
};

void add_case(Element& suite, const ScenarioResult& result) {
  Element test = suite.child("testcase");
  test.set("classname", result.target).set("name", result.id).set_seconds(result.seconds);
  switch (result.verdict) {
    case Verdict::conforms:
      break;
    case Verdict::diverges:
      test.child("failure")
          .set("type", std::string(name_of(result.divergence_class())))
          .set("message", one_line(result.detail))
          .text("\n" + failure_text(result, ""));
      break;
    case Verdict::broken:
      test.child("error")
          .set("type", "broken")
          .set("message", one_line(result.detail))
          .text("\n" + failure_text(result, ""));
      break;
    case Verdict::skipped:
      test.child("skipped").set("message", one_line(result.detail));
      break;
    case Verdict::known:
      test.child("system-out").text("known divergence: " + result.detail);
      break;
  }
}

void add_target(Element& root, const RunResult& run, const conformance::TargetInfo& target) {
  Element suite = root.child("testsuite");
  suite.set("name", target.name);
  Counts counts;
  for (const ScenarioResult& result : run.results)
    if (result.target == target.name) counts.add(result);
  counts.write(suite);
  Element properties = suite.child("properties");
  properties.child("property").set("name", "version").set("value", target.version);
  properties.child("property").set("name", "seed").set("value", run.seed);
  for (const ScenarioResult& result : run.results)
    if (result.target == target.name) add_case(suite, result);
}

void add_stale(Element& root, const RunResult& run) {
  if (run.stale_expectations.empty()) return;
  Element suite = root.child("testsuite");
  suite.set("name", "expectations");
  const std::uint64_t count = run.stale_expectations.size();
  Counts{.tests = count, .failures = count}.write(suite);
  for (const std::string& stale : run.stale_expectations) {
    Element test = suite.child("testcase");
    test.set("classname", "expectations").set("name", one_line(stale)).set_seconds(0);
    test.child("failure")
        .set("type", "expectation")
        .set("message", "a known divergence no longer shows")
        .text(stale);
  }
}

}  // namespace

std::string to_junit(const RunResult& run) {
  const std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)> document(xmlNewDoc(xml("1.0")), xmlFreeDoc);
  CHECK(document != nullptr, "out of memory");
  xmlDocSetRootElement(document.get(),
                       xmlNewDocNode(document.get(), nullptr, xml("testsuites"), nullptr));
  Element root(xmlDocGetRootElement(document.get()));
  root.set("name", "understudy");
  Counts counts;
  for (const ScenarioResult& result : run.results) counts.add(result);
  counts.tests += run.stale_expectations.size();
  counts.failures += run.stale_expectations.size();
  counts.seconds = run.seconds;
  counts.write(root);
  for (const conformance::TargetInfo& target : run.targets) add_target(root, run, target);
  add_stale(root, run);

  xmlChar* text = nullptr;
  int size = 0;
  xmlDocDumpFormatMemoryEnc(document.get(), &text, &size, "UTF-8", 1);
  CHECK(text != nullptr, "out of memory");
  std::string result(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  xmlFree(text);
  return result;
}

sim::Result<> write_junit(const RunResult& run, const std::string& path) {
  return write_file(path, to_junit(run));
}

}  // namespace reports
