// File names as commands, command lines and images' headers give them.
//
// "json:{…}" holds options, as a tree or with dots; "file:PATH", "null-co://", "null-aio://" and
// "blkdebug:[CONFIG]:NAME" are names of that protocol; anything else is a host file.  Texts are
// measured on 5.2 to 11.1 (scenarios/qmp/names).

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/block/graph.h"
#include "sim/driver/open.h"

namespace sim::driver {

// Options of a node (QAPI: BlockdevOptions, checked as such).
struct Named {
  Json options;
  bool probed = false;  // nobody named the format: it was found out from the first bytes
};

// What opening `filename` means.  `given` comes before what a "json:" name says, `defaults` after
// it; either may lack the driver.  Unless a protocol is the driver, the name is the file's beneath.
Task<Result<Named>> options_of_name(block::Graph& graph, std::string filename, Json given,
                                    Json defaults = Json::object());

// The same where no format is looked for: of a protocol's node.
Result<Json> options_of_protocol(const std::string& filename, const Profile& profile);

// Opens it; the node knows whether its format was probed.
Task<Result<block::NodePtr>> open_named(block::Graph& graph, std::string filename, Json given,
                                        Json defaults = Json::object(), Inherited inherited = {});

}  // namespace sim::driver
