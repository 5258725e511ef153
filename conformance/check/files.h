// Comparing a directory with what the model says must be in it.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/inspect/inspector.h"
#include "conformance/model/domain_model.h"
#include "conformance/target/files.h"
#include "conformance/verdict/verdict.h"

namespace conformance::check {

// File name to inspect::digest(), of every file of a directory.
using Digests = std::map<std::string, std::uint64_t>;
Digests digests_of(const Files& files);

// What a directory's files were, to tell later which have changed.
struct Before {
  std::unique_ptr<RememberedFiles> files;  // null: known by their digests only
  Digests digests;
};
Before remember(const Files& files);

// Every file of the directory against its expectation: that it is there and no other, format,
// encryption, virtual size, backing name and format, the chain that the headers make, each place of
// its own content, and its metadata (a recount of all references).  `before` tells what a file that
// may not change was.  Nothing is said about files that a job is using.
std::vector<Divergence> compare_files(const Files& files,
                                      const std::vector<model::FileExpectation>& expected,
                                      const Before& before, const Passphrases& passphrases = {});

// After a power cut: every image is intact but for leaked clusters, and what is read through the
// chain from `path` down may be there.
struct FoundDisk {
  std::string disk;    // its target name, for messages
  std::string path;    // of its active image
  std::string format;  // "raw" or "qcow2"
  model::View may;
};
std::vector<Divergence> compare_after_cut(const Files& files,
                                          const std::vector<model::FileExpectation>& expected,
                                          const std::vector<FoundDisk>& disks,
                                          const Passphrases& passphrases = {});

// A view read through headers against the view that must be seen; nothing if they agree.
std::vector<Divergence> compare_views(const inspect::View& actual, const model::View& expected,
                                      const std::string& whose);

}  // namespace conformance::check
