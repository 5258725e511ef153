// Keeping what a run left behind, for a person to look at.

#pragma once

#include <string>

#include "conformance/target/files.h"
#include "conformance/target/transcript.h"

namespace conformance {

// Writes the images and the transcript to directory/<id>/<target>/, with '/' and ':' in the names
// replaced by '_'.  What cannot be written is said on stderr; the run goes on.
void keep_evidence(const std::string& directory, const std::string& id, const std::string& target,
                   const Files& files, const Transcript& transcript);

}  // namespace conformance
