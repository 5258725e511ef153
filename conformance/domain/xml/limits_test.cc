// No document takes more than a second or 64 MiB.

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/snapshot.h"
#include "conformance/domain/xml/volume.h"
#include "conformance/domain/xml/xml_for_test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDERSTUDY_SANITIZED 1
#endif
#endif

namespace conformance::xml {
namespace {

// A line of /proc/self/status, in KiB: "VmRSS", or "VmHWM" for the most since forget_peak.
long memory_kib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return std::stol(line.substr(name.size() + 1));
  return 0;
}
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

template <class T>
std::string answer_of(const DomainResult<T>& read) {
  return read ? "accepted" : std::get<DomainError>(read.error()).message;
}
std::string as_domain(const std::string& text) { return answer_of(parse_domain(text)); }
std::string as_volume(const std::string& text) { return answer_of(parse_volume(text)); }
std::string as_snapshot(const std::string& text) { return answer_of(parse_domain_snapshot(text)); }

// Parses in a process of its own, and returns what was said.  The text itself counts into the 64
// MiB.
std::string said(const std::function<std::string()>& make,
                 std::string (*parse)(const std::string&) = as_domain) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    [[maybe_unused]] const long before = memory_kib("VmRSS");
    const std::string text = make();
    malloc_trim(0);  // what making the text took
    forget_peak();
    const std::clock_t start = std::clock();  // of the processor: the machine may be busy
    std::string answer = parse(text);
    [[maybe_unused]] const std::clock_t took = std::clock() - start;
#ifndef UNDERSTUDY_SANITIZED
    if (took > CLOCKS_PER_SEC) answer += " (slow)";
    if (memory_kib("VmHWM") - before > 64 * 1024) answer += " (large)";
    if (getenv("UNDERSTUDY_SHOW_LIMITS") != nullptr)
      fprintf(stderr, "%s: %ld ms, %ld KiB\n", answer.c_str(),
              static_cast<long>(took * 1000 / CLOCKS_PER_SEC), memory_kib("VmHWM") - before);
#endif
    if (write(ends[1], answer.data(), answer.size()) < 0) _exit(1);
    _exit(0);
  }
  close(ends[1]);
  std::string answer;
  char buffer[512];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status)) answer += " (crashed)";
  return answer;
}

std::string repeated(std::string_view piece, std::size_t bytes) {
  std::string text;
  text.reserve(bytes + 64);
  while (text.size() + piece.size() <= bytes) text += piece;
  return text;
}

constexpr std::size_t kAlmost = kMaxDocument - 64;
constexpr const char* kTooDeep =
    "(domain_definition):1: Excessive depth in document: 256 use XML_PARSE_HUGE option";
constexpr const char* kTooManyNodes = "a document with more than 32768 nodes";

TEST(Limits, Length) {
  EXPECT_EQ(said([] { return "<domain>" + repeated(" ", kMaxDocument); }),
            "a document of more than 16777216 bytes");
  EXPECT_EQ(said([] { return "<domain>" + repeated(" ", kAlmost) + "</domain>"; }), "accepted");
}

TEST(Limits, Nesting) {
  EXPECT_EQ(said([] { return repeated("<a>", kMaxDocument); }), kTooDeep);
  EXPECT_EQ(said([] { return "<domain>" + repeated("<a b='c'>", kAlmost); }), kTooDeep);
  const auto nested = [](unsigned levels) {
    std::string text = "<domain>";
    for (unsigned i = 1; i < levels; ++i) text += "<a>";
    for (unsigned i = 1; i < levels; ++i) text += "</a>";
    return text + "</domain>";
  };
  EXPECT_EQ(said([&] { return nested(256); }), "accepted");
  EXPECT_EQ(said([&] { return nested(258); }), kTooDeep);
}

TEST(Limits, Attributes) {
  EXPECT_EQ(said([] {
              std::string text = "<domain";
              for (unsigned i = 0; i < 1000000; ++i) text += " a" + std::to_string(i) + "=''";
              return text + "/>";
            }),
            "an element with more than 1000 attributes");
  // Behind what is no XML, where counting loses its way.
  EXPECT_EQ(said([] {
              std::string text = "<domain \"><b";
              for (unsigned i = 0; i < 1000000; ++i) text += " a" + std::to_string(i) + "=''";
              return text + "/>";
            }),
            "(domain_definition):1: error parsing attribute name");
  EXPECT_EQ(said([] {
              std::string element = "<a";
              for (unsigned i = 0; i < 1000; ++i) element += " a" + std::to_string(i) + "=''";
              return "<domain>" + repeated(element + "/>", kAlmost) + "</domain>";
            }),
            "a document with more than 65536 attributes");
}

TEST(Limits, Elements) {
  EXPECT_EQ(said([] { return "<domain>" + repeated("<a/>", kAlmost) + "</domain>"; }),
            kTooManyNodes);
  EXPECT_EQ(said([] { return "<domain>" + repeated("x<a/>", kAlmost) + "</domain>"; }),
            kTooManyNodes);
  EXPECT_EQ(said([] { return "<domain>" + repeated("<!---->", kAlmost) + "</domain>"; }),
            kTooManyNodes);
  EXPECT_EQ(said([] { return "<domain>" + repeated("<?a?>", kAlmost) + "</domain>"; }),
            kTooManyNodes);
  EXPECT_EQ(said([] { return "<domain>" + repeated("<![CDATA[]]>", kAlmost) + "</domain>"; }),
            "accepted");
  EXPECT_EQ(said([] {
              return "<domain><devices>" +
                     repeated("<disk><source file='/a'/><target dev='vda'/></disk>", kAlmost) +
                     "</devices></domain>";
            }),
            kTooManyNodes);
}

TEST(Limits, AsMuchAsIsAccepted) {
  EXPECT_EQ(said([] {
              std::string text = "<domain><devices>";
              for (unsigned i = 0; i < 8192; ++i)
                text += "<disk><source file='" + std::string(1950, 'x') + "'/><target dev='vd" +
                        std::string(1 + i / 26 % 26, 'a') + std::string(1, char('a' + i % 26)) +
                        std::to_string(i) + "'/></disk>";
              return text + "</devices></domain>";
            }),
            "accepted");
  EXPECT_EQ(said([] {
              return "<domain>" +
                     repeated("<aaaaaaaaaaaaaaaaaaaaaa b='ccccccccccccccccccccc'>" +
                                  std::string(960, 'x') + "</aaaaaaaaaaaaaaaaaaaaaa>",
                              kAlmost) +
                     "</domain>";
            }),
            "accepted");
}

TEST(Limits, Disks) {
  const auto drives = [](unsigned count) {
    std::string text = "<domain><devices>";
    for (unsigned i = 0; i < count; ++i)
      text += "<disk device='cdrom'><target dev='hd" + std::string(1900, 'a') + std::to_string(i) +
              "'/></disk>";
    return text + "</devices></domain>";
  };
  EXPECT_EQ(said([&] { return drives(8192); }), "accepted");
  EXPECT_EQ(said([&] { return drives(8193); }), "a domain with more than 8192 disks");
}

TEST(Limits, Texts) {
  for (const std::string piece : {"x", "&lt;", "&#x41;", "]] ", "&amp;"})
    EXPECT_EQ(said([&] { return "<domain>" + repeated(piece, kAlmost) + "</domain>"; }), "accepted")
        << piece;
  for (const char* start :
       {"<domain a='", "<domain><!--", "<domain><?a ", "<domain><![CDATA[", "<domain><", "<",
        "<domain>&", "<domain>&#", "<?xml ", "<!DOCTYPE ", "<domain xmlns:a='"})
    EXPECT_EQ(said([&] { return start + repeated("x", kAlmost); }).find(" ("), std::string::npos)
        << start << ": " << said([&] { return start + repeated("x", kAlmost); });
}

TEST(Limits, VolumesAndSnapshots) {
  const auto volume = [](const std::string& within) {
    return "<volume><name>v</name><capacity>1</capacity><target>" + within + "</target></volume>";
  };
  const auto snapshot = [](const std::string& within) {
    return "<domainsnapshot><disks><disk name='vda'>" + within + "</disk></disks></domainsnapshot>";
  };
  constexpr std::size_t kRoom = kMaxDocument - 256;
  for (const std::string end : {"", "<path/>"}) {
    EXPECT_EQ(
        said([&] { return volume("<path>" + repeated("x", kRoom) + "</path>" + end); }, as_volume),
        "accepted");
    EXPECT_EQ(said([&] { return volume(repeated("<x/>", kRoom) + end); }, as_volume),
              kTooManyNodes);
    EXPECT_EQ(
        said([&] { return snapshot("<x>" + repeated("x", kRoom) + "</x>" + end); }, as_snapshot),
        "accepted");
    EXPECT_EQ(said([&] { return snapshot(repeated("<x/>", kRoom) + end); }, as_snapshot),
              kTooManyNodes);
  }
  EXPECT_EQ(said([&] { return snapshot("<x>" + repeated("<x a=''/>", 9 * 32000) + "</x>"); },
                 as_snapshot),
            "accepted");
}

// Ten entities of ten entities of …: refused before the first is read.
TEST(Limits, EntityBomb) {
  EXPECT_EQ(said([] {
              std::string text = "<!DOCTYPE domain [<!ENTITY e0 'ha'>";
              for (unsigned i = 1; i < 30; ++i) {
                text += "<!ENTITY e" + std::to_string(i) + " '";
                for (unsigned k = 0; k < 10; ++k) text += "&e" + std::to_string(i - 1) + ";";
                text += "'>";
              }
              return text + "]><domain>&e29;</domain>";
            }),
            "a document type declaration is not accepted");
}

std::string chain(unsigned layers) {
  std::string disk = "<disk><source file='/top'/><target dev='vda'/>";
  for (unsigned i = 0; i < layers; ++i)
    disk += "<backingStore type='file'><format type='raw'/><source file='/b'/>";
  for (unsigned i = 0; i < layers; ++i) disk += "</backingStore>";
  return domain_with(disk + "</disk>");
}

TEST(Limits, Chains) {
  EXPECT_EQ(said([] { return chain(200); }), "accepted");
  EXPECT_EQ(said([] { return chain(201); }),
            "backing store for /top is self-referential or too deeply nested");
  const auto domain = parse_domain(chain(200));
  ASSERT_TRUE(domain.has_value());
  const auto again = parse_domain(format_domain(*domain, Form::live));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->disks, domain->disks);
}

}  // namespace
}  // namespace conformance::xml
