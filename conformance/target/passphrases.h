// What opens encrypted images.

#pragma once

#include <map>
#include <string>

namespace conformance {

// By the absolute path of the image that it opens.  Never to be shown, nor written anywhere.
using Passphrases = std::map<std::string, std::string>;

}  // namespace conformance
