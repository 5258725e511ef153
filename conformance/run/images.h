// Making a scenario's images with our own writer, so that no tool need be started.

#pragma once

#include <string>

#include "conformance/scenario/scenario.h"
#include "conformance/target/target.h"
#include "sim/storage/storage.h"

namespace conformance {

// What opens the scenario's encrypted images.
Passphrases passphrases_of(const Scenario& scenario, const std::string& directory);

// Writes every image of the scenario into `directory` of `files`: created as QEMU creates them,
// then filled through their own chain.  Headers name backing files by absolute path, with format;
// those of a transcript scenario without a directory, as its files are compared between sessions.
sim::Result<> make_images(const Scenario& scenario, sim::storage::FileSystem& files,
                          const std::string& directory);

// The same where a session's files are.
sim::Result<> make_images(const Scenario& scenario, Session& session);

}  // namespace conformance
