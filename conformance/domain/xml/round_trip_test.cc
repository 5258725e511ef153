// Any disk that can be said in XML is read as it was written.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/iotune_names.h"
#include "conformance/domain/xml/names.h"
#include "conformance/domain/xml/xml_for_test.h"

namespace conformance::xml {
namespace {

// One of `words`, or nothing.
std::string word(Names words) {
  const auto at = *rc::gen::inRange<std::size_t>(0, words.size() + 1);
  return at == words.size() ? "" : std::string(words[at]);
}
// A word of `words`.
std::string must(Names words) {
  return std::string(words[*rc::gen::inRange<std::size_t>(0, words.size())]);
}
// Not empty; with all that XML has to escape.
std::string text() {
  return *rc::gen::nonEmpty(
      rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab/<>&'\"; \t\n\r#;]x"))));
}
bool coin() { return *rc::gen::arbitrary<bool>(); }

SecretReference secret(std::string_view type) {
  SecretReference secret;
  secret.type = type;
  if (coin()) {
    secret.value = "5a1c4d2e-0d1f-4c57-8b1c-1d6b0a5f7c11";
  } else {
    secret.by = SecretReference::By::usage;
    secret.value = text();
  }
  return secret;
}

Host host() {
  Host host;
  host.transport = must(names::kTransports);
  if (host.transport == "unix") {
    host.socket = text();
  } else {
    host.name = text();
    host.port = *rc::gen::inRange(1U, 65536U);
  }
  return host;
}

void draw_place(StorageSource& source) {
  source.type = *rc::gen::element(StorageType::file, StorageType::block, StorageType::network,
                                  StorageType::volume);
  if (source.type == StorageType::network) {
    source.protocol = *rc::gen::element<std::string>("nbd", "rbd", "http");
    source.name = "p/" + text();
    while (coin()) source.hosts.push_back(host());
    if (source.protocol != "nbd" && coin())
      source.auth = Authentication{text(), word(names::kAuthTypes), secret("ceph")};
  } else if (source.type == StorageType::volume) {
    source.pool = text();
    source.volume = text();
    source.mode = word(names::kVolumeModes);
  } else {
    source.path = text();
    if (coin()) source.labels.push_back({"dac", false, "", false});
    if (coin()) source.labels.push_back({"selinux", true, text(), false});
    if (coin()) source.labels.push_back({"", true, "", true});
  }
}

StorageSource draw_source(bool beneath) {
  StorageSource source;
  draw_place(source);
  source.format = beneath ? must(names::kFormats) : word(names::kFormats);
  source.index = *rc::gen::inRange(0U, 99U);
  if (coin()) {
    source.encryption =
        Encryption{must(names::kEncryptionFormats), word(names::kEncryptionEngines), {}, {}};
    while (coin()) source.encryption->secrets.push_back(secret("passphrase"));
  }
  if (coin()) source.other_attributes.push_back({"unknown", text()});
  if (coin()) {
    Element unknown = Element::named("unknown");
    unknown.set("a", text()).add_text(text());
    source.others.push_back({0, unknown});
  }
  switch (*rc::gen::inRange(0, 3)) {
    case 0:
      source.backing = Backing::terminated();
      break;
    case 1:
      source.backing = Backing::of(draw_source(true));
      break;
    default:
      break;
  }
  return source;
}

DiskDevice draw_disk() {
  DiskDevice disk;
  disk.target = *rc::gen::element<std::string>("vda", "sdb", "hdaa", "xvdc1");
  disk.bus = must(std::array<std::string_view, 3>{"virtio", "scsi", "ide"});
  disk.driver = coin() ? text() : "";
  disk.cache = word(std::span(names::kCaches).subspan(1));  // not "default"
  disk.io = word(names::kIo);
  disk.discard = word(names::kDiscard);
  disk.detect_zeroes = word(names::kDetectZeroes);
  disk.snapshot = word(std::span(names::kSnapshots).subspan(1));  // "no" is implied by readonly
  disk.serial = coin() ? text() : "";
  disk.alias = coin() ? text() : "";
  disk.read_only = coin();
  disk.shareable = coin();
  disk.transient = coin();
  for (const std::string_view limit : {"total_bytes_sec", "read_iops_sec", "size_iops_sec"})
    if (coin()) disk.iotune.limits.emplace(limit, *rc::gen::positive<std::uint64_t>());
  if (coin()) disk.iotune.group_name = text();
  disk.source = draw_source(false);
  disk.auth_in_disk = disk.source.auth && coin();
  disk.encryption_in_disk = disk.source.encryption && coin();
  if (coin())
    disk.mirror = Mirror{word(names::kMirrorJobs), word(names::kMirrorReady), draw_source(false)};
  return disk;
}

TEST(RoundTrip, AnyDisk) {
  const bool good = rc::check("a disk is read as it was written", [] {
    DomainXml domain;
    domain.rest = Element::named("domain");
    domain.disks.push_back(draw_disk());
    const std::string text = format_domain(domain, Form::live);
    const auto read = parse_domain(text);
    RC_ASSERT(read.has_value());
    RC_ASSERT(read->disks == domain.disks);
    RC_ASSERT(format_domain(*read, Form::live) == text);

    const auto inactive = parse_domain(format_domain(domain, Form::inactive), Form::inactive);
    RC_ASSERT(inactive.has_value());
    RC_ASSERT(!inactive->disks[0].mirror.has_value());
    RC_ASSERT(inactive->disks[0].source.index == 0U);
  });
  EXPECT_TRUE(good);
}

}  // namespace
}  // namespace conformance::xml
