#include "reports/junit.h"

#include <gtest/gtest.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include <map>
#include <memory>

#include "reports/example.h"

namespace reports {
namespace {

TEST(JunitReport, AsWritten) {
  EXPECT_EQ(to_junit(example_run()), R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="understudy" tests="6" failures="2" errors="1" skipped="1" time="1.250">
  <testsuite name="qemu" tests="3" failures="1" errors="1" skipped="0" time="0.625">
    <properties>
      <property name="version" value="7.2.22"/>
      <property name="seed" value="7"/>
    </properties>
    <testcase classname="qemu" name="a/one" time="0.500">
      <failure type="data" message="the guest reads what it wrote">
data        the guest reads what it wrote (model.md)
expected    9*64k
actual      0*64k
            9*1k
at          byte 65536, layer "copy"
wording     &lt;same&gt; text &amp; class
expected    a
actual      b
transcript  -&gt; job-complete {}
            &lt;- {"return": {}}
again: understudy run --seed 7 --target qemu a/one
</failure>
    </testcase>
    <testcase classname="qemu" name="a/three" time="0.000">
      <error type="broken" message="cannot start: )"
                                     "\uFFFD[31m\uFFFD"
                                     R"(">
reason      cannot start: \x1b[31m)"
                                     "\uFFFD"
                                     R"(
again: understudy run a/three
</error>
    </testcase>
    <testcase classname="qemu" name="a/two" time="0.125">
      <system-out>known divergence: 5.2 forgets READY</system-out>
    </testcase>
  </testsuite>
  <testsuite name="sim:7.2" tests="2" failures="0" errors="0" skipped="1" time="0.250">
    <properties>
      <property name="version" value="0.1.0"/>
      <property name="seed" value="7"/>
    </properties>
    <testcase classname="sim:7.2" name="a/one" time="0.250"/>
    <testcase classname="sim:7.2" name="a/two" time="0.000">
      <skipped message="no #1 reason"/>
    </testcase>
  </testsuite>
  <testsuite name="expectations" tests="1" failures="1" errors="0" skipped="0" time="0.000">
    <testcase classname="expectations" name="qemu 7.2: a/four" time="0.000">
      <failure type="expectation" message="a known divergence no longer shows">)"
                                     R"(qemu 7.2: a/four</failure>
    </testcase>
  </testsuite>
</testsuites>
)");
}

using Document = std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)>;

Document parse(const std::string& text) {
  return {xmlReadMemory(text.data(), static_cast<int>(text.size()), "report.xml", nullptr,
                        XML_PARSE_NONET | XML_PARSE_PEDANTIC),
          xmlFreeDoc};
}

std::map<std::string, int> count_elements(const xmlNode* node) {
  std::map<std::string, int> counts;
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (child->type != XML_ELEMENT_NODE) continue;
    ++counts[reinterpret_cast<const char*>(child->name)];
    for (const auto& [name, count] : count_elements(child)) counts[name] += count;
  }
  return counts;
}

TEST(JunitReport, AParserReadsItBack) {
  const Document document = parse(to_junit(example_run()));
  ASSERT_NE(document, nullptr);
  const xmlNode* root = xmlDocGetRootElement(document.get());
  EXPECT_STREQ(reinterpret_cast<const char*>(root->name), "testsuites");
  const std::map<std::string, int> expected = {
      {"testsuite", 3}, {"properties", 2}, {"property", 4},   {"testcase", 6},
      {"failure", 2},   {"error", 1},      {"system-out", 1}, {"skipped", 1}};
  EXPECT_EQ(count_elements(root), expected);
}

TEST(JunitReport, AnyBytesMakeWellFormedXml) {
  conformance::RunResult run = example_run();
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  for (conformance::ScenarioResult& result : run.results) {
    result.id += every_byte;
    result.detail = every_byte;
    result.transcript = {every_byte, "]]>", "<!--", "&amp;"};
  }
  run.targets[0].version = every_byte;
  run.stale_expectations = {every_byte};
  EXPECT_NE(parse(to_junit(run)), nullptr);
  EXPECT_NE(parse(to_junit({})), nullptr);
}

}  // namespace
}  // namespace reports
